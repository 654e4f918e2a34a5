"""Antisymmetric dynamics: a state that neither explodes nor is forgotten."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tsode.dynamics.structured import Guarantee, Structured
from tsode.errors import ParameterError
from tsode.nn.skew import SkewMatrix
from tsode.nn.static_offset import StaticOffset
from tsode.numerics.row_jacobian import linearise

__all__ = ["Antisymmetric"]


class Antisymmetric(Structured):
    """Drift ``tanh(A x + c)`` or ``A tanh(x) + c`` with ``A = W - W' - damping I``, as in AntisymmetricRNN.

    Promise, for all weights: the eigenvalues of the linear part ``A`` have the real part ``-damping``, and at every
    state those of the Jacobian have none above 0. It is ``D A`` or ``A D``, similar to ``D^.5 A D^.5``, where the
    diagonal ``D >= 0`` has the slopes of the tanh: the real part of the nonlinear field is therefore not ``-damping``,
    but between ``-damping max(D)`` and 0. Tested by `tsode.testing.check_dynamics` at random weights, and by
    ``tests/benchmarks/structure.py``.

    It costs no more time than a perceptron of the same width, and in accuracy: what grows at a rate of its own (an
    epidemic, compound interest) cannot be learned by the state.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``, which sets ``c = V theta + b``.
    damping : float
        Per unit of time; zero or more.
    tanh : {"outside", "inside"}
        ``tanh(A x + c)``, whose speed is at most 1 in every coordinate, or ``A tanh(x) + c``.
    gated : bool
        The gate by which a coordinate stands still until it is called: ``tanh(q)`` is multiplied by
        ``sigmoid(q tanh(q) + g)``, where ``theta`` sets ``g`` too. The paper has ``sigmoid(q + g)``, which makes the
        slope negative for some ``q < 0``, and then eigenvalues with real parts above 0; a gate that is opened by the
        size of ``q`` keeps the slope at 0 or above.

    References
    ----------
    Chang, Chen, Haber, Chi, "AntisymmetricRNN: a dynamical system view on recurrent neural networks", ICLR 2019,
    section 3: antisymmetric weights, diffusion, gating.
    Haber, Ruthotto, "Stable architectures for deep neural networks", Inverse Problems 34, 2018.
    """

    def __init__(
        self,
        n_state: int,
        n_static: int = 0,
        damping: float = 0.01,
        tanh: Literal["outside", "inside"] = "outside",
        gated: bool = False,
    ) -> None:
        super().__init__(n_state, n_static)
        if tanh not in ("outside", "inside"):
            raise ParameterError(f"tanh={tanh!r} must be 'outside' or 'inside'.")
        self.tanh = tanh
        self.matrix = SkewMatrix(self.n_moving, damping)
        self.offset = StaticOffset(n_static, self.n_moving)
        self.gate = StaticOffset(n_static, self.n_moving) if gated else None

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        if self.tanh == "inside":
            return torch.addmm(self.offset(theta), self._squash(x, theta), self.matrix().mT)
        return self._squash(torch.addmm(self.offset(theta), x, self.matrix().mT), theta)

    def _squash(self, q: Tensor, theta: Tensor) -> Tensor:
        squashed = q.tanh()
        return squashed if self.gate is None else torch.sigmoid(q * squashed + self.gate(theta)) * squashed

    @torch.no_grad()
    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        matrix, rounding = self.matrix(), torch.finfo(x.dtype).eps
        linear = torch.linalg.eigvals(matrix.double()).real + self.matrix.damping
        jacobian = linearise(lambda t, x: self.motion(t, x, theta), t, x)[1].double()
        # LAPACK fails on what a saturated tanh leaves, some 1e-300 beside 1
        jacobian = jacobian.where(jacobian.abs() > 1e-32 * jacobian.abs().amax(dim=(1, 2), keepdim=True), 0.0)
        size = 100 * rounding * float(matrix.abs().sum(dim=1).max())
        return (
            Guarantee("max |Re eig(W - W' - damping I) + damping|", float(linear.abs().max()), 0.0, size),
            Guarantee("max Re eig(df/dx)", float(torch.linalg.eigvals(jacobian).real.max()), 0.0, size),
        )
