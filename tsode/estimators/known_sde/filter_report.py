"""Report of a fitted forecaster's filter: what each row said, and whether its states still count."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.assimilation.ensemble_checks import first_collapse
from tsode.assimilation.filters.ensemble import EnsembleFilter
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.particle_report import ADVICE, Trouble, report_particles
from tsode.assimilation.run import Passed
from tsode.errors import TsodeWarning
from tsode.estimators.known_ode.posterior import KeptPosterior

__all__ = ["ReportsFilter"]


class ReportsFilter:
    """Part of `KnownSDEForecaster` that tells how its filter fared."""

    id_col: Hashable
    time_col: Hashable
    reader_: Any
    module_: Any
    _kept: KeptPosterior
    _of_series: Callable[..., Tensor]
    _build_density: Callable[..., Any]
    _check_fitted: Callable[[], None]

    def filter_report(self, n_worst: int = 3) -> pd.DataFrame:
        """Report how the filter fared along the series of fit, at the first draw of the posterior.

        Parameters
        ----------
        n_worst : int
            Rows that are named.

        Returns
        -------
        DataFrame
            A row a time: ids, times, ``log_likelihood`` of what was seen given all before (-inf is said as it is). Of
            particles also ``n_effective``, ``n_ancestors`` (how many of the last time those with weight come from) and
            ``advice``; of ensembles ``spread`` (largest over the states, in units of the state's size), ``n_failed``
            (members replaced so far) and ``inflation`` (largest factor of the variance). ``attrs["worst"]`` has the
            rows of least log likelihood, ``attrs["collapsed"]`` when the ensemble of a series has collapsed.

        Warns
        -----
        TsodeWarning
            If an ensemble has collapsed, or no particle is left: series, time and what to do.
        """
        self._check_fitted()
        data = self._kept.data
        u = torch.stack([self._of_series(row)[:1] for row in range(len(data.ids))])
        with isolated(), torch.no_grad():
            density = self._build_density(data.ids, data, len(data.ids))
            rows, draws = density.rows(density.space.unpack(u).values), density.draws(1)
            passed = density.passed(rows, draws, keep=True)
            columns: dict[str, Tensor] = {"log_likelihood": passed.log_evidence.sum(dim=2)}
            columns |= _of_filter(density, rows, passed)
        is_row = rows.stops.row >= 0
        series, place = is_row.nonzero(as_tuple=True)
        times = self.reader_.timeline.to_native(rows.stops.time[series, place].numpy())
        table = pd.DataFrame({self.id_col: [data.ids[k] for k in series.tolist()], self.time_col: times})
        for name, values in columns.items():
            table[name] = values[series, place].numpy()
        if "trouble" in table:
            table["advice"] = [ADVICE[Trouble(int(code))] for code in table.pop("trouble")]
        worst = table["log_likelihood"].replace(-np.inf, -1e300).nsmallest(n_worst).index
        table.attrs = {"worst": table.loc[worst], "collapsed": self._collapsed(density, rows, passed)}
        self._tell_of_trouble(table)
        return table

    def _collapsed(self, density: Any, rows: Any, passed: Passed) -> dict[Hashable, Any]:
        if not isinstance(density.filter, EnsembleFilter) or not passed.seen:
            return {}
        # from the start on, whose spread is that of what was known before any data
        spread = torch.stack([belief.members.std(dim=1) for belief in (passed.after[0], *passed.seen)])
        return {
            self._kept.data.ids[row]: self.reader_.timeline.to_native(rows.stops.time[row, k - 1 : k].numpy())[0]
            for row, k in enumerate(first_collapse(spread).tolist())
            if k > 0
        }

    def _tell_of_trouble(self, table: pd.DataFrame) -> None:
        for key, time in table.attrs["collapsed"].items():
            warnings.warn(
                f"The ensemble of series {key!r} has collapsed at {time}: its spread is next to nothing, and values "
                "move it no longer. Use more members, process noise of more states, or inflation.",
                TsodeWarning,
                stacklevel=3,
            )
        lost = table[table["log_likelihood"] == -np.inf]
        if len(lost):
            first = dict(zip(lost.columns, lost.iloc[0]))
            advice = f": {first['advice']}" if "advice" in first else ""
            warnings.warn(
                f"Series {first[str(self.id_col)]!r} has a value at {first[str(self.time_col)]} that no state of the "
                f"filter explains{advice}.",
                TsodeWarning,
                stacklevel=3,
            )


def _of_filter(density: Any, rows: Any, passed: Passed) -> dict[str, Tensor]:
    """Columns (r k) that the kind of a filter has of its own."""
    if not passed.seen:
        return {}
    if isinstance(density.filter, ParticleFilter):
        found = report_particles(passed.before, passed.seen, passed.log_evidence, rows.seen_at)
        return {"n_effective": found.effective, "n_ancestors": found.n_ancestors, "trouble": found.trouble}
    if isinstance(density.filter, EnsembleFilter):
        size = density.size[rows.series]
        parts = [
            ((belief.members.std(dim=1) / size).amax(dim=1), belief.n_failed, belief.inflation.amax(dim=1))
            for belief in passed.seen
        ]
        return dict(zip(("spread", "n_failed", "inflation"), (torch.stack(part, dim=1) for part in zip(*parts))))
    return {}
