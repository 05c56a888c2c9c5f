"""An exponential moving average of a model's weights, which generates better pictures than the weights do.

After Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training" (2019), with a warm-up."""

import copy
import inspect
import types

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class EMA:
    """The moving average of a model's weights, kept in `.model`: a copy in eval mode, without gradients.

    Raises ValueError if `decay` is not in [0, 1), TypeError if the model cannot be copied apart from itself.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; give a number from 0 to below 1, such as 0.999")
        model = _unwrap(model)
        _refuse_closures(model)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the averages towards the weights of `model`; its buffers are copied."""
        model = _unwrap(model)
        self.num_updates += 1
        # Warm-up: in a short run the average must forget the random start. Its memory grows with the run.
        decay = min(self.decay, self.num_updates / (self.num_updates + 9))
        for average, value in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(value, 1 - decay)  # average = decay * average + (1 - decay) * value
        # Buffers are statistics and counters, averaged already where that makes sense.
        for average, value in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(value)

    def state_dict(self) -> dict:
        return {"model": self.model.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.num_updates = state["num_updates"]


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _refuse_closures(model: nn.Module) -> None:
    # A deep copy shares functions with its original, and with them the modules and tensors they refer to.
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if not isinstance(value, types.FunctionType):
                continue
            for held in inspect.getclosurevars(value).nonlocals.values():
                if isinstance(held, nn.Module | Tensor):
                    where = f"{name}.{attribute}".lstrip(".")
                    raise TypeError(
                        f"{where} is a function that holds on to a {type(held).__name__}, which a copy of "
                        "the model would share with the original: make it a method or a sub-module"
                    )
