"""Image classification: a linear model, and a small residual network that answers several questions at once.

One body looks at the picture; each question (which object? which background?) has its own look at what the body
found, by attention over the places, and its own answer. Later lessons call this network the judge.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigen.layers import ResidualBlock, append_coordinates

Logits = dict[str, Tensor]  # question -> [N, number of answers]


def _must_be_a_batch(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"expected pictures of shape (N, 3, H, W), got {tuple(x.shape)}")


class LinearClassifier(nn.Module):
    """Each answer's score is one weighted sum of all pixels: the baseline that any network must beat.

    x [N,3,size,size] in [-1,1] -> {question: [N, answers]}.
    """

    def __init__(self, *, answers: dict[str, int], size: int):
        super().__init__()
        self.config = {"answers": answers, "size": size}
        self.answers = answers
        self.linear = nn.Linear(3 * size * size, sum(answers.values()))

    def forward(self, x: Tensor) -> Logits:
        _must_be_a_batch(x)
        scores = self.linear(x.flatten(1)).split(list(self.answers.values()), dim=1)
        return dict(zip(self.answers, scores, strict=True))


class Classifier(nn.Module):
    """A residual network with one attention-pooled head a question.

    x [N,3,H,W] in [-1,1], H and W multiples of 8 -> {question: [N, answers]}. With a `size`, pictures of any size
    are first resized to that width and height.
    """

    def __init__(
        self,
        *,
        answers: dict[str, int],  # question -> number of its answers
        widths: Sequence[int] = (32, 64, 128),  # channels of the stages; each after the first halves the picture
        size: int | None = None,
    ):
        super().__init__()
        self.config = {"answers": answers, "widths": list(widths), "size": size}
        self.answers, self.size = answers, size
        stages = [
            nn.Conv2d(3, widths[0], 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for k, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            stages.append(ResidualBlock(before, after, stride=1 if k == 0 else 2))
        self.body = nn.Sequential(*stages)
        self.mix = ResidualBlock(widths[-1] + 2, widths[-1])
        self.look = nn.Conv2d(widths[-1], len(answers), 1)  # one score a place and question
        self.heads = nn.ModuleDict({question: nn.Linear(widths[-1], n) for question, n in answers.items()})

    def feature_map(self, x: Tensor) -> Tensor:
        """What the body finds and where: [N,D,H/8,W/8]."""
        _must_be_a_batch(x)
        if self.size:
            x = _resized(x, self.size)
        return self.mix(append_coordinates(self.body(x)))

    def features(self, x: Tensor) -> Tensor:
        """The picture in D numbers, for distances between sets of pictures: [N,D]."""
        return self.feature_map(x).mean(dim=(2, 3))

    def attention(self, x: Tensor) -> dict[str, Tensor]:
        """Where each question looks: {question: [N,H/8,W/8]}, each map summing to 1."""
        feature_map = self.feature_map(x)
        height, width = feature_map.shape[2:]
        weights = self._weights(feature_map).unflatten(2, (height, width))  # [N,Q,h,w]
        return dict(zip(self.answers, weights.unbind(1), strict=True))

    def forward(self, x: Tensor) -> Logits:
        feature_map = self.feature_map(x)
        places = feature_map.flatten(2)  # [N,D,L], L = h w places
        seen = torch.einsum("nql,ndl->qnd", self._weights(feature_map), places)
        return {question: head(seen[k]) for k, (question, head) in enumerate(self.heads.items())}

    def _weights(self, feature_map: Tensor) -> Tensor:
        return self.look(feature_map).flatten(2).softmax(dim=-1)  # [N,Q,L], over the places


class TransformerClassifier(nn.Module):
    """The same questions, answered by a transformer: another architecture, so that its mistakes are its own.

    Three convolutions make 8x8 places of the picture (Xiao et al., 2021, arXiv:2106.14881); places and questions then
    attend to one another. x [N,3,H,W] in [-1,1], resized to `size` -> {question: [N, answers]}.
    """

    def __init__(self, *, answers: dict[str, int], size: int = 64, width: int = 128, depth: int = 5):
        super().__init__()
        self.config = {"answers": answers, "size": size, "width": width, "depth": depth}
        self.answers, self.size = answers, size
        widths = (3, width // 4, width // 2, width)
        self.stem = nn.Sequential()
        for before, after in pairwise(widths):
            self.stem += nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU())
        self.places = nn.Parameter(0.02 * torch.randn((size // 8) ** 2, width))
        self.questions = nn.Parameter(0.02 * torch.randn(len(answers), width))
        block = nn.TransformerEncoderLayer(
            width, width // 32, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.heads = nn.ModuleDict({question: nn.Linear(width, n) for question, n in answers.items()})

    def forward(self, x: Tensor) -> Logits:
        _must_be_a_batch(x)
        x = _resized(x, self.size)
        places = self.stem(x).flatten(2).transpose(1, 2) + self.places  # [N,L,D], L = 64 places of 8x8 pixels
        tokens = torch.cat([self.questions.expand(len(x), -1, -1), places], dim=1)  # [N,Q+L,D]
        seen = self.blocks(tokens)[:, : len(self.answers)]  # [N,Q,D]
        return {question: head(seen[:, k]) for k, (question, head) in enumerate(self.heads.items())}


def _resized(x: Tensor, size: int) -> Tensor:
    if x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


def classification_loss(logits: Logits, labels: dict[str, Tensor]) -> Tensor:
    """The cross-entropy in nats, averaged over N and summed over the questions."""
    if logits.keys() != labels.keys():
        raise ValueError(f"the model answers {sorted(logits)}, the labels are for {sorted(labels)}")
    return sum(F.cross_entropy(logits[question].float(), labels[question]) for question in logits)


def saliency(model: nn.Module, x: Tensor, question: str) -> Tensor:
    """How much each pixel moves the score of the model's own answer (Simonyan et al., 2013, arXiv:1312.6034).

    x [N,3,H,W] in [-1,1] -> [N,H,W], the largest absolute derivative over the colours.
    """
    x = x.detach().clone().requires_grad_(True)
    best = model(x)[question].max(dim=1).values
    (gradient,) = torch.autograd.grad(best.sum(), x)
    return gradient.abs().amax(dim=1)
