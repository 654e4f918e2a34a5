"""Latent path of one series: its state along the history and into the future, with both limits where it jumps."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.models.filters.base import MarginalModel
from tsode.models.latent.base import LatentModel

__all__ = ["LatentPath", "latent_path"]


@dataclass(frozen=True, eq=False)
class LatentPath:
    """States along one series.

    Parameters
    ----------
    series : label
    panel : Panel
        The histories that were read, in whose kind of time all times are.
    times : array[m]
        Dense times, sorted; a time at which the state jumps stands twice.
    z : array[s m d]
        States; filters have one path, latent models `s` of them, drawn from the posterior.
    jump_times : array[n]
        Where the state jumps: at observations in a filter, at inputs in both.
    z_minus, z_plus : array[s n d]
        Left and right limits there.
    is_input : array[n], bool
        Whether there is an input.
    """

    series: Hashable
    panel: Panel
    times: np.ndarray
    z: np.ndarray
    jump_times: np.ndarray
    z_minus: np.ndarray
    z_plus: np.ndarray
    is_input: np.ndarray


def latent_path(
    forecaster: FittedForecaster,
    *,
    series: Hashable = None,
    context: Any = None,
    events: Any = None,
    static: Any = None,
    known: Any = None,
    horizon: Any = None,
    n_points: int = 2000,
) -> LatentPath:
    """Follow the state of a fitted filter (of an ensemble: its first member) or latent model.

    A filter's state at a time knows what came before it. That of a latent model is drawn from the posterior given the
    whole history (of a long one, its last `max_context` observations, where the path then begins).

    Parameters
    ----------
    forecaster : JumpODEForecaster, LatentODEForecaster or LatentSDEForecaster
    series : label, optional
        Id; may be left out if there is one series only.
    context, events, static, known
        As in ``predict``.
    horizon : duration, optional
        How far to go on after the last observation; the default is the training horizon.
    n_points : int
        Times besides those of the jumps, evenly spaced.

    Raises
    ------
    ParameterError
        If the forecaster has no latent path, or it is left open which series is meant.
    """
    forecaster._check_fitted()
    horizon = forecaster.horizon_ if horizon is None else horizon
    query, panel = forecaster._read_query(None, None, horizon, context, events, static, known)
    if series is None and len(panel) == 1:
        series = panel.ids[0]
    if series not in panel.ids:
        shown = ", ".join(map(repr, panel.ids[:5])) + (", ..." if len(panel) > 5 else "")
        raise ParameterError(f"series={series!r} is none of {shown}.{guess_label(series, panel.ids)}")
    ahead = restore_times(query.times[query.ids.index(series)], panel.layout.time_dtype)
    query, _ = forecaster._read_query(None, {series: ahead}, None, context, events, static, known)
    module: Any = forecaster.module_
    piece = next(pieces(forecaster.reader_, query, panel, module, *forecaster._dtype_and_device, is_joint=True))
    batch, query_times = piece.batch, piece.query_times
    with isolated(), torch.no_grad():
        if isinstance(module, LatentModel):
            parts = _of_latent(module, batch.compact(), query_times[:, -1:], n_points)
        elif isinstance(module, MarginalModel):
            parts = _of_filter(module.members[0], batch, query_times[:, -1:], n_points)
        else:
            raise ParameterError(
                f"{type(forecaster).__name__} has no latent path that jumps: use JumpODEForecaster, "
                "LatentODEForecaster or LatentSDEForecaster."
            )
    times, z, jump_times, z_minus, z_plus, is_input = (part.cpu().double().numpy() for part in parts)
    to_native = forecaster.reader_.timeline.to_native
    return LatentPath(
        series, panel, to_native(times), z, to_native(jump_times), z_minus, z_plus, is_input.astype(bool)
    )  # fmt: skip


def _of_filter(model: Any, batch: IrregularBatch, end: Tensor, n_points: int) -> tuple[Tensor, ...]:
    """Flows from the right limit of each event to the left limit of the next, and from the last to `end` (1 1)."""
    filtered = model.filter(batch)
    path, at = filtered.path, filtered.path.times[0]
    dense = _spread(at, end, n_points)
    behind = (torch.searchsorted(at.contiguous(), dense) - 1).clamp(min=0)
    z = model.evolution.evolve(path.z_plus[0, behind], at[behind], dense, *model.drive(filtered.held, behind + 1)).z
    # the two limits of each event, one after the other, among the states between events
    limits = torch.stack([path.z_minus[0], path.z_plus[0]], dim=1).flatten(0, 1)
    times, order = torch.cat([at.repeat_interleave(2), dense]).sort(stable=True)
    states = torch.cat([limits, z])[order]
    return times, states[None], at, path.z_minus, path.z_plus, filtered.batch.is_input[0]


def _of_latent(model: LatentModel, batch: IrregularBatch, end: Tensor, n_points: int) -> tuple[Tensor, ...]:
    """Paths under the posterior; they jump at inputs."""
    inference = model.infer(batch)
    events = inference.batch
    is_input = events.is_input[0] & (events.times[0] > inference.start[0])
    at = events.times[0][is_input]
    # a state at the time of an input does not know it yet; a state at the next number does
    after = torch.nextafter(at, torch.full_like(at, torch.inf))
    times = torch.cat([_spread(events.times[0], end, n_points), at, after]).sort().values.unique()
    z = model.paths(inference, times[None], model.common_draws()).z[:, 0]
    minus, plus = (z[:, torch.searchsorted(times, side)] for side in (at, after))
    return times, z, at, minus, plus, torch.ones_like(at, dtype=torch.bool)


def _spread(times: Tensor, end: Tensor, n_points: int) -> Tensor:
    return times[0] + (end[0, 0] - times[0]) * torch.linspace(
        0.0, 1.0, n_points, dtype=times.dtype, device=times.device
    )
