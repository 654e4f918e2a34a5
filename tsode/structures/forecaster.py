"""Forecasters of an ensemble of structures: mixtures of what its members predict, by their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from tsode.errors import ParameterError
from tsode.estimators.forecasters.predictive import Predictive
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.known_ode.base import KnownForecaster
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.estimators.known_ode.laws import MixedPredictive
from tsode.estimators.known_sde.forecaster import KnownSDEForecaster
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.likelihoods.ensemble_mixture import EnsembleMixture

__all__ = ["MixesStructures", "ensemble", "shares_of"]


class MixesStructures:
    """Part of a forecaster whose draws are those of several fitted ones, as many of each as its weight says.

    Weights are those of the data that structures were compared by; rows that come later move the draws of each member,
    not the weights. Every part of the predictive law that differs between structures counts as epistemic.
    """

    _members: Sequence[Any]
    _weights: np.ndarray

    def _forecast(
        self,
        query: Query,
        panel: Panel,
        impute: bool = False,
        n_numbers: int = 0,
        must_hold: bool = False,
        report: ReachReport | None = None,
    ) -> Iterator[Predictive]:
        answers = [
            one._forecast(query, panel, impute, n_numbers, must_hold, report if k == 0 else None)
            for k, one in enumerate(self._members)
        ]
        for parts in zip(*answers, strict=True):
            yield _mixed(parts, self._weights)

    def _paths(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, report: ReachReport | None = None
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Joint paths, each of one structure."""
        counts = shares_of(self._weights, n_samples, float(torch.rand((), generator=generator)))
        order = torch.randperm(n_samples, generator=generator).numpy()
        asked = [
            one._paths(query, panel, int(n), generator, report if k == 0 else None)
            for k, (one, n) in enumerate(zip(self._members, counts))
            if n
        ]
        by_row: dict[int, list[np.ndarray]] = {}
        for answer in asked:
            for rows, paths in answer:
                for row, path in zip(rows, paths):
                    by_row.setdefault(row, []).append(path)
        yield list(by_row), [np.concatenate(paths)[order] for paths in by_row.values()]

    def _signals(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, *arguments: Any, **more: Any
    ) -> Iterator[tuple[list[int], list[Any]]]:
        """Joint signals, each of one structure."""
        counts = shares_of(self._weights, n_samples, float(torch.rand((), generator=generator)))
        order = torch.randperm(n_samples, generator=generator).numpy()
        by_row: dict[int, list[Any]] = {}
        for one, n in zip(self._members, counts):
            if n:
                for rows, signals in one._signals(query, panel, int(n), generator, *arguments, **more):
                    for row, signal in zip(rows, signals):
                        by_row.setdefault(row, []).append(signal)
        yield list(by_row), [_signal_of(signals, order) for signals in by_row.values()]

    def update(self, X: Any, y: Any = None, *, refit: bool = False, **tables: Any) -> Self:
        """Append new rows to the history of every member; the weights of structures stay."""
        if refit:
            raise ParameterError("Weights of structures are found by compare_structures: call it again with all rows.")
        for one in self._members:
            one.update(X, y, **tables)
        return super().update(X, y, **tables)  # type: ignore[misc, no-any-return]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Not done: an ensemble has no file."""
        raise ParameterError(
            "An ensemble of structures has no file: save its members, which comparison.member() gives."
        )


class _ODEStructures(MixesStructures, KnownODEForecaster):
    """Ensemble of ordinary differential equations."""


class _SDEStructures(MixesStructures, KnownSDEForecaster):
    """Ensemble of stochastic differential equations."""


def ensemble(members: Sequence[KnownForecaster], weights: Sequence[float]) -> Any:
    """A fitted forecaster of the mixture of fitted ones, by weights that sum to 1."""
    kind = _SDEStructures if isinstance(members[0], KnownSDEForecaster) else _ODEStructures
    chosen = copy(members[0])
    chosen.__class__ = kind
    chosen._members, chosen._weights = [copy(one) for one in members], np.asarray(weights, dtype=np.float64)  # type: ignore
    return chosen


def shares_of(weights: np.ndarray, n: int, at: float = 0.5) -> np.ndarray:
    """How many of ``n`` draws each member has, by its weight: systematic, so that each is right to less than one."""
    ends = np.cumsum(weights) * n / np.sum(weights)
    counts = np.ceil(ends - at).clip(0, n).astype(int)
    counts[-1] = n
    return np.diff(counts, prepend=0)


def _mixed(parts: Sequence[Any], weights: np.ndarray) -> MixedPredictive:
    """Mixture of what members predict at the same times; draws of each are taken as often as its weight says."""
    channels = []
    for of_channel in zip(*(part.channels for part in parts)):
        families = [one.family for one in of_channel]
        assert all(isinstance(family, EnsembleMixture) for family in families)
        n = max(family.n_members for family in families)
        counts = shares_of(weights, n)
        drawn = [family.members(one.params[:, 0]) for family, one in zip(families, of_channel)]  # (q k r)
        # evenly among a member's draws, over and over where there are fewer
        picked = [
            own[:, (torch.arange(int(count)) * own.shape[1] // max(int(count), 1)) % own.shape[1]]
            for own, count in zip(drawn, counts)
        ]
        joined = torch.cat(picked, dim=1)
        family = EnsembleMixture(n, families[0].member)
        channels.append(Predictive(family, joined.flatten(1)[:, None], of_channel[0].at))
    shared = None
    return MixedPredictive.of(channels, shared)


def _signal_of(signals: Sequence[Any], order: np.ndarray) -> Any:
    variation = None
    if all(one.variation is not None for one in signals):
        variation = np.concatenate([one.variation for one in signals])[order]
    return replace(signals[0], paths=np.concatenate([one.paths for one in signals])[order], variation=variation)
