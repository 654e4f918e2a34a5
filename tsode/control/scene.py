"""Scene of a plan: the joint paths of all draws under some candidates, as objectives and constraints look at them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.frames.labels import guess_label

__all__ = ["Clock", "Scene", "find_name", "weights_of"]


@dataclass(frozen=True, eq=False)
class Clock:
    """Times at which paths are looked at.

    Parameters
    ----------
    times : Tensor[m], float64
        In model time.
    elapsed : Tensor[m]
        Since the plan began: in the data's own numbers, or in units of the model where times are a clock's.
    weights : Tensor[m]
        How much of the time each stands for; they sum to 1.
    to_model : callable
        Model time of a time as users write it.
    """

    times: Tensor
    elapsed: Tensor
    weights: Tensor
    to_model: Any
    _windows: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def window(self, between: Any) -> Tensor:
        """Which times (m,) lie within a window that users write as two times; None is always."""
        key = repr(between)
        if key not in self._windows:
            self._windows[key] = self._read(between)
        return self._windows[key]

    def _read(self, between: Any) -> Tensor:
        if between is None:
            return torch.ones_like(self.times, dtype=torch.bool)
        try:
            first, last = between
        except (TypeError, ValueError):
            raise ParameterError(f"between= takes two times, but is {between!r}.") from None
        low = -torch.inf if first is None else self.to_model(first)
        high = torch.inf if last is None else self.to_model(last)
        is_in = (self.times >= low) & (self.times <= high)
        if not bool(is_in.any()):
            raise ParameterError(f"between={between!r} holds none of the times of the plan.")
        return is_in


@dataclass(frozen=True, eq=False)
class Scene:
    """Paths under ``q`` candidates, with what each of these does.

    Parameters
    ----------
    paths : Tensor[q s m c]
        The same draws in every candidate.
    names : sequence of label
        Of the ``c`` channels.
    clock : Clock
    amounts : Tensor[q k]
    """

    paths: Tensor
    names: Sequence[Hashable]
    clock: Clock
    amounts: Tensor

    def channel(self, name: Hashable) -> Tensor:
        """Paths (q s m) of one channel."""
        return self.paths[..., find_name(name, self.names)]


def find_name(name: Hashable, names: Sequence[Hashable]) -> int:
    """Place of a channel among those that there are."""
    if name not in names:
        raise ParameterError(
            f"The plan is about channel {name!r}, which the forecaster does not have."
            f"{guess_label(name, list(names))} It has {', '.join(map(repr, names))}."
        )
    return list(names).index(name)


def weights_of(times: np.ndarray) -> np.ndarray:
    """Share of the time that each of some times (m,) in order stands for: half of the gaps beside it."""
    if len(times) == 1:
        return np.ones(1)
    gaps = np.diff(times)
    weights = np.zeros(len(times))
    weights[1:] += gaps / 2.0
    weights[:-1] += gaps / 2.0
    return weights / weights.sum()
