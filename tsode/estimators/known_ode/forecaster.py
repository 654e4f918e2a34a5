"""Forecaster of dynamics whose equations are known: a posterior over named parameters."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.errors import ParameterError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.answers import AnswersByDraws
from tsode.estimators.known_ode.base import KnownForecaster
from tsode.estimators.known_ode.checks import ChecksModel
from tsode.estimators.known_ode.conditioned import settings_for
from tsode.estimators.known_ode.failures import (
    check_informed,
)
from tsode.estimators.known_ode.fit_checks import ChecksFit
from tsode.estimators.known_ode.model_files import KeepsFiles
from tsode.estimators.known_ode.of_occasions import OfOccasions
from tsode.estimators.known_ode.parts_file import encode
from tsode.estimators.known_ode.population import PopulationSettings, check_marginal
from tsode.estimators.known_ode.population_checks import ChecksPopulation
from tsode.estimators.known_ode.population_input import check_population
from tsode.estimators.known_ode.population_uncertainty import UncertaintyOfPopulation
from tsode.estimators.known_ode.reports import ReportsPosterior
from tsode.estimators.known_ode.residual import check_residual, of_physics, residual_states, residual_terms
from tsode.estimators.parameters import Check, at_least, positive
from tsode.frames.panel import Panel
from tsode.inference.infer import ENGINES, infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.observations import Observations
from tsode.inference.population.estimate import Estimate
from tsode.inference.population.infer import LIKELIHOOD, infer_population
from tsode.inference.residual_scales import with_found_scales
from tsode.inference.settings import check_segments
from tsode.inference.streams import key_of

__all__ = ["KnownODEForecaster"]


def _check_inference(name: str, value: Any, default: Any) -> None:
    if value not in ENGINES and value != LIKELIHOOD:
        raise ParameterError(f"{name}={value!r} is no engine: choose one of {', '.join((*ENGINES, LIKELIHOOD))}.")


@dataclass(kw_only=True, eq=False, repr=False)
class KnownODEForecaster(
    KeepsFiles,
    AnswersByDraws,
    ReportsPosterior,
    ChecksFit,
    ChecksModel,
    UncertaintyOfPopulation,
    OfOccasions,
    ChecksPopulation,
    PopulationSettings,
    KnownForecaster,
):
    """Forecast with equations that are known, and parameters of which a prior is: Bayesian inference on frames.

    The equations are a function of time, state and named parameters; series may start when they like, be seen at any
    times, have gaps and doses. `fit` finds the posterior of the parameters; forecasts are mixtures over its draws, so
    that their bands hold the noise and what is not known (`predict_spread` tells them apart). What cannot be trusted
    in a posterior is named in a warning.

    A forecast at a time uses the rows of its series strictly before it. Draws of shared parameters stay as fit has
    found them, as weights do of learned forecasters; what a series has of its own (initial states, `per_series`) is
    inferred anew where fit has seen other rows of it. Rows of a series that fit has not seen, by `context` or `update`,
    weigh the draws for this series, until ``update(..., refit=True)``. `impute` uses all rows. Events that a question
    changes act on its forecasts alone: what is known of a series of fit is by the events that it was told with.

    Parameters
    ----------
    rates : callable
        ``(t, z, p)``: times (r,), states (r d) in the order of `states`, parameters by name (``p.alpha``), each (r,) ->
        derivatives (r d), or a tuple of ``d`` tensors (r,). Each row by itself, in PyTorch. Numbers are times as they
        stand in the data over `time_unit`; datetimes count from the first time in fit.
    states : list of str
    parameters : dict of str to prior, number, or dict of id to number
        Priors are in `tsode.inference`: ``Normal(1, 0.5, lower=0)``.
    initial : dict of str to prior, number, dict of id to number, or function of the parameters
        Where each state starts. A prior makes a parameter ``<state>_initial`` of each series' own.
    observed : dict of channel to noise
        How each column is observed: ``LogNormalNoise("hare", sd="sigma")``; of a state's name, or of a function
        ``(t, z, p)``.
    doses : dict of state to Dosing, optional
        Lag, bioavailability, rate and duration of what the event table gives to a state, as parameters.
    per_series : list of str
        Parameters of which each series has its own, with the same prior.
    triggers : list of Trigger
        Events by the state itself, see `tsode.Trigger`; functions are of ``(t, z, p)``.
    solver : Solver, str or Part, optional
        Such as "auto"; by default `Dopri5`, and `Rodas4` where it finds stiff what it is to solve.
    correlated_errors : list of pairs of channels, or dict of pairs to prior or number, optional
        Channels whose errors at one time are correlated, on the scales on which they are normal; a pair has the
        correlation ``corr_error_<a>_<b>``. See `tsode.inference.correlated_errors.CorrelatedErrors`.
    system : KnownSystem, optional
        All of the above together, such as a ready one from `tsode.systems`; then leave them out.
    residual : "mlp", list of str, or dict of state to NeuralTerm, optional
        Networks of all states that are added to the rates, of every state or of those named, for what the equations
        lack. Data have to move them away from zero; `summary` tells which share of the drift they explain.
    residual_scale : float
        Size of a residual before any data, in parts of the rates that the priors lead to: the median of a half-Cauchy
        prior. `fit` finds the size that data make probable, next to none where the equations say it all.
    segments : int or "auto", optional
        Pieces that each series is cut into while modes are sought (multiple shooting): for series over many periods,
        chaos, and where much of the rates is left to a residual. The posterior is that of whole series all the same.
    random_effects : list of str, or dict, optional
        Parameters that vary among series around a common mean, on the line that their prior is mapped to (log-normal
        for positive ones). A dict has priors of their standard deviations ``omega_<name>``; the effects of a tuple of
        names are correlated. See `tsode.inference.effects.random_effects.RandomEffects`.
    covariates : dict, optional
        What explains part of a parameter that varies, by columns of `static`: ``{"cl": {"weight": 0.75}}`` is a power,
        a prior in place of the number is a power to be found, ``{"cl": {"sex": {"F": Normal(0, 0.5)}}}`` a shift.
    occasion : label, optional
        Column of rows, of events or of `known` that tells occasions of a series apart (visits, dosing intervals, runs),
        by numbers; an occasion begins at the first row or event that has its number. A row comes before events of its
        time.
    occasion_effects : list of str, or dict, optional
        Parameters that also change from occasion to occasion of a series, and stay as they are while one lasts; as in
        `random_effects`. Their spreads are ``omega_occasion_<name>``; see `occasion_parameters`.
    marginal : str
        How random effects are integrated out: "fo", "foce", "focei", "laplace", "quadrature" or "importance"; "auto" is
        "focei" where all noise is normal, else "laplace". "stochastic" climbs by chains of the effects, of which there
        may be many, and is "importance" at its end.
    n_starts : int
        Of maximum likelihood.
    inference : str
        "likelihood" is maximum likelihood of a population: priors of what series share say where to begin, and no more.
        "auto": the cheapest engine that passes its check. See `tsode.inference.infer`.
    n_draws : int
        Draws of the posterior that forecasts are made from.
    max_seconds : float, optional
        Of the clock, for inference; the best so far is kept.
    initial_time : time, or dict of id to time, optional
        When series begin in their initial states, not after their rows and events. By default each begins at its first
        row or event.
    known_path : {"linear", "last"}
        Between two times of an input of `known` in `fit`: on a straight line, or the value before. Rates read inputs as
        ``p.<column>``, like parameters; solvers stop at their times. Before its first time an input is not known, after
        its last a line is not; asking for it is an error.
    horizon, time_unit, device, dtype, random_state, verbose, id_col, time_col, target, duplicates
        As in `JumpODEForecaster`; `time_unit` is what the rates are per (1 of the data's own numbers by default, and
        needed where times are a clock's), and columns are those of `observed`.

    Attributes
    ----------
    posterior_ : DataFrame
        A row a draw, a column a parameter, in the units of the parameters.
    log_evidence_ : float, or Series by id where series share nothing
    log_likelihood_ : DataFrame
        A row a draw, a column a value: its channel, series and time.
    problems_ : list of str
        What inference warns of.
    modes_ : DataFrame
        Modes that the starts have come to.
    channels_, horizon_, time_unit_, last_times_ : see `BaseForecaster`.

    Examples
    --------
    >>> import tsode
    >>> from tsode.datasets import load_lynx_hare
    >>> from tsode.systems import lotka_volterra
    >>> system = lotka_volterra(prey_level=30, predator_level=20, period=10)
    >>> pelts = load_lynx_hare().rename(columns={"hare": "prey", "lynx": "predator"})
    >>> model = tsode.KnownODEForecaster(system=system, inference="laplace", random_state=0).fit(pelts)
    >>> model.summary().index.tolist()[:2]
    ['alpha', 'beta']
    """

    triggers: Any = ()
    solver: Any = None
    correlated_errors: Any = None
    residual: Any = None
    residual_scale: float = 0.1
    segments: Any = None

    parts = (*KnownForecaster.parts, "triggers", "solver", "correlated_errors")
    said = ("residual", "random_effects", "covariates", "occasion_effects")
    checks: ClassVar[dict[str, Check]] = {
        "inference": _check_inference,
        "marginal": check_marginal,
        "n_starts": at_least(1),
        "residual": check_residual,
        "residual_scale": positive,
        "segments": lambda name, value, default: check_segments(name, value),
    }

    # -- the system ------------------------------------------------------------------------------------------------

    def _given(self) -> KnownSystem:
        """The system as it was given, with the residual as fit has set it up."""
        system, terms = self._said(), self.__dict__.get("_terms", {})
        population = self.__dict__.get("_population") or self._read_population()
        if terms or population is not None:
            return replace(system, residual={**system.residual, **terms}, population=population)
        return system

    # -- files -----------------------------------------------------------------------------------------------------

    def _found_to_file(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        covariates = None if self._population is None else self._population.covariates
        more = {"terms": encode(self._terms), "middle": encode({} if covariates is None else covariates.middle)}
        if self._estimate is None:
            return more, {}
        entries = vars(self._estimate)
        of_tensors = {name: x for name, x in entries.items() if isinstance(x, Tensor)}
        more["estimate"] = encode({name: x for name, x in entries.items() if name not in of_tensors})
        return more, {f"estimate.{name}": x.contiguous().clone() for name, x in of_tensors.items()}

    def _found_from_file(self, more: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._terms: dict[str, NeuralTerm] = more["terms"]
        self._population, self._estimate = self._read_population(more["middle"]), None
        if "estimate" in more:
            of_tensors: dict[str, Any] = {
                k.removeprefix("estimate."): x for k, x in tensors.items() if k.startswith("estimate.")
            }
            self._estimate = Estimate(**more["estimate"], **of_tensors)
        if self._population is not None:
            self._population = self._population.meeting(self._kept.data.known)

    # -- fit -------------------------------------------------------------------------------------------------------

    def _build_density(
        self, ids: Sequence[Hashable], data: Observations, n_problems: int | None = None
    ) -> KnownDensity:
        return KnownDensity(self._system_of(ids), data, n_problems)

    def _forget_terms(self) -> None:
        self._terms = {}
        self._population = None

    def _known_of_fit(self, X: Any, tables: Mapping[str, Any]) -> Any:
        return self._with_occasions(tables["known"], {"X": X}, {"events": tables["events"]}, is_fit=True)

    def _set_up(self, data: Observations) -> None:
        self._terms = {}
        self._with_residual(data.ids, data)  # type: ignore[arg-type]

    def _with_residual(self, ids: Sequence[Hashable], data: Observations) -> KnownDensity:
        """The density of data, by which residuals that were only named are set up unless they have been."""
        density = KnownDensity(self._system_of(ids), data)
        if self.residual is None or self.__dict__.get("_terms"):
            return density
        twice = [state for state in residual_states(self.residual, density) if state in density.system.residual]
        if twice:
            raise ParameterError(f"residual= and system= both add a residual to {twice[0]!r}: drop one.")
        self._terms = residual_terms(self.residual, self.residual_scale, density)
        return KnownDensity(self._system_of(ids), data)

    @isolated()
    def _infer_from(self, reader: DataReader, panel: Panel) -> None:
        data = self._observed(reader, panel)
        self._population = self._fit_population(data)
        density = self._with_residual(panel.ids, data)
        check_informed(density)
        if self._population is not None:
            check_population(density, reader, self.inference == LIKELIHOOD)
        seed = int(torch.randint(0, 2**31 - 1, (), generator=new_generator(self.random_state)))
        settings = settings_for(self.n_draws, self.segments)
        most, self._estimate = self.max_seconds, None
        if self._population is not None:
            found, self._estimate = infer_population(
                density, self.inference, self.marginal, seed, settings, self.n_starts, most, bool(self.verbose)
            )
        else:
            if density.system.residual:
                most = None if most is None else most / 2
                density = with_found_scales(density, seed, settings, most)
                self._terms = dict(density.system.residual)
            keys = [key_of(key) for key in panel.ids] if density.n_problems == len(panel.ids) else None
            found = infer(density, self.inference, seed, settings, keys, most, verbose=bool(self.verbose))
        self._draws_of_found(found, density, reader)
        found = replace(found, problems=tuple(of_physics(texts, density.system.residual) for texts in found.problems))
        self._keep_inferred(found, density, seed, reader, panel)
