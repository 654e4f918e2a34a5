"""Growth of a filter: a wider one that forecasts what the narrow one did, and can learn more (Net2Net)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tsode.dynamics.gru_ode import GRUODE
from tsode.dynamics.mlp import MLPDynamics
from tsode.errors import ParameterError
from tsode.jumps.bayes_gru import BayesGRU
from tsode.jumps.gru import GRU
from tsode.jumps.innovation_gru import InnovationGRU
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.filters.observation_times import ObservationIntensity
from tsode.nn.mode_rates import ModeRates
from tsode.readouts import Readout

__all__ = ["grow"]

Places = Tensor
"""Where the entries of an axis are in the wider one, (n,)."""

_PARTS = ("evolution", "jump", "readout", "intensity", "availability")
_Handler = Callable[[Any, Any, Places], None]


@torch.no_grad()
def grow(old: MarginalModel, new: MarginalModel) -> None:
    """Give a wider model, with weights of its own, the weights of a narrow one, so that both forecast alike.

    Old units keep their weights and read no new ones. New units read all, by the weights they were made with, which are
    unequal, and so learn apart from the first step on; what they make of it is not read until that has been learned.
    Forecasts change by rounding alone. (Net2Net copies units instead, which then have to be parted by noise.)

    Parameters
    ----------
    old, new : MarginalModel
        Of the same parts, of which the second has as many units as the first, or more.

    Raises
    ------
    ParameterError
        If parts are not of the same kind, fewer units are asked for, or there is a part that cannot grow.

    References
    ----------
    Chen, Goodfellow & Shlens, "Net2Net: accelerating learning via knowledge transfer", ICLR 2016.
    """
    narrow, wide = ({**dict(model.named_buffers()), **dict(model.named_parameters())} for model in (old, new))
    for name, value in narrow.items():
        if name in wide and wide[name].shape == value.shape:
            wide[name].copy_(value)
    for one, other in zip(old.members, new.members, strict=True):
        assert isinstance(one, JumpFilter)
        assert isinstance(other, JumpFilter)
        _grow_filter(one, other)


def _grow_filter(old: JumpFilter, new: JumpFilter) -> None:
    state = _state_places(old, new)
    handled = _grow_own(old, new, state)
    others = dict(new.named_modules())
    parts = {name: part for name, part in old.named_modules() if name.split(".")[0] in _PARTS}
    for name, part in parts.items():
        other = others.get(name)
        if other is None or type(part) is not type(other):
            kind = "no part" if other is None else f"a {type(other).__name__}"
            raise ParameterError(f"{name} was a {type(part).__name__} and would be {kind}.")
        handler: _Handler | None = _grow_rates if isinstance(part, ModeRates) else _HANDLERS.get(type(part))
        if handler is not None:
            handler(part, other, state)
            handled |= {id(weight) for weight in part.parameters()}
    weights = dict(new.named_parameters())
    for name, weight in old.named_parameters():
        if name.split(".")[0] in _PARTS and weight.shape != weights[name].shape and id(weight) not in handled:
            raise ParameterError(f"{name.rpartition('.')[0]} is of a kind that cannot grow.")


def _state_places(old: JumpFilter, new: JumpFilter) -> Places:
    """Where the coordinates of the state go: modes are its real parts, its imaginary parts, and what stands still."""
    rates, wider = (_rates_of(model) for model in (old, new))
    if rates is None or wider is None:
        return _first(old.evolution.n_state, new.evolution.n_state, "n_state")
    n, m = rates.n_modes, wider.n_modes
    modes, statics = _first(n, m, "n_modes"), _first(rates.n_static, wider.n_static, "n_static")
    return torch.cat([modes, m + modes, 2 * m + statics])


def _rates_of(model: JumpFilter) -> ModeRates | None:
    return next((part for part in model.evolution.modules() if isinstance(part, ModeRates)), None)


def _first(n: int, m: int, name: str) -> Places:
    if m < n:
        raise ParameterError(f"{name} cannot fall from {n} to {m}: a model grows.")
    return torch.arange(n)


def _stacked(places: Places, size: int, n: int) -> Places:
    """Places on an axis of `n` blocks of `size`, one after the other."""
    return torch.cat([places + k * size for k in range(n)])


def _put(old: Tensor, new: Tensor, rows: Places, columns: Places | None = None) -> None:
    """Write old weights (r ...) or (r c) into new ones: old rows read no new columns."""
    if columns is None:
        new[rows] = old
        return
    block = new.new_zeros(len(rows), new.shape[1])
    block[:, columns] = old
    new[rows] = block


def _grow_linear(old: nn.Linear, new: nn.Linear, rows: Places, columns: Places) -> None:
    _put(old.weight, new.weight, rows, columns)
    if old.bias is not None:
        _put(old.bias, new.bias, rows)


def _hidden(old: nn.Linear, new: nn.Linear) -> Places:
    return _first(old.out_features, new.out_features, "hidden units")


def _same(n: int) -> Places:
    return torch.arange(n)


# -- parts -------------------------------------------------------------------------------------------------------------


def _grow_rates(old: ModeRates, new: ModeRates, state: Places) -> None:
    n, m = old.n_modes, new.n_modes
    modes = _first(n, m, "n_modes")
    # those that are added turn at all speeds that a fresh model has, not at the highest alone
    new.frequency[n:] = new.frequency[torch.linspace(0, m - 1, m - n + 2)[1:-1].round().long()]
    _put(old.rate, new.rate, modes)
    _put(old.frequency, new.frequency, modes)
    if old.n_static:
        rows = _stacked(modes, new.n_modes, 2)
        _grow_linear(old.modulation, new.modulation, rows, _first(old.n_static, new.n_static, "n_static"))
    elif new.n_static:
        raise ParameterError("n_static cannot grow from 0: rates of the modes were not those of a series.")


def _grow_cell(old: InnovationGRU | GRU | BayesGRU, new: InnovationGRU | GRU | BayesGRU, state: Places) -> None:
    rows = _stacked(state, new.cell.hidden_size, 3)
    _put(old.cell.weight_ih, new.cell.weight_ih, rows)
    _put(old.cell.weight_hh, new.cell.weight_hh, rows, state)
    _put(old.cell.bias_ih, new.cell.bias_ih, rows)
    _put(old.cell.bias_hh, new.cell.bias_hh, rows)


def _grow_readout(old: Readout, new: Readout, state: Places) -> None:
    for hidden, out in (("location_hidden", "location_out"), ("scale_hidden", "scale_out")):
        first, other = getattr(old, hidden), getattr(new, hidden)
        units = _first(first.out_features, other.out_features, "n_hidden")
        rest = torch.arange(old.n_state, first.in_features) + new.n_state - old.n_state
        _grow_linear(first, other, units, torch.cat([state, rest]))
        last = getattr(old, out)
        _grow_linear(last, getattr(new, out), _same(last.out_features), units)


def _grow_mlp(old: MLPDynamics, new: MLPDynamics, state: Places) -> None:
    layers, others = (
        [part for part in field.layers if isinstance(part, nn.Linear)] for field in (old, new)
    )  # fmt: skip
    if len(layers) != len(others):
        raise ParameterError("depth cannot change: a field grows in width.")
    columns = state
    for layer, other in zip(layers[:-1], others[:-1]):
        rows = _first(layer.out_features, other.out_features, "width")
        _grow_linear(layer, other, rows, columns)
        columns = rows
    _grow_linear(layers[-1], others[-1], state, columns)


def _grow_gru_ode(old: GRUODE, new: GRUODE, state: Places) -> None:
    _grow_linear(old.gates, new.gates, _stacked(state, new.n_state, 3), state)
    _put(old.candidate_bias, new.candidate_bias, state)


def _grow_intensity(old: ObservationIntensity, new: ObservationIntensity, state: Places) -> None:
    lead = torch.tensor([new.hidden.in_features - 1])
    _grow_linear(old.hidden, new.hidden, _hidden(old.hidden, new.hidden), torch.cat([state, lead]))
    _grow_linear(old.out, new.out, _same(1), _hidden(old.hidden, new.hidden))


def _grow_own(old: JumpFilter, new: JumpFilter, state: Places) -> set[int]:
    """Grow what is a filter's own, not of one of its parts; the ids of these weights."""
    handled = {id(old.z_start)}
    _put(old.z_start, new.z_start, state)
    for part, other in ((old.input_map, new.input_map), (old.rate_map, new.rate_map)):
        if part is not None and other is not None:
            _grow_linear(part, other, state, _same(part.in_features))
            handled.add(id(part.weight))
    if old.n_passes > 1:
        # the product is of a row by this matrix: what old coordinates are made of stands in its columns
        _put(old.restart.T, new.restart.T, state, state)
        handled.add(id(old.restart))
    return handled


_HANDLERS: dict[type, _Handler] = {
    BayesGRU: _grow_cell,
    GRU: _grow_cell,
    GRUODE: _grow_gru_ode,
    InnovationGRU: _grow_cell,
    MLPDynamics: _grow_mlp,
    ObservationIntensity: _grow_intensity,
    Readout: _grow_readout,
}
