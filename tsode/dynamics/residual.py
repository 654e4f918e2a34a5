"""Known rates with a neural correction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError

__all__ = ["ResidualDynamics"]


class ResidualDynamics(Dynamics):
    """Drift ``known(t, z) + N(z)`` with a perceptron ``N`` that is zero at the start.

    Before training the field is the known one to the bit; what training adds is what the known rates leave over. There
    is no promise beyond: ``N`` may come to outweigh them. In a forecaster the state is latent and scaled; where states,
    parameters and noise have units, ``KnownODEForecaster(residual="mlp")`` adds a term to the equations instead.

    Parameters
    ----------
    n_state : int
        Width of the state.
    known : callable, optional
        ``(t, z) -> rates``: ``t`` (b,), ``z`` (b d) -> (b d), each row by itself; a module's weights are learned along.
        By its name alone, "residual" has none: a perceptron that starts at rest. With one, give a forecaster the
        field itself: ``evolution=ResidualDynamics(n, known)``.
    width : int
        Hidden units of ``N``.

    References
    ----------
    Rackauckas et al., "Universal differential equations for scientific machine learning", arXiv 2001.04385, 2020.
    """

    def __init__(self, n_state: int, known: Callable[[Tensor, Tensor], Tensor] | None = None, width: int = 64) -> None:
        super().__init__(n_state)
        if known is not None and not callable(known):
            raise ParameterError(f"known={known!r} must be a function of (t, z).")
        self.known = known
        self.is_autonomous = known is None
        last = nn.Linear(width, n_state)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(nn.Linear(n_state, width), nn.Tanh(), last)

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        correction: Tensor = self.correction(z)
        return correction if self.known is None else torch.add(self.known(t, z), correction)
