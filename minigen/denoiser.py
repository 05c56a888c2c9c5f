"""The denoiser: a small transformer that says of a noisy picture, or of its latents, what is noise in it.

DiT (Peebles and Xie, 2023, arXiv:2212.09748) with PixArt's one modulation for all blocks (Chen et al., 2023,
arXiv:2310.00426), and the cross-attention of Stable Diffusion (Rombach et al., 2022, arXiv:2112.10752).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigen.layers import Condition, Conditioner, SquaredReLU, attend, into_heads, sinusoids


class ClassEncoder(Conditioner):
    """Classes as conditions: labels [N] -> one learnt vector each. What a text encoder is to captions."""

    def __init__(self, *, num_classes: int, width: int = 128):
        super().__init__(width)
        self.config = {"num_classes": num_classes, "width": width}
        self.num_classes = num_classes
        self.embed = nn.Embedding(num_classes, width)

    def read(self, labels: Tensor) -> Condition:
        """labels [N] int64 -> their condition. Raises ValueError for a class that there is not."""
        if labels.ndim != 1 or labels.is_floating_point():
            raise ValueError(f"expected labels of shape (N,), whole numbers; got {tuple(labels.shape)} {labels.dtype}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(f"expected classes 0 to {self.num_classes - 1}, got {labels.min()} to {labels.max()}")
        labels = labels.to(self.empty_token.device)
        return Condition(self.embed(labels)[:, None], torch.ones_like(labels, dtype=torch.bool)[:, None])


class DenoiserBlock(nn.Module):
    """Places look at one another, then at the condition, then each thinks for itself: h [N,L,D] -> h.

    How much, at this time and for this condition, the modulation [N,6,D] says.
    """

    def __init__(self, width: int, num_heads: int, cond_width: int):
        super().__init__()
        self.num_heads = num_heads
        self.modulation = nn.Parameter(torch.zeros(6, width))  # what this block adds to that of all blocks
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.cross_q, self.cross_kv = nn.Linear(width, width), nn.Linear(cond_width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        nn.init.zeros_(self.cross_out.weight)
        self.norm3 = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), SquaredReLU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, modulation: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """Also returns the weights of cross-attention, [N,heads,L,tokens]."""
        modulation = (modulation + self.modulation).to(h.dtype)[:, :, None]  # [N,6,1,D]
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(dim=1)
        x = self.norm1(h) * (1 + scale1) + shift1
        q, k, v = (into_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=2))
        h = h + gate1 * self.out(attend(q, k, v)[0].transpose(1, 2).flatten(2))
        q = into_heads(self.cross_q(self.norm2(h)), self.num_heads)
        k, v = (into_heads(part, self.num_heads) for part in self.cross_kv(cond.tokens).chunk(2, dim=2))
        seen, weights = attend(q, k, v, cond.mask)
        h = h + self.cross_out(seen.transpose(1, 2).flatten(2))
        return h + gate2 * self.mlp(self.norm3(h) * (1 + scale2) + shift2), weights


class ConvBlock(nn.Module):
    """Two convolutions whose result is added to what came in; the time scales and shifts what is between them.

    x [N,C,H,W], time [N,D] -> [N,C,H,W]
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for layer in (self.modulation, self.conv2):  # it begins as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = self.modulation(time)[:, :, None, None].chunk(2, dim=1)  # [N,C,1,1]
        h = self.conv1(F.silu(self.norm(x))) * (1 + scale) + shift
        return x + self.conv2(F.silu(h))


def grid_of_sinusoids(side: int, width: int) -> Tensor:
    """Where the places of a square grid are, row after row: sinusoids of their row and column, [side²,width]."""
    along = sinusoids(torch.arange(side), width // 2, span=100)  # [side,width/2]
    return torch.cat([along[:, None].expand(-1, side, -1), along.expand(side, -1, -1)], dim=2).flatten(0, 1)


class Denoiser(nn.Module):
    """x_t [N,channels,size,size], t [N] and a condition -> what the network predicts, of the shape of x_t.

    A transformer whose tokens are the places of x_t. Pixels would be too many: `ends` puts convolutions on both ends,
    each of which halves the side on the way in, and doubles it on the way out, with what it saw on the way in (U-Net).
    """

    def __init__(
        self,
        *,
        channels: int = 8,
        size: int = 8,
        width: int = 192,
        depth: int = 5,
        num_heads: int = 3,
        cond_width: int = 128,  # of the condition's tokens
        ends: Sequence[int] = (),  # channels of the convolutions, the finest first
    ):
        super().__init__()
        self.config = {
            "channels": channels,
            "size": size,
            "width": width,
            "depth": depth,
            "num_heads": num_heads,
            "cond_width": cond_width,
            "ends": list(ends),
        }
        self.channels, self.size = channels, size
        widths = [*ends, width]
        self.into = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.ways_in, self.halves = nn.ModuleList(), nn.ModuleList()
        self.ways_out, self.doubles = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(widths):
            self.ways_in.append(ConvBlock(fine, width))
            self.halves.append(nn.Conv2d(fine, coarse, 2, stride=2))
            self.doubles.append(nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2)))
            self.ways_out.append(ConvBlock(fine, width))
        self.out_of = nn.Conv2d(widths[0], channels, 3, padding=1)
        nn.init.zeros_(self.out_of.weight)
        nn.init.zeros_(self.out_of.bias)

        side = size // 2 ** len(ends)
        # Learnt, but from sinusoids on: begun as small noise, it takes most of a short training to tell places apart
        self.places = nn.Parameter(grid_of_sinusoids(side, width)[None])
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.summary = nn.Linear(cond_width, width)  # of the condition as a whole
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.blocks = nn.ModuleList(DenoiserBlock(width, num_heads, cond_width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return self.look(x_t, t, cond)[0]

    def look(self, x_t: Tensor, t: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """What `forward` returns, and at which tokens each place looks: [N,depth,tokens,h,w], shares that sum to 1.

        They are the weights of the cross-attention, averaged over its heads.
        """
        expected = (self.channels, self.size, self.size)
        if x_t.shape[1:] != expected or t.shape != (len(x_t),) or len(cond.tokens) != len(x_t):
            raise ValueError(
                f"expected x_t (N, {expected[0]}, {expected[1]}, {expected[2]}), t (N,) and N conditions, "
                f"got {tuple(x_t.shape)}, {tuple(t.shape)} and {len(cond.tokens)}"
            )
        mean = (cond.tokens * cond.mask[:, :, None]).sum(dim=1) / cond.mask.sum(dim=1, keepdim=True)  # [N,cond_width]
        time = F.silu(self.time(sinusoids(t, 256)) + self.summary(mean))  # [N,D]

        h, passed = self.into(x_t), []
        for block, halve in zip(self.ways_in, self.halves, strict=True):
            h = block(h, time)
            passed.append(h)
            h = halve(h)  # [N,C,H,W] -> [N,C',H/2,W/2]
        h, side = h.flatten(2).transpose(1, 2) + self.places.to(h.dtype), h.shape[2]  # [N,L,D]
        modulation, looks = self.modulation(time).unflatten(1, (6, -1)), []
        for block in self.blocks:
            h, weights = block(h, modulation, cond)
            looks.append(weights.mean(dim=1).transpose(1, 2).unflatten(2, (side, side)))  # [N,tokens,h,w]
        h = self.norm(h).transpose(1, 2).unflatten(2, (side, side))  # [N,D,h,w]
        for block, double in reversed(list(zip(self.ways_out, self.doubles, strict=True))):
            h = block(double(h) + passed.pop(), time)
        return self.out_of(h), torch.stack(looks, dim=1)
