"""Laws at each time that sample paths are known to have, and expectations under them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr, ndtri

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.estimators.forecasters.answers import forecasts
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.estimators.known_ode.laws import MixedPredictive
from tsode.estimators.known_sde.forecaster import KnownSDEForecaster
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.censored import CensoredMixture
from tsode.likelihoods.ensemble_mixture import EnsembleMixture
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.filters.base import MarginalModel
from tsode.models.linear.gaussian import LinearGaussianModel, observe_beliefs
from tsode.models.linear.rate_classes import RateClasses

__all__ = ["Marginal", "known_marginals"]

FARTHEST = 8.0  # normal scores, beyond which double precision does not know 1 from a chance below it
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
SAME = 1e-6  # standard deviations by which an integral may miss the mean; beyond, a tail is too heavy for it


@dataclass(frozen=True, eq=False)
class Marginal:
    """Law of one channel at the times of a series, as the paths have it.

    Parameters
    ----------
    family : Likelihood
    params : Tensor[m p], float64
    channel : int
    is_gaussian : bool
        Whether paths are a monotone function, at each time, of one Gaussian process: then they may be mirrored.
    """

    family: Likelihood
    params: Tensor
    channel: int
    is_gaussian: bool

    @property
    def is_usable(self) -> bool:
        """Whether expectations under it can be worked out: it has a density, of which the tails are not too heavy."""
        if self.family.is_discrete or isinstance(self.family, CensoredMixture) or not self._is_finite:
            return False
        far = self.quantiles(ndtr(torch.tensor([-FARTHEST], dtype=torch.float64)))
        off = far[:, 0] + self.above(far)[:, 0] - self.mean
        return bool((off.abs() <= SAME * self.family.variance(self.params).sqrt()).all())

    @property
    def _is_finite(self) -> bool:
        return bool(self.mean.isfinite().all() and self.family.variance(self.params).isfinite().all())

    @property
    def mean(self) -> Tensor:
        """Tensor[m]."""
        return self.family.mean(self.params)

    def quantiles(self, levels: Tensor) -> Tensor:
        """Quantiles (m q)."""
        return self.family.quantile(self.params[:, None], levels)

    def above(self, knots: Tensor) -> Tensor:
        """Expectation (m q) of ``max(X - k, 0)`` at knots ``k`` (m q)."""
        return _above(self.family, self.params[:, None], knots)

    def mirrored(self, paths: Tensor) -> Tensor:
        """Paths (s m) on the other side of the median, as likely as those that are given."""
        scores = ndtri(self.family.cdf(self.params, paths)).clamp(-FARTHEST, FARTHEST)
        return self.family.quantile(self.params, ndtr(-scores))


def known_marginals(
    forecaster: FittedForecaster, query: Query, panel: Panel, of: str, is_joint: bool = False
) -> dict[int, list[Marginal]]:
    """Laws of the channels of each series that its paths have exactly, by the series' place in the question.

    They are known of a `LinearSDEForecaster` without components (of classes only for observations), of what forecasts
    marginals and draws by them (`JumpODEForecaster` and its kin, observations), and of a `KnownSDEForecaster` for which
    Kalman's filter is exact. Of others nothing is: a forecast that differs from the paths would move the answer.

    Parameters
    ----------
    of : {"signal", "observation"}
    is_joint : bool
        Only laws of paths that may be mirrored.
    """
    found: dict[int, list[Marginal]] = {}
    if isinstance(forecaster, KnownSDEForecaster):
        for row, answer in () if is_joint else forecaster._exact_laws(query, panel, of):
            assert isinstance(answer, MixedPredictive)
            parts = [Marginal(one.family, one.params[:, 0], c, False) for c, one in enumerate(answer.channels)]
            found[row] = parts
    else:
        module: Any = forecaster.module_
        is_plain = isinstance(module, LinearGaussianModel) and not isinstance(module, RateClasses)
        is_exact = is_plain or (of == "observation" and isinstance(module, RateClasses | MarginalModel))
        if not is_exact or (is_joint and not is_plain):
            return {}
        found = _of_module(forecaster, query, panel, _Noiseless(module) if of == "signal" else module, is_plain)
    usable = {row: [one for one in marginals if one.is_usable] for row, marginals in found.items()}
    return {row: marginals for row, marginals in usable.items() if marginals}


class _Noiseless:
    """Linear model whose forecasts are those of what observations are about."""

    def __init__(self, model: LinearGaussianModel) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        system = self.model.system()
        system, batch = replace(system, noise=torch.zeros_like(system.noise)), system.residual_batch(batch)
        belief = self.model.forecast_state(batch, query_times, side)
        return observe_beliefs(system, batch, belief, torch.zeros_like(batch.lengths))


def _of_module(
    forecaster: FittedForecaster, query: Query, panel: Panel, module: Any, is_gaussian: bool
) -> dict[int, list[Marginal]]:
    """Laws that a model forecasts, brought together by series."""
    asked = pieces(
        forecaster.reader_, query, panel, forecaster.module_, *forecaster._dtype_and_device,
        reached=forecaster._checkpoints,
    )  # fmt: skip
    starts = np.cumsum([0, *map(len, query.times)])
    params: dict[int, dict[int, Tensor]] = {}
    family: Likelihood | None = None
    for answer in forecasts(forecaster.reader_, query, module, asked):
        if family is not None and type(answer.family) is not type(family):
            return {}  # laws of two kinds are not put side by side
        family = answer.family
        for row in np.unique(np.searchsorted(starts, answer.at, side="right") - 1).tolist():
            here = (answer.at >= starts[row]) & (answer.at < starts[row + 1])
            own = answer.params[torch.from_numpy(here)]
            params.setdefault(row, {}).update(zip((answer.at[here] - starts[row]).tolist(), own))
    found = {}
    for row, by_place in params.items():
        stacked = torch.stack([by_place[place] for place in sorted(by_place)])  # (m c p)
        assert family is not None
        found[row] = [Marginal(family, part, c, is_gaussian) for c, part in enumerate(stacked.unbind(1))]
    return found


def _above(family: Likelihood, params: Tensor, knots: Tensor) -> Tensor:
    """Expectation (...) of ``max(X - k, 0)``, for parameters (... p) against knots (...).

    The integral of ``Q(p) - k`` over levels ``p`` above that of the knot, by Gauss-Legendre in normal scores: there it
    is smooth. Of a mixture it is the mean over its members.
    """
    if isinstance(family, NormalMixture):
        location, log_scale, weight = family.parts(params)
        score = (location - knots[..., None]) * (-log_scale).exp()
        density = (-0.5 * score.square()).exp() / math.sqrt(2.0 * math.pi)
        return (weight * log_scale.exp() * (score * ndtr(score) + density)).sum(dim=-1)
    if isinstance(family, EnsembleMixture):
        return _above(family.member, family.members(params), knots[..., None]).mean(dim=-1)
    begin = ndtri(family.cdf(params, knots)).clamp(-FARTHEST, FARTHEST)
    half = 0.5 * (FARTHEST - begin)[..., None]
    scores = begin[..., None] + half * (1.0 + torch.from_numpy(NODES))
    density = (-0.5 * scores.square()).exp() / math.sqrt(2.0 * math.pi)
    excess = family.quantile(params[..., None, :], ndtr(scores)) - knots[..., None]
    return (half * torch.from_numpy(WEIGHTS) * density * excess).sum(dim=-1)
