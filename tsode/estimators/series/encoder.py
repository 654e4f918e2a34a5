"""Encoder of series: vectors of one length, from the states of a fitted model."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from tsode._isolation import isolated
from tsode._registry import lookup
from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.errors import DataError, ParameterError, SolverError
from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.files.parameters import estimator_classes
from tsode.estimators.files.saved import SavedArrayReader
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.forecasters.jump_ode import JumpODEForecaster
from tsode.estimators.series.inputs import SeriesRows, grid_times, read_rows
from tsode.estimators.series.pooling import pool_states

__all__ = ["SeriesEncoder"]

POOLED = {"last": ("state",), "path": ("state", "state_mean", "state_deviation")}


class SeriesEncoder(TransformerMixin, SavedArrayReader):
    """Turn irregular series into vectors: the states that a jump ODE filter goes through in each.

    The filter is trained to forecast the series, without labels, so its states hold what matters for their future:
    level, trend, rhythm. What comes out for a series depends on that series alone.

    Parameters
    ----------
    forecaster : forecaster or None
        What is fitted to the series: `JumpODEForecaster`, `LinearSDEForecaster` (filtered states),
        `LatentODEForecaster` or `LatentSDEForecaster` (posterior mean of the start state). It is cloned; its
        parameters are reached as ``forecaster__max_epochs``. None: a `JumpODEForecaster` of one filter, at most 20
        epochs, and batches of 16 series that grow to 64 with their number; a forecast gains from more, a vector for a
        head hardly does.
    pooling : {"path", "last"}
        "path": the state after the last observation, and mean and standard deviation of the states after all of them,
        which do not depend on where in a cycle a series happens to end. "last": the first of these.
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
    (12, 24)
    >>> encoder.get_feature_names_out()[[0, 8, 16]].tolist()
    ['state0', 'state_mean0', 'state_deviation0']
    """

    def __init__(
        self, forecaster: Any = None, *, pooling: str = "path", times: Any = None, random_state: Any = None
    ) -> None:
        self.forecaster = forecaster
        self.pooling = pooling
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
        self._check_parameters()
        lookup(POOLED, self.pooling, "pooling")
        rows = read_rows(self, X, reset=True)
        forecaster = _default_forecaster(len(rows)) if self.forecaster is None else clone(self.forecaster)
        if not isinstance(forecaster, BaseForecaster):
            raise ParameterError(
                f"forecaster must be a forecaster of tsode or None, but is {forecaster!r}: try JumpODEForecaster()."
            )
        if isinstance(forecaster, JumpODEForecaster):  # states are read, and no forecast is made
            forecaster.set_params(expert=None)
        if self.random_state is not None:
            forecaster.set_params(random_state=self.random_state)
        self.forecaster_ = forecaster.fit(self._container(rows, forecaster, "value"))
        if not hasattr(forecaster.module_, "encode"):
            raise ParameterError(
                f"{type(forecaster).__name__} keeps no state that could be read: take JumpODEForecaster or another "
                "forecaster with a latent state."
            )
        self._read_out()
        return self

    def _read_out(self) -> None:
        # single precision rounds differently in batches of other sizes, and a row must not depend on its company
        self.module_ = copy.deepcopy(self.forecaster_.module_).double()
        self._names_out = [f"{kind}{k}" for kind, part in self._encode([]).items() for k in range(part.shape[1])]

    def transform(self, X: Any) -> np.ndarray:
        """Vector of each series: array[b d]. A series in which nothing was observed has the start state."""
        return np.concatenate(list(self._encode(self.read(X)).values()), axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of what `transform` returns: ``state0``, ..., ``state_mean0``, ..., ``state_deviation0``, ...

        Parameters
        ----------
        input_features : ignored
        """
        check_is_fitted(self)
        return np.array(self._names_out, dtype=object)

    def read(self, X: Any) -> list[Series]:
        """The series in `X` in model time and scaled units, without times at which nothing was seen."""
        check_is_fitted(self)
        rows = read_rows(self, X, reset=False)
        channels = self.forecaster_.channels_
        if isinstance(rows, np.ndarray) and len(channels) > 1:
            raise DataError(f"fit saw the channels {channels}, which an array has no place for: give a list of frames.")
        reader = self.forecaster_.reader_
        container = self._container(rows, self.forecaster_, channels[0])
        return reader.series(reader.read(container, beside=self.forecaster_._panel))

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

    def _encode(self, series: list[Series]) -> dict[str, np.ndarray]:
        device = next(iter(self.module_.state_dict().values())).device
        panel = self.forecaster_._panel
        nothing = self.forecaster_.reader_.series_of(panel.times[0][:0], panel.values[0][:0], None)
        order = sorted(range(len(series)), key=lambda row: len(series[row].times))
        parts: dict[str, list[np.ndarray]] = {}
        with isolated(), torch.no_grad():
            for start in range(0, max(len(order), 1), ROWS_AT_ONCE):
                batch = [series[row] for row in order[start : start + ROWS_AT_ONCE]]
                states = pool_states(self.module_, collate(batch or [nothing], torch.float64).to(device))
                for kind, part in states.items():
                    if kind in POOLED[self.pooling]:
                        parts.setdefault(kind, []).append(part.cpu().numpy()[: len(batch)])
        back = np.argsort(order)
        vectors = {kind: np.concatenate(blocks)[back] for kind, blocks in parts.items()}
        broken = np.any([~np.isfinite(part).all(axis=1) for part in vectors.values()], axis=0)
        if broken.any():
            raise SolverError(
                f"The state of row {int(broken.argmax())} of X left the range of numbers: check its scale."
            )
        return vectors

    def _describe(self) -> tuple[Header, Tensors]:
        header, tensors = self.forecaster_._to_file()
        return {"forecaster": header}, tensors

    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        classes = {name: cls for name, cls in estimator_classes().items() if issubclass(cls, BaseForecaster)}
        cls = lookup(classes, header["forecaster"]["class"], "forecaster")
        self.forecaster_ = cls._from_file(header["forecaster"], tensors, device)
        self._read_out()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _default_forecaster(n_series: int) -> JumpODEForecaster:
    return JumpODEForecaster(n_members=1, max_epochs=20, batch_size=int(np.clip(n_series // 20, 16, 64)))
