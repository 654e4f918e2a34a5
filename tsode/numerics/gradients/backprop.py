"""Gradient back through every step, all of which is kept."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.base import Gradient

__all__ = ["Backprop"]


@dataclass(frozen=True)
class Backprop(Gradient):
    """Backpropagation through the steps: everything that they compute is kept.

    The fastest way, and the default. Memory grows with the steps times the evaluations in each; derivatives of any
    order can be had.
    """

    name = "backprop"
