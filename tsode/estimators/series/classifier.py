"""Classifier of whole series."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from tsode.errors import DataError
from tsode.estimators.files.linear_heads import standardised
from tsode.estimators.series.head import SeriesHead

__all__ = ["SeriesClassifier"]

INVERSE_PENALTIES = np.logspace(-4.0, 1.0, 6)


class SeriesClassifier(ClassifierMixin, SeriesHead):
    """Classify irregular series: logistic regression on the states of a jump ODE filter and on plain summaries.

    Two stages: the encoder is fitted to the series without their labels, so that series without one can be added to
    its training; then the head. Before the head, features are standardised.

    Parameters
    ----------
    encoder : SeriesEncoder or None
        None: one with its defaults. It is cloned; parameters are reached as ``encoder__forecaster__max_epochs``.
    head : classifier or None
        None: `sklearn.linear_model.LogisticRegression`, its `C` from .0001 to 10 chosen by cross-validated likelihood:
        there are hundreds of features, and often fewer series.
    summaries : bool
        Whether the head sees, beside the states, last value, mean, deviation, slope, roughness, crossings and count of
        each channel, and its values at a few times after the start (all columns of an array with at most 32).
    times : sequence or None
        Times of the columns where `X` is an array; None = those of `encoder`, or 0, 1, 2, ...
    random_state : int, generator or None
        Seed of encoder and head; None leaves that to them.

    Attributes
    ----------
    classes_ : array
    encoder_ : SeriesEncoder
    head_ : Pipeline
        Standardisation and head, fitted.
    n_features_in_, feature_names_in_ : int, array
        Where `X` is an array or a frame of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tsode import JumpODEForecaster, SeriesClassifier, SeriesEncoder
    >>> level = np.repeat([0.0, 3.0], 10)
    >>> X = level[:, None] + np.random.default_rng(0).normal(size=(20, 6))
    >>> small = SeriesEncoder(JumpODEForecaster(n_modes=2, n_static=2, n_members=1, max_epochs=1))
    >>> SeriesClassifier(small, random_state=0).fit(X, np.where(level > 0, "high", "low")).classes_.tolist()
    ['high', 'low']
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
        head = LogisticRegression(max_iter=1000)
        n_splits = min(5, int(np.unique(y, return_counts=True)[1].min()))
        if n_splits < 2:  # a class of one series: nothing to choose by
            return head
        splits = StratifiedKFold(n_splits, shuffle=True, random_state=0)
        search = GridSearchCV(
            standardised(head),
            {"logisticregression__C": INVERSE_PENALTIES},
            cv=splits,
            scoring="neg_log_loss",
            refit=False,
        )
        return head.set_params(C=float(search.fit(features, y).best_params_["logisticregression__C"]))

    def fit(self, X: Any, y: Any) -> Self:
        """Fit encoder and head.

        Parameters
        ----------
        X : array[b n], DataFrame, or list of Series or of wide frames
            As in `SeriesEncoder.fit`.
        y : array[b]
            Class of each series.

        Returns
        -------
        self
        """
        y = validate_data(self, X="no_validation", y=y)
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise DataError(
                f"y holds {len(classes)} class(es), {classes.tolist()}, but a classifier needs two or more."
            )
        self._fit_head(X, y)
        self.classes_ = self.head_.classes_
        return self

    def _restore(self, header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> None:
        super()._restore(header, tensors, device)
        self.classes_ = self.head_.classes_

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class of each series: array[b]."""
        features = self._read_features(X)
        return self.head_.predict(features)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each of ``classes_``: array[b k]."""
        features = self._read_features(X)
        return self.head_.predict_proba(features)
