"""Populations: parameters that vary among series around a common mean, and estimates of what they share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.errors import ParameterError
from tsode.estimators.forecasters.predictive import Measure, spread_measure
from tsode.estimators.known_ode.occasions import check_two_levels, read_occasions
from tsode.estimators.known_ode.population_spread import population_spread_measure
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.frames.static import ids_of_static
from tsode.inference.effects.covariates import Covariates
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.observations import Observations
from tsode.inference.population.estimate import Estimate
from tsode.inference.population.infer import LIKELIHOOD
from tsode.inference.population.methods import METHODS
from tsode.inference.population.shrinkage import shrinkage

__all__ = ["OfPopulation", "PopulationSettings", "check_marginal"]

LEVEL = 1.959963984540054


def check_marginal(name: str, value: Any, default: Any) -> None:
    """Raise a ParameterError unless a value is the name of a method."""
    if value != "auto" and value not in METHODS:
        raise ParameterError(f"{name}={value!r} is no method: choose 'auto' or one of {', '.join(METHODS)}.")


@dataclass(kw_only=True, eq=False, repr=False)
class PopulationSettings:
    """Entries of `KnownODEForecaster` for populations."""

    random_effects: Any = None
    covariates: Any = None
    occasion: Any = None
    occasion_effects: Any = None
    marginal: str = "auto"
    n_starts: int = 8


class OfPopulation:
    """Part of `KnownODEForecaster` for populations."""

    random_effects: Any
    covariates: Any
    occasion: Any
    occasion_effects: Any
    inference: str
    id_col: Hashable
    module_: Any
    _density: Any
    _kept: KeptPosterior
    _check_fitted: Callable[[], None]

    def _read_population(self, middle: Mapping[str, float] | None = None) -> Population | None:
        """How series differ, as it was said, with the places of typical values that fit has found."""
        if self.random_effects is None:
            if self.covariates is not None:
                raise ParameterError("covariates= act beside random effects: name some, random_effects=[...].")
            if self.occasion_effects is not None or self.occasion is not None:
                raise ParameterError("occasion_effects= act beside random effects: name some, random_effects=[...].")
            if self.inference == LIKELIHOOD:
                raise ParameterError(
                    f"inference={LIKELIHOOD!r} is for populations: name random_effects=, or take 'mode'."
                )
            return None
        covariates = None if self.covariates is None else Covariates.read(self.covariates)
        if covariates is not None:
            covariates = Covariates(covariates.terms, dict(middle or {}))
        occasions = read_occasions(self.occasion, self.occasion_effects)
        return Population(RandomEffects.read(self.random_effects), covariates, occasions)

    def _fit_population(self, data: Observations) -> Population | None:
        """The same, with typical values where the middle of these series is."""
        population = self._read_population()
        if population is None:
            return None
        if population.covariates is not None:
            population = replace(population, covariates=population.covariates.fitted(data.static, data.ids))
        check_two_levels(population, data)
        return population.meeting(data.known)

    def _ids_of_static(self, static: Any) -> list[Hashable]:
        return [] if self.random_effects is None or static is None else ids_of_static(static, self.id_col)

    @property
    def _spread_measure(self) -> Callable[[Sequence[Hashable]], Measure]:
        return spread_measure if self.random_effects is None else population_spread_measure

    @property
    def estimate_(self) -> Estimate:
        """Estimate by maximum likelihood, in coordinates; see `estimates` for numbers that mean something."""
        self._check_fitted()
        found: Estimate | None = self.__dict__.get("_estimate")
        if found is None:
            raise ParameterError(f"There is no estimate: fit with random_effects= and inference={LIKELIHOOD!r}.")
        return found

    def estimates(self, errors: str = "sandwich") -> pd.DataFrame:
        """Estimates by maximum likelihood, a row a parameter that series share.

        Parameters
        ----------
        errors : {"sandwich", "hessian"}
            Standard errors by the Hessian and the scores of series, or by the Hessian alone.

        Returns
        -------
        DataFrame
            ``estimate`` and its standard error ``se`` in the units of the parameter, ``rse`` in percent, a 95 %
            interval ``lower``, ``upper`` that keeps to the bounds of the parameter, ``se_line``, the standard error of
            its place on the line (of the logarithm of a positive one), and for spreads of effects ``shrinkage``.
            ``attrs`` have the ``objective`` (-2 log L without n log 2 pi), what it is (``method``), the ``aic`` and
            ``bic``, the ``condition`` number of the correlations of estimates, the series ``n_without_values`` that
            shrinkage leaves out, and the ends of all starts.
        """
        found = self.estimate_
        density: KnownDensity = self._density
        if errors not in ("sandwich", "hessian"):
            raise ParameterError(f"errors={errors!r} is not known: choose 'sandwich' or 'hessian'.")
        names = self._names_shared
        covariance = found.sandwich if errors == "sandwich" else found.covariance
        se = covariance.diagonal().sqrt()
        priors = [density.space.priors[name] for name in names]

        def at(theta: torch.Tensor) -> np.ndarray:
            return np.array([float(prior.constrain(u)[0]) for prior, u in zip(priors, theta)])

        slope = np.array([float(prior.constrain(u)[1].exp()) for prior, u in zip(priors, found.theta)])
        # the log derivative of `constrain` is that of the parameter by its coordinate
        value = at(found.theta)
        table = pd.DataFrame(
            {
                "estimate": value,
                "se": slope * se.numpy(),
                "rse": 100.0 * slope * se.numpy() / np.abs(value),
                "lower": at(found.theta - LEVEL * se),
                "upper": at(found.theta + LEVEL * se),
                "se_line": [prior.width * float(x) for prior, x in zip(priors, se)],
            },
            index=pd.Index(names, name="parameter"),
        )
        assert density.system.population is not None
        shrunk = shrinkage(found, density)
        table["shrinkage"] = [shrunk.get(name[6:], np.nan) if name.startswith("omega_") else np.nan for name in names]
        unit = covariance.diagonal().rsqrt()
        width = torch.linalg.eigvalsh((covariance * unit[:, None] * unit).nan_to_num(posinf=0.0))
        p, n_series = len(names), len(density.data.ids)
        table.attrs = {
            "objective": found.objective, "method": METHODS[self._kept.engine[0]].title, "errors": errors,
            "aic": found.objective + 2 * p, "bic": found.objective + p * np.log(found.n_observations),
            "bic_series": found.objective + p * np.log(n_series),
            "condition": float(width[-1] / width[0]) if bool((width > 0).all()) else np.inf,
            "n_without_values": int((~found.is_seen).sum()), "ends": found.ends.tolist(), "n_at_best": found.n_at_best,
        }  # fmt: skip
        return table

    @property
    def _names_shared(self) -> list[str]:
        return [name for name in self._density.space.priors if name not in self._density.space.own]

    def individual_parameters(self) -> pd.DataFrame:
        """Parameters of each series of fit that vary: mean and standard deviation over the draws of its posterior.

        Of those that change from occasion to occasion, the value that a series' occasions lie about; for theirs see
        `occasion_parameters`.

        Returns
        -------
        DataFrame
            A row a series; columns (parameter, "mean" or "sd"), in the units of the parameter.
        """
        self._check_fitted()
        density = self._density
        if density.system.population is None:
            raise ParameterError("No parameter varies around a common mean: name random_effects=.")
        with torch.no_grad():
            values = density.space.unpack(self.module_.draws).values
        columns = {}
        for name in density.space.lines:
            columns[name, "mean"] = values[name][0].mean(dim=0).numpy()
            columns[name, "sd"] = values[name][0].std(dim=0).numpy()
        return pd.DataFrame(columns, index=pd.Index(list(density.data.ids), name=self.id_col))
