"""Fitted point process: log-likelihood, residuals, intensity, next events and simulated streams."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode._registry import lookup
from tsode.core.events import StreamBatch
from tsode.core.series import ROWS_AT_ONCE
from tsode.core.timeline import Timeline
from tsode.errors import DataError, NotFittedError, ParameterError
from tsode.estimators.parameters import check_boolean
from tsode.estimators.point_process.estimates import estimates_table
from tsode.estimators.point_process.finite import check_finite
from tsode.estimators.settings import read_levels
from tsode.frames.durations import read_duration
from tsode.frames.index import restore_times
from tsode.frames.streams import Streams, check_zone, read_streams
from tsode.frames.times import read_query
from tsode.frames.write import write_frame
from tsode.intensities.base import UNTIL, Intensity, IntensityTrace
from tsode.intensities.thinning import simulate
from tsode.intensities.waiting import next_event
from tsode.training.stream_segments import Segment

__all__ = ["FittedPointProcess"]

PATHS_AT_ONCE = 4096


class FittedPointProcess(BaseEstimator):
    """Point process that was fitted, once `PointProcessForecaster.fit` has set the attributes listed here."""

    condition_on_first: bool | None
    until: str
    rate_unit: Any
    id_col: Hashable
    time_col: Hashable
    mark_col: Hashable

    marks_: list[Hashable]
    module_: Intensity
    _streams: Streams
    _timeline: Timeline

    # -- how good is it --------------------------------------------------------------------------------------------

    def score(
        self,
        X: Any,
        y: Any = None,
        *,
        windows: Any = None,
        until: str | None = None,
        condition_on_first: bool | None = None,
    ) -> float:
        """Log-likelihood per event, in nats, of times in `rate_unit` and marks; higher is better.

        The sum over all streams over the number of scored events of all; in a unit of time c times as long it is
        greater by log c.

        Parameters
        ----------
        X : DataFrame
            As in fit.
        windows : DataFrame, optional
            As in fit.
        until, condition_on_first : optional
            Conventions other than those of the constructor.
        """
        table = self.log_likelihood(X, windows=windows, until=until, condition_on_first=condition_on_first)
        n_events = int(table["n_events"].sum())
        if not n_events:
            raise DataError("X has no event to score: the first of each stream is given, so give longer streams.")
        return float(table["log_likelihood"].sum() / n_events)

    def log_likelihood(
        self, X: Any, *, windows: Any = None, until: str | None = None, condition_on_first: bool | None = None
    ) -> pd.DataFrame:
        """Log-likelihood and number of scored events of each stream (see `score`): one row a stream."""
        until = self.until if until is None else until
        lookup(UNTIL, until, "end of a log-likelihood")
        streams = self._read_later(X, windows)
        unit = np.log(self._per_rate_unit())
        scores = np.zeros((len(streams), 2))
        with isolated(), torch.no_grad():
            for rows, trace, n_given in self._traces(streams, condition_on_first):
                n_scored = trace.is_scored(n_given).sum(dim=1).numpy()
                scores[rows, 0] = trace.log_likelihood(n_given, until).double().numpy() + n_scored * unit
                scores[rows, 1] = n_scored
        check_finite(scores, streams.ids, "log-likelihood")
        frame = self._one_row_each(streams)
        return frame.assign(log_likelihood=scores[:, 0], n_events=scores[:, 1].astype(np.int64))

    def residuals(self, X: Any, *, windows: Any = None, condition_on_first: bool | None = None) -> pd.DataFrame:
        """Time-rescaled gaps: the compensator between each scored event and the one before it.

        Under the true intensity they are independent and exponential with mean 1 (Brown et al. 2002), but for the gap
        that the end of a window cuts off. Pass `windows`: without them a stream ends at its last event.

        Returns
        -------
        DataFrame
            ids, times, marks and ``residual``: one row a scored event.
        """
        streams = self._read_later(X, windows)
        parts, _ = self._rescaled(streams, condition_on_first)
        is_scored = [slice(len(times) - len(part), None) for times, part in zip(streams.times, parts)]
        columns: dict[Hashable, list[Any]] = {}
        if self.mark_col is not None:
            labels = _label_array(self.marks_)
            columns[self.mark_col] = [labels[codes[at]] for codes, at in zip(streams.codes, is_scored)]
        columns["residual"] = parts
        times = [t[at] for t, at in zip(streams.times, is_scored)]
        return write_frame(streams.layout, streams.ids, times, columns)

    def ks_test(self, X: Any, *, windows: Any = None, condition_on_first: bool | None = None) -> Any:
        """Kolmogorov-Smirnov test that time-rescaled gaps are exponential: ``statistic`` and ``pvalue``.

        The streams are set end to end in rescaled time, so that the silence at the end of a window is part of a gap:
        without it the long gaps, which a window cuts off more often, would seem too few. So pass `windows`: without
        them a stream ends at its last event, and of short streams the true intensity is rejected too often.
        """
        streams = self._read_later(X, windows)
        parts, tails = self._rescaled(streams, condition_on_first)
        if not any(len(part) for part in parts):
            raise DataError("X has no event to test: the first of each stream is given, so give longer streams.")
        joined = np.cumsum(np.concatenate([np.append(part, tail) for part, tail in zip(parts, tails)]))
        is_event = np.concatenate([np.append(np.ones(len(part), dtype=bool), False) for part in parts])
        return scipy.stats.kstest(np.diff(joined[is_event], prepend=0.0), "expon")

    def summary(self) -> pd.DataFrame:
        """Parameters of an exact intensity and their standard errors, with `rate_unit` as the unit of time.

        Estimates are those of maximum likelihood; errors come from the inverse of the observed information of all
        events in fit, by the delta method. An error is NaN where the data do not bound a parameter, such as the
        excitation between marks that never excite each other.

        Returns
        -------
        DataFrame
            ``parameter``, as in the formula of the intensity; ``mark``, the one it is of; ``source``, the mark of the
            events that act on it; ``estimate`` and ``standard_error``.

        Raises
        ------
        ParameterError
            If the intensity is not an exact one: weights of a network mean nothing one by one.
        """
        self._check_fitted()
        segments = self._segments(self._streams, self._timeline)
        with isolated():
            return estimates_table(self.module_, self.marks_, segments, self.until, self._per_rate_unit())

    # -- what comes ------------------------------------------------------------------------------------------------

    def predict_intensity(
        self, *, times: Any = None, horizon: Any = None, context: Any = None, windows: Any = None
    ) -> pd.DataFrame:
        """Intensity of each mark, in events per `rate_unit`, from the events strictly before each time.

        After the last known event this is the rate while nothing else happens, not the mean over what may happen
        (`simulate` gives that).

        Parameters
        ----------
        times : list of times, or dict of id to times, optional
            Not before a window starts.
        horizon : duration or list of durations, optional
            Ask for evenly spaced times up to this long after the end of each window; a list asks for exactly these.
        context : DataFrame, optional
            Histories, as `X` in fit, of new or known streams; the default is what was given to fit.
        windows : DataFrame, optional
            Of the context, as in fit: a window that ends after the last event says that nothing happened since.

        Returns
        -------
        DataFrame
            ids, times and one column a mark.
        """
        streams = self._context(context, windows)
        query = read_query(streams.as_panel(), self._timeline, times=times, horizon=horizon)
        place_of = {key: place for place, key in enumerate(streams.ids)}
        chosen = streams.select([place_of[key] for key in query.ids])
        for key, start, wanted in zip(chosen.ids, chosen.start, query.times):
            if len(wanted) and wanted[0] < start:
                raise DataError(
                    f"times= asks for {wanted[0]} of stream {key!r}, which was watched from {start} on only."
                )
        rates: list[Any] = [None] * len(chosen)
        per_unit = self._per_rate_unit()
        with isolated(), torch.no_grad():
            for rows, batch in self._batches(chosen):
                part = self._rates_at(batch, [query.times[row] for row in rows])
                for place, row in enumerate(rows):
                    rates[row] = part[place, : len(query.times[row])] * per_unit
        check_finite(rates, chosen.ids, "intensity")
        columns = {label: [r[:, k] for r in rates] for k, label in enumerate(self.marks_)}
        return write_frame(query.layout, query.ids, query.times, columns, rows=query.rows)

    def predict_next(
        self, *, context: Any = None, windows: Any = None, quantiles: Sequence[float] = (0.1, 0.5, 0.9)
    ) -> pd.DataFrame:
        """Distribution of the time until the next event, and of its mark, given silence up to the end of the window.

        Parameters
        ----------
        context, windows : optional
            As in `predict_intensity`.
        quantiles : sequence of float
            In (0, 1).

        Returns
        -------
        DataFrame
            One row a stream: its id; `time_col`, the end of its window; ``wait``, the mean time from then until the
            next event; ``wait-q-0.1`` and so on, its quantiles; ``p-<mark>``, the probability of each mark.
        """
        levels = read_levels(quantiles, "quantiles", 1.0)
        streams = self._context(context, windows)
        waits = np.zeros((len(streams), 1 + len(levels)))
        marks = np.zeros((len(streams), len(self.marks_)))
        with isolated(), torch.no_grad():
            for rows, batch in self._batches(streams):
                event = next_event(self.module_, self.module_.encode_history(batch), batch.end - batch.last, levels)
                waits[rows] = torch.cat([event.mean[:, None], event.quantiles], dim=1).cpu().numpy()
                marks[rows] = event.mark_probabilities.cpu().numpy()
        check_finite(np.where(np.isinf(waits), 0.0, waits), streams.ids, "waiting time")  # there may be no next event
        check_finite(marks, streams.ids, "probability of a mark")
        frame = self._one_row_each(streams)
        frame[self.time_col] = restore_times(np.array(streams.end), streams.layout.time_dtype)
        for k, name in enumerate(["wait", *(f"wait-q-{level:g}" for level in levels)]):
            frame[name] = self._timeline.span(waits[:, k])
        for k, label in enumerate(self.marks_):
            frame[f"p-{label}"] = marks[:, k]
        return frame

    def simulate(
        self, horizon: Any, *, n_samples: int = 100, context: Any = None, windows: Any = None, random_state: Any = None
    ) -> pd.DataFrame:
        """Draw the events of the next `horizon` after the end of each window, exactly (Ogata's thinning).

        Parameters
        ----------
        horizon : duration
        n_samples : int
            Paths a stream.
        context, windows : optional
            As in `predict_intensity`.
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            ids, ``sample``, times and marks: one row an event, by stream, sample and time. A path without events has
            no rows.
        """
        if not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise ParameterError(f"n_samples must be a whole number of at least 1, but is {n_samples!r}.")
        streams = self._context(context, windows)
        span = self._timeline.duration(read_duration(horizon, streams.as_panel().time_kind))
        if span <= 0.0:
            raise ParameterError(f"horizon={horizon!r} must be positive.")
        seed = int(torch.randint(0, 2**62, (), generator=new_generator(random_state)))
        parts: list[pd.DataFrame] = []
        n = int(n_samples)
        with isolated(), torch.no_grad():
            for rows, batch in self._batches(streams, max(1, PATHS_AT_ONCE // n)):
                whose, sample = np.repeat(np.array(rows), n), np.tile(np.arange(n), len(rows))
                z = self.module_.encode_history(batch).repeat_interleave(n, dim=0)
                since = (batch.end - batch.last).repeat_interleave(n)
                keys = _path_keys([streams.ids[row] for row in rows], n, seed)
                drawn = simulate(self.module_, z, since, torch.full_like(since, span), keys)
                times = batch.end.cpu().numpy().repeat(n)[drawn.rows] + drawn.times
                columns = {"row": whose[drawn.rows], "sample": sample[drawn.rows], "time": times, "code": drawn.marks}
                parts.append(pd.DataFrame(columns))
        drawn_events = pd.concat(parts).sort_values(["row", "sample"], kind="stable", ignore_index=True)
        frame = self._one_row_each(streams).iloc[drawn_events["row"].to_numpy()].reset_index(drop=True)
        frame["sample"] = drawn_events["sample"]
        native = self._timeline.to_native(drawn_events["time"].to_numpy())
        frame[self.time_col] = restore_times(native, streams.layout.time_dtype)
        if self.mark_col is not None:
            frame[self.mark_col] = _label_array(self.marks_)[drawn_events["code"].to_numpy()]
        return frame

    # -- between ---------------------------------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet: call fit(X) first.")

    def _read(self, X: Any, windows: Any, marks: Sequence[Hashable] | None, name: str = "X") -> Streams:
        return read_streams(
            X, id_col=self.id_col, time_col=self.time_col, mark_col=self.mark_col, windows=windows, marks=marks,
            name=name,
        )  # fmt: skip

    def _read_later(self, X: Any, windows: Any, name: str = "X") -> Streams:
        self._check_fitted()
        streams = self._read(X, windows, self.marks_, name)
        check_zone(streams.layout.tz, self._streams.layout.tz, name)
        return streams

    def _context(self, context: Any, windows: Any) -> Streams:
        self._check_fitted()
        if context is None and windows is None:
            return self._streams
        if context is None:
            raise ParameterError("windows= belongs to a context=: pass the events too.")
        return self._read_later(context, windows, "context")

    def _n_given(self, streams: Streams, condition_on_first: bool | None) -> list[int]:
        """Number of given events of each stream: none, or those at its first time (one of a stream without any)."""
        chosen = self.condition_on_first if condition_on_first is None else condition_on_first
        if chosen is not None:
            check_boolean("condition_on_first", chosen)
        if not (not streams.is_window_given if chosen is None else chosen):
            return [0] * len(streams)
        return [int((times == times[0]).sum()) if len(times) else 1 for times in streams.times]

    def _segments(self, streams: Streams, timeline: Timeline) -> list[Segment]:
        start, end = (timeline.to_model(np.array(ends)) for ends in (streams.start, streams.end))
        return [
            Segment(timeline.to_model(times), codes, float(low), float(high), n_given)
            for times, codes, low, high, n_given in zip(
                streams.times, streams.codes, start, end, self._n_given(streams, None)
            )
        ]

    def _batches(self, streams: Streams, size: int = ROWS_AT_ONCE) -> Iterator[tuple[list[int], StreamBatch]]:
        """Batches of streams of like length, in the mode of prediction."""
        segments = self._segments(streams, self._timeline)
        device = next(self.module_.parameters()).device
        order = sorted(range(len(segments)), key=lambda row: len(segments[row].times))
        for k in range(0, len(order), size):
            rows = order[k : k + size]
            chosen = [segments[row] for row in rows]
            batch = StreamBatch.from_arrays(
                [p.times for p in chosen], [p.marks for p in chosen], [p.start for p in chosen], [p.end for p in chosen]
            )
            yield rows, batch.to(device)

    def _rates_at(self, batch: StreamBatch, times: list[np.ndarray]) -> np.ndarray:
        """Intensities (b m k) per unit of model time at each stream's own native `times`, padded at the end."""
        queries = [torch.from_numpy(self._timeline.to_model(t)) for t in times]
        moments = torch.nn.utils.rnn.pad_sequence(queries, batch_first=True).to(batch.times.device)
        n_before = torch.searchsorted(batch.times.contiguous(), moments).minimum(batch.lengths[:, None])
        since = torch.cat([batch.start[:, None], batch.times], dim=1).gather(1, n_before)
        rows = torch.arange(len(times), device=since.device)[:, None]
        states = self.module_.states(batch)[rows, n_before].flatten(0, 1)
        rates = self.module_.rates(states, (moments - since).clamp(min=0.0).reshape(-1, 1))
        return rates.reshape(*moments.shape, -1).cpu().double().numpy()

    def _traces(
        self, streams: Streams, condition_on_first: bool | None
    ) -> Iterator[tuple[list[int], IntensityTrace, Tensor]]:
        n_given = self._n_given(streams, condition_on_first)
        for rows, batch in self._batches(streams):
            trace = self.module_.trace(batch)
            moved = IntensityTrace(batch.to("cpu"), trace.log_rate.cpu(), trace.increments.cpu())
            yield rows, moved, torch.tensor([n_given[row] for row in rows])

    def _rescaled(self, streams: Streams, condition_on_first: bool | None) -> tuple[list[np.ndarray], np.ndarray]:
        """Compensator before each scored event of each stream, and after the last one up to the end of its window."""
        parts: list[Any] = [None] * len(streams)
        tails = np.zeros(len(streams))
        with isolated(), torch.no_grad():
            for rows, trace, n_given in self._traces(streams, condition_on_first):
                grown = trace.increments.double().numpy()
                for place, row in enumerate(rows):
                    parts[row] = grown[place, int(n_given[place]) : len(streams.times[row])]
                    is_watched = len(streams.times[row]) >= int(n_given[place])
                    tails[row] = grown[place, -1] * is_watched
        check_finite([np.append(part, tail) for part, tail in zip(parts, tails)], streams.ids, "compensator")
        return parts, tails

    def _per_rate_unit(self, timeline: Timeline | None = None) -> float:
        """Length of the unit of rates in model time, the inverse of ``time_unit_`` in that unit."""
        timeline = timeline or self._timeline
        kind, unit = timeline.kind, self.rate_unit
        if unit is None:
            unit = 1.0 if kind in ("float", "int") else np.timedelta64(1, "h")
        length = timeline.duration(read_duration(unit, kind, "rate_unit"), "rate_unit")
        if length <= 0.0:
            raise ParameterError(f"rate_unit={self.rate_unit!r} must be positive.")
        return length

    def _one_row_each(self, streams: Streams) -> pd.DataFrame:
        """A frame with the id of each stream."""
        frame = write_frame(
            streams.layout, streams.ids, [np.array([end]) for end in streams.end], {0: [[0]] * len(streams)}
        )
        return frame[[self.id_col]]


def _label_array(marks: Sequence[Hashable]) -> np.ndarray:
    """Labels as an array of one axis, of objects where NumPy has no type of theirs (tuples, mixed types)."""
    plain = pd.Series(list(marks))
    return plain.to_numpy()


def _path_keys(ids: Sequence[Hashable], n_samples: int, seed: int) -> np.ndarray:
    """A number for each path of each stream that depends on its id, its sample and the seed only."""
    names = np.array([zlib.crc32(repr(key).encode()) for key in ids], dtype=np.uint64)
    samples = np.arange(n_samples, dtype=np.uint64)
    return ((names[:, None] << np.uint64(32)) + samples).reshape(-1) ^ np.uint64(seed)
