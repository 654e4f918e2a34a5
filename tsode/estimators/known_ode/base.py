"""Base of forecasters whose equations are known: the system, and the data that its parameters are inferred from."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from tsode.errors import ParameterError, SolverError, TsodeWarning
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.estimators.known_ode.failures import bound_problems, explained, gradient_problems, no_start, tail_problems
from tsode.estimators.known_ode.histories import histories, observations
from tsode.estimators.known_ode.module import PosteriorDraws
from tsode.estimators.known_ode.parts_file import fingerprint
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.estimators.known_ode.schedules import ScheduleEncoder
from tsode.estimators.known_ode.settings import KnownSettings, read_starts
from tsode.estimators.parameters import Check, at_least, or_value, positive
from tsode.frames.panel import Panel
from tsode.inference.draws import Posterior
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.model_checks import direction_error
from tsode.inference.observations import Observations, select_cells

__all__ = ["KnownForecaster"]


def _check_double(name: str, value: Any, default: Any) -> None:
    if value != "float64":
        raise ParameterError(f"{name}={value!r}, but posteriors are computed in double precision: leave it out.")


@dataclass(kw_only=True, eq=False, repr=False)
class KnownForecaster(BaseForecaster):
    """What forecasters share whose equations are a function of time, state and named parameters.

    A subclass gives a density of the parameters in `_build_density`, and infers from it in `_infer_from`.
    """

    rates: Callable[..., Any] | None = field(default=None, kw_only=False)
    states: Any = None
    parameters: Any = None
    initial: Any = None
    observed: Any = None
    doses: Any = None
    per_series: Any = ()
    system: Any = None
    inference: str = "auto"
    n_draws: int = 1000
    max_seconds: float | None = None
    initial_time: Any = None
    known_path: str = "linear"
    dtype: str = "float64"

    parts: ClassVar[tuple[str, ...]] = ("rates", "states", "parameters", "initial", "observed", "doses", "per_series")

    # entries of population models, as they stand for the others; without a type they are no fields here
    covariates = occasion = None

    reads_events = reads_covariates = True
    is_bounded = False
    checks: ClassVar[dict[str, Check]] = {
        "dtype": _check_double,
        "n_draws": at_least(2),
        "max_seconds": or_value(None, positive),
    }

    # -- what a subclass gives -------------------------------------------------------------------------------------

    @abstractmethod
    def _build_density(
        self, ids: Sequence[Hashable], data: Observations, n_problems: int | None = None
    ) -> KnownDensity:
        """The density of the parameters, given data of these series."""

    @abstractmethod
    def _infer_from(self, reader: DataReader, panel: Panel) -> None:
        """Infer the parameters and keep them."""

    @property
    @abstractmethod
    def problems_(self) -> list[str]:
        """What inference warns of."""

    @abstractmethod
    def _forget(self) -> None:
        """Nothing was asked yet."""

    def _given(self) -> KnownSystem:
        """The system as it was given."""
        return self._said()

    def _keep_inferred(
        self,
        found: Posterior,
        density: KnownDensity,
        seed: int,
        reader: DataReader,
        panel: Panel,
        is_smooth: bool = True,
    ) -> None:
        """Keep a posterior, with what is wrong with it, and say so."""
        draws = self._draws_of_found(found, density, reader)
        found = found.with_problems(explained(found, density, reader)).with_problems(bound_problems(found, density))
        found = found.with_problems(tail_problems(found, density))
        error = np.nan
        if is_smooth:
            errors = direction_error(density, draws[:, :2])
            found, error = found.with_problems(gradient_problems(errors)), float(errors.nanmedian())
        self._kept = KeptPosterior.of(found, density.data, seed, error)
        self._fingerprint = fingerprint(density)
        self._keep(reader, panel, PosteriorDraws(draws), [], 1)
        if self.problems_:
            warnings.warn(f"The posterior has problems: {'; '.join(self.problems_)}.", TsodeWarning, stacklevel=5)

    def _draws_of_found(self, found: Posterior, density: KnownDensity, reader: DataReader) -> torch.Tensor:
        """Draws (g k p) that forecasts are made from; a SolverError where there are none."""
        draws = found.draws.transpose(1, 2).flatten(1, 2)[:, : self.n_draws].contiguous()
        if not bool(draws.isfinite().all()):
            raise SolverError(no_start(found, density, reader))
        return draws

    # -- the system ------------------------------------------------------------------------------------------------

    def _said(self) -> KnownSystem:
        """The system as it was given, checked."""
        of_system = {one.name for one in fields(KnownSystem)}
        parts = {name: getattr(self, name) for name in self.parts if name in of_system}
        if self.system is not None:
            said = [name for name, value in parts.items() if value not in (None, (), [])]
            if said:
                raise ParameterError(f"system= has all parts already, but {said[0]}= is given too: use system.with_().")
            if not isinstance(self.system, KnownSystem):
                raise ParameterError(f"system= takes a KnownSystem, such as tsode.systems.sir(), not {self.system!r}.")
            return self.system
        missing = [name for name in ("rates", "states", "initial", "observed") if parts[name] is None]
        if missing:
            raise ParameterError(f"{missing[0]}= is missing: give the parts of a system, or a ready one as system=.")
        given = {name: value for name, value in parts.items() if value is not None}
        plain = {**given, "parameters": given.get("parameters", {})}
        for name in ("parameters", "initial", "observed", "doses"):
            if not isinstance(plain.get(name, {}), Mapping):
                raise ParameterError(f"{name}= takes a dict by name, but is {plain[name]!r}.")
        return KnownSystem(**plain)

    def _system_of(self, ids: Sequence[Hashable]) -> KnownSystem:
        """The system with the known numbers of these series."""
        system = self._given()
        changed: dict[str, Any] = {}
        for entry in ("parameters", "initial"):
            values = dict(getattr(system, entry))
            for name, value in values.items():
                if isinstance(value, Mapping):
                    missing = [key for key in ids if key not in value]
                    if missing:
                        raise ParameterError(
                            f"{entry}[{name!r}] has no number for series {missing[0]!r}: add it to the dict."
                        )
                    values[name] = torch.tensor([float(value[key]) for key in ids], dtype=torch.float64)
                elif np.ndim(value) and not callable(value):
                    raise ParameterError(
                        f"{entry}[{name!r}] has {np.size(value)} numbers, but nothing says of which series: give a "
                        "dict of id to number."
                    )
            changed[entry] = values
        return replace(system, **changed)

    def _density_of(self, series: Sequence[Any], n_problems: int | None = None) -> KnownDensity:
        """The density of some histories."""
        data = self._checked(observations(series, self.reader_), self.reader_)
        return self._build_density([one.key for one in series], data, n_problems)

    # -- fit -------------------------------------------------------------------------------------------------------

    def reader_settings(self) -> ReaderSettings:
        """How data are read: in their own units, the columns that are observed."""
        system = self._given()
        settings = super().reader_settings()
        refusals = {}
        if self.covariates is None:
            refusals["static"] = (
                "Nothing reads static=: say what it acts on by covariates= (with random_effects=), or make it a "
                "parameter, as a dict of id to number."
            )
        return KnownSettings(
            **vars(settings) | {"scale": "none", "can_rescale": False, "refusals": refusals},
            observed=tuple(system.observed),
            states=tuple(system.states),
            occasion=self.occasion,
        )

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        validation: Any = None,
    ) -> Self:
        """Infer the parameters from irregular series.

        Parameters
        ----------
        X, y, events, known
            See `BaseForecaster.fit`. Events act exactly as in `tsode.solve`; a target is the name of a state. Columns
            of `known` are inputs of the equations along time, ``p.<column>``.
        static : DataFrame
            Covariates of series, a row each, which `covariates` names.
        validation
            Not read.

        Returns
        -------
        self

        Raises
        ------
        DataError, ParameterError
            If data or model cannot be read, or do not meet; the message says what to change.
        SolverError
            If no posterior was found.
        """
        self._forget_terms()
        if validation is not None:
            raise ParameterError(f"{type(self).__name__} uses all data for its posterior: leave out validation=.")
        self._infer_from(*self._read_data(X, y, events=events, static=static, known=known))
        return self

    def _set_up(self, data: Observations) -> None:
        """Set up what data have to say of the system before any fit; nothing, unless a subclass says so."""

    def _forget_terms(self) -> None:
        """Drop what an earlier fit has set up; nothing, unless a subclass says so."""

    def _read_data(self, X: Any, y: Any = None, **tables: Any) -> tuple[DataReader, Panel]:
        """Read what is to be inferred from."""
        self._check_parameters()
        tables["known"] = self._known_of_fit(X, tables)
        reader, panel, _ = DataReader.fit(self.reader_settings(), X, y, **tables, validation=None)
        timeline = reader.timeline
        if timeline.kind != "datetime":  # times in rates are those of the data
            timeline = replace(timeline, origin=0)
        events = ScheduleEncoder.of(self._given().states, reader.time_unit)
        return replace(reader, timeline=timeline, events=events), panel

    def _observed(self, reader: DataReader, panel: Panel) -> Observations:
        starts = read_starts(self.initial_time, panel, reader)
        return self._checked(observations(histories(panel, panel.ids, starts, reader.timeline), reader), reader)

    def _checked(self, data: Observations, reader: DataReader) -> Observations:
        """Data whose values can come from their noise; an error has the times of the user's own clock."""
        clock = reader.timeline
        select_cells(data, self._given().observed, lambda t: clock.to_native(np.array([t]))[0])
        return data

    def _known_of_fit(self, X: Any, tables: Mapping[str, Any]) -> Any:
        """Inputs along time, with what a subclass makes of other tables."""
        return tables["known"]

    def update(
        self, X: Any, y: Any = None, *, events: Any = None, static: Any = None, known: Any = None, refit: bool = False
    ) -> Self:
        """Append new rows to the history, so that forecasts go on from them; with `refit`, infer the parameters anew.

        Without it draws of shared parameters are weighed by the new rows at each forecast. See `BaseForecaster.update`.
        """
        super().update(X, y, events=events, static=static, known=known)
        if refit:
            self._forget_terms()
            self._infer_from(self.reader_, self._panel)
        return self

    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> Any:
        raise NotImplementedError("its module is the draws of a posterior")

    def _build_like(self, weights: Mapping[str, Any], *widths: int, **rates: int) -> Any:
        return PosteriorDraws.of_size(*weights["module.draws"].shape)

    def _train(self, module: Any, split: Any, horizon: float, generator: torch.Generator) -> list[dict[str, float]]:
        raise NotImplementedError("a posterior is inferred, see `_infer_from`")

    def _keep(self, reader: DataReader, panel: Panel, module: Any, history: Any, n_iter: int) -> None:
        encoder = ScheduleEncoder.of(self._given().states, reader.time_unit)
        super()._keep(replace(reader, events=encoder), panel, module, history, n_iter)
        self._forget()
