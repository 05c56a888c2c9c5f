"""A speedrun of lesson 06's model: what the same seconds of training reach, each time with one thing done otherwise.

`python -m minigen.recipes.speedrun --seconds 300` prints a row of a table for each way. Where five minutes do not go
far, fewer objects (`--objects cat fox cake`) tell the ways apart.
"""

import argparse
import copy
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigen import pretrained, runtime
from minigen.data import EmojiScenes
from minigen.denoiser import Denoiser
from minigen.diffusion import RectifiedFlow, diffusion_loss
from minigen.images import to_signed
from minigen.layers import SquaredReLU
from minigen.metrics import caption_adherence, collect_features, collect_logits, fidelity
from minigen.painter import Painter
from minigen.recipes import reading
from minigen.recipes.caption_diffusion import (
    Encoded,
    captions_of,
    draw,
    encode_scenes,
    latents_and_captions,
    loss_fn,
)
from minigen.recipes.frame import Options, hardware, muon_adamw, warm_up_and_fall
from minigen.text import TextEncoder, Tokens
from minigen.training import EMA, fit, make_step

NUM_SCENES = 20_000  # to train on
COUNT = 300  # pictures to measure
NEW = 2000  # scenes for the loss


def adamw(model: nn.ModuleDict, num_steps: int) -> tuple:
    """AdamW for every parameter, at a usual rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    return optimizer, warm_up_and_fall(optimizer, num_steps)


def with_gelu(model: nn.ModuleDict) -> None:
    """GELU wherever there is a squared ReLU."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if isinstance(child, SquaredReLU):
                setattr(part, name, nn.GELU(approximate="tanh"))


def places_as_noise(model: nn.ModuleDict) -> None:
    """Nobody tells the places where they are: they have to find out."""
    nn.init.normal_(model["denoiser"].places, std=0.02)


def words_as_noise(model: nn.ModuleDict) -> None:
    """Nobody tells the words who comes first, either."""
    nn.init.normal_(model["encoder"].position, std=0.02)


def nothing(model: nn.ModuleDict) -> None:
    """As it is."""


class EvenTimes(RectifiedFlow):
    """Every time is as frequent as any other."""

    def draw_times(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(count, generator=generator)


JUDGED = 128  # numbers that the judge has of a place


def with_a_guess(model: nn.ModuleDict) -> None:
    """A small network on the second block, to guess what the judge sees at each place."""
    width = model["denoiser"].config["width"]
    model["denoiser"].guess = nn.Sequential(nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, JUDGED))


@torch.no_grad()
def with_what_the_judge_sees(scenes: Encoded, objects: Sequence[str] | None = None) -> Encoded:
    """After the latents of each place, what the judge has of it in the clean picture, less the mean of all."""
    device = runtime.pick_device()
    judge = pretrained.load("judge").to(device)
    pictures = EmojiScenes("train", length=len(scenes.latents), objects=objects)
    parts = torch.arange(len(pictures)).split(250)
    seen = [judge.feature_map(to_signed(pictures.take(rows).images.to(device))).half().cpu() for rows in parts]
    seen = torch.cat(seen)  # [N,JUDGED,8,8]
    seen -= seen.mean(dim=(0, 2, 3), keepdim=True, dtype=torch.float32).half()
    return scenes._replace(latents=torch.cat([scenes.latents, seen], dim=1))


def with_the_judge(model: nn.ModuleDict, batch: tuple[Tensor, Tokens]) -> Tensor:
    """The recipe's loss, and half of how far the guess is from what the judge sees (REPA, arXiv:2410.06940)."""
    (both, tokens), denoiser, inside = batch, model["denoiser"], []
    x0, judged = both.split([denoiser.channels, JUDGED], dim=1)
    watch = denoiser.blocks[1].register_forward_hook(lambda block, args, result: inside.append(result[0]))
    loss = loss_fn(model, (x0, tokens))
    watch.remove()
    guessed = denoiser.guess(inside[0]).float()  # [N,L,JUDGED]
    return loss + 0.5 * (1 - F.cosine_similarity(guessed, judged.flatten(2).transpose(1, 2), dim=2)).mean()


class Way(NamedTuple):
    """One way to spend the seconds."""

    denoiser: dict = {}  # what is not the default of `Denoiser`
    change: Callable[[nn.ModuleDict], None] = nothing
    optimizer: Callable[[nn.ModuleDict, int], tuple] = muon_adamw
    batch_size: int = 64
    reads: bool = False  # the encoder learns to read first, in the same seconds
    loss: Callable[[nn.ModuleDict, tuple[Tensor, Tokens]], Tensor] = loss_fn
    prepare: Callable[[Encoded, Sequence[str] | None], Encoded] = lambda scenes, objects: scenes


WAYS = {
    "as the recipe does it": Way(),
    "AdamW for all": Way(optimizer=adamw),
    "places begin as small noise": Way(change=places_as_noise),
    "words' positions begin as small noise": Way(change=words_as_noise),
    "GELU": Way(change=with_gelu),
    "6 heads": Way({"num_heads": 6}),
    "wide and shallow: width 256, depth 3": Way({"width": 256, "depth": 3, "num_heads": 4}),
    "16 places of 2x2 latents: width 256": Way({"width": 256, "num_heads": 4, "ends": (64,)}),
    "narrow: width 128, 2 heads": Way({"width": 128, "num_heads": 2}),
    "narrow, batches of 32": Way({"width": 128, "num_heads": 2}, batch_size=32),
    "narrower: width 96, 2 heads, batches of 32": Way({"width": 96, "num_heads": 2}, batch_size=32),
    "narrower, and the encoder reads first": Way({"width": 96, "num_heads": 2}, batch_size=32, reads=True),
    "times evenly spread": Way(loss=partial(loss_fn, process=EvenTimes())),
    "aligned with the judge": Way(change=with_a_guess, loss=with_the_judge, prepare=with_what_the_judge_sees),
    "batches of 32": Way(batch_size=32),
    "batches of 128": Way(batch_size=128),
}


def train(way: Way, scenes: Encoded, seconds: float, objects: Sequence[str] | None = None) -> tuple[nn.ModuleDict, int]:
    """The network after so many seconds, and how many pictures it has seen by then."""
    device = runtime.pick_device()
    torch.manual_seed(0)
    encoder, begun = TextEncoder(words=scenes.words).to(device), time.perf_counter()
    if way.reads:
        reading.teach(encoder, list(itertools.chain(*captions_of("train", len(scenes.latents), objects))))
    seconds -= time.perf_counter() - begun

    def run(num_steps: int) -> tuple[nn.ModuleDict, float]:
        torch.manual_seed(0)
        model = nn.ModuleDict({"encoder": copy.deepcopy(encoder), "denoiser": Denoiser(**way.denoiser)})
        way.change(model)
        model.to(device)
        optimizer, scheduler = way.optimizer(model, num_steps)
        average = EMA(model, decay=0.999)
        step = make_step(model, way.loss, optimizer, scheduler=scheduler, ema=average, max_grad_norm=1.0)
        stream = latents_and_captions(scenes, Options(num_steps, way.batch_size, seed=0), 0)
        begun = time.perf_counter()
        fit(step, stream, num_steps=num_steps)
        return average.model, time.perf_counter() - begun

    run(3)  # to warm up
    num_steps = max(1, round(20 * max(0.0, seconds) / run(20)[1]))  # the schedule has to know where it ends
    return run(num_steps)[0], num_steps * way.batch_size


@torch.no_grad()
def measure(model: nn.ModuleDict, count: int, objects: Sequence[str] | None = None) -> dict[str, float]:
    """The loss of new scenes, and what examiner and judge say of pictures of seen combinations (of these objects)."""
    device = runtime.pick_device()
    judge, examiner, codec = (pretrained.load(name).to(device) for name in ("judge", "examiner", "codec"))
    test = EmojiScenes("test", objects=objects)
    losses, same = [], torch.Generator().manual_seed(0)
    for rows in torch.arange(NEW).split(250):
        x0 = codec.encode(to_signed(test.take(rows).images.to(device))).mean
        cond = model["encoder"].read(test.captions(rows))
        loss = diffusion_loss(model["denoiser"], RectifiedFlow(), x0, cond, prediction_type="v", generator=same)
        losses.append(loss.item())
    images = draw(Painter(**model, codec=codec), test.captions(range(count)))
    found = caption_adherence(collect_logits(examiner, images, count, device=device)[0], test.truth(range(count)))
    real = collect_features(judge.features, test, 2 * count, device=device)
    near = fidelity(real[count:], collect_features(judge.features, images, count, device=device), real[:count])
    return {
        "loss": sum(losses) / len(losses),
        "objects": found.objects.value,
        "relation": found.relation.value,
        "background": found.background.value,
        "frechet_distance": near.distance,
    }


HEAD = (
    "| way | parameters | pictures | loss | objects | relation | background | Fréchet distance |",
    "|---|" + "---:|" * 7,
)


def keep(name: str, line: str, title: str) -> None:
    """Put the line of a way into the card of the shipped weights, in place of an older one."""
    model, card = pretrained.load("caption_diffusion"), pretrained.card("caption_diffusion")
    tables = card.get("tables", {})
    lines = {kept.split(" | ")[0].removeprefix("| "): kept for kept in tables.get(title, [])[len(HEAD) :]}
    lines[name] = line
    tables[title] = [*HEAD, *(lines[way] for way in WAYS if way in lines)]
    pretrained.save(pretrained.WEIGHTS / "caption_diffusion.safetensors", model, card=card | {"tables": tables})


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m minigen.recipes.speedrun", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of training, for each way")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help="some of the ways")
    parser.add_argument("--objects", nargs="+", metavar="OBJECT", help="scenes of these objects alone")
    parser.add_argument("--keep", action="store_true", help="put each line into the card of the shipped weights, too")
    options = parser.parse_args(arguments)
    objects = options.objects
    try:
        scenes = encode_scenes(pretrained.load("codec"), NUM_SCENES, device=runtime.pick_device(), objects=objects)
    except ValueError as error:
        parser.error(str(error))
    command = f"python -m minigen.recipes.speedrun --seconds {options.seconds:g}"
    command += f" --objects {' '.join(objects)}" if objects else ""
    title = f"`{command}` on {hardware()}"
    print(*HEAD, sep="\n", flush=True)
    for name in options.only:
        way = WAYS[name]
        model, pictures = train(way, way.prepare(scenes, objects), options.seconds, objects)
        row = measure(model, COUNT, objects)
        size = sum(p.numel() for p in model.parameters())
        line = (
            f"| {name} | {size:,} | {pictures:,} | {row['loss']:.4f} | {row['objects']:.1%} | {row['relation']:.1%} "
            f"| {row['background']:.1%} | {row['frechet_distance']:.2f} |"
        )
        print(line, flush=True)
        if options.keep:
            keep(name, line, title)


if __name__ == "__main__":
    main()
