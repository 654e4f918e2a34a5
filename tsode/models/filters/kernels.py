"""Fused kernels of jump filters: the choice of one by the exact types of the parts.

A kernel runs all events of a batch in one autograd node and returns the same `Path` as the plain loop, or None where it
does not serve. To add one, append it to `KERNELS`. Parts are matched by exact type: a subclass may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.core.batch import IrregularBatch
from tsode.core.path import PaddedPath, Path
from tsode.core.ragged import Ragged, RaggedPath
from tsode.core.status import Status
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
from tsode.models.held_rates import HeldRates
from tsode.numerics.euler import Euler
from tsode.numerics.exponential import ExponentialEuler
from tsode.numerics.midpoint import Midpoint
from tsode.numerics.rk4 import RK4
from tsode.numerics.runge_kutta import Tableau
from tsode.readouts import Readout

__all__ = [
    "KERNELS",
    "FilterParts",
    "RecurrentParts",
    "evolve_to",
    "join_inputs",
    "run_fused",
    "run_innovations",
    "run_recurrent",
    "share_one_pass",
]


class RecurrentParts(Protocol):
    """Parts of a jump filter, or of an encoder, that the kernels of the ODE-RNN read."""

    evolution: Evolution
    jump: Any

    @property
    def z_start(self) -> Tensor: ...


class FilterParts(RecurrentParts, Protocol):
    """Parts of a jump filter that kernels read."""

    readout: Readout
    input_map: nn.Linear | None
    rate_map: nn.Linear | None
    n_inputs: int
    n_features: int
    n_rates: int
    availability: Any
    use_fused: bool

    def parameters(self) -> Iterator[nn.Parameter]: ...


def run_fused(
    models: Sequence[FilterParts], batch: IrregularBatch, last: Tensor, seen: Tensor,
    features: Tensor | None, starts: Sequence[Tensor] | None, held: HeldRates | None = None,
) -> Sequence[Path | None]:  # fmt: skip
    """Path of each filter by a kernel, in one pass if the filters can share it; None where no kernel serves.

    Parameters
    ----------
    models : sequence of FilterParts
    batch : IrregularBatch
        Compact.
    last, seen : Tensor[b n+1 c]
        As `IrregularBatch.last_seen`, in the states' dtype.
    features : Tensor[b n f] or None
        Covariates at the events.
    starts : sequence of Tensor[b d] or None
        State at which each row of each filter begins; None = the learned one.
    held : HeldRates or None
        Rates of infusions, which only `run_innovations` reads.
    """
    nothing = [None] * len(models)
    if all(model.use_fused for model in models) and share_one_pass(models):
        return run_innovations(models, batch, last, seen, features, starts, held) or nothing
    if held is not None:
        return nothing

    def first_path(model: FilterParts, start: Tensor | None) -> Path | None:
        paths = (run(model, batch, last, seen, features, start) for run in KERNELS if model.use_fused)
        return next((path for path in paths if path is not None), None)

    return list(map(first_path, models, starts or nothing))


def share_one_pass(models: Sequence[FilterParts]) -> bool:
    """Whether `run_innovations` serves these together: default parts of one size and in one state of training."""
    settings = {
        (tuple(p.shape for p in model.parameters()), model.readout.training, model.readout.dropout.p)
        for model in models
    }
    return len(settings) == 1 and all(map(is_innovation, models))


def is_innovation(model: FilterParts) -> bool:
    """Whether a filter has the default parts, whose jump reads all inputs and covariates as they are given."""
    if model.availability is not None:
        return False
    parts = (type(model.evolution), type(model.jump), type(model.readout))
    return parts == (DiagonalFlow, InnovationGRU, Readout) and model.jump.n_inputs == model.n_inputs + model.n_features


def run_innovation(
    model: FilterParts, batch: IrregularBatch, last: Tensor, seen: Tensor, features: Tensor | None, start: Tensor | None
) -> Path | None:
    """The default filter: `tsode.kernels.innovation`."""
    if not is_innovation(model):
        return None
    paths = run_innovations([model], batch, last, seen, features, None if start is None else [start])
    return None if paths is None else paths[0]


def run_innovations(
    models: Sequence[FilterParts], batch: IrregularBatch, last: Tensor, seen: Tensor,
    features: Tensor | None = None, starts: Sequence[Tensor] | None = None, held: HeldRates | None = None,
) -> list[Path] | None:  # fmt: skip
    """Default filters of one size, in one pass; with `starts` each row of each begins at a state (b d) of its own."""
    if _grows(batch.values) or _grows(batch.inputs) or not batch.times.numel():
        return None
    first, readout = models[0], models[0].readout
    ragged = Ragged.of(batch.lengths, batch.n_events)
    gap = batch.times.diff(dim=1, prepend=batch.times[:, :1]).to(first.z_start.dtype)

    def listed(tensor: Tensor) -> Tensor:
        return tensor.to(gap.dtype).flatten(0, 1).index_select(0, ragged.events)

    dropout = None
    if readout.training and readout.dropout.p:
        several = [len(models)] if len(models) > 1 else []
        ones = gap.new_ones(*several, len(ragged.events), readout.location_hidden.out_features)
        dropout = readout.dropout(ones)
    inputs = gap.new_zeros(*gap.shape, first.n_inputs) if batch.inputs is None else batch.inputs[..., : first.n_inputs]
    values, mask, last, seen, inputs = map(listed, (batch.values, batch.mask, last[:, :-1], seen[:, :-1], inputs))
    features = None if features is None else listed(features)
    rates = None if held is None else listed(held.rates[:, :-1])
    read = KernelInputs(
        ragged.sizes, ragged.last, listed(gap), values, mask, last, seen, inputs, dropout, features, rates
    )
    weights = list(map(innovation_weights, models))
    if starts is not None:
        rows = ragged.order[: len(ragged.last)]
        weights = [each._replace(z_start=start[rows]) for each, start in zip(weights, starts)]
    states = filter_states(read, *weights)
    each: Iterable[tuple[Tensor, ...]] = [states] if len(models) == 1 else zip(*(part.unbind() for part in states))
    begin = starts or [model.z_start for model in models]
    status = torch.zeros_like(ragged.order)
    return [RaggedPath(batch.times, status, start, ragged, *parts) for start, parts in zip(begin, each)]


def innovation_weights(model: FilterParts) -> Weights:
    """The weights as the kernel reads them."""
    flow: Any = model.evolution
    cell: Any = model.jump.cell
    hidden, out = model.readout.location_hidden, model.readout.location_out
    return Weights(
        model.z_start, flow.rate, flow.frequency,
        (flow.modulation.weight, flow.modulation.bias) if flow.n_static else None,
        (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh),
        (hidden.weight, hidden.bias), (out.weight, out.bias),
        None if model.input_map is None else model.input_map.weight,
        None if model.rate_map is None else model.rate_map.weight,
    )  # fmt: skip


def _grows(data: Tensor | None) -> bool:
    """Whether a gradient is asked for data, which kernels do not give."""
    return data is not None and data.requires_grad


def is_neural(evolution: Evolution) -> bool:
    """A perceptron with tanh by a Runge-Kutta method, or a GRU-ODE by exponential steps."""
    if type(evolution) is not Solved or evolution.gradient.name != "backprop":
        return False
    dynamics: Any = evolution.dynamics
    if type(dynamics) is WithStatic and type(dynamics.dynamics) is MLPDynamics:
        dynamics = dynamics.dynamics
    if type(dynamics) is MLPDynamics:
        kinds = [type(layer) for layer in dynamics.layers]
        is_known = kinds == [nn.Linear, nn.Tanh] * (len(kinds) // 2) + [nn.Linear]
        return is_known and type(evolution.solver) in (Euler, Midpoint, RK4)
    return type(dynamics) is GRUODE and type(evolution.solver) is ExponentialEuler


def run_ode_rnn(
    model: FilterParts, batch: IrregularBatch, last: Tensor, seen: Tensor, features: Tensor | None, start: Tensor | None
) -> Path | None:
    """The ODE-RNN and its GRU-ODE variant, from their learned start."""
    input_map = None if model.input_map is None else model.input_map.weight
    is_plain = start is None and model.availability is None
    return run_recurrent(model, batch, features, input_map) if is_plain else None


def run_recurrent(
    model: RecurrentParts, batch: IrregularBatch, features: Tensor | None = None, input_map: Tensor | None = None
) -> Path | None:
    """A neural flow with a GRU jump: `tsode.kernels.ode_rnn` and `tsode.kernels.gru_ode`.

    Parameters
    ----------
    model : RecurrentParts
    batch : IrregularBatch
    features : Tensor[b n f] or None
        Covariates at the events, which the cell reads.
    input_map : Tensor[d e] or None
        From the inputs, which the cell reads too, to what they add to the state.
    """
    evolution: Any = model.evolution
    jump: Any = model.jump
    if type(jump) is not GRU or not is_neural(evolution) or type(evolution.dynamics) is WithStatic:
        return None
    n_read = (0 if input_map is None else input_map.shape[1]) + (0 if features is None else features.shape[2])
    dynamics, solver = evolution.dynamics, evolution.solver
    if jump.n_inputs != n_read or solver.max_step is not None:
        return None
    if any(_grows(part) for part in (batch.values, batch.times, batch.inputs)) or not batch.times.numel():
        return None
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1]).to(batch.values.dtype)
    inputs = batch.inputs
    if features is not None:  # read by the cell, but not added to the state
        input_map = model.z_start.new_zeros(len(model.z_start), 0) if input_map is None else input_map
        input_map = functional.pad(input_map, (0, features.shape[2]))
        inputs = join_inputs(inputs, features, jump.n_inputs)
    rest = (solver.n_steps, model.z_start, batch.values, batch.mask, gaps, jump.cell, inputs, input_map)
    if type(dynamics) is GRUODE:
        z_minus, z_plus = fused_gru_ode(dynamics.gates, dynamics.candidate_bias, *rest)
    else:
        tableau = solver.tableau
        z_minus, z_plus = fused_ode_rnn(dynamics.layers[::2], below(tableau), tableau.b, *rest)
    # A state that is not finite stays so to the end of its row. The plain loop stops there, which gradients of other
    # rows need; a forecast of other rows does not.
    is_finite = z_plus[:, -1].isfinite().all(dim=1)
    if torch.is_grad_enabled() and not bool(is_finite.all()):
        return None
    start = model.z_start.expand(batch.n_series, -1)
    return PaddedPath(batch.times, start, z_minus, z_plus, torch.where(is_finite, 0, int(Status.NON_FINITE)))


def join_inputs(inputs: Tensor | None, features: Tensor, width: int) -> Tensor:
    """What a cell of this `width` reads beside observations: inputs, zeros where there are none, and covariates."""
    if inputs is None:
        inputs = features.new_zeros(*features.shape[:-1], width - features.shape[-1])
    return torch.cat([inputs, features], dim=-1)


def below(tableau: Tableau) -> tuple[float, ...]:
    """Weight of the slope before in each later stage; these methods read no other."""
    return tuple(row[-1] for row in tableau.a)


def evolve_to(evolution: Any, z: Tensor, t0: Tensor, times: Tensor, *drive: Tensor) -> Evolved:
    """`evolution.evolve_to`, by a kernel of `tsode.kernels.dense_output` where one serves."""
    if drive:
        return evolution.evolve_to(z, t0, times, *drive)
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
    is_finite = states.isfinite().flatten(1).all(dim=1)
    if torch.is_grad_enabled() and not bool(is_finite.all()):
        return evolution.evolve_to(z, t0, times)
    status = torch.where(is_finite, 0, int(Status.NON_FINITE))
    return Evolved(states, torch.zeros_like(states[..., 0]), status)


def _layers(dynamics: Any) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of a perceptron; of coordinates that stand still, zeros."""
    if type(dynamics) is not WithStatic:
        return [(layer.weight, layer.bias) for layer in dynamics.layers[::2]]
    *inner, (weight, bias) = _layers(dynamics.dynamics)
    return [*inner, (weight * dynamics.is_moving[:, None], bias * dynamics.is_moving)]


Kernel = Callable[
    [FilterParts, IrregularBatch, Tensor, Tensor, Tensor | None, Tensor | None],
    Path | None,
]
"""``(model, batch, last, seen, features, start) -> Path or None``, see `run_fused`."""

KERNELS: list[Kernel] = [run_innovation, run_ode_rnn]
