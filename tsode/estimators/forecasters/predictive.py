"""Predictive distributions of series in the data's own units, and the measures of them that answers hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import ndtri_exp
from torch import Tensor

from tsode.core.forecast import Forecast
from tsode.core.status import Status
from tsode.errors import DataError, SolverError, TsodeWarning
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood

__all__ = [
    "METRICS",
    "Measure",
    "Predictive",
    "failed_rows",
    "interval_measure",
    "mean_measure",
    "quantile_measure",
    "report_failed",
    "spread_measure",
]

METRICS = ("nll", "crps", "mse", "mae")
FARTHEST = 40.0  # normal scores beyond which a value cannot be, in double precision


@dataclass(frozen=True)
class Predictive:
    """Predictive distribution of every channel at some query times of a question.

    Parameters
    ----------
    family : Likelihood
    params : Tensor[n c p], float64
    at : array[n], int
        Places of these times in the question, its series set end to end.
    epistemic_share : callable
        Gives the share (n c) of the variance that is epistemic, or None where the family tells it.
    """

    family: Likelihood
    params: Tensor
    at: np.ndarray
    epistemic_share: Callable[[], Tensor | None] = field(default=lambda: None, kw_only=True)

    @property
    def mean(self) -> np.ndarray:
        """Array[n c]."""
        return self.family.mean(self.params).numpy()

    @property
    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance, and its epistemic part: two arrays[n c]."""
        total, share = self.family.variance(self.params), self.epistemic_share()
        part = self.family.epistemic(self.params) if share is None else share * total
        return total.numpy(), part.numpy()

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Array[n c q]."""
        p = torch.tensor(list(levels), dtype=torch.float64)
        return self.family.quantile(self.params[..., None, :], p).numpy()

    def error(self, x: np.ndarray, metric: str) -> np.ndarray:
        """Error by a name in `METRICS`, lower is better: ``x`` (n c) with NaN = not seen -> (n c)."""
        truth = torch.from_numpy(np.nan_to_num(x))
        if metric == "nll":
            return -self.family.log_prob(self.params, truth).numpy()
        if metric == "crps":
            return self.family.crps(self.params, truth).numpy()
        if metric == "mse":
            return (x - self.mean) ** 2
        return np.abs(x - self.quantiles([0.5])[..., 0])

    def normal_scores(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Where values lie in their distributions, as standard normal numbers: ``x``, ``u`` (n c) -> (n c).

        Of a value that has a chance of its own (a count, an end of the support) it is at the share `u`, between 0 and
        1, of that chance: for `u` at random the numbers are normal if the distributions are right. Each is from the
        smaller of the two tails, so that no digits are lost; at most 40.
        """
        truth, share = torch.from_numpy(np.nan_to_num(x)), torch.from_numpy(u)
        before, after = (torch.nextafter(truth, torch.full_like(truth, side)) for side in (-torch.inf, torch.inf))
        tails = []
        for of_tail in (self.family.log_below, self.family.log_above):
            ends = of_tail(self.params, before) + torch.log1p(-share), of_tail(self.params, after) + share.log()
            tails.append(torch.logaddexp(*ends).numpy())
        below, above = (np.minimum(tail, 0.0) for tail in tails)
        scores = np.where(below < above, ndtri_exp(below), -ndtri_exp(above))
        return np.where(np.isnan(x) | np.isnan(below + above), np.nan, np.clip(scores, -FARTHEST, FARTHEST))


@dataclass(frozen=True)
class Measure:
    """Numbers that an answer holds of each query time.

    Parameters
    ----------
    labels : sequence of label
        Of the columns.
    of : callable
        `Predictive` of the channels that are forecast -> array[n k], a column a label.
    n_numbers : int
        Those held at once for a query time.
    """

    labels: Sequence[Hashable]
    of: Callable[[Predictive], np.ndarray]
    n_numbers: int


def mean_measure(channels: Sequence[Hashable]) -> Measure:
    """Means, under the labels of the channels."""
    return Measure(list(channels), lambda answer: answer.mean, 2 * len(channels))


def quantile_measure(channels: Sequence[Hashable], levels: Sequence[float]) -> Measure:
    """Quantiles: ``channel-q-0.1``, ..."""
    levels = _distinct(levels)
    endings = [f"-q-{level:g}" for level in levels]
    _check_labels(channels, endings)
    labels = [f"{name}{ending}" for name in channels for ending in endings]
    return Measure(labels, lambda answer: answer.quantiles(levels).reshape(len(answer.at), -1), 4 * len(labels))


def interval_measure(channels: Sequence[Hashable], levels: Sequence[float]) -> Measure:
    """Means and central intervals of these per cents: ``channel``, ``channel-lo-80``, ``channel-hi-80``, ..."""
    levels = _distinct(levels)
    endings = ["", *(f"-{side}-{share:g}" for share in levels for side in ("lo", "hi"))]
    _check_labels(channels, endings)
    ends = [0.5 + sign * share / 200.0 for share in levels for sign in (-1.0, 1.0)]

    def of(answer: Predictive) -> np.ndarray:
        both = np.concatenate([answer.mean[..., None], answer.quantiles(ends)], axis=2)
        return both.reshape(len(answer.at), -1)

    labels = [f"{name}{ending}" if ending else name for name in channels for ending in endings]
    return Measure(labels, of, 4 * len(labels))


def spread_measure(channels: Sequence[Hashable]) -> Measure:
    """Standard deviations and their parts: ``channel-sd``, ``channel-sd-aleatoric``, ``channel-sd-epistemic``."""
    endings = ["-sd", "-sd-aleatoric", "-sd-epistemic"]
    _check_labels(channels, endings)

    def of(answer: Predictive) -> np.ndarray:
        total, part = answer.variances
        parts = [np.sqrt(total), np.sqrt(np.maximum(total - part, 0.0)), np.sqrt(part)]
        return np.stack(parts, axis=2).reshape(len(answer.at), -1)

    labels = [f"{name}{ending}" for name in channels for ending in endings]
    return Measure(labels, of, 4 * len(labels))


def _check_labels(channels: Sequence[Hashable], endings: Sequence[str]) -> None:
    """Raise a DataError if columns of two channels would have one label, so that one would hide the other."""
    taken: dict[Hashable, Hashable] = {}
    for name in channels:
        for label in dict.fromkeys(f"{name}{ending}" if ending else name for ending in endings):
            if taken.setdefault(label, name) is not name:
                raise DataError(
                    f"The channels {taken[label]!r} and {name!r} would both have an answer {label!r}: "
                    "rename one of them."
                )


def _distinct(levels: Sequence[float]) -> list[float]:
    """Levels that have labels of their own."""
    return list({f"{level:g}": level for level in levels}.values())


def failed_rows(forecast: Forecast, rows: Sequence[int]) -> dict[int, int]:
    """Rows of the query whose solve failed -> `Status`."""
    is_broken = ~torch.isfinite(forecast.params).flatten(1).all(dim=1)
    status = forecast.status.clamp(min=is_broken * int(Status.NON_FINITE)).tolist()
    return {row: outcome for row, outcome in zip(rows, status) if outcome}


def report_failed(query: Query, failed: dict[int, int], is_fatal: bool) -> None:
    """Name all rows of the query whose solve failed, in an error or in a warning."""
    if not failed:
        return
    ids = [repr(query.ids[row]) for row in sorted(failed)]
    names = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
    message = f"The forecast of series {names} {Status(max(failed.values())).meaning}."
    if is_fatal:
        raise SolverError(message)
    warnings.warn(f"{message} What has no forecast is NaN; all else is not touched.", TsodeWarning, stacklevel=5)
