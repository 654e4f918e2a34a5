"""Heun's rule for the drift, with the noise of Euler and Maruyama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.euler_maruyama import EulerMaruyama
from tsode.numerics.sde import DiagonalSDE
from tsode.numerics.sde_steps import ito_drift

__all__ = ["HeunMaruyama"]


@dataclass(frozen=True)
class HeunMaruyama(EulerMaruyama):
    """Heun's rule for the drift: ``z + (f(z) + f(z + f dt + g dW)) dt / 2 + g dW``.

    Where the diffusion does not depend on the state it is of weak order 2: a rotation that Euler-Maruyama blows up
    keeps its size, and noise its variance. Else it is of weak order 1 and strong order 1/2. It asks for the drift twice
    a step. A Stratonovich equation is put in the sense of Ito first.

    References
    ----------
    Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations*, section 15.1, eq. 1.1.
    """

    def complete(
        self, sde: DiagonalSDE, t: Tensor, dt: Tensor, z: Tensor, stages: Sequence[Tensor], dw: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        f, g = stages
        noisy, t1 = torch.addcmul(z, g, dw), t + dt[:, 0].to(t)
        end = torch.addcmul(noisy, f, dt)
        f1 = sde.drift(t1, end)
        if sde.calculus == "stratonovich":
            f1 = ito_drift(sde, t1, end, f1, sde.diffusion(t1, end))
        mean = torch.lerp(f, f1, 0.5)
        return torch.addcmul(noisy, mean, dt), (mean, g)
