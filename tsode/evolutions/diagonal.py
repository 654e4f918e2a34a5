"""Complex modes that rotate and decay in closed form; their rates may be set by static components of the state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tsode.core.integrated_exponential import integrated_exponential
from tsode.evolutions.base import DrivenEvolution, Evolved
from tsode.kernels.rotation import rotate
from tsode.nn.mode_rates import ModeRates

__all__ = ["DiagonalFlow"]


class DiagonalFlow(DrivenEvolution, ModeRates):
    """Diagonal complex linear flow, exact over any gap, with rates amortised by static reals in the state.

    The state is ``[Re u, Im u, theta]``. Modes follow ``u(t1) = u(t0) exp((-alpha + i omega)(t1 - t0))`` and
    ``theta`` stays as it is. The rates are those of `tsode.nn.mode_rates.ModeRates`: a jump that moves ``theta``
    gives a series its own decay times and periods. A drive ``g`` of the modes adds ``g (exp(lambda gap) - 1) / lambda``
    with ``lambda = -alpha + i omega``.

    Parameters
    ----------
    n_modes : int
        Number of complex modes ``u``.
    n_static : int
        Number of static reals ``theta``; 0 = fixed rates, the same for all series.
    frequencies : (float, float)
        Lowest and highest angular frequency at the start, see `tsode.nn.mode_rates.ModeRates`.
    """

    runs_backward = True

    def __init__(self, n_modes: int, n_static: int = 0, frequencies: tuple[float, float] = (0.2, 25.0)) -> None:
        super().__init__(n_modes, n_static, frequencies)
        self.n_state = 2 * n_modes + n_static

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        re, im = z[:, : 2 * self.n_modes].chunk(2, dim=1)
        decay, frequency = self.rates(z[:, 2 * self.n_modes :])
        moved = torch.cat([-decay * re - frequency * im, frequency * re - decay * im], dim=1)
        return functional.pad(moved, (0, self.n_static))

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        evolved = self.evolve_to(z, t0, t1[:, None], drive)
        return Evolved(evolved.z[:, 0], evolved.cost[:, 0], evolved.status)

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        gap = (times - t0[:, None]).to(z.dtype)
        decay, frequency = self.rates(z[:, None, 2 * self.n_modes :])
        carried = rotate(z[:, None], decay, frequency, gap[..., None])
        if drive is not None:
            real, imaginary = integrated_exponential(decay, frequency, gap[..., None])
            re, im = drive[:, None, : 2 * self.n_modes].chunk(2, dim=2)
            moved = torch.cat([real * re - imaginary * im, real * im + imaginary * re], dim=2)
            carried = carried + functional.pad(moved, (0, self.n_static))
        return Evolved(carried, torch.zeros_like(gap), torch.zeros_like(t0, dtype=torch.int64))
