"""Diagnosis of structural components: whether what they leave is noise, and which values stand out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import torch

from tsode._isolation import isolated
from tsode.core.series import collate
from tsode.estimators.forecasters.structural_answers import StructuralAnswers
from tsode.models.structural.component import FLAT
from tsode.models.structural.reweighting import BELIEVED, STANDS_OUT
from tsode.numerics.whiteness import portmanteau

__all__ = ["StructuralDiagnosis"]

FAR_OUT = 4.0  # standard deviations, from where on a value is listed
FEWEST = 20  # errors, for their law to be tested


class _Errors(NamedTuple):
    """Of one channel of one series, where it was seen and the start no longer counts."""

    series: Any
    channel: Any
    native: Any
    times: np.ndarray
    values: np.ndarray
    errors: np.ndarray


class StructuralDiagnosis(StructuralAnswers):
    """What is left of the data by a forecaster of structural components."""

    def diagnose(self, context: Any = None) -> pd.DataFrame:
        """Whether the errors of forecasts one row ahead are white and normal, in each series and channel.

        Errors are in standard deviations of their forecasts, by the likeliest structure. As many first values as there
        are states of which nothing was known are left out.

        Parameters
        ----------
        context : same kinds as in fit, optional
            By default the data given to fit.

        Returns
        -------
        DataFrame
            Indexed by series and channel. ``n``: errors. ``mean`` and ``spread``: near 0 and 1 if the model holds.
            ``whiteness``: chance that white noise is as correlated in time. Errors beyond 4 are left out of these.
            ``normality``: chance that normal noise is as skew or as heavy in its tails (D'Agostino and Pearson 1973),
            NaN for fewer than 20. Both are cautious where the parameters were fitted to the same data. ``n_outliers``
            and ``n_shifts``: see `outliers_`.

        Raises
        ------
        ParameterError
            If the forecaster was fitted without ``components=``.
        """
        rows, index = [], []
        for one in self._errors(context, "diagnose"):
            kinds = _kinds(one.errors)
            kept, n = np.abs(one.errors) <= FAR_OUT, len(one.errors)
            white = portmanteau(one.times[kept], one.errors[kept])
            is_varied = n >= FEWEST and bool(np.ptp(one.errors) > 0.0)
            normal = float(scipy.stats.normaltest(one.errors).pvalue) if is_varied else float("nan")
            mean, spread = (
                (one.errors[kept].mean(), one.errors[kept].std()) if kept.any() else (float("nan"), float("nan"))
            )
            rows.append(
                (n, mean, spread, white, normal, int((kinds == "outlier").sum()), int((kinds == "shift").sum()))
            )
            index.append((one.series, one.channel))
        columns = ["n", "mean", "spread", "whiteness", "normality", "n_outliers", "n_shifts"]
        return pd.DataFrame(rows, columns=columns, index=pd.MultiIndex.from_tuples(index, names=["series", "channel"]))

    @property
    def outliers_(self) -> pd.DataFrame:
        """Values of the data given to fit that stand out from the forecast by all before them.

        Columns ``series``, ``channel``, ``time``, ``value``, ``error`` in standard deviations of that forecast, and
        ``kind``: "outlier" beyond 4 of them, or "shift" for the first of four or more in a row, all beyond 3 on one
        side, where the level has moved; the others of them are not listed.
        """
        frames = []
        for one in self._errors(None, "outliers_"):
            kinds = _kinds(one.errors)
            at = kinds != ""
            columns = {"series": one.series, "channel": one.channel, "time": one.native[at]}
            columns |= {"value": one.values[at], "error": one.errors[at], "kind": kinds[at]}
            frames.append(pd.DataFrame(columns))
        found = [frame for frame in frames if len(frame)] or frames[:1]
        return pd.concat(found, ignore_index=True)

    def _errors(self, context: Any, what: str) -> Iterator[_Errors]:
        module = self._structural_module(what)
        panel = self._panel if context is None else self.reader_.read(context, beside=self._panel, name="context=")
        one_row = torch.zeros(1, dtype=torch.int64)
        for key, native, series in zip(panel.ids, panel.times, self.reader_.series(panel)):
            batch = collate([series], torch.float64)
            for c, channel in enumerate(self.channels_):
                with isolated(), torch.no_grad():
                    fit = module.fit_of(batch, c, 0)
                    verdict = module.verdict(fit, batch, c, one_row, len(series.times))
                    start = fit.likeliest.structure.parts(fit.likeliest.z[:1], torch.zeros(1, 1).double()).start
                errors = verdict.errors[:, 0].numpy()
                at = np.flatnonzero(~np.isnan(errors))[int((start >= FLAT).sum()) :]
                yield _Errors(
                    key,
                    channel,
                    np.asarray(native)[at],
                    series.times[at],
                    series.values[at, c],
                    errors[at],
                )


def _kinds(errors: np.ndarray) -> np.ndarray:
    """ "outlier", "shift" or nothing, of each error."""
    kinds = np.where(np.abs(errors) > FAR_OUT, "outlier", "")
    side = np.where(np.abs(errors) > STANDS_OUT, np.sign(errors), 0.0)
    starts = np.flatnonzero(np.diff(side, prepend=np.nan) != 0.0)
    for first, last in zip(starts, [*starts[1:], len(side)]):
        if side[first] and last - first >= BELIEVED:
            kinds[first:last] = ["shift", *[""] * (last - first - 1)]
    return kinds
