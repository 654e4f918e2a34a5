"""Answers that structural components give beside forecasts: decomposition and summary."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode._isolation import isolated
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.estimators.forecasters.structural_effects import effects_of
from tsode.estimators.settings import read_levels
from tsode.frames.times import Query
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.structural.decomposition import FIT, decompose, part_names
from tsode.models.structural.joint import JointStructure
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.season import Season
from tsode.models.structural.structure import REGRESSORS

__all__ = ["StructuralAnswers"]

SHARE_80 = 1.2816  # standard deviations within which a normal number lies four times of five
TIMES = ("period", "time")  # parameters that are lengths of time


class StructuralAnswers(FittedForecaster):
    """What a forecaster of structural components can be asked."""

    def decompose(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        static: Any = None,
        known: Any = None,
        level: float | Sequence[float] = (80,),
    ) -> Any:
        """Trend, seasons, cycles and what is left, with bands, given all of each history, earlier and later.

        Parameters
        ----------
        X, times, horizon, context
            When, as in `predict`: between observations, in gaps, and ahead. By default at the observations themselves.
        static, known
            See `predict`.
        level : per cent or list of per cents
            Of the bands.

        Returns
        -------
        DataFrame
            For each channel the columns ``channel-fit``, the value without observation noise, and its parts
            ``channel-trend``, one a season and a cycle by its name (``channel-year``), ``channel-regressors`` and
            ``channel-rest``, whose means add up to it; with bands ``channel-trend-lo-80``, ``channel-trend-hi-80``.
            Where a channel is modelled by its logarithm or root (``transforms_``), all of them are on that scale.

        Raises
        ------
        ParameterError
            If the forecaster was fitted without ``components=``.
        """
        module = self._structural_module("decompose")
        levels = read_levels(level, "level", 100.0)
        if X is None and times is None and horizon is None:
            panel = self._panel if context is None else self.reader_.read(context, beside=self._panel, name="context=")
            query, panel = _own_times(panel), self.reader_.with_tables(panel, self._panel, None, static, known)
        else:
            query, panel = self._read_query(X, times, horizon, context, None, static, known)
        ends = torch.tensor([0.5 + sign * share / 200.0 for share in levels for sign in (-1.0, 1.0)]).double()
        labels = self._part_labels(module, levels)
        table = np.empty((len(labels), sum(map(len, query.times))))
        for piece in pieces(self.reader_, query, panel, module, *self._dtype_and_device, is_whole=True):
            with isolated(), torch.no_grad():
                for k in range(len(piece.rows)):
                    asked = torch.from_numpy(piece.is_asked[k])
                    at = piece.places[k][piece.is_asked[k]]
                    columns = [
                        _with_bands(params, ends)
                        for c in range(module.n_channels)
                        for params in decompose(module, piece.batch, c, k, piece.query_times[k][asked]).values()
                    ]
                    table[:, at] = torch.cat(columns, dim=1).numpy().T
        return self.reader_.write(query, labels, table, X)

    def _part_labels(self, module: StructuralModel, levels: Sequence[float]) -> list[Hashable]:
        endings = ["", *(f"-{side}-{share:g}" for share in levels for side in ("lo", "hi"))]
        return [
            f"{channel}-{name}{ending}"
            for channel, fit in zip(self.channels_, module.channels)
            for name in [FIT, *part_names(fit)]
            for ending in endings
        ]

    @property
    def components_(self) -> dict[Hashable, list[str]]:
        """Components of the likeliest structure of each channel."""
        fits = zip(self.channels_, self._structural_module("components_").channels)
        return {
            name: [one.name for one in _best(fit).structure.components] + ["changepoints"] * bool(fit.changes)
            for name, fit in fits
        }

    @property
    def weights_(self) -> dict[Hashable, dict[str, float]]:
        """Weight of each structure that the forecast of a channel is averaged from, greatest first."""
        fits = zip(self.channels_, self._structural_module("weights_").channels)
        return {
            name: {" + ".join(one.name for one in member.structure.components): member.weight for member in fit.members}
            for name, fit in fits
        }

    @property
    def transforms_(self) -> dict[Hashable, str]:
        """Scale on which each channel is modelled: "identity", "sqrt", "log" or "logit"."""
        fits = zip(self.channels_, self._structural_module("transforms_").channels)
        return {name: fit.transform.name for name, fit in fits}

    @property
    def period_(self) -> Any:
        """Longest period of a season of the likeliest structures, in the data's own time.

        Raises
        ------
        AttributeError
            If there is no season.
        """
        module = getattr(self, "module_", None)
        fits = module.channels if isinstance(module, StructuralModel) else []
        periods = [
            component.period * fit.span
            for fit in fits
            for component in _best(fit).structure.components
            if isinstance(component, Season)
        ]
        if not periods:
            raise AttributeError("period_ is there only where a season was found or given")
        return self.reader_.timeline.span(np.array([max(periods)]))[0]

    def summary(self) -> pd.DataFrame:
        """Parameters of the likeliest structure of each channel, with their uncertainty.

        Returns
        -------
        DataFrame
            Indexed by channel, component and parameter: ``median``, its standard error ``se``, and ``lo-80`` and
            ``hi-80``, within which it lies with a probability of 80 %; ``unit``. Lengths of time are in the data's own
            time, or in days for datetimes; variances in squared units of the (transformed) values; rates for the same
            unit of time. A covariate has the change of the (transformed) value for one unit of its own, a category the
            change where it holds, and an event a step that stays and pulses that decay, for one unit of its amount.
            With ``channels="joint"`` a channel also has its ``loading`` on the innovations of each channel, in standard
            deviations, and the ``correlation`` of its innovations with those of each other channel.
        """
        module = self._structural_module("summary")
        rows, index = [], []
        for name, fit in zip(self.channels_, module.channels):
            member = _best(fit)
            values = member.structure.parameters(member.z) | self._shared(member)
            for (component, parameter), draws in values.items():
                factor, unit = self._unit_of(component, parameter, fit)
                middle, spread = float(draws[0]) * factor, _spread(draws.log())
                low, high = (middle * np.exp(side * SHARE_80 * spread) for side in (-1.0, 1.0))
                index.append((name, component, parameter))
                rows.append((middle, middle * spread, low, high, unit))
            for covariate, draws in effects_of(self.reader_, fit, member).items():
                middle, spread = float(draws[0]), _spread(draws)
                index.append((name, REGRESSORS, covariate))
                rows.append((middle, spread, middle - SHARE_80 * spread, middle + SHARE_80 * spread, "per unit"))
        labels = pd.MultiIndex.from_tuples(index, names=["channel", "component", "parameter"])
        return pd.DataFrame(rows, columns=["median", "se", "lo-80", "hi-80", "unit"], index=labels)

    def _shared(self, member: Member) -> dict[tuple[str, Any], torch.Tensor]:
        """Of a channel that is modelled with others: loadings on what they have in common, and correlations."""
        structure = member.structure
        if not isinstance(structure, JointStructure):
            return {}
        c = structure.channel
        loadings, correlations = structure.loadings(member.z)[:, c], structure.correlations(member.z)
        common = {("loading", name): loadings[:, k] for k, name in enumerate(self.channels_[: c + 1])}
        others = {("correlation", name): correlations[:, k] for k, name in enumerate(self.channels_) if k != c}
        return common | others

    def _unit_of(self, component: str, parameter: str, fit: ChannelFit) -> tuple[float, str]:
        """Factor from the structure's units to the data's, and what the data's are called."""
        unit = self.time_unit_
        is_dated = isinstance(unit, np.timedelta64)
        span = fit.span * (unit / np.timedelta64(1, "D") if is_dated else float(unit))
        time = "d" if is_dated else "time"
        scale = {"identity": "value", "log": "log value", "sqrt": "root value", "logit": "logit value"}
        square = f"({scale[fit.transform.name]})^2"
        if parameter in TIMES:
            return span, time
        if parameter == "damping":
            return 1.0 / span, f"1/{time}"
        if parameter == "rate":
            power = 1 if component.startswith("level") else 3
            factor = fit.spread / span * fit.spread  # products, for a power of a float may raise an error
            return (factor, f"{square}/{time}") if power == 1 else (factor / span / span, f"{square}/{time}^3")
        if parameter == "drift":
            return 1.0 / span, f"1/{time}"
        if parameter in ("variance", "size"):
            return fit.spread * fit.spread, square
        return 1.0, ""

    def _structural_module(self, what: str) -> StructuralModel:
        self._check_fitted()
        if not isinstance(self.module_, StructuralModel):
            kind = AttributeError if what.endswith("_") else ParameterError  # what is not there is no attribute
            raise kind(f"{what} is of structural components: fit with components='auto' or a list of them.")
        return self.module_


def _own_times(panel: Any) -> Query:
    """A query at all observations."""
    lengths = np.array([len(times) for times in panel.times])
    return Query(list(panel.ids), list(panel.times), np.arange(int(lengths.sum())), replace(panel.layout))


def _with_bands(params: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Mean and quantiles of a mixture of normals (q 3d): Tensor[q 1+e]."""
    family = NormalMixture(params.shape[-1] // 3)
    mean = family.mean(params)[:, None]
    return torch.cat([mean, family.quantile(params[:, None], ends)], dim=1) if len(ends) else mean


def _spread(draws: torch.Tensor) -> float:
    """Standard deviation of draws (k) about the first, the mode."""
    return float(((draws - draws[0]) ** 2)[1:].mean().sqrt())


def _best(fit: ChannelFit) -> Member:
    return max(fit.members, key=lambda member: member.weight)
