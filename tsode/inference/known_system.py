"""Known systems: equations with named parameters, what is known of them before any data, and how they are observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tsode._registry import build
from tsode.errors import ParameterError, ShapeError
from tsode.inference.correlated_errors import CorrelatedErrors
from tsode.inference.dosing import Dosing
from tsode.inference.effects.space import Population, PopulationSpace
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.noise.base import Between, Noise
from tsode.inference.observations import Observations
from tsode.inference.parameters import Parameters, ParameterSpace
from tsode.inference.priors import Prior
from tsode.numerics import SOLVERS
from tsode.numerics.base import Solver
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.surfaces import Trigger

__all__ = ["KnownSystem", "Rates", "calling"]

Rates = Callable[[Tensor, Tensor, Parameters], Any]


@dataclass(frozen=True, eq=False)
class KnownSystem:
    """Equations of motion with named parameters, initial states, doses, and noise of what is observed.

    Parameters
    ----------
    rates : callable
        ``(t, z, p)``: times (r,) float64, states (r d) in the order of `states`, parameters by name, each (r,) -> the
        derivatives (r d), or a tuple of ``d`` tensors (r,). Each row by itself. Inputs along time are
        read by name too (`Observations.known`), as ``p.name``: here, in what is observed, in triggers, at the start.
    states : sequence of str
    parameters : mapping of str to Prior, number or Tensor[n]
        A tensor has a known number for each series.
    initial : mapping of str to number, Prior, callable or Tensor[n]
        Of every state: where it starts. A prior makes a parameter ``<state>_initial``, of which each series has its
        own; a function of the parameters ``p -> (r,)`` is, for instance, a steady state.
    observed : mapping of str to Noise
        Of every channel.
    per_series : sequence of str
        Parameters of which each series has its own, with the same prior; the others are shared.
    doses : mapping of str to Dosing
        Of states: how what is given to them arrives.
    triggers : sequence of Trigger
        Whose functions are of ``(t, z, p)``.
    residual : mapping of str to NeuralTerm
        Of states: an unknown function of all states that is added to the rate.
    population : Population, optional
        Random effects and covariates: parameters of which each series has its own around a typical value.
    correlated_errors : list of pairs of channels, or mapping of pairs to Prior or number
        Channels whose errors at one time are correlated; see `CorrelatedErrors`.
    solver : Solver, str or Part
        Tolerances are relative to the size of each state, which is taken from what the priors lead to. Where `Dopri5`
        finds a point stiff, `Rodas4` solves it to the same tolerances.
    """

    rates: Rates
    states: Sequence[str]
    parameters: Mapping[str, Any]
    initial: Mapping[str, Any]
    observed: Mapping[str, Noise]
    per_series: Sequence[str] = ()
    doses: Mapping[str, Dosing] = field(default_factory=dict)
    triggers: Sequence[Trigger] = ()
    residual: Mapping[str, NeuralTerm] = field(default_factory=dict)
    population: Population | None = None
    correlated_errors: Any = ()
    solver: Solver = field(default_factory=Dopri5)

    def __post_init__(self) -> None:
        object.__setattr__(self, "solver", build(SOLVERS, self.solver, "solver"))
        if not callable(self.rates):
            raise ParameterError(f"rates must be a function of (t, z, p), but is {self.rates!r}.")
        if isinstance(self.states, str) or not self.states or len(set(self.states)) < len(self.states):
            raise ParameterError(f"states must be a list of different names, but is {self.states!r}.")
        for name in self.initial:
            self.place_of(name, "initial=")
        for name in self.states:
            if name not in self.initial:
                raise ParameterError(
                    f"initial= has nothing for state {name!r}: give a number, a prior, or a function of parameters."
                )
        for state in self.residual:
            self.place_of(state, "residual=")
        if self.population is not None:
            self.population.check(self._of_system(), self.own())
        if not self.observed:
            raise ParameterError("observed= is empty: say how at least one channel is observed.")
        for channel, noise in self.observed.items():
            if not isinstance(noise, Noise):
                raise ParameterError(
                    f"observed[{channel!r}] must be a noise such as AdditiveNoise({self.states[0]!r}, sd=1.0), but is "
                    f"{noise!r}."
                )
            if isinstance(noise.of, str):
                self.place_of(noise.of, f"The noise of channel {channel!r}")
            for number, value in noise.settings().items():
                self._check_number(value, f"{number} of the noise of channel {channel!r}", is_positive=True)
        plain = self._of_system() | ({} if self.population is None else self.population.parameters())
        self.errors.check(self.observed, plain)
        for target, dosing in self.doses.items():
            self.place_of(target, "doses=")
            for number, value in dosing.settings().items():
                self._check_number(value, f"{number} of doses[{target!r}]", is_positive=True)

    def with_(self, **changes: Any) -> KnownSystem:
        """The same system with other fields; `parameters`, `initial` and `doses` are merged, and None takes one out.

        Examples
        --------
        >>> from tsode.inference.noise import AdditiveNoise
        >>> from tsode.systems import one_compartment_iv
        >>> level = AdditiveNoise(lambda t, z, p: z[:, 0] / p.volume, sd="sd")
        >>> system = one_compartment_iv().with_(parameters={"volume": 12.0, "cv": None}, observed={"level": level})
        >>> sorted(system.parameters)
        ['clearance', 'sd', 'volume']
        """
        for name in ("parameters", "initial", "doses"):
            merged = {**getattr(self, name), **changes.get(name, {})}
            changes[name] = {key: value for key, value in merged.items() if value is not None}
        return replace(self, **changes)

    def place_of(self, state: object, where: str) -> int:
        """Number of a state."""
        if state not in self.states:
            raise ParameterError(
                f"{where} names {state!r}, which is no state.{_guess(state, self.states)} States: "
                f"{', '.join(self.states)}."
            )
        return list(self.states).index(str(state))

    def _check_number(self, value: str | float, where: str, is_positive: bool) -> None:
        """A name must be that of a parameter, and one whose values cannot be negative."""
        if not isinstance(value, str):
            return
        known = self.all_parameters()
        if value not in known:
            raise ParameterError(
                f"{where} is {value!r}, which has neither a prior nor a value.{_guess(value, known)} Add "
                f"parameters={{{value!r}: LogNormal(...)}}, or give a number."
            )
        given = known[value]
        if isinstance(given, Prior) and given.bounds[0] < 0:
            raise ParameterError(
                f"{where} is {value!r}, which cannot be negative, but its prior is {given!r}: give it lower=0."
            )
        if not isinstance(given, Prior) and not bool((torch.as_tensor(given) >= 0).all()):
            raise ParameterError(f"{where} is {value!r}, which cannot be negative, but is {given!r}.")

    @cached_property
    def errors(self) -> CorrelatedErrors:
        """Which errors are correlated."""
        return CorrelatedErrors.read(self.correlated_errors)

    def all_parameters(self) -> dict[str, Any]:
        """The parameters with those that initial states, the residual, random effects and correlated errors add."""
        added = {} if self.population is None else self.population.parameters()
        return self._of_system() | added | self.errors.parameters()

    def _of_system(self) -> dict[str, Any]:
        added = {f"{name}_initial": given for name, given in self.initial.items() if isinstance(given, Prior)}
        added |= {name: prior for term in self.residual.values() for name, prior in term.parameters().items()}
        for name in added:
            if name in self.parameters:
                raise ParameterError(
                    f"There is a parameter {name!r} already, and an initial state or the residual adds another: "
                    "rename it."
                )
        return {**self.parameters, **added}

    def own(self) -> set[str]:
        """Parameters of which each series has its own."""
        initial = {f"{name}_initial" for name, v in self.initial.items() if isinstance(v, Prior)}
        effects = set() if self.population is None else self.population.own()
        return {*self.per_series, *initial, *effects}

    def space(self, data: Observations, n_problems: int | None = None) -> ParameterSpace:
        """Space of the parameters, given series; see `ParameterSpace.build`."""
        parameters, own = self.all_parameters(), self.own()
        if self.population is None:
            return ParameterSpace.build(parameters, data.ids, own, n_problems)
        return PopulationSpace.of(self.population, parameters, data.static, data.ids, own, n_problems)

    def select(self, rows: Tensor, n_series: int) -> KnownSystem:
        """The system of some of `n_series` series, by their places: known starts that each has its own are theirs."""
        initial = {}
        for name, given in self.initial.items():
            is_function = isinstance(given, Prior) or callable(given)
            known = None if is_function else torch.as_tensor(given, dtype=torch.float64)
            initial[name] = known[rows] if known is not None and known.shape == (n_series,) else given
        return replace(self, initial=initial)

    def derivatives(self, t: Tensor, z: Tensor, p: Parameters) -> Tensor:
        """What `rates` and the residual give together, as one tensor (r d)."""
        slope = self.known_derivatives(t, z, p)
        if not self.residual:
            return slope
        none = torch.zeros_like(z[:, 0])
        terms = [self.residual[name](z, p) if name in self.residual else none for name in self.states]
        return slope + torch.stack(terms, dim=-1)

    def known_derivatives(self, t: Tensor, z: Tensor, p: Parameters) -> Tensor:
        """What `rates` gives, as one tensor (r d)."""
        with calling("rates", p):
            slope = self.rates(t, z, p)
        if isinstance(slope, tuple | list):
            slope = torch.stack(torch.broadcast_tensors(*slope), dim=-1)
        return slope  # type: ignore[no-any-return]

    def start(self, p: Parameters, series: Tensor, like: Tensor) -> Tensor:
        """Initial states (r d) of rows that belong to the `series` (r,)."""
        columns = []
        for name in self.states:
            given = self.initial[name]
            if isinstance(given, Prior):
                column = p[f"{name}_initial"]
            elif callable(given):
                with calling(f"initial[{name!r}]", p):
                    column = given(p)
            else:
                known = torch.as_tensor(given, dtype=torch.float64)
                column = known[series] if known.dim() else known
            columns.append(torch.as_tensor(column, dtype=like.dtype).expand_as(like))
        return torch.stack(columns, dim=-1)

    def predict(
        self, noise: Noise, t: Tensor, z: Tensor, p: Parameters, t_before: Tensor | None, z_before: Tensor | None
    ) -> Tensor:
        """The prediction (r,) that a noise is about, at times (r,) and states (r d)."""
        if isinstance(noise.of, str):
            return z[:, list(self.states).index(noise.of)]
        with calling("a function of observed=", p):
            if isinstance(noise.of, Between):
                assert t_before is not None
                assert z_before is not None
                return noise.of.function(t_before, z_before, t, z, p)
            return noise.of(t, z, p)

    def triggers_at(self, p_at: Callable[[Tensor], Parameters], size: Tensor) -> list[Trigger]:
        """Triggers for the parameters of each row at a time, of states in units of `size` (r d)."""
        return [_trigger_at(trigger, p_at, size) for trigger in self.triggers]

    def check_functions(self, p: Parameters, t: Tensor) -> None:
        """Ask every function once, for a few rows, and name what is wrong with what it gives.

        Parameters
        ----------
        p : Parameters
            Of as many rows as `t` (r,) has, not as many as there are states.
        """
        n, d = len(t), len(self.states)
        with torch.no_grad():
            z = self.start(p, torch.zeros(n, dtype=torch.int64), t)
            _check_result(self.known_derivatives(t, z, p), (n, d), "rates")
            self.derivatives(t, z, p)  # so that the weights of the residual count as read
            for channel, noise in self.observed.items():
                _check_result(self.predict(noise, t, z, p, t, z), (n,), f"The function of observed[{channel!r}]")
            for k, trigger in enumerate(self.triggers):
                with calling(f"triggers[{k}]", p):
                    value = trigger.surface(t, z, p)  # type: ignore[call-arg]
                    if value.shape != (n,):
                        _check_result(value, (n,), f"The surface of triggers[{k}]")
                    if trigger.reset is not None:
                        after = trigger.reset(t, z, p)  # type: ignore[call-arg]
                        _check_result(after, (n, d), f"The reset of triggers[{k}]")

    def names_used(self, p: Parameters) -> set[str]:
        """Parameters that a function has read, or that noise or doses name."""
        numbers = [noise.settings() for noise in self.observed.values()]
        numbers += [dosing.settings() for dosing in self.doses.values()]
        used = {*p.names_read, *(value for each in numbers for value in each.values() if isinstance(value, str))}
        used |= set(self.errors.parameters())
        return used if self.population is None else used | self.population.names_used(used)


@contextmanager
def calling(what: str, p: Parameters) -> Iterator[None]:
    """Add to whatever a user's function raises which function it was, and at which parameters."""
    try:
        yield
    except Exception as error:
        if not getattr(error, "__notes__", None):
            values = ", ".join(f"{name} = {_first(value)}" for name, value in p.items())
            error.add_note(f"Raised by {what}, called with the parameters (of its first row) {values}.")
        raise


def _first(value: Tensor) -> str:
    try:
        return f"{float(value.detach().reshape(-1)[0]):.6g}"
    except RuntimeError:  # under a transformation of torch there is no number
        return "?"


def _trigger_at(trigger: Trigger, p_at: Callable[[Tensor], Parameters], size: Tensor) -> Trigger:
    surface: Any = trigger.surface
    reset: Any = trigger.reset
    return Trigger(
        lambda t, z: surface(t, z * size, p_at(t)),
        trigger.direction,
        None if reset is None else lambda t, z: reset(t, z * size, p_at(t)) / size,
        trigger.terminal,
    )


def _check_result(value: object, shape: tuple[int, ...], what: str) -> None:
    came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    if not isinstance(value, Tensor) or value.shape != shape:
        raise ShapeError(
            f"{what} must return a tensor of shape {shape} for {shape[0]} rows, but returned {came}: every row has its "
            "own time, state and parameters; stack the derivatives with torch.stack([...], -1)."
        )
    if value.dtype != torch.float64:
        raise ShapeError(f"{what} must return float64, but returned {value.dtype}: make its constants from z or t.")


def _guess(name: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
