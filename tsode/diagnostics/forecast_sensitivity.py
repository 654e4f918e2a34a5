"""Sensitivity of forecasts: their derivatives by every observation and event of a history, in the data's own units."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.diagnostics.prepared import differentiable_copy
from tsode.errors import ParameterError, TsodeWarning
from tsode.estimators.forecasters.ends import ends_at
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import Piece, pieces
from tsode.estimators.forecasters.predictive import failed_rows, report_failed
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.supports import in_units
from tsode.frames.index import restore_times
from tsode.frames.inputs import GIVEN, RATE
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.censored import CensoredMixture
from tsode.models.folded.model import FoldedModel
from tsode.models.structural.model import StructuralModel

__all__ = ["sensitivity"]

COLUMNS = ("series", "time", "source", "kind", "value", "forecast_time", "channel", "forecast", "derivative")
STEPS = (1e-5, 1e-6)  # in standard deviations of a channel, of the differences that derivatives are compared with
ROUNDING = 1e-13  # of a forecast
AGREES = 1e-3  # part of the largest change of a forecast that they may differ by: of what differences can tell


def sensitivity(
    forecaster: FittedForecaster, X: Any = None, *, times: Any = None, horizon: Any = None, context: Any = None,
    events: Any = None, static: Any = None, known: Any = None, channel: Hashable = None,
    quantile: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Derivatives of forecasts by each past observation, and by the amount of each event.

    By automatic differentiation through the whole forecast, in double precision (in which a `LatentSDEForecaster` that
    was fitted in single precision draws other paths), scales and supports of the channels included. Each answer is
    compared with differences of the forecast in one direction, so that what cannot be differentiated is named, and no
    wrong number. A forecast knows what came strictly before it: later observations and events have no row. What
    is read as something else (a value beyond what training has shown, or before the last `max_context` of a latent
    model) has the derivative 0.

    Parameters
    ----------
    forecaster : fitted forecaster
        One whose forecast is a differentiable function of the history: all that learn, and the baselines.
    X, times, horizon, context, events, static, known
        As in ``predict``. Times within a history ask how its earlier part counts there.
    channel : label, optional
        Channel of the forecasts; by default all.
    quantile : float, optional
        Level between 0 and 1 of the quantile that is differentiated; by default the mean is.

    Returns
    -------
    DataFrame
        A row a series, source and forecast:

        - ``series``, ``time``: whose observation or event, and when.
        - ``source``, ``kind``: the channel of an observation (kind "value"), or the target of an event (its kind where
          it has none), with the kind "add", "multiply", ... of its amount, and "rate" where an infusion's rate changes.
        - ``value``: the value, the amount (of "multiply" the factor), or by how much the rate goes up, in the units
          of the events (of rates per hour where times are datetimes or durations, else per unit of the times).
        - ``forecast_time``, ``channel``, ``forecast``: when, what of, and the forecast there.
        - ``derivative``: units of the channel per unit of ``value``. Of an infusion it is by the rate: what its rate
          does as a whole is the derivative at its start less that at its end.

        ``attrs["difference"]``: largest distance from differences, as a share of the largest change they show.

    Raises
    ------
    ParameterError
        If the forecast is no function of the history that can be differentiated, or `channel` or `quantile` is wrong.
    SolverError
        If no forecast could be made.

    Warns
    -----
    TsodeWarning
        That names series without a forecast, or at a point where it is not smooth: their derivatives are NaN.

    Examples
    --------
    >>> from tsode import LastValueForecaster
    >>> from tsode.datasets import load_theophylline
    >>> from tsode.diagnostics import sensitivity
    >>> table = sensitivity(LastValueForecaster().fit(load_theophylline()), horizon=[1.0])
    >>> table.loc[table["series"] == 1, "derivative"].tolist()[-3:]
    [0.0, 0.0, 1.0]
    """
    _check_differentiable(forecaster)
    channels = list(forecaster.channels_)
    if channel is not None and channel not in channels:
        raise ParameterError(f"channel={channel!r} is none of {channels}.{guess_label(channel, channels)}")
    if quantile is not None and not 0.0 < quantile < 1.0:
        raise ParameterError(f"quantile={quantile!r} must lie between 0 and 1.")
    query, panel = forecaster._read_query(X, times, horizon, context, events, static, known)
    which = list(range(len(channels))) if channel is None else [channels.index(channel)]
    module, reader = differentiable_copy(forecaster.module_), forecaster.reader_
    frames: dict[int, pd.DataFrame] = {}
    failed: dict[int, int] = {}
    difference, rough = 0.0, list[Hashable]()
    asked = pieces(reader, query, panel, module, torch.float64, torch.device("cpu"), is_joint=True, is_whole=True)
    for piece in asked:
        with isolated(), torch.enable_grad():
            question = _Question(reader, module, piece, len(channels), which, quantile)
            found = question.derivatives()
            failed |= found.failed
            apart = question.difference(found)
        for place in apart.isinf().nonzero()[:, 0].tolist():
            rough.append(query.ids[piece.rows[place]])
            found.by_values[place] = found.by_inputs[place] = torch.nan
        difference = max([difference, *apart[apart.isfinite()].tolist()])
        for place, row in enumerate(piece.rows):
            frames[row] = _rows_of(reader, query, panel, piece, place, found, which)
    report_failed(query, failed, len(failed) == len(query.ids))
    _report_rough(rough, len(query.ids))
    table = pd.concat([frames[row] for row in sorted(frames)], ignore_index=True)
    table.attrs["difference"] = difference
    return table


def _check_differentiable(forecaster: Any) -> None:
    """Raise a `ParameterError` if its forecasts are no differentiable function of tensors, with what to do."""
    name = type(forecaster).__name__
    if not isinstance(forecaster, FittedForecaster):
        raise ParameterError(f"sensitivity is of a forecaster, and {name} is none.")
    forecaster._check_fitted()
    module = forecaster.module_
    why = ""
    if hasattr(forecaster, "members_"):
        why = "it averages quantiles of its members: ask one of forecaster.members_"
    elif not hasattr(module, "forecast"):
        why = (
            "its forecasts are of draws from a posterior, which depend on what was seen through a search: ask "
            "`predict` with other events= or context=, or tsode.diagnostics.state_sensitivities about its rates"
        )
    elif isinstance(module, FoldedModel):
        why = "'sharp_season' searches for a period in each history: leave it out of components="
    elif isinstance(module, StructuralModel):
        why = (
            "components= are filtered by kernels that give data no gradient: ask `predict` with another context=, or "
            "fit without components="
        )
    if why:
        raise ParameterError(f"Forecasts of this {name} cannot be differentiated, for {why}.")


def _report_rough(rough: list[Hashable], n_series: int) -> None:
    """Name the series whose forecasts are not smooth, in an error if all are so, else in a warning."""
    if not rough:
        return
    names = ", ".join(map(repr, rough[:5])) + (", ..." if len(rough) > 5 else "")
    message = (
        f"Derivatives of the forecasts of {names} do not agree with differences of them: a forecast is no smooth "
        "function of this history, as where a value stands exactly at an end of its range."
    )
    if len(rough) == n_series:
        raise ParameterError(f"{message} Ask at other times, or with another context=.")
    warnings.warn(f"{message} They are NaN; all else is not touched.", TsodeWarning, stacklevel=3)


@dataclass(frozen=True, eq=False)
class _Derivatives:
    """Forecasts of the asked channels, and their derivatives in the model's units of what they are by.

    Parameters
    ----------
    forecast : Tensor[b m k]
    by_values : Tensor[b n c m k]
    by_inputs : Tensor[b n e m k]
    failed : dict of row of the question to Status
    """

    forecast: Tensor
    by_values: Tensor
    by_inputs: Tensor
    failed: dict[int, int]


@dataclass(frozen=True, eq=False)
class _Question:
    """Forecasts of a piece of a question, as a function of values and inputs in the model's units."""

    reader: DataReader
    module: Any
    piece: Piece
    n_targets: int
    which: list[int]
    quantile: float | None

    @property
    def leaves(self) -> tuple[Tensor, Tensor]:
        """Values (b n c) and inputs (b n e) of the histories."""
        batch = self.piece.batch
        return batch.values, batch.values.new_zeros(*batch.times.shape, 0) if batch.inputs is None else batch.inputs

    def answer(self, values: Tensor, inputs: Tensor) -> tuple[Tensor, dict[int, int]]:
        """Forecasts (b m k) in the data's own units, and the rows that failed."""
        piece, scaler, n = self.piece, self.reader.scaler, self.n_targets
        batch = piece.batch.replace(values=values, inputs=None if piece.batch.inputs is None else inputs)
        forecast = self.module.forecast(batch, piece.query_times)
        failed = failed_rows(forecast, piece.rows)
        flat = forecast.params[:, :, :n].flatten(0, 1)
        family, params = in_units(scaler, forecast.family, flat)
        ends = ends_at(self.reader, self.module, replace(piece, batch=batch), family, "left")
        if ends is not None:  # an end that a series has passed is its latest value
            latest = self.module.reach.latest(batch, piece.query_times, "left")[..., :n]
            latest = latest * torch.from_numpy(scaler.scale[:n]) + torch.from_numpy(scaler.shift[:n])
            low, high = (torch.where(end == latest, latest, end) for end in map(torch.from_numpy, ends))
            family, params = CensoredMixture.hold(family, params, low.flatten(0, 1), high.flatten(0, 1))
        measured = self._measured(family, params)[:, self.which]
        return measured.unflatten(0, piece.query_times.shape), failed

    def _measured(self, family: Likelihood, params: Tensor) -> Tensor:
        if self.quantile is None:
            return family.mean(params)
        level = torch.tensor([self.quantile], dtype=torch.float64)
        with torch.no_grad():
            found = family.quantile(params[..., None, :], level)[..., 0]
            density = family.log_prob(params, found).exp()
        # F(q) = level, differentiated: the search for q is not
        moved = found - (family.cdf(params, found) - level) / density
        return found + (moved - moved.detach())

    def derivatives(self) -> _Derivatives:
        leaves = [leaf.clone().requires_grad_() for leaf in self.leaves]
        y, failed = self.answer(*leaves)
        grads: list[list[Tensor]] = [[], []]
        for output in y.flatten(1).unbind(1):
            if y.requires_grad:  # rows do not depend on each other
                by = torch.autograd.grad(output.sum(), leaves, retain_graph=True, materialize_grads=True)
            else:
                by = tuple(map(torch.zeros_like, leaves))
            for place, grad in enumerate(by):
                grads[place].append(grad)
        stacked = [torch.stack(of, dim=-1).unflatten(-1, y.shape[1:]) for of in grads]
        for place, row in enumerate(self.piece.rows):
            if row in failed:
                for part in stacked:
                    part[place] = torch.nan
        return _Derivatives(y.detach(), stacked[0], stacked[1], failed)

    @torch.no_grad()
    def difference(self, found: _Derivatives) -> Tensor:
        """Largest distance from central differences in one direction, as a share of the largest that they show.

        Of each row (b); infinite where it is more than differences can err.
        """
        leaves, batch = self.leaves, self.piece.batch
        is_there = (batch.mask.to(leaves[0]), (leaves[1] != 0).to(leaves[1]))
        directions = [_direction(leaf) * there for leaf, there in zip(leaves, is_there)]
        foretold = torch.einsum("bnc,bncmk->bmk", directions[0], found.by_values.to(directions[0]))
        foretold = foretold + torch.einsum("bne,bnemk->bmk", directions[1], found.by_inputs.to(directions[1]))
        is_lost = torch.tensor([row in found.failed for row in self.piece.rows])
        is_good = found.forecast.isfinite() & ~is_lost[:, None, None]
        least = torch.full((len(foretold),), torch.inf, dtype=torch.float64)
        for step in STEPS:
            ahead, behind = (
                self.answer(*(leaf + sign * step * way for leaf, way in zip(leaves, directions)))[0]
                for sign in (1.0, -1.0)
            )
            change = (ahead - behind) / (2.0 * step)
            size, distance, forecast = (
                x.where(is_good, 0.0).flatten(1).amax(dim=1)
                for x in (torch.maximum(change.abs(), foretold.abs()), (change - foretold).abs(), found.forecast.abs())
            )
            agrees = distance <= AGREES * size + ROUNDING * forecast / step
            share = torch.where(distance > 0.0, distance / size, 0.0)
            least = torch.minimum(least, share.where(agrees, torch.inf))
        return least


def _direction(leaf: Tensor) -> Tensor:
    """A sign for each event and channel, the same in every row whoever shares the batch."""
    n = leaf[0].numel()
    return (1.0 + torch.arange(n, dtype=leaf.dtype).square()).sin().reshape(leaf.shape[1:]).to(leaf.device)


def _rows_of(
    reader: DataReader, query: Query, panel: Panel, piece: Piece, place: int, found: _Derivatives, which: list[int]
) -> pd.DataFrame:
    """Rows of one series."""
    row = piece.rows[place]
    key, dtype = query.ids[row], panel.layout.time_dtype
    at = list(panel.ids).index(key)
    sources = [_observations(reader, panel, at, piece.batch, place, found)]
    inputs = panel.inputs.get(key)
    if reader.n_inputs and inputs is not None and len(inputs.times):
        sources += _events(reader, inputs.times, inputs.values, piece.batch, place, found)
    n_times = len(query.times[row])
    ahead = reader.timeline.to_model(query.times[row])
    forecast = found.forecast[place, :n_times].numpy()
    channels = pd.Index(reader.targets, tupleize_cols=False).take(which)
    frames = []
    for times, kind, labels, values, slopes in sources:
        # (source, forecast time, channel), of what comes before a forecast alone
        source, when = np.nonzero(reader.timeline.to_model(times)[:, None] < ahead)
        source, when, k = np.repeat(source, len(which)), np.repeat(when, len(which)), np.tile(
            np.arange(len(which)), len(source)
        )  # fmt: skip
        parts = {
            "series": pd.Index([key], tupleize_cols=False).repeat(len(source)),
            "time": restore_times(times[source], dtype),
            "source": pd.Index(labels, dtype=object, tupleize_cols=False).take(source),
            "kind": np.asarray(kind, dtype=object)[source],
            "value": values[source],
            "forecast_time": restore_times(query.times[row][when], dtype),
            "channel": channels.take(k),
            "forecast": forecast[when, k],
            "derivative": slopes[source, when, k],
        }
        frames.append(pd.DataFrame({name: parts[name] for name in COLUMNS}))
    return pd.concat(frames, ignore_index=True)


Source = tuple[np.ndarray, list[str], list[Hashable], np.ndarray, np.ndarray]
"""Native times (s,), kinds, labels, values (s,), and derivatives (s m k) by them in the data's own units."""


def _observations(
    reader: DataReader, panel: Panel, at: int, batch: IrregularBatch, place: int, found: _Derivatives
) -> Source:
    seen = panel.rows_seen[at]
    times, values = panel.times[at][seen], panel.values[at][seen]
    event, channel = np.nonzero(~np.isnan(values))
    slopes = reader.scaler.slopes(values)[event, channel]
    where = _places(reader, panel.times[at][seen], None, batch, place)[event]
    by = found.by_values[place].numpy()[where, channel]
    labels = [reader.channels[c] for c in channel]
    return times[event], ["value"] * len(event), labels, values[event, channel], slopes[:, None, None] * by


def _events(
    reader: DataReader, times: np.ndarray, inputs: np.ndarray, batch: IrregularBatch, place: int, found: _Derivatives
) -> list[Source]:
    assert reader.events is not None
    columns, scale = reader.events.columns, np.array(reader.events.scale)
    if reader.timeline.resolution is not None:  # rates of clocks are encoded by the second
        scale = scale * np.where([part == RATE for *_, part in columns], 3600.0, 1.0)
    where = _places(reader, None, times, batch, place)
    by = found.by_inputs[place].numpy()[where] / scale[:, None, None]  # (k e m c)
    each = []
    # columns of one kind and target are of one amount, which a dose in steady state has twice
    for kind, target, is_rate in dict.fromkeys((kind, target, part == RATE) for kind, target, part in columns):
        own = [
            c for c, (k, t, part) in enumerate(columns)
            if (k, t, part == RATE) == (kind, target, is_rate) and part != GIVEN
        ]  # fmt: skip
        amounts = inputs[:, own] * scale[own]
        rows = np.flatnonzero(amounts.any(axis=1))
        if not len(rows):
            continue
        is_part = amounts[rows] != 0.0
        slopes = np.where(is_part[..., None, None], by[rows][:, own], 0.0).sum(axis=1)
        label = kind if target is None else target
        names = ["rate" if is_rate else kind] * len(rows)
        each.append((times[rows], names, [label] * len(rows), amounts[rows][:, 0], slopes))
    return each


def _places(
    reader: DataReader, observed: np.ndarray | None, given: np.ndarray | None, batch: IrregularBatch, place: int
) -> np.ndarray:
    """Places in a batch of the observations of a series, or of its inputs: `collate` sets observations first."""
    times = reader.timeline.to_model(observed if given is None else given)  # type: ignore[arg-type]
    n = int(batch.lengths[place])
    event = batch.times[place, :n].numpy()
    is_input = np.zeros(n, dtype=bool) if batch.inputs is None else ~batch.mask[place, :n].any(dim=1).numpy()
    places = np.flatnonzero(is_input if given is not None else ~is_input)
    if len(places) != len(times) or not np.array_equal(event[places], times):
        raise AssertionError("the events of a batch are those of its panel")
    return places
