"""A step function and one loop: the same on a CPU, on a GPU in bfloat16, and in several processes.

Left out: gradient accumulation, float16, and a trainer that owns data and folders."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.state import is_initialized
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from minigen import runtime
from minigen.training.ema import EMA

LossFunction = Callable[[nn.Module, Any], Tensor | Mapping[str, Tensor]]
Step = Callable[[Any], dict[str, float]]  # batch -> metrics; one update of the weights


class TrainState(NamedTuple):
    """Where training stands after an update."""

    step: int  # updates so far, those before an interruption included
    metrics: dict[str, float]
    seconds: float  # spent on batches and updates since `train` was called, not on what its caller did


def make_accelerator() -> Accelerator:
    """An accelerator on `runtime.pick_device()`, in bfloat16 where `runtime.supports_bf16` has it fast.

    What `accelerate launch` was told goes first. The choice is made once and holds for the whole process.
    """
    # Accelerate keeps its settings for the life of the process and refuses to hear other ones later.
    if is_initialized():
        return Accelerator()
    device = runtime.pick_device()
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # accelerate takes the current one
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION")  # always set by `accelerate launch`
    if precision is None:
        precision = "bf16" if runtime.supports_bf16(device) else "no"
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)


class _Loss(nn.Module):
    """Model and loss as one module, so that processes share gradients whichever methods `loss_fn` calls."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction):
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, batch: Any) -> Tensor | Mapping[str, Tensor]:
        return self.loss_fn(self.model, batch)


def make_step(
    model: nn.Module,
    loss_fn: LossFunction,  # (model, batch) -> the mean over the batch, alone or in a dict under "loss"
    optimizer: Optimizer,
    *,
    scheduler: LRScheduler | None = None,  # moves on after every update
    ema: EMA | None = None,  # follows after every update
    max_grad_norm: float | None = None,  # the gradient is scaled down to this length; None leaves it
    accelerator: Accelerator | None = None,
) -> Step:
    """A function that trains `model` on one batch and returns its metrics as floats, averaged over processes.

    Metrics are the loss, what else `loss_fn` returns, and with `max_grad_norm` the gradient's length before
    clipping. The model is moved to the accelerator's device, and so is every batch.
    The step raises FloatingPointError, before the weights change, if the loss or that length is not finite.
    """
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm is {max_grad_norm}; give a number above 0, or None for no clipping")
    accelerator = accelerator or make_accelerator()
    if accelerator.mixed_precision not in ("no", "bf16"):
        precision = accelerator.mixed_precision
        raise ValueError(f"the precision is {precision!r}; launch with --mixed_precision bf16 or no")
    # Places the model, autocasts and shares gradients. Optimizer and scheduler stay as they are: accelerate's
    # wrappers serve float16 and gradient accumulation, and move the schedule on once for each process.
    compute_loss = accelerator.prepare(_Loss(model, loss_fn))
    optimizer.load_state_dict(optimizer.state_dict())  # a restored state follows the model to its device
    if ema is not None:
        ema.model.to(accelerator.device)

    def step(batch: Any) -> dict[str, float]:
        model.train()
        optimizer.zero_grad()
        metrics = _named_scalars(compute_loss(send_to_device(batch, accelerator.device)))
        accelerator.backward(metrics["loss"])
        if max_grad_norm is not None:
            metrics["grad_norm"] = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        # The one place where Python waits for the GPU: once a step, with the backward pass queued already.
        metrics = _to_floats(metrics, accelerator)
        _check_finite(metrics)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if ema is not None:
            ema.update(model)
        return metrics

    return step


def _named_scalars(result: Any) -> dict[str, Tensor]:
    """What `loss_fn` returned as a dict of scalar tensors."""
    if isinstance(result, Tensor):
        result = {"loss": result}
    if not isinstance(result, Mapping) or not isinstance(result.get("loss"), Tensor):
        given = f"a dict with {list(result)}" if isinstance(result, Mapping) else f"a {type(result).__name__}"
        raise TypeError(f"loss_fn returned {given}; return a scalar Tensor, or a dict with one under 'loss'")
    metrics = {name: torch.as_tensor(value, device=result["loss"].device) for name, value in result.items()}
    for name, value in metrics.items():
        if value.numel() != 1:
            shape = list(value.shape)
            raise ValueError(f"loss_fn returned {name!r} of shape {shape}; average it to a scalar")
    return metrics


def _to_floats(metrics: dict[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    values = torch.stack([value.detach().float().reshape(()) for value in metrics.values()])
    # The mean over the processes: all of them see the same loss, and all stop together if it is not finite.
    return dict(zip(metrics, accelerator.reduce(values, "mean").tolist(), strict=True))


def _check_finite(metrics: dict[str, float]) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(metrics.get(name, 0.0)):
            raise FloatingPointError(
                f"the {name} is {metrics[name]}, so training stopped before it could harm the weights: "
                "lower the learning rate, clip with max_grad_norm=1.0, or look for log(0) and 0/0 in loss_fn"
            )


def train(step: Step, batches: Iterable[Any], *, num_steps: int, start: int = 0) -> Iterator[TrainState]:
    """Train until `num_steps` updates are done, of which `start` are done already; yields after each update.

    To resume, let the batches begin with number `start` too. Raises ValueError if the batches run out.
    """
    batches = iter(batches)
    seconds = 0.0
    for number in range(start + 1, num_steps + 1):
        began = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            raise ValueError(
                f"the batches ran out after step {number - 1} of {num_steps}: "
                "give an endless stream such as data.batches(...), or lower num_steps"
            ) from None
        metrics = step(batch)
        seconds += time.perf_counter() - began
        yield TrainState(number, metrics, seconds)


def fit(step: Step, batches: Iterable[Any], *, num_steps: int, start: int = 0) -> list[TrainState]:
    """`train` run to its end under a progress bar; returns all its states, none if nothing was left to do."""
    history = []
    with _progress_bar(num_steps, start) as bar:
        for state in train(step, batches, num_steps=num_steps, start=start):
            history.append(state)
            bar.set_postfix(state.metrics, refresh=False)
            bar.update()
    return history


def _progress_bar(num_steps: int, start: int) -> tqdm:
    """A bar of text: in a notebook, in a terminal, and of several processes on the first only."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return tqdm(
        total=num_steps,
        initial=start,
        unit="step",
        mininterval=0.5,
        file=_NotebookLine() if hasattr(shell, "kernel") else sys.stderr,
        disable=torch.distributed.is_initialized() and torch.distributed.get_rank() > 0,
    )


class _NotebookLine:
    """A file for tqdm that shows what was written last: a saved notebook keeps one line, not hundreds."""

    encoding = "utf-8"  # so that tqdm draws with block characters

    def __init__(self):
        from IPython.display import display

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        if text.strip():
            self.handle.update({"text/plain": text.strip()}, raw=True)

    def flush(self) -> None:
        """Nothing waits to be written."""
