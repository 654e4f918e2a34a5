"""AdamW in torch's fused step, without the optimizer class that imports torch's compiler when it is first made."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["AdamW"]


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), one fused operation a step.

    The same numbers as `torch.optim.AdamW` with ``fused=True``. That class imports ``torch._dynamo`` and SymPy at its
    first use, which costs as much as twenty training steps of the default model.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
    weight_decay : float
    betas : (float, float)
        Decay of the running means of the gradient and of its square.
    epsilon : float
        Added to the root of the second moment.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.betas = betas
        self.epsilon = epsilon
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        self.n_steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move along the gradients; a parameter without one stays as it is."""
        learned = [
            (p, p.grad, *moments, n)
            for p, moments, n in zip(self.parameters, self.moments, self.n_steps)
            if p.grad is not None
        ]
        if not learned:
            return
        parameters, gradients, first, second, n_steps = (list(column) for column in zip(*learned))
        torch._foreach_add_(n_steps, 1.0)
        torch._fused_adamw_(
            parameters, gradients, first, second, [], n_steps, lr=rate, beta1=self.betas[0], beta2=self.betas[1],
            weight_decay=self.weight_decay, eps=self.epsilon, amsgrad=False, maximize=False,
        )  # fmt: skip
