"""Occasions in a forecaster: where its tables tell of them, parameters on each, and draws for those to come."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.driving import occasion_numbers
from tsode.estimators.known_ode.histories import History
from tsode.estimators.known_ode.occasions import OccasionTables
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.frames.panel import Panel
from tsode.inference.effects.occasions import on_occasion
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.streams import key_of

__all__ = ["OfOccasions"]


class OfOccasions:
    """Part of `KnownODEForecaster` for parameters that change from occasion to occasion of a series."""

    occasion: Any
    id_col: Hashable
    time_col: Hashable
    reader_: DataReader
    module_: Any
    _panel: Panel
    _histories: Any
    _population: Population | None
    _kept: KeptPosterior
    _density: Any
    _check_fitted: Any

    # -- where tables tell of them ---------------------------------------------------------------------------------

    def _with_occasions(self, known: Any, rows: dict[str, Any], events: dict[str, Any], is_fit: bool = False) -> Any:
        """The table of what is known along time, with the occasions that other tables tell of."""
        if self.occasion is None:
            return known
        tables = OccasionTables(self.occasion, self.id_col, self.time_col)
        if tables.has(known):
            return known
        if is_fit:
            told = tables.told(rows, events, ())
            if not any(map(tables.has, (*rows.values(), *events.values()))):
                raise DataError(f"occasion={self.occasion!r} is no column of the rows, of events= or of known=.")
            return tables.into_known(told, known, (), None)
        self._check_fitted()
        told = tables.told(rows, events, list(self._histories.covariates))
        assert self.reader_.covariates is not None
        return tables.into_known(told, known, self.reader_.covariates.known, self._panel) if len(told) else known

    def _read_query(
        self, X: Any, times: Any, horizon: Any, context: Any, events: Any, static: Any = None, known: Any = None,
        scenarios: Sequence[Any] = (),
    ) -> Any:  # fmt: skip
        of_events = {"events": events} | {f"scenario {k + 1}": table for k, table in enumerate(scenarios)}
        known = self._with_occasions(known, {"context": context, "X": X}, of_events)
        whole: Any = super()
        return whole._read_query(X, times, horizon, context, events, static, known, scenarios)

    def impute(
        self, X: Any, *, events: Any = None, static: Any = None, known: Any = None,
        level: float | Sequence[float] | None = None,
    ) -> Any:  # fmt: skip
        """Fill the entries of `X` that are NaN; see `BaseForecaster.impute`."""
        whole: Any = super()
        known = self._with_occasions(known, {"X": X}, {"events": events})
        return whole.impute(X, events=events, static=static, known=known, level=level)

    def score(
        self, X: Any, y: Any = None, *, context: Any = None, events: Any = None, static: Any = None, known: Any = None,
        metric: str = "nll", sample_weight: Any = None,
    ) -> float:  # fmt: skip
        """Score forecasts of the values in `X`; see `BaseForecaster.score`."""
        whole: Any = super()
        known = self._with_occasions(known, {"X": X, "context": context}, {"events": events})
        given = {"static": static, "metric": metric, "sample_weight": sample_weight}
        return float(whole.score(X, y, context=context, events=events, known=known, **given))

    def update(
        self, X: Any, y: Any = None, *, events: Any = None, static: Any = None, known: Any = None, refit: bool = False
    ) -> Any:
        """Append new rows to the history; see `BaseForecaster.update`."""
        whole: Any = super()
        known = self._with_occasions(known, {"X": X}, {"events": events})
        return whole.update(X, y, events=events, static=static, known=known, refit=refit)

    # -- parameters of occasions -----------------------------------------------------------------------------------

    def occasion_parameters(self) -> pd.DataFrame:
        """Parameters of each occasion of the series of fit: mean and standard deviation over the draws.

        Returns
        -------
        DataFrame
            A row an occasion of a series, by id and by what tables call it; columns (parameter, "mean" or "sd") of the
            parameters that change from one to the next, in their own units.
        """
        self._check_fitted()
        density: KnownDensity = self._density
        occasions = None if density.system.population is None else density.system.population.occasions
        if occasions is None:
            raise ParameterError("No parameter changes from occasion to occasion: name occasion_effects=.")
        with torch.no_grad():
            values = density.space.unpack(self.module_.draws).values
        keys: list[tuple[Hashable, float]] = []
        columns: dict[tuple[str, str], list[float]] = {
            (name, kind): [] for name in occasions.effects.names for kind in ("mean", "sd")
        }
        for row, key in enumerate(density.data.ids):
            labels = occasion_numbers(self._panel.covariates[key], self.reader_)[0]
            for k, label in enumerate(labels[: occasions.n]):
                keys.append((key, label))
                for name in occasions.effects.names:
                    draws = values[on_occasion(name, k)][0, :, row]
                    columns[name, "mean"].append(float(draws.mean()))
                    columns[name, "sd"].append(float(draws.std()))
        return pd.DataFrame(columns, index=pd.MultiIndex.from_tuples(keys, names=[self.id_col, self.occasion]))

    # -- occasions to come -----------------------------------------------------------------------------------------

    def _n_occasions(self, history: History) -> int:
        """Occasions that draws for a history are of."""
        occasions = None if self._population is None else self._population.occasions
        if occasions is None or history.known is None:
            return 1
        return max(occasions.n, len(occasion_numbers(history.known, self.reader_)[0]))

    def _on_all_occasions(self, draws: Tensor, history: History, density: KnownDensity) -> Tensor:
        """Draws (k p) of one series with those of the occasions of `density` that they do not have: of the prior."""
        occasions = None if density.system.population is None else density.system.population.occasions
        n = self._n_occasions(history)
        if occasions is None or occasions.n == n:
            return draws
        more = {name for k in range(n, occasions.n) for name in occasions.names_on(k)}
        columns, at = [], 0
        for name in density.space.priors:
            if name in more:  # the same for the same series, whoever is asked about beside it
                seed = (self._kept.seed + key_of(history.key) + zlib.crc32(name.encode())) % 2**63
                own = torch.Generator().manual_seed(seed)
                columns.append(torch.randn(len(draws), generator=own, dtype=draws.dtype))
            else:
                columns.append(draws[:, at])
                at += 1
        return torch.stack(columns, dim=1)
