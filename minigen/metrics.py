"""Numbers that say how well it worked, each with its sample size and its uncertainty."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from minigen.images import to_signed


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
    dataset,  # a data set of minigen.data
    count: int,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 250,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Ask a model about the first `count` pictures of a data set.

    Returns its logits {question: [count, answers]} and the labels {question: [count]}, float32 and int64, on the CPU.
    """
    if not 1 <= count <= len(dataset):
        raise ValueError(f"{count} pictures were asked for; the data set holds {len(dataset)}")
    logits, labels = [], []
    for start in range(0, count, batch_size):
        batch = dataset.take(range(start, min(start + batch_size, count)))
        logits.append({q: v.float().cpu() for q, v in model(to_signed(batch.images.to(device))).items()})
        labels.append(batch.labels)
    return _join(logits), _join(labels)


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
