"""What all recipes share: options, checkpoints to resume from, the card, and `--measure`.

A recipe says what to train and how to measure it; `main` does the rest, in one process or under `accelerate launch`.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from minigen import pretrained, runtime
from minigen.training import (
    MuonAdamW,
    RandomState,
    Step,
    load_checkpoint,
    make_accelerator,
    matrices_of,
    save_checkpoint,
    train,
)


class Options(NamedTuple):
    """What a run may vary; a checkpoint is only continued with the same."""

    num_steps: int
    batch_size: int  # over all processes together
    seed: int


class Training(NamedTuple):
    """What a recipe sets up: `main` trains it, saves it and takes it up again where it was left."""

    step: Step
    batches: Callable[[int], Iterator[Any]]  # the stream of batches from number `start` on
    stateful: Mapping[str, Any]  # all that changes while it trains
    result: Callable[[], nn.Module]  # the network to ship, when training is done


class Recipe(NamedTuple):
    """One model of the course, trained to full quality by one command."""

    name: str  # also of the file of weights
    about: str  # one sentence for the card: what it is
    data: str  # and what it was trained on
    options: Options
    set_up: Callable[[Options], Training]
    measure: Callable[[nn.Module], dict[str, float]]  # on held-out data, by who took no part in the training
    parts: int = 1  # that every process's share of a batch must divide into


def my_share(options: Options, start: int) -> dict[str, Any]:
    """What `data.batches` is told, so that this process gets its share of each batch from number `start` on."""
    accelerator = make_accelerator()
    return {
        "seed": options.seed,
        "start": start,
        "device": accelerator.device,
        "process": accelerator.process_index,
        "num_processes": accelerator.num_processes,
    }


def one_cycle(optimizer: Optimizer, peak: float, num_steps: int, *, warm_up: float) -> LRScheduler:
    """A learning rate that rises to its peak over `warm_up` updates and then falls to nearly zero, both on a cosine."""
    share = warm_up / num_steps if warm_up > 1 else 0.0  # OneCycleLR divides by what is left of the first phase
    return OneCycleLR(optimizer, peak, total_steps=num_steps, pct_start=share)


def muon_adamw(model: nn.ModuleDict, num_steps: int) -> tuple[Optimizer, LRScheduler]:
    """Muon for the matrices in the model's transformers, AdamW for the rest; both rates warm up, then fall on a cosine.

    model: its parts, such as a denoiser and the encoder of its conditions.
    """
    matrices = [matrix for part in model.values() for matrix in matrices_of(getattr(part, "blocks", nn.ModuleList()))]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    optimizer = MuonAdamW(matrices, others, lr=4e-3, lr_matrices=8e-3)
    return optimizer, warm_up_and_fall(optimizer, num_steps)


def warm_up_and_fall(optimizer: Optimizer, num_steps: int) -> LRScheduler:
    """A factor for all learning rates: rises over the first 100 updates, then falls on a cosine to a hundredth."""
    warm_up = min(100, num_steps / 2)

    def rate(update: int) -> float:
        falling = 0.5 + 0.5 * math.cos(math.pi * update / num_steps)
        return min(1.0, (update + 1) / warm_up) * max(falling, 0.01)

    return LambdaLR(optimizer, rate)


def main(recipe: Recipe, arguments: list[str] | None = None) -> None:
    """The command line of a recipe: train, measure and write weights with a card; or measure what is shipped."""
    options = _parse(recipe, arguments)
    if options.measure:
        model = pretrained.load(recipe.name).to(runtime.pick_device())
        print(json.dumps(recipe.measure(model)))
        return
    chosen = Options(options.steps, options.batch_size, options.seed)
    accelerator = make_accelerator()
    if chosen.batch_size % (accelerator.num_processes * recipe.parts):
        raise SystemExit(f"--batch-size must be a multiple of {accelerator.num_processes * recipe.parts}")
    runtime.seed_everything(chosen.seed)
    training = recipe.set_up(chosen)
    runtime.seed_everything(chosen.seed + accelerator.process_index)  # noise differs between processes
    seconds = _train(training, chosen, options.runs / f"{recipe.name}.safetensors", options.save_every, accelerator)
    if accelerator.is_main_process:
        card = {
            "name": recipe.name,
            "about": recipe.about,
            "data": recipe.data,
            "command": " ".join([f"python -m minigen.recipes.{recipe.name}", *_changed(recipe, chosen)]),
            "seconds": round(seconds),
            "hardware": hardware(accelerator.num_processes),
        }
        model = pretrained.rounded(training.result())
        metrics = recipe.measure(model.to(accelerator.device))
        card["metrics"] = {name: round(value, 4) for name, value in metrics.items()}
        pretrained.save(options.out / f"{recipe.name}.safetensors", model.cpu(), card=card)
        print(json.dumps(card["metrics"]))
    accelerator.wait_for_everyone()


def _train(training: Training, options: Options, path: Path, save_every: int, accelerator) -> float:
    """Train to the end, from the checkpoint if there is one; returns the seconds, interruptions not counted."""
    stateful = {**training.stateful, "random": RandomState()}
    start, before = 0, 0.0
    if path.exists():
        checkpoint = load_checkpoint(path)
        if checkpoint.config != options._asdict():
            raise SystemExit(
                f"{path} holds a run with {checkpoint.config}, not with {options._asdict()}: "
                "finish it with its own options, or move it away"
            )
        checkpoint.restore(**stateful)
        start, before = checkpoint["updates"], checkpoint["seconds"]
        if not accelerator.is_main_process:  # whose own state is not in the file
            runtime.seed_everything(options.seed + accelerator.process_index + start)
        accelerator.print(f"going on from {path}, update {start}")
    seconds = before
    try:
        for state in train(training.step, training.batches(start), num_steps=options.num_steps, start=start):
            seconds = before + state.seconds
            if state.step % save_every == 0 or state.step == options.num_steps:
                if accelerator.is_main_process:
                    save_checkpoint(path, config=options._asdict(), updates=state.step, seconds=seconds, **stateful)
                told = ", ".join(f"{name} {value:.4g}" for name, value in state.metrics.items())
                accelerator.print(f"update {state.step} of {options.num_steps}, {seconds:.0f} s: {told}", flush=True)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on from {path}") from None
    return seconds


def _parse(recipe: Recipe, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m minigen.recipes.{recipe.name}",
        description=f"{recipe.about} Trains it on {recipe.data}, and writes its weights with a card.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--measure", action="store_true", help="measure the shipped weights; the last line is one JSON object")
    add("--steps", type=_count, default=recipe.options.num_steps, help="updates of the weights")
    add("--batch-size", type=_count, default=recipe.options.batch_size, help="pictures an update, all processes")
    add("--seed", type=int, default=recipe.options.seed, help="of the weights, the data and the noise")
    add("--save-every", type=_count, default=250, metavar="N", help="a checkpoint every N updates")
    add("--runs", type=Path, default=Path("runs"), help="where checkpoints are; a run that finds one goes on from it")
    add("--out", type=Path, default=pretrained.WEIGHTS, help="where weights and card go in the end")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _changed(recipe: Recipe, options: Options) -> Iterator[str]:
    """The options that the command line would have to name."""
    flags = {"num_steps": "--steps", "batch_size": "--batch-size", "seed": "--seed"}
    for name, flag in flags.items():
        if getattr(options, name) != getattr(recipe.options, name):
            yield f"{flag} {getattr(options, name)}"


def hardware(processes: int = 1) -> str:
    """What this machine computes with, in a few words."""
    report = runtime.report()
    parts = [report["device_name"] or report["device"], report["precision"], f"torch {report['torch']}"]
    if report["device"] == "cpu":
        parts.insert(1, f"{report['threads']} thread{'s' * (report['threads'] > 1)}")
    if processes > 1:
        parts.insert(0, f"{processes} processes")
    return ", ".join(parts)
