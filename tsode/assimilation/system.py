"""Stochastic systems: known equations whose rates have noise, and parameters that drift along time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions.transforms import Transform

from tsode.assimilation.process_noise import ProcessNoise
from tsode.errors import ParameterError
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.base import Between
from tsode.inference.observations import Observations
from tsode.inference.parameters import Parameters, ParameterSpace
from tsode.inference.priors import Normal, Prior

__all__ = ["StochasticSystem", "stochastic"]


@dataclass(frozen=True, eq=False)
class StochasticSystem(KnownSystem):
    """Known equations with noise of their rates, ``dz = rates dt + G dW`` in the sense of Ito.

    What is known of initial states is what filters begin with: their priors make no parameters.

    Parameters
    ----------
    process_noise : mapping
        See `tsode.assimilation.process_noise.ProcessNoise`.
    """

    process_noise: Mapping[Any, Any] = field(default_factory=dict)
    noise: ProcessNoise = field(init=False, default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", ProcessNoise(self.states, self.process_noise))
        super().__post_init__()
        for name in self.noise.names():
            if name not in self.all_parameters():
                raise ParameterError(
                    f"process_noise names the parameter {name!r}, which has neither a prior nor a value: add it to "
                    "parameters=."
                )
        for channel, noise in self.observed.items():
            if isinstance(noise.of, Between):
                raise ParameterError(
                    f"observed[{channel!r}] is between two times, which a filter does not look back on: observe a "
                    "rate, or a state that counts up."
                )
        unread = {
            "triggers": self.triggers,
            "correlated_errors": self.errors.correlation,
            "population": self.population,
        }
        for what, value in unread.items():
            if value:
                raise ParameterError(f"{what} and process_noise do not go together yet: leave one out.")

    def _of_system(self) -> dict[str, Any]:
        added = {name: prior for term in self.residual.values() for name, prior in term.parameters().items()}
        added |= self.noise.parameters()
        for name in added:
            if name in self.parameters:
                raise ParameterError(
                    f"There is a parameter {name!r} already, and process_noise or the residual adds another: rename it."
                )
        return {**self.parameters, **added}

    def space(self, data: Observations, n_problems: int | None = None) -> ParameterSpace:
        """Space of the parameters; it may have no axis, where all that is unknown is the state."""
        parameters = self.all_parameters() or {"nothing": 0.0}  # a point has something that tells how many there are
        return ParameterSpace.build(parameters, data.ids, self.own(), n_problems, may_be_empty=True)

    def own(self) -> set[str]:
        return set(self.per_series)

    def start(self, p: Parameters, series: Tensor, like: Tensor) -> Tensor:
        """Medians of the initial states (r d)."""
        return KnownSystem.start(self._begun, p, series, like)

    @cached_property
    def uncertain(self) -> dict[str, Prior]:
        """Initial states that are not known."""
        return {name: given for name, given in self.initial.items() if isinstance(given, Prior)}

    @cached_property
    def _begun(self) -> StochasticSystem:
        return replace(self, initial={**self.initial, **{name: one._median for name, one in self.uncertain.items()}})

    def names_used(self, p: Parameters) -> set[str]:
        return super().names_used(p) | self.noise.names()

    def check_functions(self, p: Parameters, t: Tensor) -> None:
        super().check_functions(p, t)
        with torch.no_grad():
            z = self.start(p, torch.zeros(len(t), dtype=torch.int64), t)
            self.noise.root(t, z, p)


def stochastic(system: KnownSystem, process_noise: Mapping[Any, Any], drifting: Sequence[str] = ()) -> StochasticSystem:
    """The system with noise of its rates, and with parameters that are states.

    Parameters
    ----------
    system : KnownSystem
    process_noise : mapping
        See `ProcessNoise`.
    drifting : sequence of str
        Parameters with priors, which say where they begin. Each walks at random on its line, which is that of its
        logarithm for a positive one and of its logit between bounds; what it is given in `process_noise` is how fast,
        per root of the unit of time.
    """
    parts = {one.name: getattr(system, one.name) for one in fields(KnownSystem)}
    if not drifting:
        return StochasticSystem(**parts, process_noise=process_noise)
    lines: dict[str, Transform] = {}
    initial: dict[str, Any] = {}
    for name in drifting:
        prior = system.parameters.get(name)
        if not isinstance(prior, Prior):
            raise ParameterError(
                f"drifting= names {name!r}, which is no parameter with a prior: give it one, from where it begins."
            )
        if name not in process_noise:
            raise ParameterError(
                f"drifting= names {name!r}, and nothing says how fast: add process_noise={{{name!r}: HalfNormal(...)}}."
            )
        lines[name] = prior.line
        on_line = prior.line.inv(torch.from_numpy(prior.quantile((np.arange(4096) + 0.5) / 4096)))
        initial[name] = Normal(float(on_line.mean()), float(on_line.std()))
    n = len(system.states)

    def drifted(z: Tensor, p: Parameters) -> tuple[Tensor, Parameters]:
        return z[:, :n], p.also({name: line(z[:, n + k]) for k, (name, line) in enumerate(lines.items())})

    def rates(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
        base, own = drifted(z, p)
        slope = system.rates(t, base, own)
        if isinstance(slope, tuple | list):
            slope = torch.stack(torch.broadcast_tensors(*slope), dim=-1)
        return torch.cat([slope, torch.zeros_like(z[:, n:])], dim=-1)

    def along(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Parameters], Tensor]:
        return lambda t, z, p: function(t, *drifted(z, p))

    parts |= {
        "rates": rates,
        "states": [*system.states, *drifting],
        "parameters": {name: given for name, given in system.parameters.items() if name not in drifting},
        "initial": {**system.initial, **initial},
        "observed": {
            channel: replace(noise, of=along(noise.of)) if callable(noise.of) else noise
            for channel, noise in system.observed.items()
        },
    }
    sizes = {key: along(size) if callable(size) else size for key, size in process_noise.items()}
    return StochasticSystem(**parts, process_noise=sizes)
