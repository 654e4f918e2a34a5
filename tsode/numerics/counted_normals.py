"""Standard normals that are a function of a key and a counter, so that none need be stored."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["counted_normals"]


def _signed(constant: int) -> int:
    """A constant of 64 bits as torch's integers hold it."""
    return constant - (1 << 64) if constant >> 63 else constant


_GAMMA, _MIX = _signed(0x9E3779B97F4A7C15), (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))


def counted_normals(keys: Tensor, counter: Tensor) -> Tensor:
    """Normals that look independent for different keys or counters: (...), float64.

    The bits are those of SplitMix64, the normal is read from them by the inverse of its distribution function.

    Parameters
    ----------
    keys, counter : Tensor[...], int64

    References
    ----------
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16.
    """
    bits = keys + counter * _GAMMA  # integers of torch wrap around
    bits = (bits ^ _shifted(bits, 30)) * _MIX[0]
    bits = (bits ^ _shifted(bits, 27)) * _MIX[1]
    share = (_shifted(bits ^ _shifted(bits, 31), 11).double() + 0.5) / 2.0**53
    return torch.special.ndtri(share)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Bits moved to the right, with zeros from the left."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
