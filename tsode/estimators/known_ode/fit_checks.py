"""Checks of a fitted known system against its data: curves through them, replicated data, and where values lie."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.cell_laws import drawn_at_cells, laws_given_others, own_times
from tsode.estimators.known_ode.datatree import datatree_of
from tsode.estimators.known_ode.laws import laws_of
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.frames.labels import guess_label
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.loo import weights_without
from tsode.inference.noise.base import Between
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.ensemble_mixture import EnsembleMixture

__all__ = ["ChecksFit"]

_JUST_AFTER = 1e-6  # an event, in lengths of its series


class ChecksFit:
    """Part of `KnownODEForecaster` that is held against the data of fit."""

    id_col: Hashable
    time_col: Hashable
    reader_: DataReader
    module_: Any
    _kept: KeptPosterior
    _system_of: Callable[[Sequence[Hashable]], KnownSystem]
    _of_series: Callable[..., Tensor]
    _check_fitted: Callable[[], None]

    def posterior_predictive(self, n_samples: int = 100, random_state: Any = None) -> pd.DataFrame:
        """Draw data like those of fit: each sample from one draw of the posterior, with noise, in the same cells.

        Limits of quantification are not applied: values beyond them stand as they were drawn.

        Parameters
        ----------
        n_samples : int
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            Ids, times, ``sample`` and a column a channel, NaN where fit had no value.

        See Also
        --------
        tsode.plots.plot_posterior_predictive : draws them beside the data.
        """
        self._check_fitted()
        if n_samples < 1:
            raise ParameterError(f"n_samples={n_samples!r} must be at least 1.")
        generator, (density, u) = new_generator(random_state), self._of_fit()
        n_draws = u.shape[1]
        rounds = -(-n_samples // n_draws)
        chosen = torch.cat([torch.randperm(n_draws, generator=generator) for _ in range(rounds)])[:n_samples]
        data, values = density.data, torch.full((n_samples, *density.data.values.shape), torch.nan).double()
        with isolated(), torch.no_grad():
            drawn_of = drawn_at_cells(density, u[:, chosen], generator)
            for c, (channel, cells) in enumerate(density.cells.items()):
                values[:, cells.series, cells.column, c] = drawn_of[channel].T
        series, column = (~data.values.isnan()).any(dim=2).nonzero(as_tuple=True)
        m = len(series)
        ids, times = self._labels(series, data.times[series, column])
        drawn = values[:, series, column].reshape(n_samples * m, -1).numpy()
        rows = {self.id_col: ids * n_samples, self.time_col: np.tile(times, n_samples)}
        rows |= {"sample": np.repeat(np.arange(n_samples), m)}
        return pd.DataFrame(rows | dict(zip(density.cells, drawn.T)))

    def loo_pit(self, random_state: Any = None) -> pd.DataFrame:
        """Levels at which the values of fit lie in what is predicted of each from all others: uniform if all is right.

        Of counts, and beyond limits of quantification, where only a range of levels is known, one is drawn from it.

        Parameters
        ----------
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            A row a value: its channel, series and time, the level ``pit``, and the Pareto shape ``k``, above .7 of
            which leaving out by importance sampling is not reliable.

        References
        ----------
        Gelfand, Dey & Chang, "Model determination using predictive distributions", Bayesian Statistics 4, 1992.
        """
        self._check_fitted()
        generator, kept = new_generator(random_state), self._kept
        nodes, best = kept.nodes, kept.log_weights.argmax(dim=1)
        # those without weight may have no laws
        nodes = nodes.where(kept.log_weights.isfinite()[..., None], nodes[torch.arange(len(nodes)), best][:, None])
        density, u = self._of_fit(draws=nodes)
        is_rule = torch.tensor([engine == "quadrature" for engine in kept.engine])
        parts = []
        with isolated(), torch.no_grad():
            for channel, (family, params) in laws_given_others(density, u).items():
                cells, noise = density.cells[channel], density.system.observed[channel]
                score = noise.log_prob(params.transpose(0, 1), cells.values, cells.is_below, cells.is_above).T
                low, high = _levels(family, params, cells.values, cells.is_below, cells.is_above, noise)
                problem = cells.series * len(nodes) // len(u)
                k = torch.empty(len(problem), dtype=torch.float64)
                for g in problem.unique().tolist():
                    own = problem == g
                    log_weights, k[own] = weights_without(score[own], kept.log_weights[g], bool(is_rule[g]))
                    low[own] *= log_weights.exp()
                    high[own] *= log_weights.exp()
                low, high = (level.sum(dim=1).clamp(0.0, 1.0) for level in (low, high))
                share = torch.rand(len(low), generator=generator, dtype=torch.float64)
                ids, times = self._labels(cells.series, density.data.times[cells.series, cells.column])
                parts.append(pd.DataFrame({
                    "channel": channel, self.id_col: ids, self.time_col: times,
                    "pit": (low + share * (high - low)).numpy(), "k": k.numpy(),
                }))  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def fitted_curves(
        self, series: Sequence[Hashable] | None = None, *, n_times: int = 200, level: float = 90, n_draws: int = 400
    ) -> pd.DataFrame:
        """Curves through the series of fit, given all their rows: on a dense grid, at every row, and about events.

        A channel that counts `Between` times is there when it was seen, and at the start of the series.

        Parameters
        ----------
        series : list of id, optional
            All by default.
        n_times : int
            Of the grid, from the start to the last row.
        level : float
            Per cent that bands hold.
        n_draws : int
            The first of the draws in `posterior_`.

        Returns
        -------
        DataFrame
            Ids, times, and for each channel ``x`` the posterior mean ``x`` of the prediction without noise (of
            log-normal noise this is the median), its band ``x-state-lo-90``, ``x-state-hi-90`` of what is not known,
            and the band ``x-lo-90``, ``x-hi-90`` of what would be observed.

        See Also
        --------
        tsode.plots.plot_individual_fits : draws them.
        """
        self._check_fitted()
        if not 0 < level < 100:
            raise ParameterError(f"level={level!r} must be between 0 and 100 per cent.")
        ids = list(self._kept.data.ids)
        unknown = [key for key in series or [] if key not in ids]
        if unknown:
            raise DataError(f"There was no series {unknown[0]!r} in fit.{guess_label(unknown[0], ids)}")
        density, u = self._of_fit(range(len(ids)) if series is None else [ids.index(key) for key in series])
        u = u[:, :n_draws]
        grids = [_grid(density, row, n_times) for row in range(len(u))]
        with isolated(), torch.no_grad():
            columns = self._curves(density, u, grids, level)
        rows = torch.tensor([row for row, grid in enumerate(grids) for _ in grid])
        labels, times = self._labels(rows, torch.cat(grids), density)
        return pd.DataFrame({self.id_col: labels, self.time_col: times, **columns})

    def to_datatree(self) -> Any:
        """Posterior as an xarray DataTree in the layout of ArviZ 1.0: ``pip install "tsode[arviz]"``.

        Its groups are ``posterior``, ``posterior_predictive``, ``log_likelihood``, ``sample_stats`` and
        ``observed_data``; draws have the dimensions ``(chain, draw)``. Chains are those that were run; an engine
        without chains gives its equally weighted draws, those of `posterior_`, as one. Values of a channel ``x`` stand
        along ``x_cell``, with the coordinates ``x_series`` and ``x_time``; what each series has of its own stands along
        the column of ids.

        Returns
        -------
        xarray.DataTree
        """
        self._check_fitted()
        return datatree_of(self)

    def _of_fit(self, rows: Sequence[int] | None = None, draws: Tensor | None = None) -> tuple[KnownDensity, Tensor]:
        """Some series of fit, all by default, as problems of their own, and the draws (n k p) of each."""
        kept = self._kept.data
        rows = range(len(kept.ids)) if rows is None else rows
        data = kept.select(torch.tensor(list(rows)))
        with isolated():
            density = KnownDensity(self._system_of(data.ids), data, len(data.ids))
            return density, torch.stack([self._of_series(row, draws) for row in rows])

    def _labels(
        self, series: Tensor, times: Tensor, density: KnownDensity | None = None
    ) -> tuple[list[Hashable], np.ndarray]:
        """Ids and native times of rows."""
        ids = (self._kept.data if density is None else density.data).ids
        labels: list[Any] = [ids[row] for row in series.tolist()]
        return labels, self.reader_.timeline.to_native(times.numpy())

    def _curves(
        self, density: KnownDensity, u: Tensor, grids: Sequence[Tensor], level: float
    ) -> dict[Hashable, np.ndarray]:
        n_most = max(map(len, grids))
        laws, _ = laws_of(density, u, torch.stack([torch.cat([x, x[-1:].expand(n_most - len(x))]) for x in grids]))
        columns: dict[Hashable, np.ndarray] = {}
        for c, (channel, noise) in enumerate(density.system.observed.items()):
            counts = isinstance(noise.of, Between)
            whens = [_seen(density, channel, row) for row in range(len(u))] if counts else list(grids)
            if counts:
                law = laws_of(density, u, own_times(density, channel)[0])[0][c]
            else:
                law = laws[c]
            parts = []
            for row, (grid, when) in enumerate(zip(grids, whens)):
                found = np.full((len(grid), 5), np.nan)
                found[torch.searchsorted(grid, when).numpy()] = _bands(
                    law.family, law.params[row, :, : len(when)], level
                )
                if counts and len(when):
                    found[0] = found[int(torch.searchsorted(grid, when[0]))]  # it counts from the start on
                parts.append(found)
            endings = ["", *(f"{kind}-{side}-{level:g}" for kind in ("-state", "") for side in ("lo", "hi"))]
            columns |= dict(zip([f"{channel}{ending}" for ending in endings], np.concatenate(parts).T))
        return columns


def _bands(family: Likelihood, params: Tensor, level: float) -> np.ndarray:
    """Mean of predictions without noise, band of these, band of observations: (q 5), of parameters (k q r)."""
    ends = torch.tensor([0.5 - level / 200.0, 0.5 + level / 200.0], dtype=torch.float64)
    if family.is_discrete:
        plain = family.mean(params)
    else:
        plain = family.quantile(params, torch.full(params.shape[:2], 0.5, dtype=torch.float64))
    mixture = EnsembleMixture(len(params), family)
    joined = params.transpose(0, 1).flatten(1)
    return torch.cat([
        plain.mean(dim=0)[:, None], plain.quantile(ends, dim=0).T, mixture.quantile(joined[:, None], ends),
    ], dim=1).numpy()  # fmt: skip


def _levels(
    family: Likelihood, params: Tensor, values: Tensor, is_below: Tensor, is_above: Tensor, noise: Any
) -> tuple[Tensor, Tensor]:
    """Lowest and highest level (n k) of values (n,) in laws (n k r)."""
    at = torch.where(is_below, noise.below or 0.0, torch.where(is_above, noise.above or 0.0, values))[:, None]
    high = family.cdf(params, at)
    low = family.cdf(params, at - 1.0) if family.is_discrete else high
    low = torch.where(is_below[:, None], 0.0, low)
    return low.clone(), torch.where(is_above[:, None], 1.0, high)


def _grid(density: KnownDensity, row: int, n_times: int) -> Tensor:
    """Times of one series at which its curve is drawn: two at each event, before it and after."""
    data = density.data
    seen = data.times[row][~data.values[row].isnan().all(dim=1)]
    first, last = data.start[row], seen.max() if len(seen) else data.times[row].max()
    parts = [torch.linspace(float(first), float(last), n_times, dtype=torch.float64), seen, first[None], last[None]]
    if data.events is not None:
        events = data.events.time[row]
        events = events[(events >= first) & (events < last)]
        parts += [events, events + _JUST_AFTER * (last - first)]
    grid = torch.cat(parts).unique()
    return grid[(grid >= first) & (grid <= last)]


def _seen(density: KnownDensity, channel: str, row: int) -> Tensor:
    """When a channel of one series was seen."""
    cells = density.cells[channel]
    return density.data.times[row, cells.column[cells.series == row]]
