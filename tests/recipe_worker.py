"""What test_recipes.py runs in a process of its own: recipes that are killed and go on, or that two processes share.

`python recipe_worker.py FOLDER`. Each run is a fork, so that only one process imports everything."""

import functools
import os
import random
import socket
import sys
import time
from pathlib import Path

import forks
import torch

from minigen import denoiser, text
from minigen.recipes import caption_diffusion, codec, diffusion, examiner, fast_style, frame, gan, judge
from minigen.training import RandomState, save_checkpoint

MODULES = (gan, judge, examiner, codec, fast_style, diffusion, caption_diffusion)
RECIPES = {module.RECIPE.name: module.RECIPE for module in MODULES}
KILLS = dict.fromkeys(RECIPES, 1) | {"gan": 5}  # the GAN has the most that could get lost
STEPS = dict.fromkeys(RECIPES, 6) | {"gan": 20}  # more than a run gets to before its last kill
BATCH_SIZE = dict.fromkeys(RECIPES, 8) | {"examiner": 16, "codec": 4, "fast_style": 2}
SHARED, SHARED_STEPS, SHARED_BATCH_SIZE = "gan", 3, 16


def narrow_denoiser(kind: type, **options) -> torch.nn.Module:
    """A denoiser of one thin block, whatever its width and depth should have been."""
    return kind(**options | {"width": 16, "depth": 1, "num_heads": 2, "ends": (8,) * len(options.get("ends", ()))})


def narrow() -> None:
    """Make networks that take little of a run's seconds; all else is as the recipes have it."""
    gan.Generator = functools.partial(gan.Generator, widths=(32, 32, 16))
    gan.Discriminator = functools.partial(gan.Discriminator, widths=(16, 32, 32))
    judge.Classifier = functools.partial(judge.Classifier, widths=(8, 16, 32))
    examiner.TransformerClassifier = functools.partial(examiner.TransformerClassifier, width=32, depth=2)
    codec.Codec = functools.partial(codec.Codec, encoder_widths=(8, 16, 16), decoder_widths=(8, 16, 16))
    fast_style.StyleNetwork = functools.partial(fast_style.StyleNetwork, widths=(8, 8, 8), num_blocks=1)
    diffusion.Denoiser = caption_diffusion.Denoiser = functools.partial(narrow_denoiser, denoiser.Denoiser)
    caption_diffusion.TextEncoder = functools.partial(text.TextEncoder, depth=1)
    caption_diffusion.NUM_SCENES = 20
    fast_style.SIZE = fast_style.PAINTING_SIZE = 64


def train(name: str, folder: Path, steps: int, batch_size: int) -> frame.Training:
    """The recipe as its command runs it, but for the measuring in the end."""
    recipe, trainings = RECIPES[name], []

    def set_up(options: frame.Options) -> frame.Training:
        trainings.append(recipe.set_up(options))
        return trainings[0]

    options = f"--steps {steps} --batch-size {batch_size} --save-every 1".split()
    folders = ["--runs", str(folder / "runs"), "--out", str(folder / "out")]
    frame.main(recipe._replace(set_up=set_up, measure=lambda model: {"count": 0}), options + folders)
    return trainings[0]


def kill(name: str, folder: Path) -> None:
    """Train from start to end, and again with kills at random moments; prints after which updates they came."""
    steps, batch_size = STEPS[name], BATCH_SIZE[name]
    forks.finish(*forks.start(lambda: train(name, folder / "whole", steps, batch_size)))
    reached = []
    for _ in range(KILLS[name]):
        child, printed = forks.start(lambda: train(name, folder / "killed", steps, batch_size))
        updates = (line for line in printed if line.startswith("update "))
        for _ in range(random.randint(1, 2)):
            last = next(updates)
        time.sleep(random.random() * 0.05)  # in the middle of an update, or of a save
        forks.kill(child, printed)
        reached.append(last.split()[1])
    forks.finish(*forks.start(lambda: train(name, folder / "killed", steps, batch_size)))
    print(name, *reached, flush=True)


def share(folder: Path) -> None:
    """Train with two processes; each leaves the state of everything in a file of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def process(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        training = train(SHARED, folder, SHARED_STEPS, SHARED_BATCH_SIZE)
        path = folder / f"process{rank}.safetensors"
        save_checkpoint(path, config={}, random=RandomState(), **training.stateful)
        torch.distributed.destroy_process_group()

    for run in [forks.start(lambda rank=rank: process(rank)) for rank in (0, 1)]:
        forks.finish(*run)


if __name__ == "__main__":
    narrow()
    for recipe_name in KILLS:
        kill(recipe_name, Path(sys.argv[1]) / recipe_name)
    share(Path(sys.argv[1]) / "shared")
