"""Forecaster of equations whose rates have noise: states and parameters by filters, and forecasts from there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode._registry import build, name_of
from tsode.assimilation.choice import CANDIDATES, Trial, choose_filter
from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.filters import FILTERS, Filter
from tsode.assimilation.forecast import draw_data
from tsode.assimilation.system import StochasticSystem, stochastic
from tsode.errors import ParameterError, SolverError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.base import KnownForecaster
from tsode.estimators.known_ode.checks import ChecksModel
from tsode.estimators.known_ode.conditioned import settings_for
from tsode.estimators.known_ode.failures import (
    check_informed,
)
from tsode.estimators.known_ode.model_files import KeepsFiles
from tsode.estimators.known_ode.module import PosteriorDraws
from tsode.estimators.known_ode.parts_file import encode, fingerprint
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.estimators.known_sde.answers import AnswersByFilter
from tsode.estimators.known_sde.filter_report import ReportsFilter
from tsode.estimators.known_sde.states import TellsOfStates
from tsode.estimators.parameters import Check, or_value, positive
from tsode.frames.panel import Panel
from tsode.inference.draws import Posterior
from tsode.inference.infer import ENGINES, infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.observations import Observations
from tsode.inference.streams import key_of

__all__ = ["KnownSDEForecaster"]

N_TRIED = 16  # draws of the posterior at which filters are compared


def _check_inference(name: str, value: Any, default: Any) -> None:
    if value not in ENGINES:
        raise ParameterError(f"{name}={value!r} is no engine: choose one of {', '.join(ENGINES)}.")


def _check_filter(name: str, value: Any, default: Any) -> None:
    if value != "auto":
        build(FILTERS, value, name)


@dataclass(kw_only=True, eq=False, repr=False)
class KnownSDEForecaster(KeepsFiles, AnswersByFilter, TellsOfStates, ReportsFilter, ChecksModel, KnownForecaster):
    """Forecast with equations that are known but for chance: rates have noise, states are found by filters.

    The model of `KnownODEForecaster` with process noise: ``dz = rates dt + G dW`` in the sense of Ito. What equations
    leave out is not put into their parameters or into the noise of the values, but into the state, which values pull
    back: forecasts go on from where the state is, and their bands grow with the noise of the rates.

    A filter carries what is known of the state along each series; its evidence is the likelihood of the parameters,
    whose posterior is found as in `KnownODEForecaster`. A forecast at a time uses the rows of its series strictly
    before it; `impute` uses all rows. Rows that fit has not seen, by `context` or `update`, move the state, and weigh
    draws of the parameters for this series, until ``update(..., refit=True)``.

    Parameters
    ----------
    rates, states, parameters, initial, observed, doses, per_series, system
        As in `KnownODEForecaster`. A prior of an initial state is what its filter begins with, and makes no parameter.
    process_noise : dict
        Of a state: the standard deviation of the noise of its rate, per root of the unit of time: a number, a prior
        (which makes a parameter ``<state>_noise``), the name of a parameter, a function ``(t, z, p) -> (r,)``, or
        ``tsode.assimilation.StateNoise(sd, power)`` in proportion to a power of the state. Of a pair of such states:
        the correlation of their noise. States without an entry have none.
    drifting : list of str
        Parameters that are states: each walks at random on its line (the logarithm of a positive one), from what its
        prior says, as fast as its entry of `process_noise`.
    filter : str, Part or Filter
        "extended", "unscented", "square_root", "ensemble", "particle", "guided"; see `tsode.assimilation.filters`.
        "auto": the cheapest whose evidence is that of particles at draws of the posterior, see `filter_`.
    step : float, optional
        Longest step between two values, in units of time. By default half of the fastest time of the rates. Where the
        equation is linear steps are exact, and as long as need be.
    inference, n_draws, max_seconds, initial_time, known_path
        As in `KnownODEForecaster`. Of filters that draw, modes are sought with the extended filter, and "laplace" stays
        with it; "importance" and "pmmh" weigh by the filter's own evidence.
    horizon, time_unit, device, dtype, random_state, verbose, id_col, time_col, target, duplicates
        As in `KnownODEForecaster`.

    Attributes
    ----------
    posterior_, log_evidence_, log_likelihood_, problems_, modes_
        As in `KnownODEForecaster`. A log likelihood is that of a value given those before it.
    filter_ : str
        The filter that is used.
    filter_check_ : DataFrame
        What "auto" has tried: how far the log evidence is off that of particles, of a value (``off``), and how this
        differs between draws of the parameters (``scatter``), the effective share of particles, CPU seconds.
    channels_, horizon_, time_unit_, last_times_ : see `BaseForecaster`.

    Examples
    --------
    >>> import pandas as pd
    >>> import tsode
    >>> from tsode.inference import AdditiveNoise, HalfNormal, LogNormal, Normal
    >>> levels = pd.DataFrame({"ds": [0.0, 1.0, 2.5, 4.0, 5.0, 7.0], "y": [2.1, 1.5, 1.4, 0.8, 1.2, 0.9]})
    >>> model = tsode.KnownSDEForecaster(
    ...     lambda t, z, p: (-p.k * (z[:, 0] - 1.0),), states=["level"], parameters={"k": LogNormal(0, 1)},
    ...     initial={"level": Normal(0, 3)}, observed={"y": AdditiveNoise("level", sd=0.1)},
    ...     process_noise={"level": HalfNormal(1.0)}, inference="laplace", random_state=0,
    ... ).fit(levels)
    >>> model.predict(times=[7.5, 20.0])["y"].round(1).tolist()
    [1.0, 1.0]
    """

    process_noise: Any = None
    drifting: Any = ()
    filter: Any = "auto"
    step: float | None = None

    parts = (*KnownForecaster.parts, "process_noise")
    said = ("drifting", "filter")
    checks: ClassVar[dict[str, Check]] = {
        "inference": _check_inference,
        "filter": _check_filter,
        "step": or_value(None, positive),
    }

    _draw_data = staticmethod(draw_data)

    # -- the system ------------------------------------------------------------------------------------------------

    def _given(self) -> StochasticSystem:
        if self.process_noise is None:
            raise ParameterError(
                "process_noise= is missing: say how large the noise of at least one rate is, such as "
                "process_noise={'level': HalfNormal(1.0)}, or use KnownODEForecaster for equations without any."
            )
        return stochastic(self._said(), self.process_noise, tuple(self.drifting))

    def _filter(self) -> Filter[Any]:
        if self.filter == "auto":
            return CANDIDATES[self.__dict__.get("filter_", "extended")]
        return build(FILTERS, self.filter, "filter")

    def _build_density(
        self, ids: Sequence[Hashable], data: Observations, n_problems: int | None = None
    ) -> KnownDensity:
        seed = self._kept.seed if hasattr(self, "_kept") else 0
        return FilteredDensity(self._system_of(ids), data, self._filter(), self.step, n_problems, seed)  # type: ignore

    # -- fit -------------------------------------------------------------------------------------------------------

    @isolated()
    def _infer_from(self, reader: DataReader, panel: Panel) -> None:
        data = self._observed(reader, panel)
        given = name_of(self.filter)
        self.filter_ = "extended" if given == "auto" else given if isinstance(given, str) else type(given).__name__
        density = self._build_density(panel.ids, data)
        assert isinstance(density, FilteredDensity)
        seed = int(torch.randint(0, 2**31 - 1, (), generator=new_generator(self.random_state)))
        density.seed = seed
        if not density.names:
            self._keep_known(density, reader, panel, seed)
            return
        check_informed(density)
        keys = [key_of(key) for key in panel.ids] if density.n_problems == len(panel.ids) else None
        found, draws = self._inferred(density, seed, keys, reader)
        trials: list[Trial] = []
        if self.filter == "auto":
            self.filter_, trials = choose_filter(density, draws[:, :N_TRIED])
            if self.filter_ != "extended":
                density = density.with_filter(self._filter())
                found, draws = self._inferred(density, seed, keys, reader)
        self.filter_check_ = pd.DataFrame([vars(trial) for trial in trials])
        self._keep_inferred(found, density, seed, reader, panel, density.filter.is_smooth)

    def _keep_known(self, density: FilteredDensity, reader: DataReader, panel: Panel, seed: int) -> None:
        """Keep a system whose parameters are all known: what is inferred is the state alone."""
        u = torch.zeros(density.n_problems, 2, 0, dtype=torch.float64)
        trials: list[Trial] = []
        if self.filter == "auto":
            self.filter_, trials = choose_filter(density, u)
            density = density.with_filter(self._filter())
        self.filter_check_ = pd.DataFrame([vars(trial) for trial in trials])
        with torch.no_grad():
            evidence = density.log_prob(u)[:, 0]
        if not bool(evidence.isfinite().all()):
            key = panel.ids[int((~evidence.isfinite()).int().argmax())]
            raise SolverError(
                f"Series {key!r} has a value that no state of the filter explains: look at process_noise= and initial=."
            )
        self._kept = KeptPosterior.of_nothing(density.data, seed, evidence)
        self._fingerprint = fingerprint(density)
        draws = torch.zeros(density.n_problems, self.n_draws, 0, dtype=torch.float64)
        self._keep(reader, panel, PosteriorDraws(draws), [], 1)

    def _inferred(
        self, density: FilteredDensity, seed: int, keys: list[int] | None, reader: DataReader
    ) -> tuple[Posterior, torch.Tensor]:
        """The posterior by a filter, and draws (g k p) of it."""
        found = infer(
            density, self.inference, seed, settings_for(self.n_draws), keys, self.max_seconds,
            verbose=bool(self.verbose),
        )  # fmt: skip
        return found, self._draws_of_found(found, density, reader)

    # -- files -----------------------------------------------------------------------------------------------------

    def _found_to_file(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        check = {str(name): column.tolist() for name, column in self.filter_check_.items()}
        return {"filter_": self.filter_, "filter_check_": encode(check)}, {}

    def _found_from_file(self, more: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        self.filter_, self.filter_check_ = more["filter_"], pd.DataFrame(more["filter_check_"])
