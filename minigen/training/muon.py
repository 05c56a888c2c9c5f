"""Muon for the matrices inside a network, AdamW for the rest, as one optimizer.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); each matrix's step is made orthogonal.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from minigen import runtime


class Muon(Optimizer):
    """torch.optim.Muon with Nesterov's momentum and the step's size matched to AdamW's (arXiv:2502.16982).

    torch's own always computes in bfloat16, which takes seconds a step on a CPU that does not have it; this one does so
    where that is fast, in float32 elsewhere, and treats matrices of one shape together.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            if shapes := [tuple(p.shape) for p in group["params"] if p.ndim != 2]:
                raise ValueError(f"Muon is for matrices, got a parameter of shape {shapes[0]}")

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape, p.device].append(p)
            for (shape, _), matrices in alike.items():
                updates = torch.stack([self._nesterov(p, group["momentum"]) for p in matrices])  # [N,out,in]
                updates = orthogonalize(updates).to(updates.dtype)
                size = group["lr"] * 0.2 * max(shape) ** 0.5
                for p, update in zip(matrices, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=size)

    def _nesterov(self, p: nn.Parameter, momentum: float) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p.grad)
        average = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(average, momentum)


def orthogonalize(matrices: Tensor) -> Tensor:
    """[N,out,in] -> the same with all singular values near 1, between about 0.7 and 1.2: Newton-Schulz in five steps.

    In bfloat16 where the device computes that fast.
    """
    x = matrices.bfloat16() if runtime.supports_bf16(matrices.device) else matrices.float()
    if turned := x.shape[1] > x.shape[2]:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # no singular value is above 1
    a, b, c = 3.4445, -4.7750, 2.0315  # a polynomial a s + b s^3 + c s^5 that is steep at 0 and stays near 1
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if turned else x


class MuonAdamW(Optimizer):
    """Muon and torch's AdamW, stepping together.

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
        muon = Muon(matrices, lr=lr_matrices)
        adamw = AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
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
