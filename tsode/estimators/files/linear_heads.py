"""Linear heads in model files: linear models of scikit-learn after standardisation, as plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from tsode.frames.labels import decode_label, encode_label

__all__ = ["HEADS", "decode_head", "encode_head", "is_finite", "standardised"]

WIDEST_ENTRY = 2**16  # bytes: a dtype of text may ask for any number of them

HEADS: dict[str, type] = {
    cls.__name__: cls for cls in (LinearRegression, LogisticRegression, Ridge, RidgeCV, RidgeClassifier)
}


def standardised(head: Any) -> Pipeline:
    """Standardisation and this head, which pass arrays between them whatever scikit-learn is set to give."""
    return make_pipeline(StandardScaler().set_output(transform="default"), head)


def encode_head(head: Pipeline) -> list[dict[str, Any]]:
    """What each step of a fitted pipeline has learned, ready for JSON; `decode_head` undoes it, to the last bit."""
    return [
        {name: _encode(value) for name, value in vars(step).items() if name.endswith("_")}
        for step in head.named_steps.values()
    ]


def decode_head(head: Any, learned: list[dict[str, Any]]) -> Pipeline:
    """A fitted pipeline of standardisation and this head.

    Parameters
    ----------
    head : estimator
        Not fitted, one of ``HEADS``; its attributes are set.
    learned : list of dict
        By `encode_head`.
    """
    pipeline = standardised(head)
    for step, attributes in zip(pipeline.named_steps.values(), learned, strict=True):
        for name, value in attributes.items():
            if not name.endswith("_") or name.startswith("_"):
                raise ValueError(f"{name!r} is not what a fit sets")
            setattr(step, name, _decode(value))
    if isinstance(head, RidgeClassifier):  # which predicts by a private attribute, made of its classes
        head._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(head.classes_)
    return pipeline


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == object:  # classes
        return {"labels": [encode_label(label) for label in value]}
    if isinstance(value, np.ndarray | np.generic):
        # products of arrays laid out otherwise may differ in the last bit
        order = "C" if value.flags.c_contiguous else "F"
        return {"array": value.tolist(), "dtype": value.dtype.str, "order": order}
    return value


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "labels" in value:
        return np.array([decode_label(label) for label in value["labels"]], dtype=object)
    dtype = np.dtype(value["dtype"])
    if dtype.kind not in "biufU" or dtype.itemsize > WIDEST_ENTRY:
        raise ValueError(f"an array of {dtype} is nothing that a head learns")
    array = np.array(value["array"], dtype=dtype, order=value["order"])
    return array if array.ndim else array[()]


def is_finite(learned: Any) -> bool:
    """Whether this holds no number that is infinite or missing; what is no number does not."""
    array = np.asarray(learned)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
