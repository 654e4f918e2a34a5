"""Doors to fitted forecasters: what their states follow, and where these stand after all that was seen."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.evolutions.base import Evolution, Solved
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.inference.parameters import Parameters
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.latent.ode import LatentODE
from tsode.models.linear.gaussian import LinearGaussianModel
from tsode.models.query_groups import cut
from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.affine_field import AffineField
from tsode.numerics.base import Solver
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.stepwise import StepwiseSolver
from tsode.stability.fitted import FittedSystem, KnownRates, Rate, RateOf, RowFlow
from tsode.stability.flow import SOLVER

__all__ = ["as_fitted", "fitted_system"]

N_DRAWS = 32  # of a posterior, by default


def fitted_system(
    forecaster: FittedForecaster, *, context: Any = None, events: Any = None, static: Any = None, known: Any = None,
    n_draws: int = N_DRAWS, member: int = 0, solver: Solver | None = None,
) -> FittedSystem:  # fmt: skip
    """Take the field that the state of a fitted forecaster follows between events, for any analysis of this package.

    An analysis that is given a forecaster asks for it with the defaults. What moves is analysed; what stands still
    between events (rates of a series' own, for instance) is part of its field. Time is counted in days, hours, minutes
    or seconds where the data have a clock (the largest no longer than the horizon; of known equations their time unit),
    else in the data's own numbers. A field that is learned through a solver is followed by the steps that its forecasts
    take, for it is these that training has fitted: where they are coarse, the field itself may say something else, and
    `solver` has it solved to a tolerance. Known equations are solved to a tight one.

    Parameters
    ----------
    forecaster : FittedForecaster
        `JumpODEForecaster` (of an ensemble, one member), `LatentODEForecaster` (from the mean of the posterior),
        `LinearSDEForecaster` (its mean) or `KnownODEForecaster` (its states, for draws from the posterior; inputs of
        `known` stay as they are at the last row, and nothing is given). An infusion that runs at the last row goes
        on in the others.
    context, events, static, known
        As in ``predict``; the states are those after the last row of each series.
    n_draws : int
        Draws from the posterior of a `KnownODEForecaster`, which bands are made of.
    member : int
        Of an ensemble.
    solver : Solver, optional

    Raises
    ------
    ParameterError
        If the forecaster has no state to analyse.

    Examples
    --------
    >>> from tsode import JumpODEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> from tsode.stability import fitted_system, lyapunov_spectrum
    >>> made = JumpODEForecaster(n_modes=2, n_members=1, max_epochs=1, random_state=0).fit(load_theophylline())
    >>> system = fitted_system(made)
    >>> system.n_state, len(system.ids)
    (4, 12)
    >>> bool((lyapunov_spectrum(system)["exponent_per_unit"] < 0).all())
    True
    """
    forecaster._check_fitted()
    query, panel = forecaster._read_query(None, None, forecaster.horizon_, context, events, static, known)
    lasts = {key: panel.select([panel.ids.index(key)]).last_times[0] for key in query.ids}
    unseen = [key for key, last in lasts.items() if last is None]
    if unseen:
        raise ParameterError(f"Series {unseen[0]!r} has no rows, so that nothing says in which state it is.")
    query = forecaster.reader_.query_of(
        panel, times={key: np.asarray([last]) for key, last in lasts.items() if last is not None}
    )
    with isolated(), torch.no_grad():
        if isinstance(forecaster, KnownODEForecaster):
            return _of_known(forecaster, query, panel, n_draws, solver or SOLVER)
        return _of_learned(forecaster, query, panel, member, solver)


def as_fitted(system: Any, solver: Solver | None = None) -> FittedSystem | None:
    """The system of a forecaster, or None of what is none."""
    if isinstance(system, FittedForecaster):
        return fitted_system(system, solver=solver)
    return system if isinstance(system, FittedSystem) else None


def _of_learned(
    forecaster: Any, query: Query, panel: Panel, member: int, solver: Solver | None
) -> FittedSystem:  # fmt: skip
    module = forecaster.module_
    if isinstance(module, MarginalModel):
        if not 0 <= member < len(module.members):
            raise ParameterError(f"member={member} is none of the {len(module.members)} members.")
        module = module.members[member]
    if not isinstance(module, JumpFilter | LatentODE | LinearGaussianModel):
        raise ParameterError(
            f"{type(forecaster).__name__} has no state to analyse that a field moves: use JumpODEForecaster, "
            "LatentODEForecaster, LinearSDEForecaster or KnownODEForecaster."
        )
    reader = forecaster.reader_
    name, per_model = reader.timeline.clock_unit(reader.reach)
    parts: dict[int, tuple[Tensor, ...]] = {}
    dtype_and_device = forecaster._dtype_and_device
    for piece in pieces(reader, query, panel, forecaster.module_, *dtype_and_device, is_joint=True, is_whole=True):
        found = _standing(module, piece.batch, piece.query_times[:, :1])
        parts |= {row: tuple(x[place].cpu().double() for x in found) for place, row in enumerate(piece.rows)}
    z, drive, t = (torch.stack(column) for column in zip(*(parts[row] for row in sorted(parts))))
    rate_of: RateOf
    if isinstance(module, LinearGaussianModel):
        system = module.system()
        drift, offset = (x.detach().cpu().double() for x in (system.drift, system.offset))
        n, is_shared = z.shape[1], not bool(drive.any())
        matrix, inflow = drift.expand(len(z), -1, -1) / per_model, (offset + drive) / per_model

        def affine_of(rows: Tensor) -> Rate:
            return AffineField(matrix[rows], inflow[rows])

        rate_of = affine_of
    else:
        flow = copy.deepcopy(module.evolution).cpu().double().requires_grad_(False)
        n = z.shape[1] - flow.n_standing
        theta, drive = z[:, n:], drive[:, :n]
        is_shared = not theta.shape[1] and not bool(drive.any())
        rate_of = _rates_of(flow, theta, drive, per_model, _is_linear(flow))
    rows = torch.arange(len(z))
    own: tuple[Solver, float | None] = (SOLVER, None) if solver is None else (solver, None)
    if solver is None and isinstance(module, JumpFilter | LatentODE):
        own = _own_steps(module.evolution, per_model)
    steps = own[0], name, own[1]
    return FittedSystem(
        RowFlow(rate_of(rows), tuple(f"z{i + 1}" for i in range(n)), *steps, rate_of=rate_of, rows=rows),
        z[:, :n], t * per_model, tuple(query.ids), rows, torch.zeros_like(rows), is_shared,
        *_labels(forecaster, query, per_model),
    )  # fmt: skip


def _labels(forecaster: Any, query: Query, per_model: float) -> tuple[Any, ...]:
    def to_native(spans: np.ndarray) -> np.ndarray:
        native: np.ndarray = forecaster.reader_.timeline.span(np.asarray(spans) / per_model)
        return native

    reader = forecaster.reader_
    lasts = tuple(times[-1] for times in query.times)
    return forecaster.id_col, forecaster.time_col, lasts, to_native, reader.reach * per_model


def _standing(module: Any, batch: IrregularBatch, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """State (b d) after all events up to an end (b 1), what flows into it there (b d), and time of the field (b,)."""
    n_until = torch.searchsorted(batch.times.contiguous(), ends, right=True)[:, 0]
    batch = cut(batch, torch.zeros_like(n_until), torch.minimum(n_until, batch.lengths))
    if isinstance(module, LatentODE):
        inference = module.infer(batch)
        mean = replace(module.common_draws(), start=torch.zeros_like(inference.mean)[None])
        z = module.paths(inference, ends, mean).z[0, :, 0]
        return z, torch.zeros_like(z), ends[:, 0] - inference.start
    if isinstance(module, LinearGaussianModel):
        system, z = module.system(), module.encode(batch)
        rates = system.rates(batch)
        if rates is None or system.input_map is None:
            return z, torch.zeros_like(z), ends[:, 0]
        return z, rates[:, -1] @ system.input_map[:, -system.n_rates :].mT, ends[:, 0]
    filtered = module.filter(batch)
    z = filtered.path.z_end
    drives = module.drive(filtered.held, slice(None))
    return z, drives[0][:, -1] if drives else torch.zeros_like(z), ends[:, 0]


def _own_steps(flow: Evolution, per_model: float) -> tuple[Solver, float | None]:
    """The solver of an evolution, in the unit of the clock, and the length of its steps where all are as long."""
    solver = flow.solver if isinstance(flow, Solved) else SOLVER
    if not isinstance(flow, Solved) or not isinstance(solver, StepwiseSolver) or solver.field_type is not object:
        return SOLVER, None  # one for fields of a kind of its own, which a field of rows is not
    if isinstance(solver, FixedStep):
        stride = per_model * (flow.query_step / solver.n_steps if solver.max_step is None else solver.max_step)
        return replace(solver, max_step=stride), stride
    if isinstance(solver, AdaptiveSolver):
        lengths: dict[str, Any] = {
            name: None if getattr(solver, name) is None else per_model * getattr(solver, name)
            for name in ("first_step", "max_step")
        }
        return replace(solver, **lengths), None
    return SOLVER, None


def _is_linear(flow: Evolution) -> bool:
    """Whether an evolution in closed form is linear in what moves."""
    return not hasattr(flow, "dynamics")


def _rates_of(flow: Evolution, theta: Tensor, drive: Tensor, per_model: float, is_linear: bool) -> RateOf:
    """Fields of rows that have ``theta`` and ``drive`` of their own."""
    n = drive.shape[1]

    def rate_of(rows: Tensor) -> Rate:
        held, inflow = theta[rows], drive[rows]

        def rate(t: Tensor, z: Tensor) -> Tensor:
            return (flow.slope(t / per_model, torch.cat([z, held], dim=1))[:, :n] + inflow) / per_model

        return rate

    def affine_of(rows: Tensor) -> Rate:
        rate, still = rate_of(rows), torch.zeros(len(rows), dtype=torch.float64)
        nothing = torch.zeros(len(rows), n, dtype=torch.float64)
        offset = rate(still, nothing)
        columns = [rate(still, nothing + unit) - offset for unit in torch.eye(n, dtype=torch.float64)]
        return AffineField(torch.stack(columns, dim=2), offset)

    return affine_of if is_linear else rate_of


def _of_known(forecaster: KnownODEForecaster, query: Query, panel: Panel, n_draws: int, solver: Solver) -> FittedSystem:
    density, u, times = forecaster._standing(query, panel)
    every = u.shape[1]
    u = u[:, torch.linspace(0, every - 1, min(n_draws, every)).round().long()]
    n, k = len(u), u.shape[1]
    # values of one series that is a problem by itself: (n k 1)
    values = {name: value.expand(n, k, 1).reshape(-1) for name, value in density.space.unpack(u).values.items()}
    series, draw = torch.arange(n).repeat_interleave(k), torch.arange(k).repeat(n)
    t = times[series, 0]
    states, status = density.trajectories(u, times, "after")
    states = states[:, :, 0, 0].reshape(n * k, -1)
    fine = ~status.reshape(-1).bool() & states.isfinite().all(dim=1)
    if not bool(fine.reshape(n, k).any(dim=1).all()):
        lost = int((~fine.reshape(n, k).any(dim=1)).nonzero()[0, 0])
        raise ParameterError(f"No draw of series {query.ids[lost]!r} has a solution up to its last row.")
    # a draw without a solution gives way to another of its series
    place = torch.arange(n * k)
    first = torch.where(fine, place, n * k).reshape(n, k).amin(dim=1).repeat_interleave(k)
    place = torch.where(fine, place, first)
    values, states = {name: value[place] for name, value in values.items()}, states[place]
    system = density.system
    # inputs as they are at the last row; a path that begins there is looked at from the left
    known = density.known_along(series, Parameters(values))(t)
    values |= {name: value for name, value in known.items() if name not in values}
    reader = forecaster.reader_
    name, per_model = reader.timeline.clock_unit(1.0)

    medians = {key: value.reshape(n, k).median(dim=1).values for key, value in values.items()}
    rate_of = KnownRates(system, {key: torch.cat([values[key], medians[key]]) for key in values}, per_model)
    rows = torch.arange(n * k)
    # series share the field if all that rates read is equal among them
    read = Parameters(values)
    system.derivatives(t, states, read)
    is_shared = all(
        torch.equal(values[key].reshape(n, k), values[key].reshape(n, k)[:1].expand(n, k)) for key in read.names_read
    )
    return FittedSystem(
        RowFlow(rate_of(rows), tuple(system.states), solver, name, rate_of=rate_of, rows=rows), states, t * per_model,
        tuple(query.ids), series, draw, is_shared, *_labels(forecaster, query, per_model),
    )  # fmt: skip
