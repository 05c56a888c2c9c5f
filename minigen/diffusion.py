"""Diffusion: noise schedules and rectified flow behind one interface, the loss, guidance and the samplers.

DDPM (Ho et al., 2020, arXiv:2006.11239), DDIM (Song et al., 2021, arXiv:2010.02502), v (Salimans and Ho, 2022,
arXiv:2202.00512), DPM-Solver++ (Lu et al., 2022, arXiv:2211.01095), rectified flow (Liu et al., 2022, 2209.03003).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]  # x_t [N,...], t [N] -> what the network predicts, of the shape of x_t
PREDICTION_TYPES = ("epsilon", "x0", "v")


class Prediction(NamedTuple):
    """What a prediction says of a noisy picture: both parts of x_t = alpha x0 + sigma noise."""

    x0: Tensor
    noise: Tensor


# --- processes: from the picture to noise ------------------------------------------------------------------------


class Process(ABC):
    """Mixes a picture with noise, x_t = alpha(t) x0 + sigma(t) noise, from hardly any to nearly nothing else.

    The two rates of change complete the picture: v = alpha'(t) x0 + sigma'(t) noise, in units in which
    alpha sigma' - sigma alpha' = 1. So x_t and v together give x0 and noise, whatever the process.
    """

    @abstractmethod
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at times t [N], each [N] float32."""

    @abstractmethod
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha' and sigma' at times t [N]: the weights of x0 and noise in v."""

    @abstractmethod
    def draw_times(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Times to train at, [count], on the CPU."""

    @abstractmethod
    def timesteps(self, num_inference_steps: int, *, strength: float = 1.0) -> Tensor:
        """The times that a sampler passes through, falling: [num_inference_steps]. After the last comes the picture.

        The first has the most noise; with a strength below 1 the earlier times are left out, to start from a picture.
        """

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t, of the shape of x0 [N,...], in one step."""
        alpha, sigma = (_as_wide_as(x0, c) for c in self.coefficients(t))
        return alpha * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor, prediction_type: str) -> Tensor:
        """What a network of this prediction type should say of x_t."""
        _must_be_known(prediction_type)
        if prediction_type == "epsilon":
            return noise
        if prediction_type == "x0":
            return x0
        alpha_rate, sigma_rate = (_as_wide_as(x0, c) for c in self.rates(t))
        return alpha_rate * x0 + sigma_rate * noise

    def predict(self, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: str) -> Prediction:
        """Both parts of x_t, from what the network says of it. The three types are one thing in three dresses."""
        _must_be_known(prediction_type)
        alpha, sigma = (_as_wide_as(x_t, c) for c in self.coefficients(t))
        if prediction_type == "epsilon":
            return Prediction((x_t - sigma * output) / alpha, output)
        if prediction_type == "x0":
            return Prediction(output, (x_t - alpha * output) / sigma)
        alpha_rate, sigma_rate = (_as_wide_as(x_t, c) for c in self.rates(t))
        return Prediction(sigma_rate * x_t - sigma * output, alpha * output - alpha_rate * x_t)


class NoiseSchedule(Process):
    """The discrete process of DDPM: steps 0 to T - 1, with alpha² + sigma² = 1; the variance grows by beta_t a step."""

    def __init__(self, betas: Tensor):
        if betas.ndim != 1 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError("expected betas of shape (T,), each between 0 and 1")
        self.alphas_cumprod = (1 - betas.double()).cumprod(dim=0).float()  # [T], in 64 bits: a product of T factors
        self.num_train_steps = len(betas)

    @classmethod
    def linear(cls, num_train_steps: int = 1000) -> "NoiseSchedule":
        """The schedule of DDPM: betas in a straight line, from 0.1 to 20 over all steps together."""
        return cls(torch.linspace(0.1, 20, num_train_steps, dtype=torch.float64) / num_train_steps)

    @classmethod
    def cosine(cls, num_train_steps: int = 1000) -> "NoiseSchedule":
        """alpha falls on a cosine: more of the steps show something (Nichol and Dhariwal, 2021, arXiv:2102.09672)."""
        along = torch.linspace(0, 1, num_train_steps + 1, dtype=torch.float64)
        alphas_cumprod = ((along + 0.008) / 1.008 * torch.pi / 2).cos().square()
        return cls((1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=0.999))

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        squared = self.alphas_cumprod.to(t.device)[t]
        return squared.sqrt(), (1 - squared).sqrt()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.coefficients(t)
        return -sigma, alpha

    def draw_times(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Whole numbers from 0 to T - 1, all equally likely."""
        return torch.randint(self.num_train_steps, (count,), generator=generator)

    def timesteps(self, num_inference_steps: int, *, strength: float = 1.0) -> Tensor:
        """Whole numbers, evenly spaced, from T - 1 on: the step with the most noise is among them."""
        if not 1 <= num_inference_steps <= self.num_train_steps:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, expected 1 to {self.num_train_steps}")
        every = self.num_train_steps / num_inference_steps
        steps = (torch.arange(num_inference_steps, 0, -1, dtype=torch.float64) * every).round().long() - 1
        return steps[_left_out(num_inference_steps, strength) :]


class RectifiedFlow(Process):
    """The straight line from picture to noise: x_t = (1 - t) x0 + t noise, for t from 0 to 1; v = noise - x0.

    A shift above 1 lets a sampler take more of its steps where there is more noise, and below 1 fewer (Esser et al.,
    2024, arXiv:2403.03206): t becomes shift t / (1 + (shift - 1) t). Times to train at stay as they are.
    """

    def __init__(self, *, shift: float = 1.0):
        if not 0 < shift < float("inf"):
            raise ValueError(f"shift is {shift}, expected a number above 0, such as 1 or 2")
        self.shift = shift

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def draw_times(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Numbers between 0 and 1, those in the middle more often: their logit is normal (arXiv:2403.03206)."""
        return torch.randn(count, generator=generator).sigmoid()

    def timesteps(self, num_inference_steps: int, *, strength: float = 1.0) -> Tensor:
        """Evenly spaced, from 1 on; with a shift, closer to one another near 1."""
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, expected 1 or more")
        steps = torch.arange(num_inference_steps, 0, -1) / num_inference_steps
        steps = self.shift * steps / (1 + (self.shift - 1) * steps)
        return steps[_left_out(num_inference_steps, strength) :]


def _left_out(num_inference_steps: int, strength: float) -> int:
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}, expected above 0 and up to 1")
    return num_inference_steps - max(1, round(num_inference_steps * strength))


def _as_wide_as(x: Tensor, c: Tensor) -> Tensor:
    return c.to(x.dtype).view(-1, *[1] * (x.ndim - 1))  # [N] -> [N,1,1,1]


def _must_be_known(prediction_type: str) -> None:
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type is {prediction_type!r}, expected one of {', '.join(PREDICTION_TYPES)}")


# --- training ---------------------------------------------------------------------------------------------------


def diffusion_loss(
    model: Callable[[Tensor, Tensor, Any], Tensor],  # model(x_t, t, cond)
    process: Process,
    x0: Tensor,  # [N,...]
    cond: Any = None,
    *,
    prediction_type: str,
    generator: torch.Generator | None = None,  # of times and noise, on the CPU
) -> Tensor:
    """The mean squared error of what the model says of x_t, over all numbers; each picture at a time of its own."""
    t = process.draw_times(len(x0), generator=generator).to(x0.device)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    output = model(process.add_noise(x0, noise, t), t, cond)
    return (output.float() - process.target(x0, noise, t, prediction_type).float()).square().mean()


# --- guidance: it wraps the model, and the sampler does not know of it -------------------------------------------


def guided(
    model: Callable[[Tensor, Tensor, Any], Tensor],
    cond: Any,
    null_cond: Any = None,
    guidance_scale: float = 1.0,
) -> Denoiser:
    """A denoiser that is told `cond`, and turned away from what it would say without (arXiv:2207.12598).

    uncond + s (cond - uncond): a scale of 1 is the condition alone, in one pass; 0 is no condition; above 1, more.
    """
    if not -1e4 < guidance_scale < 1e4:
        raise ValueError(f"guidance_scale is {guidance_scale}, expected a number such as 1 or 4")
    if guidance_scale != 1 and null_cond is None:
        raise ValueError(f"guidance_scale is {guidance_scale}, which needs a null_cond to turn away from")

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        if guidance_scale == 1:
            return model(x_t, t, cond)
        unconditional = model(x_t, t, null_cond)
        if guidance_scale == 0:
            return unconditional
        return unconditional + guidance_scale * (model(x_t, t, cond) - unconditional)

    return denoiser


def classifier_guided(
    denoiser: Denoiser,
    process: Process,
    log_likelihood: Callable[[Tensor], Tensor],  # of what is wanted, given x0 [N,...]: [N]
    scale: float,
    *,
    prediction_type: str,
) -> Denoiser:
    """A denoiser that is pushed towards pictures a classifier likes (Dhariwal and Nichol, 2021, arXiv:2105.05233).

    The classifier sees the denoised picture, so it need not know noise; the gradient reaches x_t through the denoiser.
    """

    def pushed(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_(True)
            output = denoiser(x_t, t)
            x0 = process.predict(output, x_t, t, prediction_type).x0
            (gradient,) = torch.autograd.grad(log_likelihood(x0).sum(), x_t)
        # The score, -noise / sigma, grows by scale * gradient; x0 follows, as alpha x0 + sigma noise stays x_t
        found = process.predict(output.detach(), x_t.detach(), t, prediction_type)
        alpha, sigma = (_as_wide_as(x_t, c) for c in process.coefficients(t))
        noise = found.noise - sigma * scale * gradient
        x0 = found.x0 + sigma.square() / alpha.clamp(min=1e-3) * scale * gradient
        return process.target(x0, noise, t, prediction_type)

    return pushed


# --- samplers: from noise to the picture -------------------------------------------------------------------------


class SampleState(NamedTuple):
    """Where a sampler stands after a step."""

    step: int  # from 1
    num_steps: int
    t: Tensor  # [], the time that the step began at
    x_t: Tensor  # [N,...], after the step; after the last one it is the picture
    x0: Tensor  # the picture that the denoiser saw in it, before the step


def sample_steps(
    denoiser: Denoiser,
    process: Process,
    noise: Tensor,  # [N,...], normal
    *,
    prediction_type: str,
    num_inference_steps: int = 50,
    sampler: str = "ddim",  # "ddpm", "ddim" or "dpm2m"
    x0: Tensor | None = None,  # start from this picture instead of from noise alone
    strength: float = 1.0,  # and how far back: 1 forgets it, near 0 keeps it
    mask: Tensor | None = None,  # [N,1,H,W]: 1 where to draw; elsewhere x0 stays
    clip: float | None = None,  # the largest absolute value of x0: 1 for pixels in [-1,1]
    generators: list[torch.Generator] | None = None,  # of "ddpm", one for each picture
) -> Iterator[SampleState]:
    """Denoise step by step. Yields after every step.

    "ddim" takes no chances (on rectified flow it is Euler's method), "ddpm" adds fresh noise after each step, "dpm2m"
    also uses the step before (second order). Picture k depends on its own noise and generator alone.
    """
    _check_sampler(sampler, noise, x0, strength, mask, generators)
    times = process.timesteps(num_inference_steps, strength=strength)
    if prediction_type == "epsilon" and process.coefficients(times[:1])[0] == 0:
        raise ValueError("where there is nothing but noise, its prediction says nothing of x0: use v or x0")
    x_t = noise
    if x0 is not None and strength < 1:
        x_t = process.add_noise(x0, noise, times[:1].expand(len(noise)).to(noise.device))
    before = None  # the last step's x0 and its log of alpha / sigma
    for k, time in enumerate(times):
        t = time.expand(len(noise)).to(noise.device)
        found = process.predict(denoiser(x_t, t), x_t, t, prediction_type)
        if clip is not None:
            clipped = found.x0.clamp(-clip, clip)
            alpha, sigma = (_as_wide_as(x_t, c) for c in process.coefficients(t))
            found = Prediction(clipped, (x_t - alpha * clipped) / sigma)
        now = [c[0].double() for c in process.coefficients(t[:1])]
        then = [torch.tensor(value, dtype=torch.float64) for value in (1.0, 0.0)]
        if k + 1 < len(times):
            then = [c[0].double() for c in process.coefficients(times[k + 1 : k + 2])]
        fresh = None
        if sampler == "ddpm" and then[1] > 0:
            fresh = torch.stack([torch.randn(noise.shape[1:], generator=g) for g in generators]).to(noise)
        x_t, before = _step(sampler, x_t, found, now, then, before, fresh)
        if mask is not None:
            known = x0
            if k + 1 < len(times):
                known = process.add_noise(x0, noise, times[k + 1 : k + 2].expand(len(noise)).to(noise.device))
            x_t = mask * x_t + (1 - mask) * known
        yield SampleState(k + 1, len(times), time, x_t, found.x0)


def sample(denoiser: Denoiser, process: Process, noise: Tensor, **options) -> Tensor:
    """The pictures [N,...] at the end of `sample_steps`, which says what the options are."""
    with torch.no_grad():
        *_, last = sample_steps(denoiser, process, noise, **options)
    return last.x_t


def _step(sampler, x_t, found: Prediction, now, then, before, fresh) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """From the coefficients (alpha, sigma) of one time to those of the next; also what the step after will need."""
    (alpha, sigma), (alpha_next, sigma_next) = now, then
    remember = found.x0, (alpha / sigma).log()
    if sampler == "dpm2m" and before is not None and sigma_next > 0:
        # The x0 of this step and of the one before, continued in a straight line over log(alpha / sigma): eq. 20
        h = (alpha_next / sigma_next).log() - remember[1]
        ratio = (remember[1] - before[1]) / h
        x0 = found.x0 + (found.x0 - before[0]) * (0.5 / ratio).to(x_t)
        return (sigma_next / sigma).to(x_t) * x_t - (alpha_next * torch.expm1(-h)).to(x_t) * x0, remember
    variance = torch.zeros_like(sigma)
    if sampler == "ddpm" and fresh is not None:  # of the step backwards, given x0: eq. 7 of DDPM
        variance = (sigma.square() - (alpha / alpha_next * sigma_next).square()) * (sigma_next / sigma).square()
    x_next = alpha_next.to(x_t) * found.x0 + (sigma_next.square() - variance).sqrt().to(x_t) * found.noise
    return (x_next if fresh is None else x_next + variance.sqrt().to(x_t) * fresh), remember


def _check_sampler(sampler, noise, x0, strength, mask, generators) -> None:
    if sampler not in ("ddpm", "ddim", "dpm2m"):
        raise ValueError(f"sampler is {sampler!r}, expected ddpm, ddim or dpm2m")
    if sampler == "ddpm" and (generators is None or len(generators) != len(noise)):
        raise ValueError(f"ddpm adds noise after each step: give {len(noise)} generators, one for each picture")
    if x0 is None and (strength != 1 or mask is not None):
        raise ValueError("strength and mask need an x0, the picture to start from")
    if x0 is not None and x0.shape != noise.shape:
        raise ValueError(f"x0 has shape {tuple(x0.shape)}, expected that of the noise, {tuple(noise.shape)}")


def interpolate_noise(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Noise [N,...] between two, on the arc, so that it stays normal: a share of 0 is the first, 1 the second."""
    angle = share * torch.pi / 2
    start, end = first.new_tensor(angle).cos(), first.new_tensor(angle).sin()
    return start * first + end * second
