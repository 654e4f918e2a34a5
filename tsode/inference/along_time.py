"""Inputs along time, and parameters that each occasion has its own of: what changes beside the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.effects.occasions import AlongOccasions, Occasions
from tsode.inference.observations import Observations
from tsode.inference.parameters import Parameters, check_name

__all__ = ["AlongTime", "along_time", "at_events", "check_inputs", "occasions_seen"]

AlongTime = Callable[[Tensor], dict[str, Tensor]]
"""Of rows (r,): what holds at the time of each, by name."""


def along_time(
    data: Observations, occasions: Occasions | None, series: Tensor, values: Mapping[str, Tensor], is_seen: bool
) -> AlongTime:
    """Inputs, and those of the parameters `values` (r,) that change, as a function of the time of each row.

    Parameters
    ----------
    data : Observations
    occasions : Occasions or None
    series : Tensor[r], int64
        Which each row belongs to.
    values : mapping of str to Tensor[r]
    is_seen : bool
        Of what is seen, which stands before the events of its time, and before an occasion that begins with one.
    """
    if data.known is None:
        return lambda t: {}
    if occasions is None:
        return data.known.along(series)
    stands_before = is_seen and data.events is not None and data.side != "after"
    before = data.events.time if stands_before and data.events is not None else None
    return occasions.along(data.known, series, values, before)


def at_events(
    name: str, rows: Mapping[str, Tensor], when: Tensor, along: Callable[[Mapping[str, Tensor]], AlongTime]
) -> Tensor:
    """A parameter at the times of events, (r k).

    Parameters
    ----------
    name : str
    rows : mapping of str to Tensor[r]
    when : Tensor[r k]
    along : callable
        Parameters (r k,) -> what of them changes, as a function of the time of each.
    """
    p = Parameters(rows, lambda value: value.repeat_interleave(when.shape[1]))
    return p.beside(along(p)(when.flatten()))[name].reshape(when.shape)


def occasions_seen(data: Observations, occasions: Occasions) -> Tensor:
    """Whether anything was seen of each series on each of its occasions, (n k), bool."""
    series, column = (~data.values.isnan()).any(dim=2).nonzero(as_tuple=True)
    along = along_time(data, occasions, series, {}, is_seen=True)
    assert isinstance(along, AlongOccasions)
    seen = torch.zeros(len(data.ids), occasions.n, dtype=torch.bool)
    seen[series, along.number_at(data.times[series, column])[occasions.by].long()] = True
    return seen


def check_inputs(data: Observations, occasions: Occasions | None, parameters: Mapping[str, object]) -> None:
    """Raise a ParameterError unless functions can read the inputs beside the parameters."""
    for name in () if data.known is None else data.known.names:
        if occasions is not None and name == occasions.by:  # which no function reads
            continue
        check_name(name)
        if name in parameters:
            raise ParameterError(f"{name!r} is a parameter, and an input along time too: rename one of them.")
