"""Base of classifier and regressor of series: an encoder, plain summaries, and a head of scikit-learn's."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from tsode.errors import ParameterError
from tsode.estimators.files.linear_heads import HEADS, decode_head, encode_head, is_finite, standardised
from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.files.parameters import decode_parameters, encode_parameters
from tsode.estimators.files.saved import SavedArrayReader
from tsode.estimators.series.encoder import SeriesEncoder
from tsode.estimators.series.inputs import grid_times, read_rows
from tsode.estimators.series.summaries import SUMMARIES, profile, summarise

__all__ = ["SeriesHead"]

N_PROFILE = 16  # values read off each channel; a grid of at most twice as many times is taken as it is


class SeriesHead(TransformerMixin, SavedArrayReader):
    """Base of `SeriesClassifier` and `SeriesRegressor`, which give `_default_head` and read `y`."""

    encoder: Any
    head: Any
    summaries: bool
    times: Any
    random_state: Any

    @abstractmethod
    def _default_head(self, features: np.ndarray, y: np.ndarray) -> Any:
        """What predicts from the features (b d) where no head is given; it is fitted to them afterwards."""

    def _fit_head(self, X: Any, y: np.ndarray) -> None:
        self._check_parameters()
        rows = read_rows(self, X, reset=True)
        check_consistent_length(rows, y)
        encoder = SeriesEncoder() if self.encoder is None else clone(self.encoder)
        if not isinstance(encoder, SeriesEncoder):
            raise ParameterError(f"encoder must be a SeriesEncoder or None, but is {encoder!r}.")
        given = {"times": self.times, "random_state": self.random_state}
        encoder.set_params(**{name: value for name, value in given.items() if value is not None})
        self.encoder_ = encoder.fit(rows)
        series = encoder.read(rows)
        if isinstance(rows, np.ndarray):  # columns mean the same time in every row, whatever was seen of them
            grid = self._grid(rows.shape[1])
            self._start: float | None = float(grid[0])
        else:
            grid = np.array([0.0, np.median([row.span for row in series])])
            self._start = None
        is_short = self._start is not None and len(grid) <= 2 * N_PROFILE
        self._profile = grid - grid[0] if is_short else np.linspace(0.0, grid[-1] - grid[0], N_PROFILE)
        features = self._features(rows)
        head = self._default_head(features, y) if self.head is None else clone(self.head)
        if self.random_state is not None and "random_state" in head.get_params():
            head.set_params(random_state=self.random_state)
        self.head_ = standardised(head).fit(features, y)

    def _features(self, rows: Any) -> np.ndarray:
        state = np.asarray(self.encoder_.transform(rows))  # a frame, where scikit-learn is set to give frames
        if not self.summaries:
            return state
        series = self.encoder_.read(rows)
        starts = [row.times[0] if len(row.times) else 0.0 for row in series]
        if self._start is not None:
            starts = [self._start] * len(series)
        return np.concatenate([state, summarise(series), profile(series, self._profile, starts)], axis=1)

    def transform(self, X: Any) -> np.ndarray:
        """What the head sees of each series, before standardisation: array[b d].

        Columns are named by `get_feature_names_out`, and stand in the order of the coefficients of a linear head.
        """
        return self._read_features(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of what `transform` returns: those of the encoder, then ``y_last``, ``y_mean``, ..., ``y_at_0``, ...

        Parameters
        ----------
        input_features : ignored
        """
        check_is_fitted(self)
        names = list(self.encoder_.get_feature_names_out())
        if self.summaries:
            for kinds in (SUMMARIES, [f"at_{k}" for k in range(len(self._profile))]):
                names += [f"{name}_{kind}" for name in self.encoder_.forecaster_.channels_ for kind in kinds]
        return np.array(names, dtype=object)

    def _read_features(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._features(read_rows(self, X, reset=False))

    def _grid(self, n_times: int) -> np.ndarray:
        """Times of the columns of an array, in model time."""
        return self.encoder_.forecaster_.reader_.timeline.to_model(grid_times(self.encoder_.times, n_times))

    def _describe(self) -> tuple[Header, Tensors]:
        encoder, tensors = self.encoder_._to_file()
        head = self.head_[-1]
        return {
            "encoder": encoder,
            "profile": self._profile.tolist(),
            "start": self._start,
            "head_class": type(head).__name__,
            "head_params": encode_parameters(head),
            "head": encode_head(self.head_),
        }, tensors

    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        self.encoder_ = SeriesEncoder._from_file(header["encoder"], tensors, device)
        self._profile, self._start = np.array(header["profile"]), header["start"]
        head = HEADS[header["head_class"]](**decode_parameters(header["head_params"]))
        self.head_ = decode_head(head, header["head"])
        grid = np.array([*self._profile, 0.0 if self._start is None else self._start])
        if grid.dtype != np.float64 or not np.isfinite(grid).all() or not len(self._profile):
            raise ValueError("the times at which series are read off are no finite numbers")
        with np.errstate(all="ignore"):
            answer = self.head_.predict(np.zeros((1, len(self.get_feature_names_out()))))  # as its widths are its own
        if len(answer) != 1 or not all(
            is_finite(value) for name, value in vars(self.head_[-1]).items() if name.endswith("_")
        ):
            raise ValueError("what its head has learned is not finite, or of another size")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
