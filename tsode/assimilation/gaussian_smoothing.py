"""Smoothing of normal beliefs: what all data say about a state, backward in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.filters.gaussian import GaussianBelief
from tsode.evolutions.linear_sde import Transition
from tsode.numerics.semidefinite_root import semidefinite_root

__all__ = ["Smoothed", "sample_back", "smooth", "smooth_back"]


class Smoothed(NamedTuple):
    """Normal law of the state of each row, given all data.

    Parameters
    ----------
    mean : Tensor[r d]
    cov : Tensor[r d d]
    """

    mean: Tensor
    cov: Tensor


def smooth(seen: Sequence[GaussianBelief], before: Sequence[GaussianBelief]) -> list[Smoothed]:
    """Laws at all stops, from the beliefs when all was seen there and on arrival at each.

    References
    ----------
    Rauch, Tung and Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA J. 3, 1965, equations 3.30
    to 3.33.
    """
    last = seen[-1]
    found = [Smoothed(last.mean, last.root @ last.root.mT)]
    for known, ahead in zip(reversed(seen[:-1]), reversed(before[1:])):
        found.append(smooth_back(known, ahead, found[-1]))
    return found[::-1]


def sample_back(seen: Sequence[GaussianBelief], before: Sequence[GaussianBelief], normal: Tensor) -> Tensor:
    """Joint draws (r k d) of the states at all stops, given all data, by standard normals (r k d).

    References
    ----------
    Carter and Kohn, "On Gibbs sampling for state space models", Biometrika 81, 1994, equation 3.2.
    """
    last = seen[-1]
    z = last.mean + (last.root @ normal[:, -1, :, None]).squeeze(-1)
    found = [z]
    for k in range(len(seen) - 2, -1, -1):
        known, ahead = seen[k], before[k + 1]
        law = smooth_back(known, ahead, Smoothed(z, torch.zeros_like(ahead.root)))
        z = law.mean + (semidefinite_root(law.cov) @ normal[:, k, :, None]).squeeze(-1)
        found.append(z)
    return torch.stack(found[::-1], dim=1)


def smooth_back(known: GaussianBelief, ahead: GaussianBelief, later: Smoothed) -> Smoothed:
    """The law at an earlier time.

    Parameters
    ----------
    known : GaussianBelief
        There, by the data up to it.
    ahead : GaussianBelief
        What that belief is later on, its link from there.
    later : Smoothed
        The law then, by all data.
    """
    cov, cov_ahead = known.root @ known.root.mT, ahead.root @ ahead.root.mT
    step = Transition(ahead.link, torch.zeros_like(known.mean), cov_ahead - ahead.link @ cov @ ahead.link.mT)
    gain = step.backward_gain(cov)
    mean = known.mean + (gain @ (later.mean - ahead.mean)[..., None]).squeeze(-1)
    smoothed = cov + gain @ (later.cov - cov_ahead) @ gain.mT
    return Smoothed(mean, 0.5 * (smoothed + smoothed.mT))
