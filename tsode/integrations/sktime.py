"""Forecasters of tsode as forecasters of sktime (1.2): ``pip install "tsode[sktime]"``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import clone
from sktime.forecasting.base import BaseForecaster

from tsode.estimators.forecasters.baselines import DriftForecaster, LastValueForecaster
from tsode.estimators.forecasters.jump_ode import JumpODEForecaster
from tsode.frames.durations import read_duration

__all__ = ["TsodeForecaster", "to_sktime"]

ID, TIME = "unique_id", "ds"


class TsodeForecaster(BaseForecaster):
    """Any forecaster of tsode behind the interface of sktime.

    A series may be irregular: forecasting horizons are then absolute times, or timedeltas. Panels and hierarchies are
    learned by one model, each instance a series. New data in ``update`` are what forecasts go on from; with
    ``update_params=True`` the model is fitted again to all data. Exogenous data are covariates that are known ahead, of
    forecasters that read them.

    Parameters
    ----------
    forecaster : forecaster of tsode, optional
        It is cloned, never changed. Default: ``JumpODEForecaster()``.

    Examples
    --------
    >>> import pandas as pd
    >>> from tsode import LastValueForecaster
    >>> from tsode.integrations.sktime import TsodeForecaster
    >>> times = pd.DatetimeIndex(["2024-01-01", "2024-01-04", "2024-01-05 12:00"])
    >>> forecaster = TsodeForecaster(LastValueForecaster()).fit(pd.Series([1.0, 3.0, 2.0], index=times))
    >>> forecaster.predict(fh=pd.DatetimeIndex(["2024-01-07"])).tolist()
    [2.0]
    """

    # New data are kept by `_update`: sktime need not keep them too, unless it is told to.
    _config: ClassVar[dict[str, Any]] = {"remember_data": False}
    _tags: ClassVar[dict[str, Any]] = {
        "authors": ["tsode"],
        "maintainers": ["tsode"],
        "python_dependencies": ["torch"],
        "y_inner_mtype": ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"],
        "X_inner_mtype": ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"],
        "scitype:y": "both",
        "capability:exogenous": False,
        "capability:missing_values": True,
        "capability:insample": True,
        "capability:pred_int": True,
        "capability:pred_int:insample": True,
        "capability:update": True,
        "requires-fh-in-fit": False,
        "capability:random_state": False,
        "property:randomness": "deterministic",
    }

    def __init__(self, forecaster: Any = None) -> None:
        self.forecaster = forecaster
        super().__init__()
        reads = forecaster is None or getattr(forecaster, "reads_covariates", False)
        self.set_tags(**{"capability:exogenous": bool(reads)})
        self._y = self._X = None

    def _fit(self, y: pd.DataFrame, X: Any = None, fh: Any = None) -> TsodeForecaster:
        self._history, self._ahead = y, X
        self.forecaster_ = clone(JumpODEForecaster() if self.forecaster is None else self.forecaster)
        tables = {} if X is None else {"known": _to_long(X, _instances(y.index))}
        self.forecaster_.set_params(id_col=ID, time_col=TIME).fit(_to_long(y, _instances(y.index)), **tables)
        return self

    def _update(self, y: pd.DataFrame, X: Any = None, update_params: bool = True) -> TsodeForecaster:
        y, X = _joined(y, self._history), self._ahead if X is None else _joined(X, self._ahead)
        if update_params:
            return self._fit(y, X)
        self._history, self._ahead = y, X
        return self

    def _predict(self, fh: Any, X: Any = None) -> pd.DataFrame:
        answer, index = self._predict_rows(self.forecaster_.predict, fh, X)
        columns = self._history.columns
        return pd.DataFrame(answer[_names(columns)].to_numpy(), index, columns)

    def _predict_quantiles(self, fh: Any, X: Any, alpha: Sequence[float]) -> pd.DataFrame:
        answer, index = self._predict_rows(self.forecaster_.predict_quantiles, fh, X, quantiles=list(alpha))
        variables = self._get_varnames()
        columns = pd.MultiIndex.from_product([variables, alpha])
        names = [f"{name}-q-{level:g}" for name in _names(self._history.columns) for level in alpha]
        return pd.DataFrame(answer[names].to_numpy(), index, columns)

    def _predict_rows(self, predict: Any, fh: Any, X: Any, **options: Any) -> tuple[pd.DataFrame, pd.Index]:
        """Forecasts of every instance at the times in `fh`, and their index."""
        horizon = fh.to_absolute_index(self.cutoff)
        instances = _instances(self._history.index)
        times = _native(horizon)
        n, m = len(instances), len(times)
        rows = pd.DataFrame({ID: np.repeat(np.arange(n), m), TIME: np.tile(times, n)})
        if X is not None:
            options["known"] = _to_long(_joined(X, self._ahead), instances)
        answer = predict(rows, context=_to_long(self._history, instances), **options)
        if not isinstance(self._history.index, pd.MultiIndex):
            return answer, horizon
        levels = [(*instance, t) for instance in instances for t in horizon]
        return answer, pd.MultiIndex.from_tuples(levels, names=self._history.index.names)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings that fit in a tenth of a second, for sktime's own checks."""
        return [{"forecaster": LastValueForecaster()}, {"forecaster": DriftForecaster()}]


def to_sktime(
    frame: pd.DataFrame, time_unit: str | pd.Timedelta = "1D", *, id_col: Hashable = ID, time_col: Hashable = TIME
) -> pd.DataFrame:
    """A long frame as sktime's ``pd-multiindex``; numeric times become datetimes, which sktime asks for.

    Parameters
    ----------
    frame : DataFrame
        Long, with the columns `id_col`, `time_col` and channels.
    time_unit : duration
        Length of one unit of numeric times, counted from 1970; to the nanosecond.

    Examples
    --------
    >>> import pandas as pd
    >>> to_sktime(pd.DataFrame({"unique_id": "a", "ds": [0.0, 1.5], "y": [1.0, 2.0]}), "1h").index[1]
    ('a', Timestamp('1970-01-01 01:30:00'))
    """
    times = frame[time_col]
    if times.dtype.kind in "fiu":
        unit = pd.Timedelta(read_duration(time_unit, "datetime", "time_unit"))
        ticks = np.rint(times.to_numpy(dtype=np.float64) * unit.total_seconds() * 1e9)
        times = pd.Series(ticks.astype("datetime64[ns]"), index=frame.index)
    keys: Any = [id_col, time_col]
    indexed = frame.assign(**{str(time_col): times}).sort_values(keys)
    return indexed.set_index(keys)


def _instances(index: pd.Index) -> list[tuple[Any, ...]]:
    """Labels of the series, in the order in which sktime has them."""
    if not isinstance(index, pd.MultiIndex):
        return [()]
    return [label if isinstance(label, tuple) else (label,) for label in index.droplevel(-1).unique()]


def _names(columns: pd.Index) -> list[str]:
    return [f"y{k}" for k in range(len(columns))]


def _native(times: pd.Index) -> np.ndarray:
    """Times that tsode reads: periods become the stamps at which they start."""
    if isinstance(times, pd.PeriodIndex):
        times = times.to_timestamp()
    return times.to_numpy()


def _joined(new: pd.DataFrame, old: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of both; where they overlap, the new ones."""
    return new if old is None else new.combine_first(old)[list(old.columns)]


def _to_long(y: pd.DataFrame, instances: list[tuple[Any, ...]]) -> pd.DataFrame:
    """A long frame with the instances numbered in order and the columns ``y0``, ``y1``, ..."""
    index, ids = y.index, np.zeros(len(y), dtype=np.int64)
    if isinstance(index, pd.MultiIndex):
        place = {instance: number for number, instance in enumerate(instances)}
        labels = index.droplevel(-1)
        ids = np.array([place[label if isinstance(label, tuple) else (label,)] for label in labels], dtype=np.int64)
        index = index.get_level_values(-1)
    values = pd.DataFrame(y.to_numpy(dtype=np.float64), columns=_names(y.columns))
    return pd.concat([pd.DataFrame({ID: ids, TIME: _native(index)}), values], axis=1)
