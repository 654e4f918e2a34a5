"""Linear flow whose state components all act on one another, by the matrix exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.core.status import Status
from tsode.evolutions.base import DrivenEvolution, Evolved

__all__ = ["DenseLinearFlow"]


class DenseLinearFlow(DrivenEvolution):
    """Flow of ``dz/dt = A z + b`` with a learned full matrix ``A`` and vector ``b``, exact over any gap.

    The offset is carried along by a constant 1 appended to the state (Van Loan 1978, theorem 1):
    ``[z(t1), 1] = exp([[A, b], [0, 0]] (t1 - t0)) [z(t0), 1]``.

    One exponential costs about ``40 d^3`` operations and is shared by all rows with the same gap. Where the modes may
    be uncoupled, `DiagonalFlow` does the same at ``d``.

    Parameters
    ----------
    n_state : int
    frequencies : (float, float)
        Lowest and highest angular frequency at the start, in radians per time unit, log-spaced between: consecutive
        pairs of components start as slowly damped rotations, as the modes of `DiagonalFlow` do.
    """

    runs_backward = True

    def __init__(self, n_state: int, frequencies: tuple[float, float] = (0.2, 25.0)) -> None:
        super().__init__()
        self.n_state = n_state
        drift = -0.13 * torch.eye(n_state)
        first = torch.arange(0, n_state - 1, 2)
        low, high = (math.log(f) for f in frequencies)
        frequency = torch.linspace(low, high, len(first)).exp()
        drift[first, first + 1], drift[first + 1, first] = -frequency, frequency
        self.drift = nn.Parameter(drift)
        self.offset = nn.Parameter(torch.zeros(n_state))

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return z @ self.drift.mT + self.offset

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        if drive is not None:
            evolved = self.evolve_to(z, t0, t1[:, None], drive)
            return Evolved(evolved.z[:, 0], evolved.cost[:, 0], evolved.status)
        exponential, row = self._exponentials(t1 - t0, self.offset[:, None])
        return self._evolved(_carry(exponential[row], z), t0)

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        if drive is None:
            exponential, row = self._exponentials(times - t0[:, None], self.offset[:, None])
            return self._evolved(_carry(exponential[row], z[:, None]), t0)
        # every component's input is carried along: its response, for any drive and for the offset
        exponential, row = self._exponentials(times - t0[:, None], torch.eye(self.n_state).to(self.drift))
        flow, response = exponential[row].chunk(2, dim=-1)
        return self._evolved(
            (flow @ z[:, None, :, None] + response @ (self.offset + drive)[:, None, :, None]).squeeze(-1), t0
        )

    def _exponentials(self, gap: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Exponentials (u d d+k) of the distinct gaps, with k constant inputs, and which of them each gap takes."""
        distinct, row = torch.unique(gap, return_inverse=True)
        generator = functional.pad(torch.cat([self.drift, inputs], dim=1), (0, 0, 0, inputs.shape[1]))
        exponential = torch.linalg.matrix_exp(generator * distinct.to(generator.dtype)[:, None, None])
        return exponential[:, : self.n_state], row

    def _evolved(self, z: Tensor, t0: Tensor) -> Evolved:
        is_finite = z.isfinite().flatten(1).all(dim=1)
        status = torch.full_like(t0, Status.NON_FINITE, dtype=torch.int64).where(~is_finite, Status.OK)
        return Evolved(z, z.new_zeros(z.shape[:-1]), status)


def _carry(exponential: Tensor, z: Tensor) -> Tensor:
    return (exponential[..., :-1] @ z[..., None]).squeeze(-1) + exponential[..., -1]
