"""Regressor of whole series: one number or several for each."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.linear_model import RidgeCV
from sklearn.utils.validation import validate_data

from tsode.estimators.series.head import SeriesHead

__all__ = ["SeriesRegressor"]


class SeriesRegressor(RegressorMixin, SeriesHead):
    """Predict numbers for each irregular series: ridge regression on the states of a jump ODE filter and on summaries.

    Two stages: the encoder is fitted to the series without `y`, then the head. Before the head, features are
    standardised.

    Parameters
    ----------
    encoder : SeriesEncoder or None
        None: one with its defaults. It is cloned; parameters are reached as ``encoder__forecaster__max_epochs``.
    head : regressor or None
        None: `sklearn.linear_model.RidgeCV` with penalties from .01 to 10000, chosen by leaving one out.
    summaries, times, random_state
        As in `SeriesClassifier`.

    Attributes
    ----------
    encoder_ : SeriesEncoder
    head_ : Pipeline
        Standardisation and head, fitted.
    n_features_in_, feature_names_in_ : int, array
        Where `X` is an array or a frame of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tsode import JumpODEForecaster, SeriesEncoder, SeriesRegressor
    >>> X = np.random.default_rng(0).normal(size=(20, 6)).cumsum(axis=1)
    >>> small = SeriesEncoder(JumpODEForecaster(n_modes=2, n_static=2, n_members=1, max_epochs=1))
    >>> SeriesRegressor(small, random_state=0).fit(X, X.max(axis=1)).predict(X[:3]).shape
    (3,)
    """

    def __init__(
        self,
        encoder: Any = None,
        head: Any = None,
        *,
        summaries: bool = True,
        times: Any = None,
        random_state: Any = None,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.summaries = summaries
        self.times = times
        self.random_state = random_state

    def _default_head(self, features: np.ndarray, y: np.ndarray) -> Any:
        return RidgeCV(alphas=np.logspace(-2.0, 4.0, 13))

    def fit(self, X: Any, y: Any) -> Self:
        """Fit encoder and head.

        Parameters
        ----------
        X : array[b n], DataFrame, or list of Series or of wide frames
            As in `SeriesEncoder.fit`.
        y : array[b] or array[b k]
            Number of each series, or several.

        Returns
        -------
        self
        """
        self._fit_head(X, validate_data(self, X="no_validation", y=y, y_numeric=True, multi_output=True))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted number or numbers for each series: an array of the shape of `y`."""
        features = self._read_features(X)
        return self.head_.predict(features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
