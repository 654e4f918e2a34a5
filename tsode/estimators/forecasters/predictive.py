"""Predictive distributions of series in the data's own units, and the columns of answers made of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode.core.forecast import Forecast
from tsode.core.status import Status
from tsode.errors import DataError, SolverError
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood

__all__ = [
    "METRICS",
    "Predictive",
    "failed_rows",
    "filled_columns",
    "interval_columns",
    "mean_columns",
    "quantile_columns",
    "raise_failed",
    "sample_columns",
    "spread_columns",
]

Columns = dict[Hashable, list[np.ndarray]]
"""Label -> values of each series."""

METRICS = ("nll", "crps", "mse", "mae")


@dataclass(frozen=True)
class Predictive:
    """Predictive distribution of every channel at a series' query times.

    Parameters
    ----------
    family : Likelihood
    params : Tensor[m c p], float64
    """

    family: Likelihood
    params: Tensor

    @property
    def mean(self) -> np.ndarray:
        """Array[m c]."""
        return self.family.mean(self.params).numpy()

    @property
    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance, and its epistemic part: two arrays[m c]."""
        return self.family.variance(self.params).numpy(), self.family.epistemic(self.params).numpy()

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Array[m c q]."""
        p = torch.tensor(list(levels), dtype=torch.float64)
        return self.family.quantile(self.params[..., None, :], p).numpy()

    def error(self, x: np.ndarray, metric: str) -> np.ndarray:
        """Error by a name in `METRICS`, lower is better: ``x`` (m c) with NaN = not seen -> (m c)."""
        truth = torch.from_numpy(np.nan_to_num(x))
        if metric == "nll":
            return -self.family.log_prob(self.params, truth).numpy()
        if metric == "crps":
            return self.family.crps(self.params, truth).numpy()
        if metric == "mse":
            return (x - self.mean) ** 2
        return np.abs(x - self.quantiles([0.5])[..., 0])


def _quantiles_of_all(answers: Sequence[Predictive], levels: Sequence[float]) -> list[np.ndarray]:
    """`Predictive.quantiles` of several series of one forecaster: array[m c q] each, solved for in one go."""
    if not answers:
        return []
    whole = replace(answers[0], params=torch.cat([answer.params for answer in answers]))
    return np.split(whole.quantiles(levels), np.cumsum([len(answer.params) for answer in answers])[:-1])


def mean_columns(channels: Sequence[Hashable], answers: Sequence[Predictive]) -> Columns:
    """Means, under the labels of the channels."""
    return {name: [answer.mean[:, c] for answer in answers] for c, name in enumerate(channels)}


def quantile_columns(channels: Sequence[Hashable], answers: Sequence[Predictive], levels: Sequence[float]) -> Columns:
    """Quantiles: ``channel-q-0.1``, ..."""
    _check_labels(channels, [f"-q-{level:g}" for level in levels])
    at = _quantiles_of_all(answers, levels)
    return {
        f"{name}-q-{level:g}": [values[:, c, q] for values in at]
        for c, name in enumerate(channels)
        for q, level in enumerate(levels)
    }


def interval_columns(channels: Sequence[Hashable], answers: Sequence[Predictive], levels: Sequence[float]) -> Columns:
    """Means and central intervals of these per cents: ``channel``, ``channel-lo-80``, ``channel-hi-80``, ..."""
    _check_labels(channels, ["", *(f"-{side}-{share:g}" for share in levels for side in ("lo", "hi"))])
    low = _quantiles_of_all(answers, [0.5 - share / 200.0 for share in levels])
    high = _quantiles_of_all(answers, [0.5 + share / 200.0 for share in levels])
    columns: Columns = {}
    for c, name in enumerate(channels):
        columns[name] = [answer.mean[:, c] for answer in answers]
        for q, share in enumerate(levels):
            columns[f"{name}-lo-{share:g}"] = [values[:, c, q] for values in low]
            columns[f"{name}-hi-{share:g}"] = [values[:, c, q] for values in high]
    return columns


def filled_columns(
    channels: Sequence[Hashable], answers: Sequence[Predictive], observed: Sequence[np.ndarray], levels: Sequence[float]
) -> Columns:
    """`interval_columns`, but what was observed (m c, NaN = not) is its own mean and both ends of its intervals."""
    columns = interval_columns(channels, answers, levels) if levels else mean_columns(channels, answers)
    owner = np.repeat(np.arange(len(channels)), len(columns) // len(channels))
    return {
        label: [np.where(np.isnan(x[:, c]), filled, x[:, c]) for x, filled in zip(observed, values)]
        for (label, values), c in zip(columns.items(), owner)
    }


def sample_columns(channels: Sequence[Hashable], paths: Sequence[np.ndarray]) -> Columns:
    """Paths (s m c) of each series, one after the other, and their numbers: ``sample``, ``channel``."""
    numbers = [np.repeat(np.arange(drawn.shape[0]), drawn.shape[1]) for drawn in paths]
    return {"sample": numbers} | {
        name: [drawn[:, :, c].reshape(-1) for drawn in paths] for c, name in enumerate(channels)
    }


def spread_columns(channels: Sequence[Hashable], answers: Sequence[Predictive]) -> Columns:
    """Standard deviations and their parts: ``channel-sd``, ``channel-sd-aleatoric``, ``channel-sd-epistemic``."""
    _check_labels(channels, ["-sd", "-sd-aleatoric", "-sd-epistemic"])
    columns: Columns = {}
    for c, name in enumerate(channels):
        both = [tuple(part[:, c] for part in answer.variances) for answer in answers]
        columns[f"{name}-sd"] = [np.sqrt(total) for total, _ in both]
        columns[f"{name}-sd-aleatoric"] = [np.sqrt(np.maximum(total - part, 0.0)) for total, part in both]
        columns[f"{name}-sd-epistemic"] = [np.sqrt(part) for _, part in both]
    return columns


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


def failed_rows(forecast: Forecast, rows: Sequence[int]) -> dict[int, int]:
    """Rows of the query whose solve failed -> `Status`."""
    is_broken = ~torch.isfinite(forecast.params).flatten(1).all(dim=1)
    status = forecast.status.clamp(min=is_broken * int(Status.NON_FINITE)).tolist()
    return {row: outcome for row, outcome in zip(rows, status) if outcome}


def raise_failed(query: Query, failed: dict[int, int]) -> None:
    """Raise one named error for all rows of the query whose solve failed."""
    if failed:
        ids = [repr(query.ids[row]) for row in sorted(failed)]
        names = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
        raise SolverError(f"The forecast of series {names} {Status(max(failed.values())).meaning}.")
