"""Series -> vectors of one length: the state of a fitted model after the whole series."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from tsode.errors import DataError, ParameterError, SolverError
from tsode.estimators.base import BaseForecaster
from tsode.estimators.jump_ode import JumpODEForecaster
from tsode.estimators.series_rows import SeriesRows, grid_times, read_rows
from tsode.frames.panel import Panel
from tsode.training.threads import one_thread
from tsode.training.windows import Series, collate

__all__ = ["SeriesEncoder"]

ROWS_AT_ONCE = 256  # series in one batch: bounds memory, changes no number


class SeriesEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn irregular series into vectors: the state of a jump ODE filter after the last observation.

    The filter is trained to forecast the series, without labels, so the state holds what matters for their future:
    level, trend, rhythm. What comes out for a series depends on that series alone.

    Parameters
    ----------
    forecaster : forecaster or None
        What is fitted to the series: `JumpODEForecaster` (None: one with its defaults), `LinearSDEForecaster`
        (filtered state), `LatentODEForecaster` or `LatentSDEForecaster` (posterior mean of the start state). It is
        cloned; its parameters are reached as ``forecaster__max_epochs``.
    times : sequence or None
        Times of the columns where `X` is an array; None = 0, 1, 2, ...
    random_state : int, generator or None
        Seed of the fit; None leaves that to `forecaster`.

    Attributes
    ----------
    forecaster_ : forecaster
        Fitted.
    module_ : ForecastModel
        Its model, in double precision.
    n_features_in_, feature_names_in_ : int, array
        Where `X` is an array or a frame of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tsode import JumpODEForecaster, SeriesEncoder
    >>> X = np.random.default_rng(0).normal(size=(12, 6))
    >>> X[X > 1.5] = np.nan
    >>> encoder = SeriesEncoder(JumpODEForecaster(n_modes=3, n_static=2, n_members=1, max_epochs=1), random_state=0)
    >>> encoder.fit_transform(X).shape
    (12, 8)
    """

    def __init__(self, forecaster: Any = None, *, times: Any = None, random_state: Any = None) -> None:
        self.forecaster = forecaster
        self.times = times
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the forecaster to the series.

        Parameters
        ----------
        X : array[b n], DataFrame, or list of Series or of wide frames
            One row a series. A number in an array was observed at the time of its column, a NaN was not. A Series is
            indexed by its own times; a wide frame has a column a channel.
        y : ignored

        Returns
        -------
        self
        """
        rows = read_rows(self, X, reset=True)
        forecaster = JumpODEForecaster() if self.forecaster is None else clone(self.forecaster)
        if not isinstance(forecaster, BaseForecaster):
            raise ParameterError(
                f"forecaster must be a forecaster of tsode or None, but is {forecaster!r}: try JumpODEForecaster()."
            )
        if self.random_state is not None:
            forecaster.set_params(random_state=self.random_state)
        self.forecaster_ = forecaster.fit(self._container(rows, forecaster, "value"))
        if not hasattr(forecaster.module_, "encode"):
            raise ParameterError(
                f"{type(forecaster).__name__} keeps no state that could be read: take JumpODEForecaster or another "
                "forecaster with a latent state."
            )
        # single precision rounds differently in batches of other sizes, and a row must not depend on its company
        self.module_ = copy.deepcopy(forecaster.module_).double()
        self._n_features_out = self._encode([]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """State after each series: array[b d].

        A series in which nothing was observed has the start state.
        """
        return self._encode(self.read(X))

    def read(self, X: Any) -> list[Series]:
        """The series in `X` in model time and scaled units, without times at which nothing was seen."""
        check_is_fitted(self)
        rows = read_rows(self, X, reset=False)
        channels = self.forecaster_.channels_
        if isinstance(rows, np.ndarray) and len(channels) > 1:
            raise DataError(f"fit saw the channels {channels}, which an array has no place for: give a list of frames.")
        panel: Panel = self.forecaster_._read_context(self._container(rows, self.forecaster_, channels[0]))
        return self.forecaster_._translator().series(panel)

    def _container(self, rows: SeriesRows, forecaster: BaseForecaster, channel: Any) -> Any:
        """The series in a container that forecasters read."""
        if isinstance(rows, list):
            return rows
        n_series, n_times = rows.shape
        columns = {
            forecaster.id_col: np.repeat(np.arange(n_series), n_times),
            forecaster.time_col: np.tile(grid_times(self.times, n_times), n_series),
            channel: rows.ravel(),
        }
        return pd.DataFrame(columns)

    def _encode(self, series: list[Series]) -> np.ndarray:
        device = next(iter(self.module_.state_dict().values())).device
        nothing = Series(np.empty(0), np.empty((0, len(self.forecaster_.channels_))))
        encode: Any = self.module_.encode
        order = sorted(range(len(series)), key=lambda row: len(series[row].times))
        found: dict[int, np.ndarray] = {}
        with one_thread(), torch.no_grad():
            for start in range(0, max(len(order), 1), ROWS_AT_ONCE):
                some = order[start : start + ROWS_AT_ONCE]
                batch = collate([series[row] for row in some] or [nothing], torch.float64).to(device)
                states = encode(batch).cpu().numpy()
                found |= dict(zip(some, states))
        out = np.array([found[row] for row in range(len(series))]).reshape(len(series), states.shape[1])
        broken = ~np.isfinite(out).all(axis=1)
        if broken.any():
            raise SolverError(
                f"The state of row {int(broken.argmax())} of X left the range of numbers: check its scale."
            )
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
