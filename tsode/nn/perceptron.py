"""Perceptron with one hidden layer."""

from __future__ import annotations

from torch import nn

__all__ = ["perceptron"]


def perceptron(n_in: int, n_hidden: int, n_out: int) -> nn.Module:
    """One hidden layer of SiLU units, or a linear map without."""
    if not n_hidden:
        return nn.Linear(n_in, n_out)
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_out))
