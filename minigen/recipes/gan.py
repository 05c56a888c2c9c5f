"""The GAN of lesson 02, trained for longer: draws any of forty objects at 32x32. `python -m minigen.recipes.gan`"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minigen import pretrained, runtime
from minigen.data import EmojiPortraits, grouped_batches
from minigen.gan import Discriminator, GanStep, Generator
from minigen.images import to_signed, to_unit
from minigen.metrics import collect_features, collect_logits, coverage, fidelity
from minigen.recipes.frame import Options, Recipe, Training, main, my_share
from minigen.training import EMA

NUM_CLASSES = len(EmojiPortraits.questions["object"])


def pictures_and_objects(options: Options, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of portraits in [-1,1] with the index of their object, four of an object at a time."""
    stream = grouped_batches(EmojiPortraits("train"), options.batch_size, "object", **my_share(options, start))
    for batch in stream:
        yield to_signed(batch.images).to(memory_format=torch.channels_last), batch.labels["object"]


def set_up(options: Options) -> Training:
    """The two players; their learning rate stays for 60 % of the updates and then falls to zero in a straight line."""
    generator = Generator(num_classes=NUM_CLASSES).to(memory_format=torch.channels_last)
    discriminator = Discriminator(num_classes=NUM_CLASSES).to(memory_format=torch.channels_last)
    players = {"generator": generator, "discriminator": discriminator}
    optimizers = {name: torch.optim.Adam(p.parameters(), lr=1e-3, betas=(0.0, 0.99)) for name, p in players.items()}

    def rate(update: int) -> float:
        return min(1.0, (1 - update / options.num_steps) / 0.4)

    schedulers = {name: torch.optim.lr_scheduler.LambdaLR(o, rate) for name, o in optimizers.items()}
    ema = EMA(generator, decay=0.999)
    step = GanStep(
        generator, discriminator, *optimizers.values(), r1_weight=0.1, schedulers=list(schedulers.values()), ema=ema
    )
    stateful = players | {"ema": ema, "gan_step": step}
    stateful |= {f"{name}_optimizer": optimizer for name, optimizer in optimizers.items()}
    stateful |= {f"{name}_scheduler": scheduler for name, scheduler in schedulers.items()}
    return Training(step, lambda start: pictures_and_objects(options, start), stateful, result=lambda: ema.model)


@torch.no_grad()
def draw(generator: Generator, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`count` pictures [count,3,32,32] in [0,1] on the CPU, the objects asked for in turn, and the objects [count]."""
    device = next(generator.parameters()).device
    z = torch.randn(count, generator.latent_dim, generator=torch.Generator().manual_seed(seed))
    asked = torch.arange(count) % generator.num_classes
    parts = zip(z.split(250), asked.split(250), strict=True)
    return torch.cat([to_unit(generator(a.to(device), b.to(device))).cpu() for a, b in parts]), asked


def measure(generator: Generator, count: int = 4000) -> dict[str, float]:
    """What `grade` says of so many pictures."""
    return grade(*draw(generator, count))


def grade(images: Tensor, asked: Tensor) -> dict[str, float]:
    """How often the examiner sees what was asked for, and how near portraits [N,3,32,32] come to real ones."""
    device, count = runtime.pick_device(), len(images)
    judge, examiner = (pretrained.load(name).to(device) for name in ("judge", "examiner"))
    named = collect_logits(examiner, images, count, device=device)[0]["object"].argmax(dim=1)
    real = collect_features(judge.features, EmojiPortraits("test"), 2 * count, device=device)
    drawn = collect_features(judge.features, images, count, device=device)
    found = fidelity(real[:count], drawn, real[count:])
    return {
        "named_right": (named == asked).float().mean().item(),
        "coverage": coverage(named, NUM_CLASSES, asked=asked).value,
        "refused": (named == NUM_CLASSES).float().mean().item(),
        "frechet_distance": found.distance,
        "frechet_distance_of_real": found.floor_distance,
        "precision": found.precision,
        "recall": found.recall,
        "count": count,
    }


RECIPE = Recipe(
    name="gan",
    about="Draws any of forty objects, large and in the middle, at 32x32; the class is an input.",
    data="EmojiPortraits, split train",
    options=Options(num_steps=6000, batch_size=32, seed=0),
    set_up=set_up,
    measure=measure,
    parts=4,
)

if __name__ == "__main__":
    main(RECIPE)
