"""Ensemble Kalman filter with perturbed observations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.filters.ensemble import EnsembleFilter
from tsode.assimilation.motion import Draws, Start
from tsode.assimilation.scalar_analysis import Analysis
from tsode.jumps.ensemble_updates import perturbed_update

__all__ = ["EnsembleKalman"]


@dataclass(frozen=True)
class EnsembleKalman(EnsembleFilter):
    """Ensemble each of whose predictions is drawn towards the value with an error of its own; states follow.

    Its members are independent draws, so its answers scatter about the limit of many members with the inverse square
    root of their number; the square-root filter scatters less. In return the update keeps what is not normal in the
    ensemble better (Lawson & Hansen 2004).

    Parameters
    ----------
    n_members, inflation, localisation
        As in `EnsembleFilter`.
    is_centred : bool
        Whether the errors of the members are made to add up to zero, so that the mean of the ensemble is moved by the
        value alone. By default not.

    References
    ----------
    Burgers, van Leeuwen & Evensen, "Analysis scheme in the ensemble Kalman filter", Monthly Weather Review 126, 1998.
    Houtekamer & Mitchell, "A sequential ensemble Kalman filter for atmospheric data assimilation", Monthly Weather
    Review 129, 2001: values one after the other.
    Lawson & Hansen, "Implications of stochastic and deterministic filters as ensemble-based data assimilation methods
    in varying regimes of error growth", Monthly Weather Review 132, 2004.

    Examples
    --------
    >>> EnsembleKalman(50, is_centred=True).inflation
    AdaptiveInflation(sd=0.6, damping=0.9, most=100.0)
    """

    is_centred: bool = False

    def _first(self, start: Start, normals: Tensor) -> Tensor:
        return start.quantile(torch.special.ndtr(normals).clamp(1e-16, 1.0 - 1e-16))

    def _noise(self, members: Tensor, normals: Tensor) -> Tensor:
        return normals

    def _updated(
        self, members: Tensor, predicted: Tensor, found: Analysis, taper: Tensor | None, t: Tensor, draws: Draws
    ) -> Tensor:
        noise = draws.normal(_ERRORS, t, members.shape[1])
        if self.is_centred:
            noise = noise - noise.mean(dim=1, keepdim=True)
        return perturbed_update(members, predicted, found.mean, found.var, noise, taper)


_ERRORS = 4
