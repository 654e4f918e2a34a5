"""Reports of a posterior as frames: summary, draws, evidence, pointwise likelihood, leave-one-out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.left_out import leave_out_series
from tsode.estimators.known_ode.likelihood_comparison import compare_likelihoods
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.estimators.known_ode.residual import residual_shares
from tsode.frames.panel import Panel
from tsode.frames.times import read_times
from tsode.inference.known_density import KnownDensity
from tsode.inference.loo import leave_one_out
from tsode.inference.priors import Prior

__all__ = ["ReportsPosterior", "compare_models"]


class ReportsPosterior:
    """Part of `KnownODEForecaster` that tells of its posterior."""

    id_col: Hashable
    time_col: Hashable
    reader_: DataReader
    module_: Any
    _panel: Panel
    _kept: KeptPosterior
    _density: Any
    _density_of: Callable[..., KnownDensity]
    _check_fitted: Callable[[], None]
    initial_time: Any

    def summary(self) -> pd.DataFrame:
        """Summary of the posterior, a row a parameter.

        Returns
        -------
        DataFrame
            ``mean``, ``sd``, ``q05``, ``q50``, ``q95`` in the units of the parameter; ``ess_bulk``, ``ess_tail``,
            ``rhat`` and ``pareto_k`` as far as the engine has them; ``contraction``, 1 less the posterior's squared
            width in parts of the prior's: 0 where the data say nothing; ``engine``. ``attrs["cells"]`` counts the
            values of each channel, and those below and above its limits of quantification. With a residual also a row a
            state: the share of the drift that the residual explains, along the ways of the series.
        """
        self._check_fitted()
        table = self._kept.table(self._density.space.constrain(self._kept.nodes))
        if self._density.system.population is not None:  # effects are told by `individual_parameters`
            effects = self._density.system.population.own()
            table = table[[name.split("[")[0] not in effects for name in table.index]]
        if self._density.system.residual:
            with isolated():
                shares = residual_shares(self._density, self.module_.draws)
            table = pd.concat([table, shares.reindex(columns=table.columns).astype(table.dtypes)])
        table.attrs["cells"] = {
            channel: {"values": len(of.values), "below": int(of.is_below.sum()), "above": int(of.is_above.sum())}
            for channel, of in self._density.cells.items()
        }
        return table

    @property
    def modes_(self) -> pd.DataFrame:
        """Modes that starts have come to, the best first: log density, number of starts, parameters at the mode.

        Of several problems each has its own, and the id of its series. Modes are those of the unbounded coordinates.
        """
        self._check_fitted()
        kept, names = self._kept, list(self._kept.names)
        values = self._density.space.constrain(kept.mode_points)
        parts = []
        for g in range(len(values)):
            is_there = kept.mode_log_prob[g].isfinite()
            table = pd.DataFrame(values[g][is_there].numpy(), columns=names)
            table.insert(0, "n_starts", kept.mode_starts[g][is_there].numpy())
            table.insert(0, "log_density", kept.mode_log_prob[g][is_there].numpy())
            if len(values) > 1:
                table.insert(0, str(self.id_col), [kept.data.ids[g]] * len(table))
            parts.append(table)
        return pd.concat(parts, ignore_index=True)

    @property
    def posterior_(self) -> pd.DataFrame:
        """See Attributes."""
        self._check_fitted()
        values = self._density.space.constrain(self.module_.draws)
        return pd.DataFrame(values.transpose(0, 1).flatten(1).numpy(), columns=self._kept.labels())

    @property
    def priors_(self) -> dict[str, Prior]:
        """Priors of the columns of `posterior_`."""
        self._check_fitted()
        space = self._density.space
        priors = [space.priors[space.parameter_of(name)] for name in self._kept.names]
        return dict(zip(self._kept.labels(), priors * len(self._kept.nodes)))

    @property
    def problems_(self) -> list[str]:
        """See Attributes."""
        self._check_fitted()
        if len(self._kept.problems) == 1:
            return list(self._kept.problems[0])
        return [f"series {key!r}: {text}" for key, texts in zip(self._kept.data.ids, self._kept.problems)
                for text in texts]  # fmt: skip

    @property
    def log_evidence_(self) -> float | pd.Series:
        """See Attributes."""
        self._check_fitted()
        evidence = self._kept.log_evidence
        if len(evidence) == 1:
            return float(evidence[0])
        return pd.Series(
            evidence.numpy(), index=pd.Index(list(self._kept.data.ids), name=self.id_col), name="log_evidence"
        )

    @property
    def log_likelihood_(self) -> pd.DataFrame:
        """See Attributes."""
        self._check_fitted()
        cells = self._cells()
        index = pd.MultiIndex.from_frame(cells[["channel", self.id_col, self.time_col]])
        return pd.DataFrame(self._pointwise(self.module_.draws).numpy(), columns=index)

    def loo(self, by: str = "value") -> pd.DataFrame:
        """Log predictive density of each value, or each series, given all others, by importance sampling.

        Parameters
        ----------
        by : {"value", "series"}
            "series" leaves the values of a series out together, by their joint density: for new series. What a series
            has of its own is integrated out, by as many small inferences as there are series times 256.

        Returns
        -------
        DataFrame
            A row a value or series: ``elpd`` and the Pareto shape ``k``; above .7 it is too influential for this
            method. ``attrs`` have the sum ``elpd``, its standard error ``se``, and ``n_effective`` parameters.
        """
        self._check_fitted()
        if by not in ("value", "series"):
            raise ParameterError(f"by={by!r} is not known: choose 'value' or 'series'.")
        kept, cells = self._kept, self._cells()
        if by == "series" and len(kept.data.ids) < 2:
            raise ParameterError("Leaving out a series needs several.")
        if by == "series" and self._density.space.own:
            found = leave_out_series(self)
            table = pd.DataFrame(
                {self.id_col: list(kept.data.ids), "elpd": found.pointwise.numpy(), "k": found.k.numpy()}
            )
            return _with_sums(table, float(found.n_effective))
        weights = kept.log_weights
        scores = self._pointwise(kept.nodes, by == "value")
        is_rule = [engine == "quadrature" for engine in kept.engine]
        problem = torch.tensor(cells["series"].tolist()) // self._density.space.n_series
        table = cells[["channel", self.id_col, self.time_col]].assign(elpd=np.nan, k=np.nan)
        n_effective = 0.0
        groups = torch.tensor(cells["series"].tolist()) if by == "series" else None
        for g, rule in enumerate(is_rule):
            own = problem == g
            found = leave_one_out(scores[:, own], None if groups is None else groups[own], weights[g], rule)
            n_effective += float(found.n_effective)
            if by == "series":
                table = pd.DataFrame({self.id_col: list(kept.data.ids)})
                own = torch.ones(len(table), dtype=torch.bool)
            table.loc[own.numpy(), "elpd"] = found.pointwise.numpy()
            table.loc[own.numpy(), "k"] = found.k.numpy()
        return _with_sums(table, n_effective)

    def trajectories(self, times: Sequence[Any], n_draws: int = 100) -> pd.DataFrame:
        """Draw the states of the series of fit along time, given all their rows in fit: without noise.

        Parameters
        ----------
        times : list of times
            Of every series, not before its start.
        n_draws : int
            The first of the draws in `posterior_`.

        Returns
        -------
        DataFrame
            Ids, times, ``draw`` and a column a state.
        """
        self._check_fitted()
        timeline, density = self.reader_.timeline, self._density
        native = read_times(times, self._panel)
        asked = timeline.to_model(native)
        for key, start in zip(self._kept.data.ids, self._kept.data.start.tolist()):
            if (asked < start).any():
                raise DataError(f"Series {key!r} is asked for {native[asked < start][0]}, before it starts.")
        with isolated(), torch.no_grad():
            where = torch.from_numpy(asked).expand(len(self._kept.data.ids), -1)
            states, _ = density.trajectories(self.module_.draws[:, :n_draws], where)
        path = states.transpose(1, 2).flatten(0, 1).numpy()  # (n k m d)
        n, k, m = path.shape[:3]
        ids = [key for key in self._kept.data.ids for _ in range(k * m)]
        numbers = {self.time_col: np.tile(native, n * k), "draw": np.tile(np.repeat(np.arange(k), m), n)}
        return pd.DataFrame({
            self.id_col: ids, **numbers, **dict(zip(density.system.states, path.reshape(n * k * m, -1).T)),
        })  # fmt: skip

    def _cells(self) -> pd.DataFrame:
        """Where each value stands, in the order of `_pointwise`."""
        data, timeline = self._kept.data, self.reader_.timeline
        parts: list[pd.DataFrame] = []
        for channel, cells in self._density.cells.items():
            native = timeline.to_native(data.times[cells.series, cells.column].numpy())
            ids = [data.ids[row] for row in cells.series.tolist()]
            parts.append(pd.DataFrame({
                "channel": channel, self.id_col: ids, self.time_col: native, "series": cells.series.numpy(),
            }))  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    @isolated()
    def _pointwise(self, u: Tensor, is_given_others: bool = False) -> Tensor:
        """Log likelihood (k n) of every value at points (g k p); each value belongs to one problem.

        They add up, unless each is asked for given all others, with which its error may be correlated.
        """
        density = self._density.of_values() if is_given_others else self._density
        with torch.no_grad():
            return torch.cat(list(density.pointwise(u).values()), dim=-1).sum(dim=0)


def _with_sums(table: pd.DataFrame, n_effective: float) -> pd.DataFrame:
    """A table of leave-one-out densities with their sum."""
    elpd = table["elpd"].to_numpy()
    se = float(elpd.std(ddof=1) * np.sqrt(len(elpd))) if len(elpd) > 1 else np.nan
    table.attrs = {"elpd": float(elpd.sum()), "se": se, "n_effective": n_effective}
    return table


def compare_models(models: dict[str, Any], by: str = "value") -> pd.DataFrame:
    """Compare forecasters of known systems that were fitted to the same data, by leaving out values.

    Parameters
    ----------
    models : dict of name to KnownODEForecaster
    by : {"value", "series", "likelihood"}
        See `KnownODEForecaster.loo`; "likelihood" compares fits of populations by maximum likelihood, see
        `tsode.estimators.known_ode.likelihood_comparison.compare_likelihoods`.

    Returns
    -------
    DataFrame
        A row a model, the best first: ``elpd``, its difference from the best ``elpd_diff`` with its standard error
        ``se_diff``, ``n_effective``, ``worst_k``.
    """
    if by == "likelihood":
        return compare_likelihoods(models)
    tables = {name: model.loo(by) for name, model in models.items()}
    first = next(iter(tables.values()))
    keys: Sequence[Any] = [name for name in first.columns if name not in ("elpd", "k")]
    for name, table in tables.items():
        if not table[keys].equals(first[keys]):
            raise ParameterError(f"The model {name!r} was fitted to other values than the first: fit all to the same.")
    best = max(tables, key=lambda name: tables[name].attrs["elpd"])
    rows = []
    for name, table in tables.items():
        gap = (table["elpd"] - tables[best]["elpd"]).to_numpy()
        rows.append({
            "model": name, "elpd": table.attrs["elpd"], "elpd_diff": gap.sum(),
            "se_diff": gap.std(ddof=1) * np.sqrt(len(gap)) if len(gap) > 1 else np.nan,
            "n_effective": table.attrs["n_effective"], "worst_k": table["k"].max(),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values("elpd", ascending=False, ignore_index=True)
