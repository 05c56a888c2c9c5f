"""The latent codec of lesson 03: 64x64x3 to 8x8x8 and back; lesson 06 draws in it. `python -m minigen.recipes.codec`"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minigen import runtime
from minigen.data import EmojiScenes, batches
from minigen.images import to_signed, to_unit
from minigen.metrics import psnr
from minigen.recipes.frame import Options, Recipe, Training, main, my_share, one_cycle
from minigen.training import EMA, make_step
from minigen.vae import Codec, vae_loss

SIZE = 64
SIGMA = 0.03  # how exact a pixel should be, in [-1,1]; smaller spends more nats on the latents


def pictures(options: Options, start: int) -> Iterator[Tensor]:
    """Endless batches of scenes in [-1,1]."""
    for batch in batches(EmojiScenes("train", size=SIZE), options.batch_size, **my_share(options, start)):
        yield to_signed(batch.images).contiguous(memory_format=torch.channels_last)


def loss_fn(model: Codec, x: Tensor) -> dict[str, Tensor]:
    """The VAE's loss, per number of the picture: so that gradients have a length that clipping understands."""
    posterior = model.encode(x)
    losses = vae_loss(model.decode(posterior.sample()), x, posterior, sigma=SIGMA)
    return {**losses, "loss": losses["loss"] / x[0].numel()}


def set_up(options: Options) -> Training:
    """AdamW, a short warm-up, and a learning rate that falls to zero."""
    model = Codec().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    scheduler = one_cycle(optimizer, 2e-3, options.num_steps, warm_up=min(100, options.num_steps / 2))
    ema = EMA(model, decay=0.999)

    def finished() -> Codec:
        device = next(ema.model.parameters()).device
        scenes = EmojiScenes("train", size=SIZE).take(range(1000))
        ema.model.measure_latents(to_signed(scenes.images).to(device))
        return ema.model

    return Training(
        step=make_step(model, loss_fn, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=1.0),
        batches=lambda start: pictures(options, start),
        stateful={"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema},
        result=finished,
    )


def bicubic(images: Tensor, numbers: int) -> Tensor:
    """What is left of pictures [N,3,H,W] when they are shrunk to about so many numbers, and enlarged again."""
    side = round((numbers / 3) ** 0.5)
    small = F.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return F.interpolate(small, images.shape[2:], mode="bicubic").clamp(0, 1)


@torch.no_grad()
def measure(model: Codec, count: int = 2000) -> dict[str, float]:
    """Reconstruction of scenes with combinations never seen in training, in dB, each picture's averaged."""
    device = runtime.pick_device()
    images = EmojiScenes("held_out", size=SIZE).take(range(count)).images
    latents = [model.encode(to_signed(part).to(device)).mean for part in images.split(100)]
    again = torch.cat([to_unit(model.decode(latent)).cpu() for latent in latents])
    return {
        "psnr_db": psnr(again, images).mean().item(),
        "bicubic_psnr_db": psnr(bicubic(images, latents[0][0].numel()), images).mean().item(),
        "numbers": latents[0][0].numel(),
        "count": count,
    }


RECIPE = Recipe(
    name="codec",
    about="Squeezes a 64x64 picture into an 8x8 grid of 8 latents, of mean 0 and deviation 1 each, and back.",
    data="EmojiScenes, split train",
    options=Options(num_steps=5000, batch_size=32, seed=0),
    set_up=set_up,
    measure=measure,
)

if __name__ == "__main__":
    main(RECIPE)
