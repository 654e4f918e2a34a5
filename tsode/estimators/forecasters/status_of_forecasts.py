"""Status of forecasts: which series of a question leave what was learned."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pandas as pd

from tsode.errors import SolverError, TsodeWarning
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.panel import Panel
from tsode.frames.times import Query

__all__ = ["TellsStatus"]


class TellsStatus:
    """What forecasters say of a question beside its answer."""

    id_col: Hashable
    module_: Any
    reader_: DataReader
    _read_query: Callable[..., tuple[Query, Panel]]
    _forecast: Callable[..., Iterator[Any]]

    def forecast_status(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
    ) -> pd.DataFrame:
        """Tell which series of a question leave what was learned: what the warnings of a forecast say, as a frame.

        Of the learned forecasters; others have learned no range. See `predict` for the parameters.

        Returns
        -------
        DataFrame
            A row a series: its id; ``status``, "ok" or some of "implausible" (a value in the history is far from all
            that training has shown), "drifted" (the last value has left that range step by step), "gap" (longer than
            any in training), "far" (a time beyond the horizon of training) and "failed" (no solution); ``detail``;
            ``lead``, the longest lead time in horizons; ``remedy``.
        """
        query, panel = self._read_query(X, times, horizon, context, events, static, known)
        report = ReachReport(self.reader_, self.module_)
        with warnings.catch_warnings(), contextlib.suppress(SolverError):
            warnings.simplefilter("ignore", TsodeWarning)
            for _ in self._forecast(query, panel, report=report):
                pass
        return report.table(query.ids, self.id_col)
