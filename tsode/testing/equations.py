"""Example equations for the checks of solvers: each can take one of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.dynamics.base import Dynamics, Relaxing
from tsode.numerics.sde import DiagonalSDE

__all__ = ["ExampleField", "ExampleOscillator", "ExampleSDE", "Growth"]


class ExampleField(Relaxing):
    """Nonlinear field ``(1 - |z|**2) z + omega(t) J z`` of a plane: a spiral onto the unit circle.

    Every solver of tsode but the symplectic ones can take it: it has the forms of a `RelaxingField` and of a
    `SemilinearField` too.

    Parameters
    ----------
    is_autonomous : bool
        Whether ``omega(t)`` is a constant, or ``omega cos t``.
    """

    def __init__(self, is_autonomous: bool) -> None:
        super().__init__(n_state=2)
        self.is_autonomous = is_autonomous
        self.omega = nn.Parameter(torch.tensor(2.0))

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        omega = self.omega if self.is_autonomous else self.omega * torch.cos(t).to(z.dtype)[:, None]
        return (1.0 - z.square().sum(dim=1, keepdim=True)) * z + omega * self.turn(z)

    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        rate = (1.0 + z.square().sum(dim=1, keepdim=True)).expand_as(z)
        return rate, z + self.drift(t, z) / rate

    def linearised(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ones_like(z), torch.ones_like(z), self.drift(t, z)

    def turn(self, z: Tensor) -> Tensor:
        return torch.stack([-z[:, 1], z[:, 0]], dim=1)

    def exact(self, z: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
        """State at ``t1`` (b,) from ``z`` (b 2), which is not zero, at ``t0`` (b,)."""
        square = z.square().sum(dim=1)
        growth = (square + (1.0 - square) * torch.exp(-2.0 * (t1 - t0))).rsqrt()
        angle = self.omega * (t1 - t0 if self.is_autonomous else t1.sin() - t0.sin())
        return growth[:, None] * (angle.cos()[:, None] * z + angle.sin()[:, None] * self.turn(z))


class ExampleOscillator(Dynamics):
    """Separable field ``q' = p + w'(t), p' = -omega exp(q - w(t))``: a ball on a soft slope, in a frame that moves.

    Parameters
    ----------
    is_autonomous : bool
        Whether the frame rests, ``w = 0``, or swings, ``w = sin t``.
    """

    n_static = 0

    def __init__(self, is_autonomous: bool) -> None:
        super().__init__(n_state=2)
        self.is_autonomous = is_autonomous
        self.omega = nn.Parameter(torch.tensor(2.0))

    def velocity(self, t: Tensor, p: Tensor, theta: Tensor) -> Tensor:
        return p if self.is_autonomous else p + t.cos().to(p.dtype)[:, None]

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        return -self.omega * (q - self._frame(t).to(q.dtype)[:, None]).exp()

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.cat([self.velocity(t, z[:, 1:], z[:, 2:]), self.force(t, z[:, :1], z[:, 2:])], dim=1)

    def exact(self, z: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
        """State at ``t1`` (b,) from ``z`` (b 2) at ``t0`` (b,)."""
        q, p = z[:, 0] - self._frame(t0), z[:, 1]
        energy = 0.5 * p.square() + self.omega * q.exp()
        phase = (0.5 * energy).sqrt() * (t1 - t0) - torch.atanh(p / (2.0 * energy).sqrt())
        moved = (energy / self.omega).log() - 2.0 * phase.cosh().log()
        return torch.stack([moved + self._frame(t1), -(2.0 * energy).sqrt() * phase.tanh()], dim=1)

    def _frame(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t) if self.is_autonomous else t.sin()


class ExampleSDE(DiagonalSDE):
    """The example field with bounded noise, in either calculus."""

    def __init__(self, calculus: str) -> None:
        super().__init__(n_state=2)
        self.calculus = calculus
        self.field = ExampleField(is_autonomous=True)
        self.size = nn.Parameter(torch.tensor([0.3, 0.5]))

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.field(t, z)

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.size * (1.0 + 0.5 * z.sin())


class Growth(DiagonalSDE):
    """``z / 3 dt + 0.8 z dW`` in either calculus, whose solution is an exponential of the path."""

    def __init__(self, calculus: str) -> None:
        super().__init__(n_state=1)
        self.calculus = calculus

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return z / 3.0

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return 0.8 * z

    def exact(self, z: Tensor, span: Tensor, w: Tensor) -> Tensor:
        """State after ``span`` (b,) from ``z`` (b 1) where the path has moved by ``w`` (b 1)."""
        rate = 1.0 / 3.0 - (0.32 if self.calculus == "ito" else 0.0)
        return z * torch.exp(rate * span[:, None] + 0.8 * w)
