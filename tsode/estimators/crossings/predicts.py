"""Crossings of levels, as forecasters foretell them from their paths."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from tsode._random import new_generator
from tsode.errors import DataError, ParameterError
from tsode.estimators.crossings.forecast import CrossingForecast
from tsode.estimators.crossings.levels import read_levels_of_series
from tsode.estimators.crossings.question import CrossingQuestion
from tsode.estimators.crossings.tables import write_crossings
from tsode.estimators.settings import read_levels
from tsode.estimators.signal import Signal
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.frames.times import Query

__all__ = ["PredictsCrossings"]


class PredictsCrossings:
    """What forecasters say of crossings."""

    channels_: list[Hashable]
    reader_: Any
    id_col: Hashable
    time_col: Hashable
    _read_query: Callable[..., tuple[Query, Panel]]
    _signals: Callable[..., Iterator[tuple[list[int], list[Signal]]]]
    _new_report: Callable[[], Any]

    _seeds_by_series: ClassVar[bool] = False
    """Whether the paths of a series are the same whoever is asked about beside it."""

    def predict_crossing(
        self,
        channel: Hashable,
        level: Any = None,
        *,
        direction: Any = "up",
        before: Any = None,
        X: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        level_col: Hashable = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        n_samples: int = 1000,
        n_steps: int | None = None,
        of: str = "signal",
        random_state: Any = None,
    ) -> CrossingForecast:
        """Forecast when a channel first crosses a level, after the last observation of each series.

        From joint paths on a grid. Between two times of it, a path that moves as Brownian motion is followed by a
        bridge, which gives the probability that it crosses there, and when; a solution curve is followed to the time
        at which it crosses, to some nine digits. Of a path without either, as where a forecaster foretells
        observations only, nothing is known between the times.

        To cross upwards is to come from below the level to it, or beyond. A path that stands beyond the level at the
        start has to come back first, and one that moves as Brownian motion crosses in the instant in which it is back:
        see the columns ``beyond`` and ``reached`` of the answer. What stands beyond through an event at the time of the
        last observation itself stands so from the start. A later event that throws a path across crosses at the
        time of the event, which is not yet before that time.

        Parameters
        ----------
        channel : label
        level : number, list, dict or DataFrame
            In the units of the data. A dict of id to number gives each series its own. A list, or a dict of name to
            number (or to a dict of id to number), gives levels that compete for being crossed first.
        direction : {"up", "down", "either"} or dict of name to these
        before : list of times, or dict of id to times, optional
            Times by which to say the probability, as `times` in `predict`; the last one ends the forecast.
        X : rows, optional
            These times as rows of ids and times.
        horizon : duration or list of durations, optional
            These times from the last observation on, evenly spaced or as given; see `predict`.
        context, events, static, known
            See `predict`.
        level_col : label, optional
            Column with the level of each series, of `level` (a frame of one row a series) or else of `static`.
        quantiles : list of float
            Of the first time and of the time spent beyond.
        n_samples : int
            Paths.
        n_steps : int, optional
            Even steps to the last time; the times asked about and those around events are added. The default is 64
            for a signal; for observations, times as far apart as those of the series were where the forecaster knows
            no signal, and no others than those asked about for ``of="observation"``.
        of : {"signal", "observation"}
            Whether the signal crosses, or observations of it do, with their noise. Observations start from the last
            one of the channel.
        random_state : int, generator or None
            With an int, a series has the same answer whoever is asked about beside it.

        Returns
        -------
        CrossingForecast

        Raises
        ------
        UnapproachedLevelError
            If no path of any series comes near the level: nearer than three times all that data and paths range over.
        DataError, ParameterError
            If a channel, level or time cannot be read, or a time does not come after the last observation.

        References
        ----------
        Giraudo and Sacerdote, "An improved technique for the simulation of first passage times for diffusion
        processes", Communications in Statistics 28, 1999, for the bridges.

        Examples
        --------
        >>> import pandas as pd
        >>> from tsode import LinearSDEForecaster
        >>> walk = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [1e-6]}
        >>> walk |= {"initial_mean": [0.0], "initial_cov": [[4.0]]}
        >>> forecaster = LinearSDEForecaster(system=walk, horizon=1.0, id_col="unique_id", time_col="ds")
        >>> data = pd.DataFrame({"unique_id": "a", "ds": [0.0, 1.0, 2.0], "y": [0.0, 0.4, 0.0]})
        >>> found = forecaster.fit(data).predict_crossing("y", 1.0, before=[3.0], random_state=0)
        >>> (row,) = found.probability.itertuples()
        >>> abs(row.probability - 0.3173) < 4 * row.error  # 2 (1 - Phi(1))
        True
        """
        if of not in ("signal", "observation"):
            raise ParameterError(f"of={of!r} is not known: choose 'signal' or 'observation'.")
        for name, number in (("n_samples", n_samples), ("n_steps", 1 if n_steps is None else n_steps)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
                raise ParameterError(f"{name} must be a whole number of at least 1, but is {number!r}.")
        query, panel = self._read_query(X, before, horizon, context, events, static, known)
        if channel not in self.channels_:
            guess = guess_label(channel, self.channels_)
            raise DataError(f"There is no channel {channel!r} to forecast, but {self.channels_}.{guess}")
        levels = read_levels_of_series(level, level_col, static, direction, query.ids, self.id_col)
        question = CrossingQuestion(
            self, query, panel, self.channels_.index(channel), levels,
            np.array(read_levels(quantiles, "quantiles", 1.0)), int(n_samples), of,
            int(new_generator(random_state).initial_seed()) % 2**62,
        )  # fmt: skip
        kind = "signal" if of == "signal" and question.knows_signal else "observation"
        grids = question.grids(n_steps, kind)
        report = self._new_report()
        found = question.answer(grids, report)
        report.warn(query.ids, stacklevel=3)
        question.check_approached(found)
        return write_crossings(
            self.reader_.timeline, query, levels, grids, found, question.quantiles, channel, kind, self.id_col,
            self.time_col,
        )  # fmt: skip

    def _event_times(self, panel: Panel, key: Hashable) -> np.ndarray:
        """Times, in model time, at which something is given to a series."""
        inputs = panel.inputs.get(key)
        return np.empty(0) if inputs is None else self.reader_.timeline.to_model(inputs.times)
