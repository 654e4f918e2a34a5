"""Semilinear field: complex modes that rotate and decay, with a neural correction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError
from tsode.nn.mode_rates import ModeRates

__all__ = ["SemilinearDynamics"]


class SemilinearDynamics(Dynamics):
    """Drift ``(-alpha + i omega) u + N(z)`` of complex modes ``u``, with a small perceptron ``N``.

    The state is ``[Re u, Im u, theta]``, and the rates are set by ``theta``, which does not move, as in
    `tsode.evolutions.DiagonalFlow`. ``N`` reads the whole state; its last layer starts at zero, so that before training
    the field is that of the diagonal flow. `tsode.numerics.ExponentialDifference` is exact for it then, and later takes
    steps whose length is limited by ``N`` alone.

    Parameters
    ----------
    n_state : int
        Width of the state.
    n_modes : int or None
        Complex modes, of two coordinates each; the others are ``theta``. None: as many modes as there is room for.
    width : int
        Hidden units of ``N``.
    """

    def __init__(self, n_state: int, n_modes: int | None = None, width: int = 64) -> None:
        super().__init__(n_state)
        n_modes = n_state // 2 if n_modes is None else n_modes
        if not 1 <= n_modes <= n_state // 2:
            raise ParameterError(f"n_modes={n_modes} must be at least 1 and fit twice into n_state={n_state}.")
        self.n_static = n_state - 2 * n_modes
        self.modes = ModeRates(n_modes, self.n_static)
        last = nn.Linear(width, 2 * n_modes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(nn.Linear(n_state, width), nn.Tanh(), last)

    def linearised(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay, frequency and the whole drift: ``t`` (b,) float64, ``z`` (b d) -> three times (b d)."""
        decay, frequency = self.modes.rates(z[:, 2 * self.modes.n_modes :])
        decay, frequency = (self._widen(torch.cat([rate, rate], dim=1)) for rate in (decay, frequency))
        remainder = self._widen(self.correction(z))
        return decay, frequency, remainder - decay * z + frequency * self.turn(z)

    def turn(self, z: Tensor) -> Tensor:
        """Multiply the modes by ``i``: (b d) -> (b d); 0 in place of ``theta``."""
        re, im = z[:, : 2 * self.modes.n_modes].chunk(2, dim=1)
        return self._widen(torch.cat([-im, re], dim=1))

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.linearised(t, z)[2]

    def _widen(self, modes: Tensor) -> Tensor:
        """Append zeros in place of ``theta``."""
        return functional.pad(modes, (0, self.modes.n_static)) if self.modes.n_static else modes
