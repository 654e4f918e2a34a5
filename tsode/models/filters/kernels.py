"""Which fused kernel, if any, serves the parts of a jump filter.

A kernel runs all events of a batch in one autograd node and returns the same `Path` as the plain loop. To add one:
append its ``(matches, run)`` to `KERNELS`. Parts are matched by exact type: a subclass may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.core.batch import IrregularBatch
from tsode.core.path import Path
from tsode.core.ragged import Ragged, RaggedPath
from tsode.dynamics.gru_ode import GRUODE
from tsode.dynamics.mlp import MLPDynamics
from tsode.dynamics.with_static import WithStatic
from tsode.evolutions.base import Evolution, Evolved, Solved
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.jumps.gru import GRU
from tsode.jumps.innovation_gru import InnovationGRU
from tsode.kernels.dense_output import LONGEST_SERIES, gru_states_at, mlp_states_at
from tsode.kernels.gru_ode import fused_gru_ode
from tsode.kernels.innovation import KernelInputs, Weights, filter_states
from tsode.kernels.ode_rnn import fused_ode_rnn
from tsode.numerics.euler import Euler
from tsode.numerics.exponential import ExponentialEuler
from tsode.numerics.midpoint import Midpoint
from tsode.numerics.rk4 import RK4
from tsode.numerics.runge_kutta import Tableau
from tsode.readouts import Readout

if TYPE_CHECKING:
    from tsode.models.filters.jump_filter import JumpFilter

__all__ = ["KERNELS", "Run", "can_run_together", "evolve_to", "kernel_for", "run_innovations"]

Run = Callable[["JumpFilter", IrregularBatch, Tensor, Tensor, Tensor | None], Path]
"""``(model, batch, last, seen, known) -> Path``, as `JumpFilter._loop`."""


def is_innovation(model: JumpFilter) -> bool:
    parts = (type(model.evolution), type(model.jump), type(model.readout))
    return parts == (DiagonalFlow, InnovationGRU, Readout) and model.jump.n_inputs == model.n_inputs + model.n_features


def can_run_together(models: Sequence[JumpFilter]) -> bool:
    """Whether `run_innovations` serves these: default parts of one size and in one state of training."""
    settings = {
        (tuple(p.shape for p in model.parameters()), model.readout.training, model.readout.dropout.p)
        for model in models
    }
    return len(settings) == 1 and all(map(is_innovation, models))


def run_innovation(
    model: JumpFilter, batch: IrregularBatch, last: Tensor, seen: Tensor, known: Tensor | None = None
) -> Path:
    """The default filter: `tsode.kernels.innovation`."""
    return run_innovations([model], batch, last, seen, known)[0]


def run_innovations(
    models: Sequence[JumpFilter], batch: IrregularBatch, last: Tensor, seen: Tensor,
    known: Tensor | None = None, starts: Sequence[Tensor] | None = None,
) -> list[Path]:  # fmt: skip
    """Default filters of one size, in one pass; with `starts` each row of each begins at a state (b d) of its own."""
    if _grows(batch.values) or _grows(batch.inputs) or not batch.times.numel():
        given: Sequence[Tensor | None] = starts or [None] * len(models)
        return [model._loop(batch, last, seen, known, start) for model, start in zip(models, given)]
    first, readout = models[0], models[0].readout
    ragged = Ragged.of(batch.lengths, batch.n_events)
    gap = batch.times.diff(dim=1, prepend=batch.times[:, :1]).to(first.z_start.dtype)

    def listed(tensor: Tensor) -> Tensor:
        return tensor.to(gap.dtype).flatten(0, 1).index_select(0, ragged.events)

    dropout = None
    if readout.training and readout.dropout.p:
        several = [len(models)] if len(models) > 1 else []
        ones = gap.new_ones(*several, len(ragged.events), readout.location_hidden.out_features)
        dropout = functional.dropout(ones, readout.dropout.p)
    inputs = batch.inputs
    if inputs is None or not first.n_inputs:
        inputs = gap.new_zeros(*gap.shape, first.n_inputs)
    values, mask, last, seen, inputs = map(listed, (batch.values, batch.mask, last[:, :-1], seen[:, :-1], inputs))
    ahead = None if known is None else listed(known)
    events = KernelInputs(ragged.sizes, ragged.last, listed(gap), values, mask, last, seen, inputs, dropout, ahead)
    weights = list(map(innovation_weights, models))
    if starts is not None:
        rows = ragged.order[: len(ragged.last)]
        weights = [own._replace(z_start=start[rows]) for own, start in zip(weights, starts)]
    states = filter_states(events, *weights)
    each: Iterable[tuple[Tensor, ...]] = [states] if len(models) == 1 else zip(*(part.unbind() for part in states))
    begin = starts or [model.z_start for model in models]
    return [RaggedPath(batch.times, start, ragged, *parts) for start, parts in zip(begin, each)]


def innovation_weights(model: JumpFilter) -> Weights:
    """The weights as the kernel wants them."""
    flow: Any = model.evolution
    cell: Any = model.jump.cell
    hidden, out = model.readout.location_hidden, model.readout.location_out
    return Weights(
        model.z_start, flow.rate, flow.frequency,
        (flow.modulation.weight, flow.modulation.bias) if flow.n_static else None,
        (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh),
        (hidden.weight, hidden.bias), (out.weight, out.bias),
        None if model.push is None else model.push.weight,
    )  # fmt: skip


def _grows(data: Tensor | None) -> bool:
    """Whether a gradient is asked for data, which kernels do not give."""
    return data is not None and data.requires_grad


def is_neural(evolution: Evolution) -> bool:
    """A perceptron with tanh by a Runge-Kutta method, or a GRU-ODE by exponential steps."""
    if type(evolution) is not Solved or evolution.gradient != "backprop":
        return False
    dynamics: Any = evolution.dynamics
    if type(dynamics) is WithStatic and type(dynamics.dynamics) is MLPDynamics:
        dynamics = dynamics.dynamics
    if type(dynamics) is MLPDynamics:
        kinds = [type(layer) for layer in dynamics.layers]
        is_known = kinds == [nn.Linear, nn.Tanh] * (len(kinds) // 2) + [nn.Linear]
        return is_known and type(evolution.solver) in (Euler, Midpoint, RK4)
    return type(dynamics) is GRUODE and type(evolution.solver) is ExponentialEuler


class _Recurrent(Protocol):
    """What the kernels of the ODE-RNN read: a `JumpFilter`, or an encoder that runs backward."""

    evolution: Evolution
    jump: Any
    z_start: Tensor

    def _loop(self, batch: IrregularBatch, last: Tensor, seen: Tensor, known: Tensor | None = None) -> Path: ...


def is_ode_rnn(model: _Recurrent) -> bool:
    evolution: Any = model.evolution
    if type(model.jump) is not GRU or not is_neural(evolution) or evolution.solver.max_step is not None:
        return False
    n_read = getattr(model, "n_inputs", 0) + getattr(model, "n_features", 0)
    return type(evolution.dynamics) is not WithStatic and model.jump.n_inputs == n_read


def run_ode_rnn(
    model: _Recurrent, batch: IrregularBatch, last: Tensor, seen: Tensor, known: Tensor | None = None
) -> Path:
    """The ODE-RNN and its GRU-ODE variant: `tsode.kernels.ode_rnn` and `tsode.kernels.gru_ode`."""
    evolution: Any = model.evolution
    jump: Any = model.jump
    dynamics, solver = evolution.dynamics, evolution.solver
    if any(_grows(part) for part in (batch.values, batch.times, batch.inputs)) or not batch.times.numel():
        return model._loop(batch, last, seen, known)
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1]).to(batch.values.dtype)
    put_in, push = batch.inputs, None
    if jump.n_inputs:
        own: Tensor | None = getattr(model.push, "weight", None)  # type: ignore[attr-defined]
        push = model.z_start.new_zeros(len(model.z_start), 0) if own is None else own
        if known is not None:  # read by the cell, but not pushed by
            push = functional.pad(push, (0, known.shape[2]))
            put_in = join_inputs(put_in, known, jump.n_inputs)
    rest = (solver.n_steps, model.z_start, batch.values, batch.mask, gaps, jump.cell, put_in, push)
    if type(dynamics) is GRUODE:
        z_minus, z_plus = fused_gru_ode(dynamics.gates, dynamics.candidate_bias, *rest)
    else:
        tableau = solver.tableau
        z_minus, z_plus = fused_ode_rnn(dynamics.layers[::2], below(tableau), tableau.b, *rest)
    # A state that is not finite stays so to the end of its row. The plain loop stops there and says where.
    if not bool(z_plus[:, -1].isfinite().all()):
        return model._loop(batch, last, seen, known)
    start = model.z_start.expand(batch.n_series, -1)
    return Path(batch.times, start, z_minus, z_plus, torch.zeros_like(batch.lengths))


def join_inputs(inputs: Tensor | None, known: Tensor, width: int) -> Tensor:
    """What a cell of this `width` reads beside observations: inputs, zeros where there are none, and what is known."""
    if inputs is None:
        inputs = known.new_zeros(*known.shape[:-1], width - known.shape[-1])
    return torch.cat([inputs, known], dim=-1)


def below(tableau: Tableau) -> tuple[float, ...]:
    """Weight of the slope before in each later stage; these methods read no other."""
    return tuple(row[-1] for row in tableau.a)


def evolve_to(evolution: Evolution, z: Tensor, t0: Tensor, times: Tensor) -> Evolved:
    """`evolution.evolve_to`, by a kernel of `tsode.kernels.dense_output` where one serves."""
    if not is_neural(evolution) or times.requires_grad or t0.requires_grad:
        return evolution.evolve_to(z, t0, times)
    solved: Any = evolution
    dynamics, solver = solved.dynamics, solved.solver
    step, elapsed = solver.max_step or solved.query_step / solver.n_steps, times - t0[:, None]
    is_gru = type(dynamics) is GRUODE
    if (is_gru and step > LONGEST_SERIES) or not bool((elapsed.abs() <= step * solver.max_steps).all()):
        return evolution.evolve_to(z, t0, times)
    if is_gru:
        states = gru_states_at(dynamics.gates, dynamics.candidate_bias, step, z, elapsed)
    else:
        tableau = solver.tableau
        method = below(tableau), tableau.b, tableau.dense
        states = mlp_states_at(_layers(dynamics), *method, step, z, elapsed)
    if not bool(states.isfinite().all()):
        return evolution.evolve_to(z, t0, times)
    return Evolved(states, torch.zeros_like(states[..., 0]), torch.zeros_like(t0, dtype=torch.int64))


def _layers(dynamics: Any) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of a perceptron; of coordinates that stand still, zeros."""
    if type(dynamics) is not WithStatic:
        return [(layer.weight, layer.bias) for layer in dynamics.layers[::2]]
    *inner, (weight, bias) = _layers(dynamics.dynamics)
    return [*inner, (weight * dynamics.is_moving[:, None], bias * dynamics.is_moving)]


KERNELS: list[tuple[Callable[[JumpFilter], bool], Run]] = [(is_innovation, run_innovation), (is_ode_rnn, run_ode_rnn)]


def kernel_for(model: JumpFilter) -> Run | None:
    """The first kernel that serves the parts of `model`."""
    return next((run for matches, run in KERNELS if matches(model)), None)
