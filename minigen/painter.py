"""The painter: what is asked for goes in, pictures come out. It wires an encoder, a denoiser and, if any, a codec.

The sampler of latent diffusion (Rombach et al., 2022, arXiv:2112.10752), from noise or from a picture (SDEdit, Meng et
al., 2022, arXiv:2108.01073), in all of it or in a part (as RePaint, Lugmayr et al., 2022, arXiv:2201.09865).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minigen.denoiser import Denoiser
from minigen.diffusion import Process, RectifiedFlow, SampleState, guided, sample_steps
from minigen.images import to_signed, to_unit
from minigen.layers import Condition, Conditioner
from minigen.vae import Codec


@dataclass(frozen=True)
class PaintState:
    """Where a painter stands after a step."""

    step: int  # from 1
    num_steps: int
    decode: Callable[[], Tensor]

    @cached_property
    def images(self) -> Tensor:
        """[N,3,H,W] in [0,1]: what it sees in the noise; after the last step the pictures. Decoded when asked for."""
        return self.decode()


class Painter:
    """Draws what its encoder understands: captions where that is a TextEncoder, classes where it is a ClassEncoder.

    Works on the device of its parts. Picture k depends on its own request and noise alone.
    """

    def __init__(
        self,
        encoder: Conditioner,
        denoiser: Denoiser,
        codec: Codec | None = None,  # without one, the denoiser works on pixels
        *,
        process: Process | None = None,  # that the denoiser was trained on; by default rectified flow
        prediction_type: str = "v",
    ):
        self.encoder, self.denoiser, self.codec = encoder, denoiser, codec
        self.process, self.prediction_type = process or RectifiedFlow(), prediction_type

    @property
    def size(self) -> int:
        """Width and height of its pictures, in pixels."""
        return self.denoiser.size * (8 if self.codec else 1)

    @property
    def device(self) -> torch.device:
        """Where its parts are, and the pictures that it paints."""
        return next(self.denoiser.parameters()).device

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Noise for one picture a seed, [N,C,h,w] on the CPU, to be kept, mixed and given to `paint`."""
        shape = (self.denoiser.channels, self.denoiser.size, self.denoiser.size)
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn)

    def paint(self, wanted: Sequence[str] | Tensor | Condition, **options) -> Tensor:
        """The pictures [N,3,H,W] in [0,1] at the end of `paint_steps`, which says what the options are."""
        *_, last = self._steps(wanted, **options)
        return self._decode(last.x_t, options)

    def paint_steps(self, wanted: Sequence[str] | Tensor | Condition, **options) -> Iterator[PaintState]:
        """Draw step by step what is `wanted`: captions, classes [N], or a condition of one's own making.

        guidance_scale: above 1, more of what is wanted and less of everything else. num_inference_steps: more is finer.
        seed: picture k is drawn from seed + k. noise [N,C,h,w]: instead of a seed.
        start [N,3,H,W] or [3,H,W] in [0,1]: begin with these pictures. strength: how far to go back, 1 forgets them.
        mask [N,1,H,W] or [1,H,W]: 1 where to draw; elsewhere `start` stays, to the pixel.
        Raises ValueError where one of these cannot be, and what the encoder raises: on unknown words above all.
        """
        for state in self._steps(wanted, **options):
            seen = state.x_t if state.step == state.num_steps else state.x0
            yield PaintState(state.step, state.num_steps, partial(self._decode, seen, options))

    @torch.no_grad()
    def _steps(
        self,
        wanted: Sequence[str] | Tensor | Condition,
        *,
        guidance_scale: float = 4.0,
        num_inference_steps: int = 20,
        sampler: str = "dpm2m",
        seed: int = 0,
        noise: Tensor | None = None,
        start: Tensor | None = None,
        strength: float = 1.0,
        mask: Tensor | None = None,
    ) -> Iterator[SampleState]:
        cond = wanted if isinstance(wanted, Condition) else self.encoder.read(wanted)
        count, device = len(cond.tokens), cond.tokens.device
        if noise is None:
            noise = self.noise(range(seed, seed + count))
        expected = (count, self.denoiser.channels, self.denoiser.size, self.denoiser.size)
        if noise.shape != expected:
            raise ValueError(f"the noise has shape {tuple(noise.shape)}, expected {expected}")
        if start is not None:
            start = self._encode(_shaped("start", start, (count, 3, self.size, self.size)).to(device))
        if mask is not None:
            mask = _shaped("mask", mask, (count, 1, self.size, self.size)).to(device)
            # A place is drawn anew if any pixel of it is
            mask = F.adaptive_max_pool2d(mask, self.denoiser.size)
        yield from sample_steps(
            guided(self.denoiser, cond, self.encoder.empty(count), guidance_scale),
            self.process,
            noise.to(device),
            prediction_type=self.prediction_type,
            num_inference_steps=num_inference_steps,
            sampler=sampler,
            x0=start,
            strength=strength,
            mask=mask,
            clip=None if self.codec else 1.0,
        )

    def _encode(self, images: Tensor) -> Tensor:
        x = to_signed(images)
        return self.codec.encode(x).mean if self.codec else x

    @torch.no_grad()
    def _decode(self, x: Tensor, options: dict) -> Tensor:
        images = to_unit(self.codec.decode(x) if self.codec else x).float()
        if options.get("mask") is not None:
            mask, start = (options[name].to(images) for name in ("mask", "start"))
            images = mask * images + (1 - mask) * start
        return images


def _shaped(name: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One picture for all or one for each, [N,...] as `shape` says."""
    if x.shape not in (shape, shape[1:]):
        raise ValueError(f"`{name}` has shape {tuple(x.shape)}, expected {shape} or {shape[1:]}")
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"`{name}` holds values from {x.min():.3g} to {x.max():.3g}, expected 0 to 1")
    return x.expand(shape)
