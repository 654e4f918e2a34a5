"""States, laws, and parts of a log density that a known system has at points."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from tsode.inference.correlated_errors import Given
from tsode.likelihoods.base import Likelihood

__all__ = ["Evaluation", "Predictive", "Trajectories"]


class Trajectories(NamedTuple):
    """States of every series along time.

    Parameters
    ----------
    start : Tensor[b n d]
        Initial states.
    states : Tensor[b n m d]
    status : Tensor[b n], int64
        `tsode.core.status.Status` of each solve.
    """

    start: Tensor
    states: Tensor
    status: Tensor


class Predictive(NamedTuple):
    """Law of a channel at some times, for each point.

    Parameters
    ----------
    family : Likelihood
    params : Tensor[g b s m q]
    is_fine : Tensor[g b s m], bool
        Where there is one; elsewhere the parameters mean nothing.
    mean : Tensor[g b s m]
        What the noise is about.
    given : Given, optional
        Channel with which its errors at one time are correlated, by a correlation (g b s).
    """

    family: Likelihood
    params: Tensor
    is_fine: Tensor
    mean: Tensor
    given: Given | None = None


class Evaluation(NamedTuple):
    """Parts of a log density at points.

    Parameters
    ----------
    log_prior : Tensor[g b]
    scores : dict of str to Tensor[b k]
        Log likelihoods of the cells of each channel, given those of its partner; 0 where there is none.
    causes : dict of str to Tensor[g b], bool
        Why points are impossible, in words.
    status : Tensor[b n]
        Of the solve of each series.
    predictions : dict of str to Tensor[b k]
        What the noise of each channel is about.
    laws : dict of str to Tensor[b k q]
        Parameters of the family of each channel's noise, of each cell by itself.
    is_bad : dict of str to Tensor[b k], bool
        Cells without a log likelihood though their series was solved.
    """

    log_prior: Tensor
    scores: dict[str, Tensor]
    causes: dict[str, Tensor]
    status: Tensor
    predictions: dict[str, Tensor]
    laws: dict[str, Tensor]
    is_bad: dict[str, Tensor]
