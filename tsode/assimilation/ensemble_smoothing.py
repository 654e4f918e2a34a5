"""Smoother of ensembles: what later data say about earlier members, through the members themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.assimilation.filters.ensemble import Ensemble

__all__ = ["smooth_ensembles", "smoothed_members"]


def smooth_ensembles(seen: Sequence[Ensemble], before: Sequence[Ensemble], is_exact: bool = True) -> list[Tensor]:
    """Members (r m d) at all stops given all data, from the ensembles when all was seen there and on arrival at each.

    A member's states at all stops are a joint path.

    Parameters
    ----------
    seen, before : sequence of Ensemble
        As `tsode.assimilation.run.run` keeps them.
    is_exact : bool
        See `smoothed_members`.
    """
    found = [seen[-1].members]
    for known, ahead in zip(reversed(seen[:-1]), reversed(before[1:])):
        found.append(smoothed_members(known.members, ahead.members, found[-1], is_exact))
    return found[::-1]


def smoothed_members(members: Tensor, ahead: Tensor, smoothed_ahead: Tensor, is_exact: bool = True) -> Tensor:
    """Members at one stop given all data, from those at the next.

    ``Z + A A_next^+ (Z_next smoothed - Z_next)``, the smoother of Rauch, Tung and Striebel with the regression of the
    ensemble for its gain. It works among members: nothing is inverted that is larger than the smaller of ``m`` and
    ``d``, and no matrix of states by states is made. Backwards over the stops; at the last one the members are smoothed
    already. An event between two stops is a part of the way from one to the next.

    Parameters
    ----------
    members : Tensor[r m d]
        At the stop, after its data.
    ahead : Tensor[r m d]
        The same members at the next stop, before its data (and before any inflation there).
    smoothed_ahead : Tensor[r m d]
        The same at the next stop, given all data.
    is_exact : bool
        Whether the parts of the members that the next stop does not explain are turned so that they have no chance
        correlation with what is known there. Their sample covariance stays. With the exact moments of
        `SquareRootEnsemble` on linear motion, mean and covariance are then those of Rauch, Tung and Striebel; otherwise
        the mean alone. Then `smoothed_ahead` may also come from other runs than `ahead`, with other noise, such as
        those past a time between two stops. Where ``m - 1 < 2 d`` there is no room for it, and nothing is turned.

    Returns
    -------
    Tensor[r m d]

    Notes
    -----
    Without localisation, and with fewer members than directions in which errors grow, chance correlations reach back:
    for states such as Lorenz' ring with 40 members, smooth over a short lag only.

    References
    ----------
    Raanes, "On the ensemble Rauch-Tung-Striebel smoother and its equivalence to the ensemble Kalman smoother",
    Quarterly Journal of the Royal Meteorological Society 142, 2016.
    Evensen & van Leeuwen, "An ensemble Kalman smoother for nonlinear dynamics", Monthly Weather Review 128, 2000.
    """
    m, d = members.shape[1:]
    anomalies, next_anomalies = _about_mean(members), _about_mean(ahead)
    # each state in units of its own spread: a position and its velocity may differ by powers of the gap
    scale = next_anomalies.square().sum(dim=1, keepdim=True).sqrt()
    scale = torch.where(scale > 0.0, scale, torch.inf)
    is_whole = (next_anomalies.isfinite() & smoothed_ahead.isfinite()).all(dim=2).all(dim=1)[:, None, None]
    inverse = torch.linalg.pinv(torch.where(is_whole, next_anomalies / scale, 0.0))  # d m
    learned = (smoothed_ahead - ahead) / scale
    if not (is_exact and m - 1 >= 2 * d):
        after = members + (learned @ inverse) @ anomalies
        return torch.where(is_whole, after, torch.nan)
    known = _about_mean(smoothed_ahead) / scale @ inverse @ anomalies
    unknown = anomalies - next_anomalies / scale @ inverse @ anomalies
    centre = members.mean(dim=1, keepdim=True) + learned.mean(dim=1, keepdim=True) @ inverse @ anomalies
    ones = torch.ones_like(members[..., :1])
    turned = torch.linalg.qr(torch.cat([ones, known, unknown], dim=2))
    basis = _signed(turned.Q, turned.R)[..., 1 + d :]
    own = torch.linalg.qr(unknown)
    after = centre + known + basis @ (_signs(own.R)[..., None] * own.R)
    return torch.where(is_whole, after, torch.nan)


def _about_mean(members: Tensor) -> Tensor:
    return members - members.mean(dim=1, keepdim=True)


def _signs(triangle: Tensor) -> Tensor:
    """Of the diagonal, with none zero: reflections leave columns of either sign."""
    return torch.where(triangle.diagonal(dim1=1, dim2=2) < 0.0, -1.0, 1.0).to(triangle)


def _signed(basis: Tensor, triangle: Tensor) -> Tensor:
    return basis * _signs(triangle)[:, None]
