"""States of the series of fit, as a filter and all their rows tell of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.assimilation.forecast import smoothed_paths
from tsode.errors import DataError, ParameterError
from tsode.estimators.known_ode.reports import ReportsPosterior
from tsode.frames.times import read_times

__all__ = ["TellsOfStates"]


class TellsOfStates(ReportsPosterior):
    """Part of `KnownSDEForecaster` that tells of states, beside the posterior of the parameters."""

    _of_series: Callable[..., Tensor]
    _build_density: Callable[..., Any]

    def loo(self, by: str = "series") -> pd.DataFrame:
        """Log predictive density of each series, given all others.

        A value by itself is not left out: those after it would be judged by a state that it has moved. Compare
        forecasts one step ahead instead, `tsode.backtest`.

        Parameters
        ----------
        by : {"series"}
            See `KnownODEForecaster.loo`.
        """
        if by != "series":
            raise ParameterError(
                f"by={by!r} is not known of equations with noise, whose values are judged in their order: leave out "
                "series, by='series', or compare forecasts by tsode.backtest."
            )
        return super().loo("series")

    def trajectories(self, times: Sequence[Any], n_draws: int = 100) -> pd.DataFrame:
        """Draw paths of the states of the series of fit, given all their rows in fit.

        Parameters
        ----------
        times : list of times
            Of every series, not before its start; those of one draw lie on one path.
        n_draws : int
            Each with one of the first draws in `posterior_`.

        Returns
        -------
        DataFrame
            Ids, times, ``draw`` and a column a state. A parameter that drifts is on its line.
        """
        self._check_fitted()
        data, timeline = self._kept.data, self.reader_.timeline
        native = np.sort(read_times(times, self._panel))
        asked = timeline.to_model(native)
        for key, start in zip(data.ids, data.start.tolist()):
            if (asked < start).any():
                raise DataError(f"Series {key!r} is asked for {native[asked < start][0]}, before it starts.")
        u = torch.stack([self._of_series(row)[:n_draws] for row in range(len(data.ids))])
        with isolated(), torch.no_grad():
            density = self._build_density(data.ids, data, len(data.ids))
            where = torch.from_numpy(asked).expand(len(data.ids), -1)
            path = smoothed_paths(density, u, where, self._kept.seed).numpy()  # (n k m d)
        n, k, m = path.shape[:3]
        ids = [key for key in data.ids for _ in range(k * m)]
        numbers = {self.time_col: np.tile(native, n * k), "draw": np.tile(np.repeat(np.arange(k), m), n)}
        columns = dict(zip(density.system.states, path.reshape(n * k * m, -1).T))
        return pd.DataFrame({self.id_col: ids, **numbers, **columns})
