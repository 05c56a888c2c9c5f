"""Numbers that say how well it worked, each with its sample size and its uncertainty.

torchmetrics is imported where it is called: loading it takes as long as loading PyTorch.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minigen.images import to_signed

_ROWS = 256  # distances of so many pictures to all others are held at a time, which bounds the memory


class Share(NamedTuple):
    """A fraction of `count` pictures, with the interval that holds the true one 95 times in 100."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, {self.count:,} pictures)"


def share(correct: Tensor) -> Share:
    """The share of True in `correct` [N], with Wilson's 95 % interval (1927): right also near 0 and 1."""
    if correct.dtype != torch.bool or correct.ndim != 1 or not len(correct):
        raise ValueError(f"expected booleans [N], N at least 1; got {correct.dtype} {tuple(correct.shape)}")
    n, p, z = len(correct), correct.float().mean().item(), 1.959964
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Share(p, max(0.0, centre - half), min(1.0, centre + half), n)


class Spread(NamedTuple):
    """Mean and sample standard deviation over repeated runs."""

    mean: float
    std: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.std:.2g} ({len(self.values)} runs)"


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of the results of at least two runs."""
    if len(values) < 2:
        raise ValueError(f"{len(values)} run(s) have no spread: give at least two")
    tensor = torch.tensor(values, dtype=torch.float64)
    return Spread(tensor.mean().item(), tensor.std().item(), tuple(values))


@torch.no_grad()
def collect_logits(
    model: Callable[[Tensor], dict[str, Tensor]],
    dataset,  # a data set of minigen.data, or generated pictures: a Tensor [N,3,H,W] in [0,1]
    count: int,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 250,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Ask a model about the first `count` pictures of a data set.

    Returns its logits {question: [count, answers]} and the labels {question: [count]}, float32 and int64, on the CPU;
    a tensor of pictures has no labels: {}.
    """
    logits, labels = [], []
    for x, truth in _batches(dataset, count, batch_size, device):
        logits.append({q: v.float().cpu() for q, v in model(x).items()})
        labels.append(truth)
    return _join(logits), _join(labels)


@torch.no_grad()
def collect_features(
    features: Callable[[Tensor], Tensor],  # pictures [N,3,H,W] in [-1,1] -> [N,D]
    dataset,  # a data set of minigen.data, or generated pictures: a Tensor [N,3,H,W] in [0,1]
    count: int,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 250,
) -> Tensor:
    """The features of the first `count` pictures of a data set: [count,D] float32, on the CPU."""
    parts = []
    for x, _ in _batches(dataset, count, batch_size, device):
        part = features(x)
        found = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
        if not isinstance(part, Tensor) or part.ndim != 2 or len(part) != len(x):
            raise ValueError(
                f"the features of {len(x)} pictures are {found}, expected ({len(x)}, D): one row a picture"
            )
        parts.append(part.float().cpu())
    return torch.cat(parts)


def _batches(
    source, count: int, batch_size: int, device: torch.device | str
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The first `count` pictures as models take them, in [-1,1] on `device`, and their labels."""
    if isinstance(source, Tensor):
        _must_be_pictures(source)
    if not 1 <= count <= len(source):
        raise ValueError(f"{count} pictures were asked for, and there are {len(source)}: ask for 1 to {len(source)}")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    for start in range(0, count, batch_size):
        stop = min(start + batch_size, count)
        if isinstance(source, Tensor):
            images, labels = source[start:stop], {}
        else:
            images, _, labels = source.take(range(start, stop))
        yield to_signed(images.to(device)), labels


def _must_be_pictures(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel() or not images.is_floating_point():
        raise ValueError(f"expected pictures (N, 3, H, W) of floats, got {tuple(images.shape)} of {images.dtype}")
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # true of nan also
        raise ValueError(
            f"the pictures hold values from {low:.3g} to {high:.3g}, expected 0 to 1: images.to_unit makes them so"
        )


def _join(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {question: torch.cat([part[question] for part in parts]) for question in parts[0]}


def correct_answers(
    logits: dict[str, Tensor], labels: dict[str, Tensor], questions: Sequence[str] | None = None
) -> Tensor:
    """Whether a picture's answers are right, all of them at once: [N] bool. `questions` limits which count."""
    questions = list(logits) if questions is None else questions
    return torch.stack([logits[q].argmax(dim=1) == labels[q] for q in questions]).all(dim=0)


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """How often class i (row) is taken for class j (column): [K,K] int64, from logits [N,K] and labels [N]."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(logits, labels, num_classes=logits.shape[1])


class Calibration(NamedTuple):
    """Confidence against accuracy in bins of equal width; empty bins are nan."""

    confidence: Tensor  # [bins] mean confidence of the pictures in a bin
    accuracy: Tensor  # [bins] share of them named right
    count: Tensor  # [bins] how many they are
    error: float  # the expected calibration error: the gap, averaged over pictures


def calibration(probabilities: Tensor, labels: Tensor, *, bins: int = 10) -> Calibration:
    """Whether 90 % sure is right nine times in ten (Guo et al., 2017, arXiv:1706.04599).

    probabilities [N,K], rows summing to 1; labels [N].
    """
    confidence, answer = probabilities.max(dim=1)
    right = (answer == labels).to(probabilities.dtype)
    bin_of = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)  # (0, 1/bins], (1/bins, 2/bins] ...
    count = torch.bincount(bin_of, minlength=bins)
    mean_confidence = torch.bincount(bin_of, confidence, minlength=bins) / count
    accuracy = torch.bincount(bin_of, right, minlength=bins) / count
    gap = (mean_confidence - accuracy).abs().nan_to_num(0) * count / len(labels)
    return Calibration(mean_confidence, accuracy, count, gap.sum().item())


class Distance(NamedTuple):
    """A Fréchet distance, and between how many pictures: it means nothing without."""

    value: float
    reference_count: int
    count: int

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.count:,} pictures against {self.reference_count:,})"


@torch.no_grad()
def frechet_distance(reference: Tensor, generated: Tensor) -> Distance:
    """How far two sets of features lie apart, each seen as a Gaussian (Heusel et al., 2017, arXiv:1706.08500).

    reference [N,D] of real pictures, generated [M,D]; 0 is best. It falls as the sets grow, also where the pictures are
    no better: compare distances at the same N and M only. Computed in float64 on the CPU.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    _must_be_features(2, reference=reference, generated=generated)
    as_they_are = nn.Identity()
    as_they_are.num_features = reference.shape[1]  # or torchmetrics draws a random picture to find out
    # Every process has all features: none waits for the others
    metric = FrechetInceptionDistance(feature=as_they_are, sync_on_compute=False)
    metric.update(reference.cpu().double(), real=True)
    metric.update(generated.cpu().double(), real=False)
    value = max(0.0, metric.compute().item())  # rounding leaves equal sets a hair below 0
    return Distance(value, len(reference), len(generated))


def _must_be_features(at_least: int, **sets: Tensor) -> None:
    for name, features in sets.items():
        if features.ndim != 2 or not features.is_floating_point() or len(features) < at_least or not features.numel():
            raise ValueError(
                f"`{name}` is {tuple(features.shape)} of {features.dtype}, expected features (N, D) of floats, "
                f"N at least {at_least}: see collect_features"
            )
        bad = int((~features.isfinite()).any(dim=1).sum())
        if bad:
            raise ValueError(
                f"{bad} of {len(features)} rows of `{name}` hold nan or infinity, expected finite numbers: look at the "
                "pictures and at the network that they come from"
            )
    widths = {name: features.shape[1] for name, features in sets.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"the widths D differ, {widths}: take all features from the same network")


class PrecisionRecall(NamedTuple):
    """How much of what is drawn is like the real pictures, and how much of the real pictures is drawn."""

    precision: float  # share of the generated pictures that lie among the real ones
    recall: float  # share of the real pictures that lie among the generated ones
    reference_count: int
    count: int

    def __str__(self) -> str:
        sizes = f"{self.count:,} pictures against {self.reference_count:,}"
        return f"precision {self.precision:.1%}, recall {self.recall:.1%} ({sizes})"


@torch.no_grad()
def precision_recall(reference: Tensor, generated: Tensor, *, k: int = 3) -> PrecisionRecall:
    """Fidelity and diversity apart from one another (Kynkäänniemi et al., 2019, arXiv:1904.06991).

    reference [N,D] of real pictures, generated [M,D]. A picture lies among others if at least one of them has it within
    its reach, which is the distance to its own k-th neighbour. Both depend on N and M: compare at the same sizes only.
    """
    _must_be_features(2, reference=reference, generated=generated)
    smaller = min(len(reference), len(generated))
    if not 1 <= k < smaller:
        raise ValueError(
            f"k is {k}, expected 1 to {smaller - 1}, as many neighbours as a picture has in a set of {smaller}: "
            "give more pictures or a smaller k"
        )
    reference, generated = reference.cpu().double(), generated.cpu().double()
    real_reach, reach = _squared_reach(reference, k), _squared_reach(generated, k)  # [N], [M]
    precise, recalled = [], torch.zeros(len(reference), dtype=torch.bool)
    for rows, their_reach in zip(generated.split(_ROWS), reach.split(_ROWS), strict=True):
        squared = _squared_distances(rows, reference)  # [rows, N]
        precise.append((squared <= real_reach).any(dim=1))
        recalled |= (squared <= their_reach[:, None]).any(dim=0)
    precision, recall = (hits.double().mean().item() for hits in (torch.cat(precise), recalled))
    return PrecisionRecall(precision, recall, len(reference), len(generated))


def _squared_reach(features: Tensor, k: int) -> Tensor:
    """Each picture's squared distance to its k-th neighbour in its own set: [N]."""
    parts = [_squared_distances(rows, features).topk(k + 1, largest=False).values for rows in features.split(_ROWS)]
    return torch.cat(parts)[:, k]  # column 0 is the picture itself


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a|² + |b|² - 2 a·b, [N,D] and [M,D] -> [N,M]: three times as fast as pair by pair."""
    sizes = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    squared = sizes - 2 * a @ b.T
    return squared.where(squared > 1e-12 * sizes, 0.0)  # of a copy's distance, 0, rounding leaves something


class Fidelity(NamedTuple):
    """How near generated pictures come to real ones, each number with its floor: what other real pictures get."""

    distance: float
    precision: float
    recall: float
    floor_distance: float
    floor_precision: float
    floor_recall: float
    reference_count: int
    count: int

    def __str__(self) -> str:
        return (
            f"Fréchet distance {self.distance:.4g} (real pictures {self.floor_distance:.4g}), "
            f"precision {self.precision:.1%} (real pictures {self.floor_precision:.1%}), "
            f"recall {self.recall:.1%} (real pictures {self.floor_recall:.1%}); "
            f"{self.count:,} pictures against {self.reference_count:,}"
        )


@torch.no_grad()
def fidelity(reference: Tensor, generated: Tensor, real: Tensor) -> Fidelity:
    """Fréchet distance, precision and recall of generated pictures, and of as many real ones: the floor.

    reference [N,D], generated [M,D], and real [M,D] of other real pictures than the reference's. A baseline (noise,
    mean pictures) is the same call with its features as `generated`. Raises ValueError where the sizes differ.
    """
    _must_be_features(2, reference=reference, generated=generated, real=real)
    if len(real) != len(generated):
        raise ValueError(
            f"{len(generated)} generated and {len(real)} real pictures cannot be compared, as the distance depends on "
            "the size: give as many of each"
        )
    distance, floor = frechet_distance(reference, generated), frechet_distance(reference, real)
    overlap, floor_overlap = precision_recall(reference, generated), precision_recall(reference, real)
    return Fidelity(
        distance=distance.value,
        precision=overlap.precision,
        recall=overlap.recall,
        floor_distance=floor.value,
        floor_precision=floor_overlap.precision,
        floor_recall=floor_overlap.recall,
        reference_count=len(reference),
        count=len(generated),
    )


class Coverage(NamedTuple):
    """How many of the classes a generator draws."""

    covered: int
    classes: int
    count: int  # pictures looked at
    missing: tuple[int, ...]  # the classes that it does not draw

    @property
    def value(self) -> float:
        return self.covered / self.classes

    def __str__(self) -> str:
        return f"{self.covered} of {self.classes} classes ({self.count:,} pictures)"


def coverage(named: Tensor, num_classes: int, *, asked: Tensor | None = None, least: float = 0.1) -> Coverage:
    """How many classes a generator draws, by the names [N] int64 that a judge gives its pictures.

    A class is covered when `least` of its fair share, N / num_classes pictures, or more have its name. With the classes
    `asked` for, [N], its share is the pictures in which it was asked for, and only right names count; a refusal, named
    as num_classes or above, is none. ValueError where a class was never asked for, as nobody knows then whether the
    generator draws it.
    """
    _must_be_classes("named", named, num_classes if asked is None else None)
    if not 0 < least <= 1:
        raise ValueError(f"least is {least}, expected a fraction above 0 and at most 1")
    if asked is None:
        found = torch.bincount(named, minlength=num_classes)
        share_drawn = found * num_classes / len(named)
    else:
        _must_be_classes("asked", asked, num_classes)
        if len(asked) != len(named):
            raise ValueError(f"{len(named)} pictures were named and {len(asked)} asked for: give one of each a picture")
        wanted = torch.bincount(asked, minlength=num_classes)
        if not wanted.all():
            never = (wanted == 0).nonzero().flatten().tolist()
            raise ValueError(f"classes {never} were never asked for: ask for each of the {num_classes} at least once")
        found = torch.bincount(asked[named == asked], minlength=num_classes)
        share_drawn = found / wanted
    missing = (share_drawn < least).nonzero().flatten().tolist()
    return Coverage(num_classes - len(missing), num_classes, len(named), tuple(missing))


def _must_be_classes(name: str, classes: Tensor, num_classes: int | None) -> None:
    if classes.dtype != torch.int64 or classes.ndim != 1 or not len(classes):
        raise ValueError(f"`{name}` is {tuple(classes.shape)} of {classes.dtype}, expected int64 (N,), N at least 1")
    low, high = classes.min().item(), classes.max().item()
    if low < 0 or (num_classes is not None and high >= num_classes):
        last = "any" if num_classes is None else num_classes - 1
        raise ValueError(f"`{name}` holds classes {low} to {high}, expected 0 to {last}: see num_classes")


class Neighbours(NamedTuple):
    """The nearest of a set of pictures, for each picture asked about; the nearest first."""

    distances: Tensor  # [N,k] float32
    indices: Tensor  # [N,k] int64, rows of the reference


@torch.no_grad()
def nearest_neighbours(queries: Tensor, reference: Tensor, *, k: int = 1) -> Neighbours:
    """The k rows of `reference` [M,D] nearest to each row of `queries` [N,D], by Euclidean distance.

    The rows are features, or pixels: images.flatten(1). A copy lies at distance 0. Raises ValueError where k exceeds M.
    """
    _must_be_features(1, queries=queries, reference=reference)
    if not 1 <= k <= len(reference):
        raise ValueError(f"k is {k}, expected 1 to {len(reference)}, the rows of the reference")
    reference, parts = reference.float(), []
    for rows in queries.float().split(_ROWS):
        # Pair by pair: the faster way by a product of matrices leaves a copy at some distance
        distances = torch.cdist(rows, reference, compute_mode="donot_use_mm_for_euclid_dist")  # [rows, M]
        parts.append(distances.topk(k, largest=False))
    return Neighbours(torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts]))


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each picture, in dB, the more the nearer: -10 log10 of the mean squared error.

    Both [N,3,H,W] in [0,1] -> [N]; infinite where two pictures are equal, and so then is the mean over pictures.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if images.shape != reference.shape:
        raise ValueError(f"pictures {tuple(images.shape)} against {tuple(reference.shape)}: give both the same shape")
    _must_be_pictures(images)
    _must_be_pictures(reference)
    return peak_signal_noise_ratio(images.float(), reference.float(), data_range=1.0, reduction="none", dim=(1, 2, 3))


class Adherence(NamedTuple):
    """How many of `count` generated pictures show what their captions say, by an examiner's answers."""

    everything: Share  # all of it at once: what counts
    objects: Share  # both, or the one and nothing else
    relation: Share
    size: Share  # of both
    background: Share
    refused: Share  # the first object is none of those it knows: nobody would recognise it
    count: int

    def __str__(self) -> str:
        parts = (f"{name} {getattr(self, name).value:.1%}" for name in self._fields[:-1])
        return f"{', '.join(parts)}; {self.count:,} pictures"


def caption_adherence(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Adherence:
    """Compare what an examiner sees in pictures with what was asked for.

    logits {question: [N,answers]} of EmojiScenes' questions, labels {question: [N]} of the captions. An examiner may
    know one answer more to "object" than labels have, a refusal, which is never right. This says nothing of whether
    pictures look real: give a Fréchet distance beside it.
    """
    refusal = logits["other"].shape[1] - 1  # "none of these" comes after the last object, as "nothing" does in `other`
    parts = {
        "everything": list(labels),
        "objects": ["object", "other"],
        "relation": ["relation"],
        "size": ["size", "other_size"],
        "background": ["background"],
    }
    right = {name: share(correct_answers(logits, labels, questions)) for name, questions in parts.items()}
    return Adherence(**right, refused=share(logits["object"].argmax(dim=1) >= refusal), count=len(labels["object"]))
