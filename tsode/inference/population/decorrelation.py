"""Decorrelation of the values of a series by a root of their covariance."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from tsode.errors import ParameterError

__all__ = ["ROOTS", "check_root", "decorrelate"]

ROOTS = ("cholesky", "symmetric")


def check_root(root: str) -> None:
    """Raise a ParameterError unless it names a root."""
    if root not in ROOTS:
        raise ParameterError(f"root={root!r} is not known: choose one of {', '.join(map(repr, ROOTS))}.")


def decorrelate(rows: np.ndarray, covariance: np.ndarray, root: str) -> np.ndarray:
    """Rows (b k) of mean 0 and this covariance (k k), as rows whose covariance is the identity.

    The Cholesky root takes from each value what those before it tell of it; the symmetric one changes values least and
    knows no order.

    Parameters
    ----------
    rows : array[b k]
    covariance : array[k k]
    root : {"cholesky", "symmetric"}

    Raises
    ------
    LinAlgError
        If the covariance is not positive definite.
    """
    if root == "cholesky":
        return solve_triangular(np.linalg.cholesky(covariance), rows.T, lower=True).T
    width, axes = np.linalg.eigh(covariance)
    if not width[0] > 0:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    return rows @ (axes / np.sqrt(width)) @ axes.T
