"""Square-root ensemble Kalman filter: no noise in its updates, and exact sample moments where members suffice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.filters.ensemble import EnsembleFilter
from tsode.assimilation.matched_normals import matched_normals
from tsode.assimilation.motion import Draws, Start
from tsode.assimilation.scalar_analysis import Analysis
from tsode.jumps.ensemble_updates import square_root_update

__all__ = ["SquareRootEnsemble"]


@dataclass(frozen=True)
class SquareRootEnsemble(EnsembleFilter):
    """Ensemble whose predictions are shifted and scaled to what each value says of them; states follow.

    The first members and the noise of each step have the mean zero and the identity as sample covariance, and the noise
    has no sample correlation with the members, whenever ``m - 1 >= d + k``, or twice ``d`` where motion is linear. So
    on linear motion with normal start and noise, without inflation and localisation, mean, covariance and log evidence
    are those of the Kalman filter, whatever the draws.

    Parameters
    ----------
    n_members, inflation, localisation
        As in `EnsembleFilter`.

    References
    ----------
    Anderson, "A local least squares framework for ensemble filtering", Monthly Weather Review 131, 2003, section 3.
    Tippett, Anderson, Bishop, Hamill & Whitaker, "Ensemble square root filters", Monthly Weather Review 131, 2003.

    Examples
    --------
    >>> from tsode.assimilation.localisation import Localisation
    >>> ring = Localisation(torch.arange(40.0), radius=16.0, period=40.0)
    >>> SquareRootEnsemble(40, localisation=ring).n_members
    40
    """

    def _first(self, start: Start, normals: Tensor) -> Tensor:
        exact = matched_normals(normals[..., :0], normals)
        drawn = start.quantile(torch.special.ndtr(exact).clamp(1e-16, 1.0 - 1e-16))
        straight = start.mean[:, None] + start.sd[:, None] * exact
        # a normal law is met to the last digit, which its quantiles in the tails are not
        is_normal = ((drawn - straight).abs() <= 1e-6 * start.sd[:, None]).all(dim=1, keepdim=True)
        return torch.where(is_normal, straight, drawn)

    def _noise(self, members: Tensor, normals: Tensor) -> Tensor:
        return matched_normals(members, normals)

    def _updated(
        self, members: Tensor, predicted: Tensor, found: Analysis, taper: Tensor | None, t: Tensor, draws: Draws
    ) -> Tensor:
        return square_root_update(members, predicted, found.mean, found.var, taper)
