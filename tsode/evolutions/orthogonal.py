"""Rotation of the state in closed form: a linear flow that keeps every norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.core.integrated_exponential import integrated_exponential
from tsode.dynamics.structured import Guarantee
from tsode.evolutions.base import DrivenEvolution, Evolved
from tsode.kernels.rotation import rotate
from tsode.nn.orthogonal import orthonormal

__all__ = ["OrthogonalFlow"]


class OrthogonalFlow(DrivenEvolution):
    """Flow of ``dx/dt = S x`` with a learned skew matrix ``S``, which only rotates: exact over any gap.

    Promise, for all weights: ``|x(t1)| = |x(t0)|`` to rounding, forward and backward, after any number of gaps
    (tested by ``tests/evolutions/test_orthogonal.py`` over ten thousand). Nothing is forgotten between events, and
    gradients through a flow neither grow nor vanish. Every skew matrix is ``Q B Q'`` with ``Q`` orthogonal and ``B``
    turning pairs of coordinates at angular frequencies ``omega``, so that ``exp(S gap) = Q exp(B gap) Q'`` costs two
    products with ``Q`` and no matrix exponential. What it costs in accuracy: nothing fades by itself, so a mean that
    decays has to be brought down by jumps.

    The state is ``[x, theta]``, where ``theta`` stays as it is and sets the frequencies of a series:
    ``omega exp(tanh(W theta) / 2)``.

    Parameters
    ----------
    n_modes : int
        Pairs of coordinates of ``x``.
    n_static : int
        Coordinates of ``theta``; 0 = the same frequencies for all series.
    frequencies : (float, float)
        Lowest and highest angular frequency at the start, log-spaced between, see `tsode.nn.mode_rates.ModeRates`.
    basis : {"householder", "givens", "exponential", "cayley"}
        Parametrisation of ``Q``, see `tsode.nn.orthogonal`.

    References
    ----------
    Arjovsky, Shah, Bengio, "Unitary evolution recurrent neural networks", ICML 2016: the norm of gradients.
    Gantmacher, *The Theory of Matrices*, volume 1, chapter IX, section 13: the canonical form of skew matrices.
    """

    runs_backward = True

    def __init__(
        self,
        n_modes: int,
        n_static: int = 0,
        frequencies: tuple[float, float] = (0.2, 25.0),
        basis: str = "householder",
    ) -> None:
        super().__init__()
        self.n_modes = n_modes
        self.n_static = n_static
        self.n_state = 2 * n_modes + n_static
        low, high = (math.log(f) for f in frequencies)
        self.frequency = nn.Parameter(torch.linspace(low, high, n_modes).exp())
        self.basis = orthonormal(basis, 2 * n_modes)
        self.modulation = nn.Linear(n_static, n_modes, bias=False) if n_static else None
        if self.modulation is not None:
            nn.init.normal_(self.modulation.weight, std=0.02)

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        basis, frequency = self.basis(), self._frequencies(z)
        re, im = (z[:, : 2 * self.n_modes] @ basis).chunk(2, dim=1)
        moved = torch.cat([-frequency * im, frequency * re], dim=1) @ basis.mT
        return functional.pad(moved, (0, self.n_static))

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        evolved = self.evolve_to(z, t0, t1[:, None], drive)
        return Evolved(evolved.z[:, 0], evolved.cost[:, 0], evolved.status)

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        gap = (times - t0[:, None]).to(z.dtype)[..., None]
        basis, frequency = self.basis(), self._frequencies(z)[:, None]
        decay = torch.zeros_like(frequency)
        turned = (z[:, : 2 * self.n_modes] @ basis)[:, None]
        moved = rotate(turned, decay, frequency, gap) - turned  # a difference: no gap, not one bit
        if drive is not None:
            real, imaginary = integrated_exponential(decay, frequency, gap)
            re, im = (drive[:, None, : 2 * self.n_modes] @ basis).chunk(2, dim=2)
            moved = moved + torch.cat([real * re - imaginary * im, real * im + imaginary * re], dim=2)
        moved = moved @ basis.mT
        carried = z[:, None] + (functional.pad(moved, (0, self.n_static)) if self.n_static else moved)
        return Evolved(carried, torch.zeros_like(gap[..., 0]), torch.zeros_like(t0, dtype=torch.int64))

    def _frequencies(self, z: Tensor) -> Tensor:
        """Angular frequencies of each row (b n)."""
        if self.modulation is None:
            return self.frequency.expand(len(z), -1)
        return self.frequency * (0.5 * self.modulation(z[:, 2 * self.n_modes :]).tanh()).exp()

    @torch.no_grad()
    def check(self, states: Tensor) -> tuple[Guarantee, ...]:
        """What the flow promises, measured at states of your own (b n_state), over gaps from 0.001 to 1,000."""
        states = states.to(self.frequency)
        t0 = torch.zeros(len(states), dtype=torch.float64, device=states.device)
        gaps = torch.logspace(-3, 3, 13, dtype=torch.float64, device=states.device).expand(len(states), -1)
        norms = torch.linalg.vector_norm(self.evolve_to(states, t0, gaps).z[..., : 2 * self.n_modes], dim=2)
        before = torch.linalg.vector_norm(states[:, None, : 2 * self.n_modes], dim=2)
        change = (norms - before).abs() / before.clamp(min=torch.finfo(states.dtype).tiny)
        rounding = 100 * torch.finfo(states.dtype).eps
        return (Guarantee("max ||x(t)| / |x(0)| - 1|", float(change.max()), 0.0, rounding),)
