"""The few network blocks that more than one model shares."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to what came in (He et al., 2016, arXiv:1512.03385).

    [N,in,H,W] -> [N,out,H/stride,W/stride]; where the shape changes, a 1x1 convolution carries the input across.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.skip = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.skip = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.skip(x) + self.norm2(self.conv2(h)))


def append_coordinates(x: Tensor) -> Tensor:
    """Add two channels that say where each pixel is, from -1 to 1 (Liu et al., 2018, arXiv:1807.03247).

    [N,C,H,W] -> [N,C+2,H,W]. A convolution sees the same everywhere; with these it can tell left from right.
    """
    n, _, height, width = x.shape
    rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype).view(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).view(1, 1, 1, width)
    return torch.cat([x, rows.expand(n, 1, height, width), columns.expand(n, 1, height, width)], dim=1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(d)) v: each query's mean of v, weighted by how well the keys answer it, and the weights.

    q [N,heads,L,d], k and v [N,heads,M,d], mask [N,M] bool: where a key may be looked at
    -> [N,heads,L,d] and the weights [N,heads,L,M], which sum to 1 over M.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # [N,heads,L,M]
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
    weights = scores.softmax(dim=-1)
    # Written out, as F.scaled_dot_product_attention keeps its weights to itself, and is slow to train on a CPU
    return weights.to(v.dtype) @ v, weights


def into_heads(x: Tensor, num_heads: int) -> Tensor:
    """[N,L,D] -> [N,heads,L,D/heads]"""
    return x.unflatten(2, (num_heads, -1)).transpose(1, 2)


def sinusoids(t: Tensor, width: int, *, span: float = 10_000) -> Tensor:
    """t [N] as cosines and sines of falling frequency, 1 to 1/span, [N,width]: steps, or real times in thousandths."""
    if t.is_floating_point():
        t = 1000 * t
    frequencies = torch.exp(-math.log(span) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = t[:, None].float() * frequencies  # [N,width/2]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class SquaredReLU(nn.Module):
    """max(x, 0) squared, where transformers usually have GELU (So et al., 2021, arXiv:2109.08668)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class Condition(NamedTuple):
    """What a denoiser is told: N sequences of L vectors."""

    tokens: Tensor  # [N,L,D]
    mask: Tensor  # [N,L] bool: where there is one; never empty


class Conditioner(nn.Module):
    """What makes conditions of captions or classes, with a learnt one that says nothing.

    `drop` puts that one in place of some conditions in training, `empty` gives it for guidance (arXiv:2207.12598).
    """

    def __init__(self, width: int):
        super().__init__()
        self.empty_token = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def empty(self, count: int) -> Condition:
        """The condition that says nothing, `count` times: what guidance turns away from."""
        mask = torch.ones(count, 1, dtype=torch.bool, device=self.empty_token.device)
        return Condition(self.empty_token.expand(count, -1, -1), mask)

    def drop(self, condition: Condition, rate: float, *, generator: torch.Generator | None = None) -> Condition:
        """Put the empty condition in place of each one with a probability of `rate`."""
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate}, expected 0 to 1")
        tokens, mask = condition
        dropped = (torch.rand(len(tokens), 1, generator=generator) < rate).to(tokens.device)  # [N,1]
        first = torch.zeros_like(mask)
        first[:, 0] = True
        alone = F.pad(self.empty_token, (0, 0, 0, tokens.shape[1] - 1)).to(tokens.dtype)  # [1,L,D], filled up
        return Condition(torch.where(dropped[:, :, None], alone, tokens), torch.where(dropped, first, mask))
