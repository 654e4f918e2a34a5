"""Uncertainty of what a population shares, beyond standard errors: profile likelihood and bootstrap."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import chi2
from torch import Tensor
from tqdm import tqdm

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.errors import ParameterError, TsodeWarning
from tsode.estimators.known_ode.population import OfPopulation
from tsode.inference.known_density import KnownDensity
from tsode.inference.population.bootstrap import bootstrap, draw_weights
from tsode.inference.population.estimate import SAME
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.profile import profile_likelihood

__all__ = ["Bootstrapped", "Profiles", "UncertaintyOfPopulation"]


class Profiles(NamedTuple):
    """Profile likelihoods as frames.

    Parameters
    ----------
    intervals : DataFrame
        A row a parameter: ``estimate``, ``lower``, ``upper``, a bound of the parameter where the objective never rises
        so far, and ``n_points`` of the curve. ``attrs`` have the ``level`` and the ``rise`` at the ends.
    curves : DataFrame
        A row a point: which ``parameter`` was held at which ``value``, the ``rise`` of the objective over its least,
        whether the others have ``converged``, and what all parameters were then.
    """

    intervals: pd.DataFrame
    curves: pd.DataFrame


class Bootstrapped(NamedTuple):
    """Bootstrap as frames.

    Parameters
    ----------
    summary : DataFrame
        A row a parameter: ``estimate``, the ``mean``, standard deviation ``se`` and percentiles ``lower``, ``median``,
        ``upper`` of replicates. ``attrs`` have ``n``, how many of them are ``n_failed`` (left out) and
        ``n_not_converged`` (not left out), ``level`` and ``strata``.
    replicates : DataFrame
        A row a replicate, a column a parameter, in its units, and ``status``: "ok", "not converged" or "failed".
    """

    summary: pd.DataFrame
    replicates: pd.DataFrame


class UncertaintyOfPopulation(OfPopulation):
    """Part of `KnownODEForecaster` for populations that asks how far their estimates may be off."""

    verbose: Any

    @isolated()
    def profile(self, names: str | Sequence[str] | None = None, level: float = 95) -> Profiles:
        """Confidence intervals by profile likelihood, for fits by ``inference="likelihood"``.

        A parameter is held, all others are estimated anew, and the interval ends where the objective has risen by the
        quantile of chi squared. Unlike intervals by standard errors these know no symmetry, and end at 0 for spreads
        that the data do not show. All ends are sought side by side.

        Parameters
        ----------
        names : str or list of str, optional
            Of parameters that series share; all by default.
        level : float
            In percent.

        See Also
        --------
        estimates : intervals by standard errors.
        """
        estimate, density = self.estimate_, self._marginal_density
        share = _level(level)
        known = list(density.names)
        asked = known if names is None else [names] if isinstance(names, str) else list(names)
        for name in asked:
            if name not in known:
                raise ParameterError(
                    f"names={name!r} is no parameter that series share. Those are: {', '.join(known)}."
                )
        with tqdm(disable=not self.verbose, desc="profile", unit="round") as bar:

            def tell(n_left: int) -> None:
                bar.set_postfix_str(f"{n_left} ends are sought")
                bar.update()

            found = profile_likelihood(density, estimate, [known.index(name) for name in asked], share, tell)
        rows, curves = [], []
        for name, profile in zip(asked, found):
            prior = density.joint.space.priors[name]
            ends = [
                prior.bounds[k] if math.isinf(u) else float(prior.constrain(torch.tensor(u).double())[0])
                for k, u in enumerate(profile.ends)
            ]
            values = self._in_units(profile.points)
            best = self._in_units(estimate.theta[None])[name].iloc[0]
            rows.append({"estimate": best, "lower": ends[0], "upper": ends[1], "n_points": len(profile.rise)})
            curves.append(values.assign(rise=profile.rise.numpy(), converged=profile.is_done.numpy()))
            curves[-1].insert(0, "parameter", name)
            curves[-1].insert(1, "value", values[name])
        curve = pd.concat(curves, ignore_index=True)
        least = curve["rise"].min()
        if least < -SAME:
            held = curve["parameter"].iloc[int(curve["rise"].argmin())]
            _tell(f"The profile of {held} has come to an objective {-least:.3f} below that of the estimate: this "
                  "is not the top, and intervals are wrong. Fit with more n_starts.")  # fmt: skip
        lost = [name for name, row in zip(asked, rows) if math.isnan(row["lower"] + row["upper"])]
        if lost:
            _tell(f"An end of the interval of {', '.join(lost)} was not found: look at the curve.")
        intervals = pd.DataFrame(rows, index=pd.Index(asked, name="parameter"))
        intervals.attrs = {"level": level, "rise": float(chi2.ppf(share, 1)), "method": density.method.title}
        return Profiles(intervals, curve)

    @isolated()
    def bootstrap(
        self, n: int = 200, level: float = 95, strata: str | None = None, random_state: Any = 0
    ) -> Bootstrapped:
        """Estimates from data sets of series that are drawn anew with replacement (case bootstrap).

        Replicates begin at the estimate and climb side by side. Fewer replicates are the first of more, for the same
        seed. A resampled series keeps its covariates, doses and rows.

        Parameters
        ----------
        n : int
            Replicates.
        level : float
            Of the interval by percentiles, in percent.
        strata : str, optional
            A column of `static`, of whose values each data set has as many series as the data.
        random_state : int, generator or None
        """
        estimate, density = self.estimate_, self._marginal_density
        share = _level(level)
        if isinstance(n, bool) or n < 2:
            raise ParameterError(f"n={n!r} replicates tell no spread: take 2 or more.")
        data = density.joint.data
        if strata is not None and strata not in data.static:
            raise ParameterError(
                f"strata={strata!r} is no column of static=. Those are: {', '.join(data.static) or 'none'}."
            )
        of = [0] * len(data.ids) if strata is None else np.asarray(data.static[strata]).tolist()
        seed = int(torch.randint(2**31 - 1, (), generator=new_generator(random_state)))
        with tqdm(total=n, disable=not self.verbose, desc="bootstrap", unit="replicate") as bar:

            def tell(n_left: int) -> None:
                bar.n = n - n_left
                bar.refresh()

            found = bootstrap(density, estimate, draw_weights(n, of, seed), tell)
            tell(0)
        is_there = found.loss.isfinite()
        replicates = self._in_units(found.theta)
        replicates[~is_there.numpy()] = np.nan
        used = replicates.dropna()
        status = np.where(found.is_done, "ok", "not converged")
        replicates["status"] = np.where(is_there, status, "failed")
        low, middle, high = used.quantile([0.5 - 0.5 * share, 0.5, 0.5 + 0.5 * share]).to_numpy()
        summary = pd.DataFrame({
            "estimate": self._in_units(estimate.theta[None]).iloc[0], "mean": used.mean(), "se": used.std(),
            "lower": low, "median": middle, "upper": high,
        })  # fmt: skip
        summary.index.name = "parameter"
        counts = replicates["status"].value_counts()
        n_failed, n_open = int(counts.get("failed", 0)), int(counts.get("not converged", 0))
        summary.attrs = {"n": n, "n_failed": n_failed, "n_not_converged": n_open, "level": level, "strata": strata,
                         "method": density.method.title}  # fmt: skip
        if n_failed or n_open:
            _tell(f"Of {n} replicates {n_failed} failed and are left out, and {n_open} have not converged.")
        return Bootstrapped(summary, replicates)

    @property
    def _marginal_density(self) -> MarginalDensity:
        """The density that the estimate is of."""
        joint: KnownDensity = self._density
        return MarginalDensity(joint, METHODS[self._kept.engine[0]]())

    def _in_units(self, theta: Tensor) -> pd.DataFrame:
        """Coordinates (k p) as parameters."""
        priors, names = self._density.space.priors, self._names_shared
        return pd.DataFrame({name: priors[name].constrain(u)[0].numpy() for name, u in zip(names, theta.T)})


def _level(level: float) -> float:
    if isinstance(level, bool) or not 0 < level < 100:
        raise ParameterError(f"level={level!r} is in percent, between 0 and 100, such as 95.")
    return level / 100.0


def _tell(text: str) -> None:
    warnings.warn(text, TsodeWarning, stacklevel=4)
