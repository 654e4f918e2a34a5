"""Second-order dynamics: positions with velocities, on a convex energy."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.dynamics.structured import Guarantee, Structured
from tsode.nn.convex_layer import ConvexLayer

__all__ = ["SecondOrder"]


class SecondOrder(Structured):
    """Field of ``q'' = -K' tanh(K q + b)``: waves, which neither grow nor fade.

    The state is ``[q, v, theta]``, half of what moves being ``v = q'``. Promise, for all weights: the energy
    ``|v|^2 / 2 + sum log cosh(K q + b)``, which is nowhere negative, stands still along the drift. Hence
    ``|v(t)|^2 <= 2 E(0)`` for ever, and positions stay bounded in all directions that ``K`` sees and not only one side
    of. A symplectic solver keeps the energy within a band however many steps it takes; others drift by their error.
    Tested by `tsode.testing.check_dynamics` at random weights, and by ``tests/benchmarks/structure.py``.

    What it costs: the force is downhill on a convex surface (one rest, no double well), and nothing is damped:
    what fades has to be brought down by jumps.

    Parameters
    ----------
    n_state : int
        Width of the whole state; less `n_static` it is even.
    n_static : int
        Coordinates of ``theta``, which sets ``b``.
    width : int
        Rows of ``K``.

    References
    ----------
    Ruthotto, Haber, "Deep neural networks motivated by partial differential equations", Journal of Mathematical Imaging
    and Vision 62, 2020 (arXiv 2018): second-order (hyperbolic) networks.
    """

    def __init__(self, n_state: int, n_static: int = 0, width: int = 64) -> None:
        super().__init__(n_state, n_static)
        self.surface = ConvexLayer(self.n_pairs, n_static, width)

    def velocity(self, t: Tensor, v: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``q``: ``t`` (b,), ``v`` (b n), ``theta`` (b n_static) -> (b n)."""
        return v

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``v``: ``t`` (b,), ``q`` (b n), ``theta`` (b n_static) -> (b n)."""
        return -self.surface.slope(q, theta)

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        q, v = x.chunk(2, dim=1)
        return torch.cat([self.velocity(t, v, theta), self.force(t, q, theta)], dim=1)

    def energy(self, x: Tensor, theta: Tensor) -> Tensor:
        """Energy: ``x`` (b n_moving), ``theta`` (b n_static) -> (b,)."""
        q, v = x.chunk(2, dim=1)
        return 0.5 * v.square().sum(dim=1) + self.surface(q, theta)

    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        with torch.inference_mode(False), torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(at, theta.detach().clone()).sum(), at)
        rate = self.motion(t, x, theta).detach()
        # in shares of the most power that any position could have at these weights
        most = self.surface.weight.detach().abs().sum() * torch.linalg.vector_norm(x[:, self.n_pairs :], dim=1)
        power = torch.where(most > 0, (slope * rate).sum(dim=1) / most, 0.0)
        rounding = 10 * torch.finfo(x.dtype).eps
        return (Guarantee("max |dE/dt|, scaled", float(power.abs().max()), 0.0, rounding),)
