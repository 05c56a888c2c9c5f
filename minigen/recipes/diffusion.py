"""Lesson 05's diffusion model, trained for longer: draws any of forty objects at 32x32.

`python -m minigen.recipes.diffusion`
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from minigen import runtime
from minigen.data import EmojiPortraits, batches
from minigen.denoiser import ClassEncoder, Denoiser
from minigen.diffusion import RectifiedFlow, diffusion_loss
from minigen.images import to_signed
from minigen.painter import Painter
from minigen.recipes.frame import Options, Recipe, Training, main, muon_adamw, my_share
from minigen.recipes.gan import NUM_CLASSES, grade
from minigen.training import EMA, make_step

SIZE = 32
DROPPED = 0.1  # the share of classes that are left out, for guidance
GUIDANCE_SCALE = 1.25  # that the pictures are measured at


def make_model(*, ends: Sequence[int] = (32, 64)) -> nn.ModuleDict:
    """The classes' encoder and the denoiser on pixels, with convolutions of so many channels on both ends."""
    denoiser = Denoiser(channels=3, size=SIZE, width=128, depth=3, num_heads=2, ends=ends)
    return nn.ModuleDict({"encoder": ClassEncoder(num_classes=NUM_CLASSES), "denoiser": denoiser})


def pictures_and_objects(options: Options, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of portraits in [-1,1] with the index of their object."""
    for batch in batches(EmojiPortraits("train", size=SIZE), options.batch_size, **my_share(options, start)):
        yield to_signed(batch.images).contiguous(memory_format=torch.channels_last), batch.labels["object"]


def loss_fn(model: nn.ModuleDict, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The mean squared error of the velocity; some classes are left out."""
    x0, objects = batch
    encoder, denoiser = model["encoder"], model["denoiser"]
    cond = encoder.drop(encoder.read(objects), DROPPED)
    return diffusion_loss(denoiser, RectifiedFlow(), x0, cond, prediction_type="v")


def set_up(options: Options) -> Training:
    """Muon with AdamW, a short warm-up, and a learning rate that falls to nearly zero."""
    model = make_model().to(memory_format=torch.channels_last)
    optimizer, scheduler = muon_adamw(model, options.num_steps)
    ema = EMA(model, decay=0.999)
    return Training(
        step=make_step(model, loss_fn, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=1.0),
        batches=lambda start: pictures_and_objects(options, start),
        stateful={"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema},
        result=lambda: ema.model,
    )


def draw(painter: Painter, count: int, **options) -> tuple[Tensor, Tensor]:
    """`count` pictures [count,3,32,32] in [0,1] on the CPU, the objects asked for in turn, and the objects [count]."""
    asked = torch.arange(count) % NUM_CLASSES
    options = {"guidance_scale": GUIDANCE_SCALE} | options
    parts = enumerate(asked.split(250))
    with runtime.autocast(painter.device):
        return torch.cat([painter.paint(part, seed=250 * k, **options).float().cpu() for k, part in parts]), asked


def measure(model: nn.ModuleDict, count: int = 4000) -> dict[str, float]:
    """What `grade` says of so many pictures, as it says it of the GAN's."""
    return grade(*draw(Painter(**model), count))


RECIPE = Recipe(
    name="diffusion",
    about="Draws any of forty objects, large and in the middle, at 32x32, out of noise; the class is an input.",
    data="EmojiPortraits, split train",
    options=Options(num_steps=12_000, batch_size=32, seed=0),
    set_up=set_up,
    measure=measure,
)

if __name__ == "__main__":
    main(RECIPE)
