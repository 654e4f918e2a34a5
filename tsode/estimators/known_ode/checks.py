"""Checks of a known system as a user has written it: before any fit, and of what was fitted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.errors import DataError, ParameterError, TsodeWarning
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.failures import in_native_time, prior_draws
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.frames.panel import Panel
from tsode.inference.calibration import calibrate
from tsode.inference.failures import find_failures
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.model_checks import gradients
from tsode.inference.observations import Observations
from tsode.inference.settings import Settings
from tsode.inference.simulated import draw_from_laws, simulate, without_values

__all__ = ["ChecksModel"]

_OF_CALIBRATION = Settings(n_prior=512, n_starts=8, n_importance=1024, n_draws=1024, n_grid=65)
_AT_ONCE = 200  # series of simulated data sets that are one call of the density


class ChecksModel:
    """Part of `KnownODEForecaster` that looks at the model; what takes `X` needs no fit."""

    id_col: Hashable
    time_col: Hashable
    reader_: DataReader
    module_: Any
    inference: str
    random_state: Any
    _kept: KeptPosterior
    _density: Any
    _given: Callable[[], KnownSystem]
    _build_density: Callable[..., KnownDensity]
    _read_data: Callable[..., tuple[DataReader, Panel]]
    _observed: Callable[[DataReader, Panel], Observations]
    _draw_data: Any = staticmethod(draw_from_laws)
    _set_up: Callable[[Observations], None]
    _check_fitted: Callable[[], None]

    @isolated()
    def prior_predictive(
        self, n_samples: int = 100, random_state: Any = None, X: Any = None, *, events: Any = None, known: Any = None
    ) -> pd.DataFrame:
        """Draw what the priors expect at the rows of fit, or of `X`: parameters from the prior, paths, and noise.

        Of one sample all series share what they share. Draws whose solve fails are left out, and their number is
        ``attrs["n_failed"]``.

        Parameters
        ----------
        n_samples : int
        random_state : int, generator or None
        X, events, known : same kinds as in fit, optional
            Before any fit, or of other series. `X` need not have the columns that are observed.

        Returns
        -------
        DataFrame
            Ids, times, ``sample`` and a column a channel.
        """
        reader, data = self._layout(X, events, known)
        drawn = simulate(
            self._empty(data), n_samples, new_generator(random_state), must_succeed=False, draw=self._draw_data
        )
        n = drawn.values.shape[1]
        paths = drawn.values.transpose(1, 2).flatten(0, 1)  # (series, sample, time, channel)
        parts = []
        for row, key in enumerate(data.ids):
            seen = (~data.values[row].isnan().all(dim=1)).numpy()
            path = paths[row][:, seen]
            numbers = {self.time_col: np.tile(reader.timeline.to_native(data.times[row].numpy()[seen]), n),
                       "sample": np.repeat(np.arange(n), path.shape[1])}  # fmt: skip
            columns = dict(zip(reader.targets, path.reshape(-1, path.shape[2]).T.numpy()))
            parts.append(pd.DataFrame({self.id_col: [key] * (n * path.shape[1]), **numbers, **columns}))
        table = pd.concat(parts, ignore_index=True)
        table.attrs["n_failed"] = drawn.n_failed
        return table

    @isolated()
    def simulation_based_calibration(
        self,
        n: int = 100,
        X: Any = None,
        *,
        events: Any = None,
        known: Any = None,
        inference: str | None = None,
        random_state: Any = None,
    ) -> pd.DataFrame:
        """Check inference on data simulated from the prior: true parameters must rank anywhere among their draws.

        Talts et al. 2018. Each data set has the series, times, gaps, events and inputs of fit, or of `X`. Draws of the
        prior that no data come of, since their solve fails, are counted and others drawn for them: inference gives them
        no probability either, so ranks are even still. Look at ranks with `tsode.plots.plot_rank_histogram`.

        Parameters
        ----------
        n : int
            Data sets. Where series share nothing, each of its series is one.
        X, events, known : same kinds as in fit, optional
            Before any fit, or of other series. `X` need not have the columns that are observed.
        inference : str, optional
            Another engine than `inference`.
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            Rank of each parameter, from 0 to 99, a row a data set that had an answer. ``attrs`` have ``chi_square``
            (the chance that even ranks are as uneven, by parameter), ``is_rejected`` (by chi-square, mean or variance
            of any at 1 % together), ``n_failed`` (draws of the prior without data), ``n_without_answer``, and how many
            had which ``engines`` and ``problems``.

        Warns
        -----
        TsodeWarning
            If any draw of the prior had no data, or any data set no answer.
        """
        _, data = self._layout(X, events, known)
        density, generator = self._empty(data), new_generator(random_state)
        drawn = simulate(density, n, generator, draw=self._draw_data)
        g, n_series = len(drawn.u), len(data.ids)
        values = torch.where(data.values.isnan(), torch.nan, drawn.values.transpose(0, 1).flatten(1, 2))  # (n, series)
        n_sets = max(1, _AT_ONCE // n_series)
        parts = iter(values.split(n_sets))

        def density_of(truth: Tensor, _: torch.Generator) -> KnownDensity:
            own = next(parts)
            like = data.select(torch.arange(n_series).repeat(len(own)))
            like = Observations(like.ids, like.start, like.times, own.flatten(0, 1), like.events, like.side, like.known)
            return self._build_density(like.ids, like, len(truth))

        found = calibrate(
            lambda *_: drawn.u.transpose(0, 1).flatten(0, 1), density_of, n * g, generator, inference or self.inference,
            _OF_CALIBRATION, at_once=n_sets * g,
        )  # fmt: skip
        table = pd.DataFrame(found.ranks.numpy(), columns=list(density.names))
        table.attrs = {
            "chi_square": dict(zip(table, found.chi_square().tolist())), "is_rejected": found.is_rejected(0.01),
            "n_failed": drawn.n_failed, "n_without_answer": found.n_failed,
            "engines": found.engines, "problems": found.problems,
        }  # fmt: skip
        _tell_of_failed(drawn.n_failed, found.n_failed, n * g)
        return table

    def gradient_check(self, n: int = 2) -> pd.DataFrame:
        """Check the derivatives that inference goes by against differences of tight solves, at draws of the posterior.

        Parameters
        ----------
        n : int
            Draws.

        Returns
        -------
        DataFrame
            A row a draw and parameter, in unbounded coordinates: ``gradient`` by autograd, ``difference``, and their
            ``error`` in parts of the draw's largest difference. Beyond some hundred tolerances of the solver a function
            hides parameters from autograd (`detach`, NumPy), or jumps where nothing marks it. The error that fit has
            found, along some directions, is ``attrs["of_fit"]``.
        """
        self._check_fitted()
        u = self.module_.draws[:, :n]
        with isolated():
            gradient, slope = gradients(self._density, u)
        error = (gradient - slope).abs() / slope.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
        labels = self._kept.labels()
        columns = {
            name: x.transpose(0, 1).flatten().numpy()
            for name, x in (("gradient", gradient), ("difference", slope), ("error", error))
        }
        table = pd.DataFrame({"draw": np.repeat(np.arange(n), len(labels)), "parameter": labels * n, **columns})
        table.attrs["of_fit"] = self._kept.gradient_error
        return table

    @isolated()
    def failures(self, X: Any = None, *, events: Any = None, known: Any = None) -> pd.DataFrame:
        """Tell why points of the prior, and draws of the posterior, are impossible.

        Parameters
        ----------
        X, events, known : same kinds as in fit, optional
            Before any fit.

        Returns
        -------
        DataFrame
            A row a cause: its share among draws ``of`` the "prior" or "posterior", and the first of these: series, time
            (of a solve, the last that it is known to reach), value and prediction of a cell, and its parameters.
        """
        reader, data = self._layout(X, events, known)
        density = self._build_density(data.ids, data) if X is not None else self._density
        points = {"prior": prior_draws(density)}
        if X is None:
            points["posterior"] = self.module_.draws
        rows = [
            {"of": of, "share": one.share, "cause": one.cause, self.id_col: one.series, self.time_col: one.time,
             "value": one.value, "prediction": one.prediction, **one.point}
            for of, u in points.items()
            for one in in_native_time(find_failures(density, u), reader)
        ]  # fmt: skip
        names = ["of", "share", "cause", self.id_col, self.time_col, "value", "prediction", *density.names]
        return pd.DataFrame(rows, columns=names)

    @isolated()
    def evaluate(
        self, points: Mapping[str, float] | pd.DataFrame, X: Any = None, *, events: Any = None, known: Any = None
    ) -> pd.DataFrame:
        """Evaluate prior and likelihood at given parameters, without any inference.

        Parameters
        ----------
        points : dict of parameter to number, or DataFrame
            A row a point, a column a parameter with a prior: one value for all series, or of its own as in
            ``posterior_``, ``name[id]``.
        X, events, known : same kinds as in fit, optional
            Data; those of fit by default.

        Returns
        -------
        DataFrame
            ``log_prior`` (of the parameters in their own units), ``log_likelihood``, and their sum ``log_density``;
            -inf where a solve fails.
        """
        _, data = self._layout(X, events, known)
        density = self._build_density(data.ids, data, 1)
        table = pd.DataFrame([points]) if isinstance(points, Mapping) else points
        columns = []
        for name in density.names:
            parameter = density.space.parameter_of(name)
            if name not in table and parameter not in table:
                raise ParameterError(f"points has no value of {parameter!r}: give one for {', '.join(density.names)}.")
            columns.append(
                torch.tensor(table[name if name in table else parameter].to_numpy(dtype=np.float64, copy=True))
            )
        x = torch.stack(columns, dim=-1)[None]
        with torch.no_grad():
            u = density.space.unconstrain(x)
            likelihood = density.log_prob(u)[0] - density.space.log_prior(u)[0]
            priors = [density.space.priors[density.space.parameter_of(name)] for name in density.names]
            prior = torch.stack([one.log_prob(x[0, :, k]) for k, one in enumerate(priors)]).sum(dim=0)
        likelihood = likelihood.where(likelihood.isfinite(), -torch.inf)
        numbers = {"log_prior": prior, "log_likelihood": likelihood, "log_density": prior + likelihood}
        return pd.DataFrame({name: x.numpy() for name, x in numbers.items()}, index=table.index)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _empty(self, data: Observations) -> KnownDensity:
        """The density of the same series at the same times, of which nothing was seen."""
        return self._build_density(data.ids, without_values(data))

    def _layout(self, X: Any, events: Any, known: Any) -> tuple[DataReader, Observations]:
        """Series of fit, or of `X`."""
        if X is None:
            if events is not None or known is not None:
                raise ParameterError("events= and known= belong to other series than those of fit: give X= too.")
            self._check_fitted()
            return self.reader_, self._kept.data
        reader, panel = self._read_data(self._with_channels(X), events=events, static=None, known=known)
        data = self._observed(reader, panel)
        if not hasattr(self, "module_"):  # a residual is set up as by a fit of these data
            self._set_up(data)
        return reader, data

    def _with_channels(self, X: Any) -> Any:
        """A frame with a column for each channel: where it has none at all, every row counts."""
        channels = list(self._given().observed)
        if not isinstance(X, pd.DataFrame) or any(name in X for name in channels):
            return X
        if self.time_col not in X:
            raise DataError(f"X has neither times {self.time_col!r} nor channels {channels}: give a row a time.")
        return X.assign(**{str(name): 1.0 for name in channels})


def _tell_of_failed(n_failed: int, n_without: int, n: int) -> None:
    said = []
    if n_failed:
        said.append(f"{n_failed} draws of the prior had no data, since a solve failed, and others stand for them")
    if n_without:
        said.append(f"{n_without} of {n} data sets had no posterior, and are not among the ranks")
    if said:
        warnings.warn(f"Calibration: {'; '.join(said)}.", TsodeWarning, stacklevel=4)
