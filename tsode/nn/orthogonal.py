"""Parametrisations of orthonormal columns by their names."""

from __future__ import annotations

from tsode._registry import lookup
from tsode.nn.orthogonal_cayley import CayleyMatrix
from tsode.nn.orthogonal_exponential import ExponentialMatrix
from tsode.nn.orthogonal_givens import GivensMatrix
from tsode.nn.orthogonal_householder import HouseholderMatrix
from tsode.nn.orthonormal import OrthonormalMatrix

__all__ = ["ORTHONORMAL", "orthonormal"]

ORTHONORMAL: dict[str, type[OrthonormalMatrix]] = {
    "cayley": CayleyMatrix,
    "exponential": ExponentialMatrix,
    "givens": GivensMatrix,
    "householder": HouseholderMatrix,
}


def orthonormal(name: str, n_rows: int, n_columns: int | None = None) -> OrthonormalMatrix:
    """A parametrisation by its name, at a random start."""
    return lookup(ORTHONORMAL, name, "parametrisation of orthonormal columns")(n_rows, n_columns)
