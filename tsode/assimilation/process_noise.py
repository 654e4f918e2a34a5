"""Process noise: what the rates of a known system leave to chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.known_system import calling
from tsode.inference.parameters import Parameters
from tsode.inference.priors import Prior

__all__ = ["ProcessNoise", "StateNoise"]


@dataclass(frozen=True)
class StateNoise:
    """Noise of a rate in proportion to a power of its state: ``sd * |z|^power``.

    Parameters
    ----------
    sd : Prior, number or str
        Or the name of a parameter. Per root of the unit of time.
    power : float
        1: chances that all share, as weather (geometric); 1/2: chances of each individual (demographic).
    """

    sd: Prior | float | str
    power: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.power, bool) or not isinstance(self.power, int | float) or not 0.0 <= self.power <= 2.0:
            raise ParameterError(f"power of StateNoise must be a number between 0 and 2, but is {self.power!r}.")


@dataclass(frozen=True, eq=False, repr=False)
class ProcessNoise:
    """Noise of the rates of some states, ``dz = rates dt + G dW`` in the sense of Ito.

    Parameters
    ----------
    states : sequence of str
        All that the system has.
    given : mapping
        Of a state: standard deviation per root of the unit of time, as a number, a prior (which makes a parameter
        ``<state>_noise``), the name of a parameter, a function ``(t, z, p) -> (r,)``, or a `StateNoise`. Of a pair of
        these states: the correlation of their noise, as a number, a name, or a prior (``noise_corr_<a>_<b>``).
    """

    states: Sequence[str]
    given: Mapping[Any, Any]
    _names: dict[Any, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.given, Mapping) or not any(isinstance(key, str) for key in self.given):
            raise ParameterError(
                f"process_noise takes a dict of state to size, such as {{{self.states[0]!r}: HalfNormal(1.0)}}, but is "
                f"{self.given!r}. Equations without any are for KnownODEForecaster."
            )
        for key, value in self.given.items():
            if isinstance(key, tuple):
                self._check_pair(key, value)
                continue
            if key not in self.states:
                raise ParameterError(
                    f"process_noise names {key!r}, which is no state. States: {', '.join(self.states)}."
                )
            self._check_size(key, value)

    def _check_pair(self, pair: tuple[Any, ...], value: Any) -> None:
        noisy = [name for name in self.given if isinstance(name, str)]
        if len(pair) != 2 or pair[0] == pair[1] or any(name not in noisy for name in pair):
            raise ParameterError(
                f"process_noise has {pair!r}: a correlation is of two different states that have noise: "
                f"{', '.join(noisy)}."
            )
        if tuple(reversed(pair)) in self.given:
            raise ParameterError(f"process_noise has the correlation of {pair[0]!r} and {pair[1]!r} twice: drop one.")
        if isinstance(value, Prior):
            if value.bounds[0] < -1.0 or value.bounds[1] > 1.0:
                raise ParameterError(
                    f"process_noise[{pair!r}] is a correlation, but its prior is {value!r}: give it lower=-1, upper=1."
                )
        elif not isinstance(value, str) and not (_is_number(value) and -1.0 < value < 1.0):
            raise ParameterError(f"process_noise[{pair!r}] must be between -1 and 1, but is {value!r}.")

    def _check_size(self, state: str, value: Any) -> None:
        sd = value.sd if isinstance(value, StateNoise) else value
        if isinstance(sd, Prior):
            if sd.bounds[0] < 0:
                raise ParameterError(
                    f"process_noise[{state!r}] cannot be negative, but its prior is {sd!r}: give it lower=0."
                )
        elif not isinstance(sd, str) and not callable(sd) and not (_is_number(sd) and 0.0 <= sd < np.inf):
            raise ParameterError(
                f"process_noise[{state!r}] must be a number not below 0, a prior, the name of a parameter, a function "
                f"(t, z, p) or a StateNoise, but is {value!r}."
            )

    def __repr__(self) -> str:
        shown = {key: "a function" if callable(value) else value for key, value in self.given.items()}
        return f"ProcessNoise({shown!r})"

    @property
    def noisy(self) -> list[str]:
        """States whose rates have noise, in the order of the states."""
        return [name for name in self.states if name in self.given]

    def parameters(self) -> dict[str, Prior]:
        """Parameters that priors make."""
        made = {}
        for key, value in self.given.items():
            sd = value.sd if isinstance(value, StateNoise) else value
            if isinstance(sd, Prior):
                made[_name(key)] = sd
        return made

    def names(self) -> set[str]:
        """Parameters that are named."""
        sizes = (value.sd if isinstance(value, StateNoise) else value for value in self.given.values())
        return set(self.parameters()) | {value for value in sizes if isinstance(value, str)}

    def root(self, t: Tensor, z: Tensor, p: Parameters) -> Tensor:
        """``G`` at times (r,) and states (r d): (r d k), for the ``k`` states that have noise."""
        sizes = torch.stack([self._size(name, t, z, p) for name in self.noisy], dim=-1)  # (r, k)
        places = [list(self.states).index(name) for name in self.noisy]
        root = torch.zeros(*z.shape, len(places), dtype=z.dtype)
        shape = self._shape(p, z)
        if shape is None:
            root[:, places, range(len(places))] = sizes
            return root
        root[:, places] = sizes[..., None] * shape
        return root

    def _size(self, name: str, t: Tensor, z: Tensor, p: Parameters) -> Tensor:
        value = self.given[name]
        if callable(value):
            with calling(f"process_noise[{name!r}]", p):
                return torch.as_tensor(value(t, z, p), dtype=z.dtype).expand_as(z[:, 0])
        sd = value.sd if isinstance(value, StateNoise) else value
        size = p[_name(name)] if isinstance(sd, Prior) else p[sd] if isinstance(sd, str) else z.new_tensor(float(sd))
        if isinstance(value, StateNoise) and value.power:
            state = z[:, list(self.states).index(name)].abs()
            size = size * (state if value.power == 1.0 else state.clamp(min=1e-300) ** value.power)
        return size.expand_as(z[:, 0])

    def _shape(self, p: Parameters, z: Tensor) -> Tensor | None:
        """Root (r k k) of the correlations; None where there are none."""
        pairs = {key: value for key, value in self.given.items() if isinstance(key, tuple)}
        if not pairs:
            return None
        k = len(self.noisy)
        rows = [[torch.zeros_like(z[:, 0]) if i != j else torch.ones_like(z[:, 0]) for j in range(k)] for i in range(k)]
        for (a, b), value in pairs.items():
            i, j = sorted((self.noisy.index(a), self.noisy.index(b)))
            rho = p[_name((a, b))] if isinstance(value, Prior) else p[value] if isinstance(value, str) else value
            rows[i][j] = rows[j][i] = torch.as_tensor(rho, dtype=z.dtype).expand_as(z[:, 0])
        correlation = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
        # correlations that cannot stand together have no root: what comes of it is not finite, and so impossible
        root, info = torch.linalg.cholesky_ex(correlation)
        return torch.where((info == 0)[:, None, None], root, torch.nan)


def _name(key: Any) -> str:
    return f"{key}_noise" if isinstance(key, str) else f"noise_corr_{key[0]}_{key[1]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


Size = Prior | float | str | StateNoise | Callable[..., Tensor]
