"""Localisation: how much a value may move states that stand at a distance from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.errors import ParameterError

__all__ = ["Localisation", "gaspari_cohn"]


def gaspari_cohn(distance: Tensor) -> Tensor:
    """Taper of a distance in units of half its reach: a smooth bell that is 1 at 0 and exactly 0 from 2 on.

    It is the correlation of a process in up to three dimensions, so what it tapers stays a covariance.

    References
    ----------
    Gaspari & Cohn, "Construction of correlation functions in two and three dimensions", Quarterly Journal of the Royal
    Meteorological Society 125, 1999, equation 4.10.

    Examples
    --------
    >>> gaspari_cohn(torch.tensor([0.0, 1.0, 2.0]))
    tensor([1.0000, 0.2083, 0.0000])
    """
    x = distance.abs()
    near = (((-0.25 * x + 0.5) * x + 0.625) * x - 5.0 / 3.0) * x.square() + 1.0
    # the outer piece is a multiple of (2 - x)^4, which its powers summed up would only be to rounding
    y = (2.0 - x).clamp(min=0.0)
    far = y.square().square() * (2.0 * x.square() + 4.0 * x - 1.0) / (24.0 * x.clamp(min=1.0))
    return torch.where(x <= 1.0, near, far)


@dataclass(frozen=True, eq=False)
class Localisation:
    """Taper of the regression of states on a value by their distance, so that chance correlations move nothing far.

    An ensemble of 40 members sees correlations of about 1 / sqrt(40) between states that have nothing to do with each
    other; with more states than members these add up to more than the data say.

    Parameters
    ----------
    positions : Tensor[d] or Tensor[d p]
        Where the states stand, on a line or in ``p`` dimensions. A state whose position is NaN, such as a parameter,
        belongs everywhere: it is never tapered.
    radius : float
        Distance from which on nothing is moved, in units of `positions`: twice the ``c`` of Gaspari & Cohn.
    period : float, optional
        Length of a ring: positions that differ by it are the same. For all dimensions; none by default.

    References
    ----------
    Houtekamer & Mitchell, "A sequential ensemble Kalman filter for atmospheric data assimilation", Monthly Weather
    Review 129, 2001.

    Examples
    --------
    >>> ring = Localisation(torch.arange(4.0), radius=2.0, period=4.0)
    >>> ring.taper(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    tensor([[1.0000, 0.2083, 0.0000, 0.2083]])
    """

    positions: Tensor
    radius: float
    period: float | None = None

    def __post_init__(self) -> None:
        if self.positions.dim() not in (1, 2):
            raise ParameterError(
                f"positions of states are (d) or (d p), but came with the shape {tuple(self.positions.shape)}."
            )
        for name, size in (("radius", self.radius), ("period", self.period)):
            if size is not None and not 0.0 < size < math.inf:
                raise ParameterError(f"The {name} of a localisation is a distance above 0, but is {size!r}.")

    def taper(self, place: Tensor) -> Tensor:
        """Factors (r d) of states for a channel that stands at weights (r d) of states.

        A channel of several states stands in their middle; one of no state, or of one that belongs everywhere, moves
        all states as if there were no localisation.
        """
        at = self.positions.to(place)
        at = at[:, None] if at.dim() == 1 else at
        stands = at.isfinite().all(dim=1)
        held = torch.where(stands[:, None], at, 0.0)
        weight = place.abs() * stands
        total = weight.sum(dim=1, keepdim=True)
        weight = weight / torch.where(total > 0.0, total, 1.0)
        if self.period is None:
            apart = held - (weight @ held)[:, None]
        else:
            angle = held * (2.0 * math.pi / self.period)
            middle = torch.atan2(weight @ angle.sin(), weight @ angle.cos()) * (self.period / (2.0 * math.pi))
            apart = torch.remainder(held - middle[:, None] + 0.5 * self.period, self.period) - 0.5 * self.period
        taper = gaspari_cohn(apart.square().sum(dim=2).sqrt() * (2.0 / self.radius))
        is_local = stands & (total > 0.0) & ~((place != 0.0) & ~stands).any(dim=1, keepdim=True)
        return torch.where(is_local, taper, 1.0)
