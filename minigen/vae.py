"""Autoencoders: a variational one for pictures, and the latent codec that lesson 06 draws in.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2014, arXiv:1312.6114); beta after Higgins et al. (2017); the
codec after "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al., 2022, arXiv:2112.10752).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Posterior:
    """q(z|x), a normal distribution of its own for every picture and latent number: mean and logvar [N,...]."""

    def __init__(self, mean: Tensor, logvar: Tensor):
        if mean.shape != logvar.shape:
            raise ValueError(f"mean {tuple(mean.shape)} and logvar {tuple(logvar.shape)} differ in shape")
        self.mean, self.logvar = mean, logvar

    def sample(self, generator: torch.Generator | None = None, *, noise: Tensor | None = None) -> Tensor:
        """z = mean + std * noise, so that gradients reach mean and std; the noise is N(0, I), drawn or given."""
        if noise is None:
            noise = torch.randn(self.mean.shape, generator=generator).to(self.mean)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) in nats, summed over the latent numbers of each picture: [N]."""
        return self.kl_per_dimension().flatten(1).sum(dim=1)

    def kl_per_dimension(self) -> Tensor:
        """The same before it is summed, in nats: the shape of mean."""
        mean, logvar = self.mean.float(), self.logvar.float()
        return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def reconstruction_nats(recon: Tensor, x: Tensor, sigma: float) -> Tensor:
    """-log N(x; recon, sigma^2 I) of each picture, in nats, summed over C, H and W: [N].

    It falls below zero where the density exceeds 1: pixels are real numbers here, not one of 256 steps.
    """
    if recon.shape != x.shape:
        raise ValueError(f"the reconstructions are {tuple(recon.shape)}, the pictures {tuple(x.shape)}")
    squares = (recon.float() - x.float()).square().flatten(1)  # [N,D]
    return squares.sum(dim=1) / (2 * sigma**2) + squares.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


def vae_loss(recon: Tensor, x: Tensor, posterior: Posterior, *, sigma: float, beta: float = 1.0) -> dict[str, Tensor]:
    """recon + beta * kl, and both terms, in nats a picture: each summed over its numbers, then averaged over N.

    With beta 1 the loss is minus the ELBO, an upper bound of -log p(x). `sigma` is the standard deviation of a pixel
    around its reconstruction, in the units of x ([-1,1]).
    """
    recon_term, kl = reconstruction_nats(recon, x, sigma).mean(), posterior.kl().mean()
    return {"loss": recon_term + beta * kl, "recon": recon_term, "kl": kl}


class PlainBlock(nn.Module):
    """Two convolutions whose result is added to what came in; without normalisation, which would cost exact colours."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)  # it begins as the identity
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


def squeezing(widths: Sequence[int]) -> list[nn.Module]:
    """Layers from pictures [N,3,H,W] to features [N,widths[2],H/8,W/8]."""
    return [
        nn.PixelUnshuffle(2),  # [N,12,H/2,W/2]: convolutions at full size would cost the most and find the least
        nn.Conv2d(12, widths[0], 3, padding=1),
        PlainBlock(widths[0]),
        nn.Conv2d(widths[0], widths[1], 4, stride=2, padding=1),
        PlainBlock(widths[1]),
        nn.Conv2d(widths[1], widths[2], 4, stride=2, padding=1),
        PlainBlock(widths[2]),
        PlainBlock(widths[2]),
    ]


def unfolding(widths: Sequence[int]) -> list[nn.Module]:
    """Layers from features [N,widths[2],H/8,W/8] to pictures [N,3,H,W]."""
    return [
        PlainBlock(widths[2]),
        PlainBlock(widths[2]),
        nn.Conv2d(widths[2], 4 * widths[1], 1),
        nn.PixelShuffle(2),  # each place becomes four
        PlainBlock(widths[1]),
        PlainBlock(widths[1]),
        nn.Conv2d(widths[1], 4 * widths[0], 1),
        nn.PixelShuffle(2),
        PlainBlock(widths[0]),
        PlainBlock(widths[0]),
        nn.Conv2d(widths[0], 4 * 3, 3, padding=1),
        nn.PixelShuffle(2),
    ]


class VAE(nn.Module):
    """One vector of latents a picture: x [N,3,size,size] in [-1,1] -> latent [N,latent_dim] -> a picture again."""

    def __init__(
        self,
        *,
        size: int = 32,
        latent_dim: int = 64,
        encoder_widths: Sequence[int] = (32, 64, 128),  # channels at size/2, size/4, size/8
        decoder_widths: Sequence[int] = (48, 96, 160),
    ):
        super().__init__()
        self.config = {
            "size": size,
            "latent_dim": latent_dim,
            "encoder_widths": list(encoder_widths),
            "decoder_widths": list(decoder_widths),
        }
        self.size, self.latent_dim = size, latent_dim
        side = size // 8
        self.encoder = nn.Sequential(
            *squeezing(encoder_widths), nn.Flatten(), nn.Linear(encoder_widths[2] * side * side, 2 * latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, decoder_widths[2] * side * side),
            nn.Unflatten(1, (decoder_widths[2], side, side)),
            *unfolding(decoder_widths),
        )

    def encode(self, x: Tensor) -> Posterior:
        """x [N,3,size,size] in [-1,1] -> the posterior of its latents [N,latent_dim]."""
        if x.ndim != 4 or x.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"expected pictures of shape (N, 3, {self.size}, {self.size}), got {tuple(x.shape)}")
        return Posterior(*self.encoder(x).chunk(2, dim=1))

    def decode(self, latent: Tensor) -> Tensor:
        """latent [N,latent_dim] -> pictures [N,3,size,size], about in [-1,1]."""
        if latent.ndim != 2 or latent.shape[1] != self.latent_dim:
            raise ValueError(f"expected latents of shape (N, {self.latent_dim}), got {tuple(latent.shape)}")
        return self.decoder(latent)


class Codec(nn.Module):
    """Squeezes a picture into a small grid of latents and back: x [N,3,H,W] in [-1,1] <-> latent [N,C,H/8,W/8].

    Latents come with mean 0 and standard deviation 1 a channel over the data, once `measure_latents` has seen it: a
    model that draws in them needs no constant from elsewhere.
    """

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        encoder_widths: Sequence[int] = (32, 96, 160),  # channels at H/2, H/4, H/8
        decoder_widths: Sequence[int] = (64, 128, 192),
    ):
        super().__init__()
        self.config = {
            "latent_channels": latent_channels,
            "encoder_widths": list(encoder_widths),
            "decoder_widths": list(decoder_widths),
        }
        self.latent_channels = latent_channels
        self.encoder = nn.Sequential(*squeezing(encoder_widths), nn.Conv2d(encoder_widths[2], 2 * latent_channels, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, decoder_widths[2], 3, padding=1), *unfolding(decoder_widths)
        )
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1, 1))

    def encode(self, x: Tensor) -> Posterior:
        """x [N,3,H,W] in [-1,1], H and W multiples of 8 -> the posterior of its latents [N,C,H/8,W/8]."""
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 8 or x.shape[3] % 8:
            raise ValueError(f"expected pictures (N, 3, H, W), H and W multiples of 8, got {tuple(x.shape)}")
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        logvar = logvar.clamp(-20, 10)  # so that no picture makes exp(logvar) overflow
        return Posterior((mean - self.latent_mean) / self.latent_std, logvar - 2 * self.latent_std.log())

    def decode(self, latent: Tensor) -> Tensor:
        """latent [N,C,h,w] -> pictures [N,3,8h,8w], about in [-1,1]."""
        if latent.ndim != 4 or latent.shape[1] != self.latent_channels:
            raise ValueError(f"expected latents of shape (N, {self.latent_channels}, h, w), got {tuple(latent.shape)}")
        return self.decoder(latent * self.latent_std + self.latent_mean)

    @torch.no_grad()
    def measure_latents(self, x: Tensor) -> None:
        """Set the latents' scale from pictures [N,3,H,W] in [-1,1]: from now on they have mean 0 and deviation 1.

        Raises ValueError if a channel does not vary over the pictures; the scale is then what it was.
        """
        latents = torch.cat([self.encode(part).mean.float() for part in x.split(64)])
        latents = latents * self.latent_std + self.latent_mean  # without the scale of before
        std = latents.std(dim=(0, 2, 3), correction=0)
        if not (std > 0).all():
            raise ValueError(
                f"the latents of these {len(x)} pictures do not vary in every channel: take others, or more"
            )
        self.latent_mean.copy_(latents.mean(dim=(0, 2, 3))[:, None, None])
        self.latent_std.copy_(std[:, None, None])
