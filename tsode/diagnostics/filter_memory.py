"""Forgetting of a fitted filter that is fed with data: how fast the influence of an observation dies out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.diagnostics.prepared import differentiable_copy
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.jump_filter import run_filters
from tsode.models.filters.tangents import event_tangents
from tsode.models.linear.gaussian import LinearGaussianModel, run_filter
from tsode.models.linear.rate_classes import RateClasses
from tsode.models.linear.steady import steady_filter, updates
from tsode.models.linear.system import LinearSystem

__all__ = ["forgetting"]

CHANGED, ALIGNED = 0.2, 0.4  # shares of a history in which observations are changed, and from which on growth counts
MOST_BLOCKS, FEWEST_IN_BLOCK = 8, 3
EVEN = 1e-9  # part of a gap that gaps differ by which count as even
REACHED = 1e-12  # part of a vector that has to be new, for it to add a direction to those that observations reach


def forgetting(
    forecaster: FittedForecaster, context: Any = None, *, events: Any = None, static: Any = None, known: Any = None,
    each_member: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """How fast a filter forgets what it has seen, while it is fed with data: per series, in the units of the data.

    The conditional Lyapunov exponent: a small change of early observations changes the state, and this difference is
    carried along the series' own history, by the derivatives of every flow and of every jump at an observation
    (`lyapunov_spectrum` of the flow alone is about forecasts, which are fed with nothing). In the first fifth of a
    history all observations are changed, in the second the slowest direction comes to the fore, and the mean
    logarithmic growth from then on to the last observation is the exponent. Negative: the past is forgotten, and half
    of its influence is gone after ``ln 2 / -exponent``. Directions that no observation reaches do not count.

    A Kalman filter (`LinearSDEForecaster`) at even gaps is answered in closed form: its covariance settles, and the
    exponent is the logarithm of the spectral radius of ``(I - K H) F`` over the gap; at uneven gaps by its own gains
    along the history. An expert that is mixed into a learned filter is left out. A learned filter takes the work of
    as many passes over the histories as its state is wide: of many series, give some as `context`.

    Parameters
    ----------
    forecaster : JumpODEForecaster or LinearSDEForecaster
        Fitted.
    context, events, static, known
        Histories, as in ``predict``; by default those of fit.
    each_member : bool
        A row for each member of an ensemble (or class of `series_rates`) with its ``weight``, instead of their mean.

    Returns
    -------
    DataFrame
        A row a series (and member): ``series``; ``exponent_per_hour`` and ``half_life_hours`` where times are datetimes
        or durations, else ``exponent_per_unit`` and ``half_life_units`` in the unit of the times (the half-life is
        infinite where the exponent is not below 0: then the filter does not forget); ``standard_error`` of the
        exponent, from blocks of the history (0 in closed form; NaN where the history is too short for three blocks of
        three events); ``n_events`` behind the exponent; ``method``: "closed form" or "history", with NaN "too short"
        or, where the filter left the numbers, "not finite".

        ``attrs`` have ``exponent``, ``half_life`` and ``standard_error`` of all series together, each weighted by the
        time behind it, and ``unit``.

    Raises
    ------
    ParameterError
        If the forecaster has no state that a history is filtered into.

    References
    ----------
    Pecora, Carroll, "Synchronization in chaotic systems", Physical Review Letters 64, 1990 (conditional exponents).
    Anderson, Moore, "Optimal filtering", 1979, section 4.4 (the closed loop of a steady Kalman filter).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.diagnostics import forgetting
    >>> walk = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [2.0 ** 0.5]}
    >>> walk |= {"initial_mean": [0.0], "initial_cov": [[1.0]]}
    >>> data = pd.Series(np.arange(9.0), index=np.arange(9.0))
    >>> table = forgetting(LinearSDEForecaster(system=walk).fit(data))
    >>> round(float(table["half_life_units"].iloc[0]), 9)  # gain 1/2: each observation takes half of what is left
    1.0
    """
    _check_filters(forecaster)
    query, panel = forecaster._read_query(None, None, forecaster.horizon_, context, events, static, known)
    module, reader = differentiable_copy(forecaster.module_), forecaster.reader_
    is_clock = reader.timeline.resolution is not None
    unit = "hour" if is_clock else "unit"
    length = reader.timeline.duration(np.timedelta64(1, "h") if is_clock else 1.0)  # of the unit, in model time
    rows: list[dict[str, Any]] = []
    asked = pieces(reader, query, panel, module, torch.float64, torch.device("cpu"), is_joint=True, is_whole=True)
    with isolated(), torch.no_grad():
        for piece in asked:
            for member, followed in enumerate(_members(module, piece.batch)):
                rows += followed.rows([(row, query.ids[row]) for row in piece.rows], member, length)
    parts = pd.DataFrame(rows).sort_values(["row", "member"], kind="stable", ignore_index=True)
    table = parts.drop(columns="row") if each_member else _means(parts)
    pooled = _pooled(_means(parts))
    table = table.drop(columns="duration")
    table.insert(list(table).index("exponent") + 1, f"half_life_{unit}s", _half_lives(table["exponent"]))
    table = table.rename(columns={"exponent": f"exponent_per_{unit}"})
    table.attrs = pooled | {"half_life": float(_half_lives(pooled["exponent"])), "unit": unit}
    return table


def _check_filters(forecaster: Any) -> None:
    """Raise a `ParameterError` if it has no state that a history is filtered into, with what to ask instead."""
    name = type(forecaster).__name__
    if not isinstance(forecaster, FittedForecaster):
        raise ParameterError(f"forgetting is of a forecaster, and {name} is none.")
    forecaster._check_fitted()
    module = forecaster.module_
    instead = "use JumpODEForecaster or LinearSDEForecaster, or ask tsode.diagnostics.sensitivity"
    if isinstance(module, LinearGaussianModel):
        return
    if isinstance(module, MarginalModel):
        members: Any = module.members
        if all(hasattr(member, "step") for member in members):
            if members[0].n_passes > 1:
                raise ParameterError(
                    f"A filter with n_passes={members[0].n_passes} begins with what it has made of the end of the "
                    "history, so that it does not forget in time: fit with n_passes=1."
                )
            return
    if hasattr(forecaster, "members_"):
        why, instead = "it averages its members", "ask one of forecaster.members_"
    elif hasattr(module, "posterior") and hasattr(module, "encoder"):
        why = "its posterior is of a window of the history at once"
    elif not hasattr(module, "forecast"):
        why = "what is known of its parameters only grows with the data: its posterior does not forget"
    else:
        why = "its forecasts are no flow of a state between observations that is at hand"
    raise ParameterError(f"{name} has no state to analyse, for {why}: {instead}.")


@dataclass(frozen=True, eq=False)
class _Followed:
    """One filter along the histories of a batch.

    Parameters
    ----------
    times : Tensor[b n], float64
        Of the events.
    mask : Tensor[b n c], bool
        What is seen at each.
    tangents : iterable of (Tensor[b d d], Tensor[b d c], Tensor[b d c])
        Of each event: derivatives of the state after it by the state after the one before, by what is seen, and by
        what was seen last.
    weight : Tensor[b]
        Of this filter in the forecast after the history.
    closed_form : Tensor[b]
        Exponent in closed form, per unit of model time; NaN where there is none.
    """

    times: Tensor
    mask: Tensor
    tangents: Iterable[tuple[Tensor, Tensor, Tensor]]
    weight: Tensor
    closed_form: Tensor

    def rows(self, keys: list[tuple[int, Any]], member: int, length: float) -> list[dict[str, Any]]:
        """A row a series; `length` is one unit of the answer in model time."""
        times, sizes = self.times / length, self.log_sizes()
        each = []
        for place, (row, key) in enumerate(keys):
            first, until = self.observed(place)
            begin = max(math.ceil(ALIGNED * until), first + 1)
            size, gaps = sizes[place, begin - 1 : until], times[place, begin - 1 : until].diff().numpy()
            duration, closed = float(gaps.sum()), float(self.closed_form[place]) * length
            found = {"exponent": math.nan, "standard_error": math.nan, "n_events": 0, "method": "too short"}
            if not math.isnan(closed):
                found = {"exponent": closed, "standard_error": 0.0, "n_events": len(gaps), "method": "closed form"}
            elif len(gaps) > 1 and duration > 0.0:
                is_gone = math.isinf(float(size[-1]))  # to the last bit
                exponent = -math.inf if is_gone else float(size[-1] - size[0]) / duration
                error = math.nan if is_gone else _block_error(size.diff().numpy(), gaps)
                method = "not finite" if math.isnan(exponent) else "history"
                found = {"exponent": exponent, "standard_error": error, "n_events": len(gaps), "method": method}
            whose = {"row": row, "series": key, "member": member, "weight": float(self.weight[place])}
            each.append(whose | found | {"duration": duration})
        return each

    def observed(self, place: int) -> tuple[int, int]:
        """Number of the first event of a row with an observation, and that after the last one; 0, 0 without any."""
        seen = self.mask[place].any(dim=1).nonzero()[:, 0].tolist()
        return (seen[0], seen[-1] + 1) if seen else (0, 0)

    def log_sizes(self) -> Tensor:
        """Logarithm of the size of the difference after each event: Tensor[b n]."""
        ends = [self.observed(place) for place in range(len(self.times))]
        until_changed = torch.tensor([max(math.ceil(CHANGED * until), first + 1) for first, until in ends])
        sizes = torch.zeros_like(self.times)
        if not sizes.numel():
            return sizes
        states = last = torch.zeros(())
        scale = torch.zeros_like(sizes[:, 0])  # logarithm of what the differences are in
        for k, (by_state, by_values, by_last) in enumerate(self.tangents):
            seen, is_changed = self.mask[:, k], k < until_changed
            if not k:
                states, last = by_state.new_zeros(by_state.shape[:2]), by_state.new_zeros(seen.shape)
            signs = (1.0 + torch.arange(seen.shape[1], dtype=torch.float64) + 3.0 * k).square().sin()
            here = torch.where(is_changed[:, None] & seen, signs * (-scale).exp()[:, None], 0.0)
            parts = ((by_state, states), (by_last, last), (by_values, here))
            states = sum((matrix @ vector[..., None] for matrix, vector in parts), torch.zeros(()))[..., 0]
            last = torch.where(seen, here, last)
            size = torch.linalg.vector_norm(states, dim=1)
            sizes[:, k] = scale + size.log()
            # unit length from event to event, but no smaller than the changes that are still to come
            factor = torch.where(is_changed, size.clamp(min=1.0), torch.where(size > 0.0, size, 1.0))
            states, last, scale = states / factor[:, None], last / factor[:, None], scale + factor.log()
        return sizes


def _members(module: Any, batch: IrregularBatch) -> list[_Followed]:
    """The filters of a model along histories."""
    if isinstance(module, LinearGaussianModel):
        return _linear(module, batch)
    models = module.members
    passes = run_filters(models, module.reach.plausible(batch))
    share = torch.full((batch.n_series,), 1.0 / len(models), dtype=torch.float64)
    none = torch.full_like(share, torch.nan)
    return [
        _Followed(filtered.batch.times, filtered.batch.mask, event_tangents(model, filtered), share, none)
        for model, filtered in zip(models, passes)
    ]


def _linear(module: LinearGaussianModel, batch: IrregularBatch) -> list[_Followed]:
    """The Kalman filter, or that of each class of rates."""
    batch = batch.compact()
    system, n_classes = module.system(), 1
    weight = torch.ones(1, batch.n_series, dtype=torch.float64)
    if isinstance(module, RateClasses):
        system, tiled, beliefs = module._passed(batch)
        n_classes, weight = module.n_classes, module._log_weights(beliefs)[:, :, -1].exp()
    else:
        tiled = system.residual_batch(batch)
        beliefs = run_filter(system, tiled)
    steps = system.transitions(tiled.times.diff(dim=1, prepend=tiled.times[:, :1]))
    closed = _closed_forms(system, tiled, steps.phi, steps.cov)
    covs = beliefs.predicted.cov
    each = [updates(system, steps.phi[:, k], covs[:, k], tiled.mask[:, k]) for k in range(tiled.n_events)]

    def tangents(rows: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for by_state, by_values in each:
            yield by_state[rows], by_values[rows], torch.zeros_like(by_values[rows])

    return [
        _Followed(tiled.times[rows], tiled.mask[rows], tangents(rows), weight[number], closed[rows])
        for number, rows in enumerate(torch.arange(len(tiled.times)).chunk(n_classes))
    ]


def _closed_forms(system: LinearSystem, batch: IrregularBatch, phi: Tensor, cov: Tensor) -> Tensor:
    """Exponents, per unit of model time, of rows that see the same channels at even gaps; else NaN: Tensor[b]."""
    found = torch.full((batch.n_series,), torch.nan, dtype=torch.float64)
    for row in range(batch.n_series):
        seen = batch.mask[row].any(dim=1).nonzero()[:, 0].tolist() or [0]
        first, n = seen[0], seen[-1] + 1
        gaps, mask = batch.times[row, first:n].diff(), batch.mask[row, first:n]
        if len(gaps) < 2 or float(gaps.max() - gaps.min()) > EVEN * float(gaps.max()):
            continue
        if not bool((mask == mask[0]).all()) or not bool((system.noise[mask[0]] > 0.0).all()):
            continue
        steady = steady_filter(system, phi[row, n - 1][None], cov[row, n - 1][None], mask[0])
        if bool(steady.closed_loop.isfinite().all()):
            found[row] = _spectral_radius(steady.closed_loop[0], steady.gain[0]).log() / float(gaps.mean())
    return found


def _spectral_radius(matrix: Tensor, reached_by: Tensor) -> Tensor:
    """Of a matrix (d d) on what it makes of some vectors (d c), time and again (block Arnoldi)."""
    basis: list[Tensor] = []
    waiting = list(reached_by.unbind(1))
    while waiting and len(basis) < len(matrix):
        vector = waiting.pop(0)
        size = vector.norm()
        for _ in range(2):  # twice is enough
            for other in basis:
                vector = vector - (other @ vector) * other
        if vector.norm() > REACHED * size:
            basis.append(vector / vector.norm())
            waiting.append(matrix @ basis[-1])
    if not basis:
        return matrix.new_full((), torch.nan)
    within = torch.stack(basis, dim=1)
    return torch.linalg.eigvals(within.mT @ matrix @ within).abs().max()


def _block_error(growth: np.ndarray, gaps: np.ndarray) -> float:
    """Standard error of the ratio of sums, from blocks of consecutive events."""
    n = min(MOST_BLOCKS, len(growth) // FEWEST_IN_BLOCK)
    if n < 3:
        return math.nan
    cuts = np.linspace(0, len(growth), n + 1).astype(int)[:-1]
    grown, spent = np.add.reduceat(growth, cuts), np.add.reduceat(gaps, cuts)
    left = grown - growth.sum() / gaps.sum() * spent
    return float(np.sqrt(n / (n - 1) * (left**2).sum()) / spent.sum())


def _means(parts: pd.DataFrame) -> pd.DataFrame:
    """A row a series: means over members with their weights."""
    rows = []
    for _, own in parts.groupby("row", sort=True):
        weight = own["weight"].to_numpy() / own["weight"].sum()
        first = own.iloc[0]
        rows.append({
            "series": first["series"],
            "exponent": float((weight * own["exponent"]).sum(skipna=False)),
            "standard_error": float(np.sqrt(((weight * own["standard_error"]) ** 2).sum(skipna=False))),
            "n_events": int(own["n_events"].min()),
            "method": first["method"],
            "duration": first["duration"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _pooled(means: pd.DataFrame) -> dict[str, float]:
    """Mean of all series with the time behind each, and its standard error by how they differ."""
    there = means[means["exponent"].notna()]
    weight, exponent = there["duration"].to_numpy(), there["exponent"].to_numpy()
    if not len(there):
        return {"exponent": math.nan, "standard_error": math.nan}
    mean = float(np.average(exponent, weights=weight))
    if len(there) == 1:
        return {"exponent": mean, "standard_error": float(there["standard_error"].iloc[0])}
    n = len(there)
    with np.errstate(invalid="ignore"):
        apart = ((weight * (exponent - mean)) ** 2).sum() * n / (n - 1)
    return {"exponent": mean, "standard_error": float(np.sqrt(apart) / weight.sum())}


def _half_lives(exponent: Any) -> Any:
    """Infinite where nothing decays."""
    numbers = np.asarray(exponent, dtype=float)
    decays = numbers < 0.0
    halves = math.log(2.0) / -np.where(decays, numbers, -1.0)
    return np.where(decays, halves, np.where(np.isnan(numbers), np.nan, np.inf))
