"""Checks of a fitted population: residuals, visual predictive check, and effects beside covariates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.errors import ParameterError, TsodeWarning
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise import AdditiveNoise, Noise, StudentTNoise
from tsode.inference.population.decorrelation import check_root
from tsode.inference.population.given_effects import simulate_population
from tsode.inference.population.infer import LIKELIHOOD
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.npde import npde
from tsode.inference.population.predictive_check import BinnedQuantiles, bin_edges, predictive_check, quantiles
from tsode.inference.population.residuals import FlatCells, flat_cells, residuals
from tsode.inference.population.subjects import Subjects, apart

__all__ = ["ChecksPopulation"]

BAND = (0.05, 0.95)
CORRECTIONS = ("ratio", "difference")


class ChecksPopulation:
    """Part of `KnownODEForecaster` that holds a population against the data of fit."""

    id_col: Hashable
    time_col: Hashable
    inference: str
    reader_: DataReader
    module_: Any
    _kept: KeptPosterior
    _density: Any
    _check_fitted: Callable[[], None]

    def goodness_of_fit(self, n: int = 500, root: str = "cholesky", random_state: Any = 0) -> pd.DataFrame:
        """Residuals of every value of fit, of all kinds that the field of populations expects.

        What series share stands at the estimate, or without one at the posterior mean of its coordinates. A censored
        value has no residual, and its NPDE is that of one drawn from what was simulated beyond the limit in its cell,
        as simulated values there are. Residuals of log-normal noise are of logarithms.

        Parameters
        ----------
        n : int
            Simulated data sets for NPDE; 0 leaves it out.
        root : {"cholesky", "symmetric"}
            Of the covariance by which CWRES and NPDE are decorrelated: the first takes from each value what those
            before it tell of it, the second knows no order.
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            A row a value: id, time, ``channel``, ``value``, ``censored`` ("", "below" or "above");

            - ``PRED``, the prediction for the typical series of these covariates, and ``RES``, the value less it;
            - ``IPRED``, that for the series' most probable effects, ``IRES``, and ``IWRES``, in standard deviations of
              the noise;
            - ``CWRES``, the value less its mean, decorrelated, both by linearisation at the most probable effects;
            - ``NPDE``, the standard normal score of its rank among simulated ones, decorrelated.

            ``attrs`` have ``at``, ``root``, ``n``, ``n_censored``, and ``shrinkage``, 1 less the root mean square of
            IWRES: where it is large, IWRES and IPRED look better than they are.

        See Also
        --------
        tsode.plots.plot_goodness_of_fit : draws them.
        """
        check_root(root)
        if isinstance(n, bool) or n < 0 or n == 1:
            raise ParameterError(f"n={n!r} must be 0, or 2 or more.")
        subjects, theta, at = self._population_point()
        generator = new_generator(random_state)
        with isolated():
            found = residuals(subjects, theta, self._individual_modes(subjects, theta), root)
            cells, scores = flat_cells(subjects), np.full(len(found.res), np.nan)
            if n:
                drawn, n_again = simulate_population(subjects, theta, n, generator)
                _tell_of_failed(n_again, n)
                limits = [(noise.below, noise.above) for noise in subjects.joint.system.observed.values()]
                seed = int(torch.randint(2**62, (), generator=generator))
                simulated = torch.cat(list(drawn.values()), dim=1).numpy()
                scores = npde(
                    cells, simulated, limits, root, np.random.default_rng(seed), list(subjects.joint.data.ids)
                )
        table = self._of_cells(cells)
        for name in ("pred", "ipred", "res", "ires", "iwres", "cwres"):
            table[name.upper()] = getattr(found, name)
        table["NPDE"] = scores
        table.attrs = {
            "at": at, "root": root, "n": n, "n_censored": int(cells.is_censored.sum()),
            "shrinkage": 1.0 - float(np.sqrt(np.nanmean(found.iwres**2))),
        }  # fmt: skip
        return table

    def visual_predictive_check(
        self, n: int = 500, bins: Any = "auto", corrected: bool | str = True,
        levels: Sequence[float] = (0.05, 0.5, 0.95), random_state: Any = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """Quantiles of values in bins of time since each series' start, beside those of simulated data sets.

        Data sets have the design of fit, effects of their own, and noise; what series share stands at the estimate, or
        without one at the posterior mean of its coordinates. Values beyond a limit of quantification, observed and
        simulated, rank below or above all others. Quantiles are linear between ranks (type 7).

        Parameters
        ----------
        n : int
            Data sets.
        bins : "auto", int or list of float
            A number of bins of equally many values, or edges in time since the start; "auto" has as many as a series
            has values, on average, of five or more.
        corrected : bool, "ratio" or "difference"
            Whether values are corrected for the bin's median PRED, so that doses and covariates do not widen them. True
            takes the difference of additive and Student-t noise, the ratio of other ones where all PRED are positive.
        levels : list of float
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            A row a channel, bin and level, then one a bin for the ``share`` "below" and "above" limits: edges ``from``
            and ``to``, median time ``at``, number of values ``n``, ``level``, what was ``observed``, and of simulated
            data sets ``median`` and the 90 % band ``lower``, ``upper``; NaN beyond a limit. ``attrs`` have ``at``,
            ``n`` and the ``corrections`` of channels.

        See Also
        --------
        tsode.plots.plot_visual_predictive_check : draws it.
        """
        if isinstance(n, bool) or n < 20:
            raise ParameterError(f"n={n!r} data sets tell no band: take 20 or more.")
        if not all(0 < level < 1 for level in levels) or not len(levels):
            raise ParameterError(f"levels={levels!r} must be numbers between 0 and 1, such as (0.05, 0.5, 0.95).")
        if not isinstance(corrected, bool) and corrected not in CORRECTIONS:
            raise ParameterError(f"corrected={corrected!r} is not known: choose True, False, 'ratio' or 'difference'.")
        subjects, theta, where = self._population_point()
        with isolated():
            drawn, n_again = simulate_population(subjects, theta, n, new_generator(random_state))
            typical = residuals(subjects, theta, torch.zeros(subjects.shape[0], 1, subjects.shape[2]).double()).pred
        _tell_of_failed(n_again, n)
        cells, joint = flat_cells(subjects), subjects.joint
        rows: list[dict[str, Any]] = []
        corrections = {}
        for c, (channel, noise) in enumerate(joint.system.observed.items()):
            own = cells.channel == c
            series, column = torch.from_numpy(cells.series[own]), torch.from_numpy(cells.column[own])
            times = (joint.data.times[series, column] - joint.data.start[series]).numpy()
            if not len(times):
                continue
            pred = typical[own]
            corrections[channel] = how = _correction(corrected, noise, pred, channel)
            edges = bin_edges(times, len(np.unique(cells.series[own])), bins)
            found = predictive_check(
                times, cells.values[own], drawn[channel].numpy(), pred, edges, levels, noise.below, noise.above, how
            )
            if not found:
                raise ParameterError(
                    f"bins= from {edges[0]:g} to {edges[-1]:g} hold no value of channel {channel!r}, whose times since "
                    f"the start are {times.min():g} to {times.max():g}."
                )
            for one in found:
                head = {"channel": channel, "from": one.low, "to": one.high, "at": float(np.median(times[one.places])),
                        "n": len(one.places)}  # fmt: skip
                for share, of in (("", one.quantiles), ("below", one.below), ("above", one.above)):
                    if of is not None:
                        rows += [head | row for row in _rows(share, levels, of)]
        table = pd.DataFrame(rows)
        table = table.sort_values(
            ["channel", "share", "from"], key=lambda x: x if x.name != "channel" else x.map(list(joint.cells).index),
            kind="stable", ignore_index=True,
        )  # fmt: skip
        table.attrs = {"at": where, "n": n, "corrections": corrections}
        return table

    def individual_effects(self) -> pd.DataFrame:
        """Most probable effects of each series of fit, in standard deviations of their parameter, beside covariates.

        Returns
        -------
        DataFrame
            A row a series: ``eta_<parameter>``, the effect on the parameter's line (on the logarithm of a positive one)
            over its ``omega``, 0 for the typical series of the same covariates; then the covariates that fit has read.
            ``attrs["shrinkage"]`` is 1 less the root mean square of each, of series that have any value: where it is
            above .3, what effects show of covariates is little.
        """
        subjects, theta, _ = self._population_point()
        with isolated(), torch.no_grad():
            eta = self._individual_modes(subjects, theta)
            points = subjects.points(theta.expand(len(eta), 1, -1), eta[:, None])
            values = subjects.joint.space.unpack(points).values
            population = subjects.joint.system.population
            assert population is not None
            shifts = population.effects.shifts(values)
            found = {
                name: (shifts[name] / values[f"omega_{name}"]).flatten().numpy() for name in population.effects.names
            }
        data = subjects.joint.data
        columns: dict[Hashable, Any] = {self.id_col: list(data.ids)}
        columns |= {f"eta_{name}": x for name, x in found.items()}
        table = pd.DataFrame(columns | dict(data.static))
        seen = subjects.is_seen.numpy()
        table.attrs["shrinkage"] = {name: 1.0 - float(np.sqrt(np.mean(x[seen] ** 2))) for name, x in found.items()}
        return table

    def _population_point(self) -> tuple[Subjects, Tensor, str]:
        """Series as problems of their own, what they share (p,), and what that is in words."""
        self._check_fitted()
        density: KnownDensity = self._density
        if density.system.population is None:
            raise ParameterError("This check is of a population: fit with random_effects=[...].")
        places = Subjects(density).shared_places
        if self.inference == LIKELIHOOD:
            return Subjects(apart(density)), self._kept.mode_points[0, 0, places], "maximum likelihood"
        return Subjects(apart(density)), self.module_.draws[0].mean(dim=0)[places], "posterior mean"

    def _individual_modes(self, subjects: Subjects, theta: Tensor) -> Tensor:
        """Most probable effects (n 1 q)."""
        modes = Laplace().search(subjects, theta.expand(subjects.shape[0], 1, -1))
        lost = (~modes.is_found[:, 0, 0]).nonzero()[:, 0].tolist()
        if lost:
            warnings.warn(
                f"The most probable effects of {len(lost)} series were not found, the first of "
                f"{subjects.joint.data.ids[lost[0]]!r}: what stands for them is where the search has stopped.",
                TsodeWarning, stacklevel=3,
            )  # fmt: skip
        return modes.eta[:, 0]

    def _of_cells(self, cells: FlatCells) -> pd.DataFrame:
        data = self._kept.data
        native = self.reader_.timeline.to_native(data.times.numpy()[cells.series, cells.column])
        channels = list(self._density.cells)
        return pd.DataFrame({
            self.id_col: [data.ids[row] for row in cells.series], self.time_col: native,
            "channel": [channels[c] for c in cells.channel], "value": cells.values,
            "censored": np.where(cells.is_below, "below", np.where(cells.is_above, "above", "")),
        })  # fmt: skip


def _correction(corrected: bool | str, noise: Noise, pred: np.ndarray, channel: str) -> str | None:
    is_positive = bool((pred > 0).all())
    if corrected == "ratio" and not is_positive:
        raise ParameterError(
            f"corrected='ratio' divides by PRED, and channel {channel!r} has one of {pred.min():g}: take 'difference'."
        )
    if isinstance(corrected, str):
        return corrected
    if not corrected:
        return None
    return "difference" if isinstance(noise, AdditiveNoise | StudentTNoise) or not is_positive else "ratio"


def _rows(share: str, levels: Sequence[float], of: BinnedQuantiles) -> list[dict[str, Any]]:
    low, middle, high = quantiles(of.simulated.T, (BAND[0], 0.5, BAND[1])).T
    rows = zip([np.nan] if share else levels, of.observed, middle, low, high)
    return [
        {"share": share, "level": level} | {
            name: float(x) if np.isfinite(x) else np.nan
            for name, x in zip(("observed", "median", "lower", "upper"), numbers)
        }
        for level, *numbers in rows
    ]  # fmt: skip


def _tell_of_failed(n_again: int, n: int) -> None:
    if n_again:
        warnings.warn(
            f"{n_again} series of {n} simulated data sets failed to be solved, and others stand for them.",
            TsodeWarning,
            stacklevel=3,
        )
