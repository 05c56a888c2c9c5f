"""Muon for the matrices inside a network, AdamW for the rest, as one optimizer.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); each matrix's step is made orthogonal.
"""

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """torch's own Muon and AdamW, stepping together.

    `param_groups` are those of both, so a scheduler moves both learning rates.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],  # 2-dimensional, of layers inside the network
        others: Iterable[nn.Parameter],  # embeddings, biases, convolutions, first and last layers
        *,
        lr: float,  # of AdamW
        lr_matrices: float,
    ):
        muon = Muon(matrices, lr=lr_matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        adamw = AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
        self.parts = (muon, adamw)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        # The parts' own dicts: what a scheduler writes there, they read
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable | None = None) -> None:
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure: compute the gradients before the step")
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


def matrices_of(blocks: nn.Module) -> list[nn.Parameter]:
    """The weights of the linear layers inside `blocks`: what Muon is for."""
    return [module.weight for module in blocks.modules() if isinstance(module, nn.Linear)]
