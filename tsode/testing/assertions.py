"""Assertions that two answers are the same up to rounding, and that gradients are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

__all__ = ["assert_close", "assert_frames_close", "assert_gradient", "tolerance"]


def tolerance(dtype: torch.dtype) -> float:
    """Largest difference, as a share of the largest value, that rounding may make."""
    return 1e-9 if dtype == torch.float64 else 1e-5


def assert_close(actual: Tensor, expected: Tensor, promise: str, share: float | None = None) -> None:
    """Raise with the `promise` unless all entries agree up to rounding.

    Parameters
    ----------
    share : float, optional
        Of the largest entry (at least 1); the default follows the dtype.
    """
    actual, expected = actual.detach(), expected.detach()
    share = tolerance(expected.dtype) if share is None else share
    assert actual.shape == expected.shape, f"{promise}: shape {tuple(actual.shape)} is not {tuple(expected.shape)}."
    if not actual.numel():
        return
    assert bool(torch.isfinite(actual).all()), f"{promise}: the answer is not finite."
    error = float((actual.double() - expected.double()).abs().max())
    size = max(1.0, float(expected.double().abs().max()))
    assert error <= share * size, (
        f"{promise}: answers differ by {error:.3g} where at most {share * size:.3g} is rounding."
    )


def assert_frames_close(actual: pd.DataFrame, expected: pd.DataFrame, promise: str, share: float) -> None:
    """Raise with the `promise` unless two frames hold the same, numbers up to `share` of the column's largest."""
    for what, left, right in (("columns", actual.columns, expected.columns), ("index", actual.index, expected.index)):
        assert left.equals(right), f"{promise}: the {what} came out as {list(left)[:5]}, not {list(right)[:5]}."
    for j, column in enumerate(expected.columns):
        if expected.dtypes.iloc[j].kind != "f":
            same = actual.iloc[:, j].equals(expected.iloc[:, j])
            assert same, f"{promise}: column {column!r} holds other entries."
            continue
        got, want = (frame.iloc[:, j].to_numpy(dtype=float) for frame in (actual, expected))
        assert np.isfinite(got).all(), f"{promise}: column {column!r} is not finite."
        error, size = np.abs(got - want).max(initial=0.0), max(np.abs(want).max(initial=0.0), 1e-300)
        assert error <= share * size, (
            f"{promise}: column {column!r} differs by {error:.3g} where at most {share * size:.3g} is rounding."
        )


def assert_gradient(function: Callable[..., Any], inputs: Sequence[Tensor], promise: str, **settings: Any) -> None:
    """Raise with the `promise` unless autograd agrees with finite differences; `settings` are those of `gradcheck`."""
    try:
        torch.autograd.gradcheck(function, tuple(inputs), fast_mode=True, **settings)
    except GradcheckError as error:
        raise AssertionError(f"{promise}: {error}") from error
