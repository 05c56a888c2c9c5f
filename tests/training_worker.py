"""What test_training.py runs in processes of its own: to kill them, or to train with two of them at once.

`python training_worker.py kill|save FOLDER`, or `accelerate launch ... training_worker.py share FOLDER`."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import forks
import torch
import torch._dynamo  # the first optimizer loads it, which takes seconds: once here, and not in every fork
from torch import Tensor, nn
from torch.nn import functional as F

from minigen import runtime, training

RESUME_STEPS, SHARE_STEPS, SHARE_BATCH = 150, 20, 16  # more than a run gets to before its fifth kill


def batches(start: int = 0, batch_size: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless pictures and classes; batch k depends on k alone."""
    while True:
        generator = torch.Generator().manual_seed(start)
        yield (
            torch.rand(batch_size, 3, 8, 8, generator=generator),
            torch.randint(4, (batch_size,), generator=generator),
        )
        start += 1


def run_and_save_every_step(folder: Path) -> None:
    """Train to the end from where the checkpoint in `folder` stands, with everything that could get lost in one."""
    generator = runtime.seed_everything(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(288, 4)
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    stateful = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=RESUME_STEPS),
        "ema": training.EMA(model),
        "generator": generator,
        "random": training.RandomState(),
    }
    path, start = folder / "last.safetensors", 0
    if path.exists():
        checkpoint = training.load_checkpoint(path)
        checkpoint.restore(**stateful)
        start = checkpoint["step"]

    def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images + 0.1 * torch.randn(images.shape, generator=generator)), labels)

    step = training.make_step(
        model,
        loss_fn,
        optimizer,
        scheduler=stateful["scheduler"],
        ema=stateful["ema"],
        max_grad_norm=1.0,
    )
    for state in training.train(step, batches(start), num_steps=RESUME_STEPS, start=start):
        training.save_checkpoint(path, config={"classes": 4}, step=state.step, **stateful)
        print(state.step, flush=True)


def kill_five_times(folder: Path) -> None:
    """Train from start to end, and again with kills at random moments; prints after which updates they came, and
    then the updates of the last run."""

    def start(name: str) -> tuple[int, TextIO]:
        (folder / name).mkdir(exist_ok=True)
        return forks.start(lambda: run_and_save_every_step(folder / name))

    whole = forks.finish(*start("uninterrupted"))
    assert whole.split() == [str(step) for step in range(1, RESUME_STEPS + 1)]
    reached = []
    for _ in range(5):
        child, printed = start("killed")
        for _ in range(random.randint(1, 15)):
            done = int(next(printed))
        time.sleep(random.random() * 0.005)  # in the middle of an update, or of a save
        forks.kill(child, printed)
        reached.append(done)
    print(*reached, flush=True)
    print(*forks.finish(*start("killed")).split(), flush=True)


def kill_while_saving(folder: Path, kills: int = 12) -> None:
    """Kill a process that does nothing but save, again and again; after each kill the file must be whole."""
    path = folder / "last.safetensors"
    moments = random.Random(0)

    def saved_at() -> int:
        return path.stat().st_mtime_ns if path.exists() else 0

    for _ in range(kills):
        before = saved_at()
        child = os.fork()  # no torch operation has run yet, so there are no threads to lose
        if child == 0:
            save_for_ever(path)
        while saved_at() == before:  # on a busy machine even its first save may be late
            time.sleep(0.01)
        time.sleep(0.05 + moments.random() * 0.1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        checkpoint = training.load_checkpoint(path)
        assert bool((checkpoint["first"] == checkpoint["round"]).all())
        assert bool((checkpoint["second"] == checkpoint["round"]).all())
        print(checkpoint["round"], len(list(folder.glob(".*.tmp"))), flush=True)


def save_for_ever(path: Path) -> None:
    torch.set_num_threads(1)
    number = training.load_checkpoint(path)["round"] if path.exists() else 0
    while True:
        number += 1
        values = torch.full((1_000_000,), float(number))
        training.save_checkpoint(path, config={}, first=values, second=values, round=number)


class Shared(nn.Module):
    """A model whose loss goes through a method other than `forward`, as a VAE's does."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(288, 4)

    def logits(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu().flatten(1))


def train_on_a_share(folder: Path) -> None:
    """Train on this process's share of every batch; each process leaves a file of its own."""
    accelerator = training.make_accelerator()
    torch.manual_seed(accelerator.process_index)  # the processes start apart: sharing must bring them together
    model = Shared()
    if accelerator.process_index == 0:
        model.load_state_dict(shared_start())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, SHARE_STEPS)

    share = SHARE_BATCH // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    sizes = []

    def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = batch
        sizes.append(len(images))
        logits = model.logits(images)
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels), "accuracy": accuracy}

    ema = training.EMA(model)
    step = training.make_step(
        model, loss_fn, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=0.5, accelerator=accelerator
    )
    shares = ((images[mine], labels[mine]) for images, labels in batches(batch_size=SHARE_BATCH))
    metrics = [state.metrics for state in training.train(step, shares, num_steps=SHARE_STEPS)]
    training.save_checkpoint(
        folder / f"process{accelerator.process_index}.safetensors",
        config={"num_processes": accelerator.num_processes, "device": str(accelerator.device)},
        model=model,
        ema=ema,
        scheduler=scheduler,
        metrics=metrics,
        sizes=sizes,
    )


def shared_start() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Shared().state_dict()


if __name__ == "__main__":
    command = {"kill": kill_five_times, "save": kill_while_saving, "share": train_on_a_share}
    command[sys.argv[1]](Path(sys.argv[2]))
