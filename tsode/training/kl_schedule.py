"""Schedule of the weight of the KL during training."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["KL_SCHEDULES", "KLSchedule"]

KLSchedule = Callable[[float], float]
"""Share of training done, in [0, 1] -> weight of the KL, in [0, 1]."""

WARM_UP = 0.25  # of training
N_CYCLES = 4


def _constant(done: float) -> float:
    return 1.0


def _linear(done: float) -> float:
    return min(1.0, done / WARM_UP)


def _cyclical(done: float) -> float:
    if done >= 1.0:
        return 1.0
    return min(1.0, 2.0 * (done * N_CYCLES % 1.0))


KL_SCHEDULES: dict[str, KLSchedule] = {"constant": _constant, "linear": _linear, "cyclical": _cyclical}
"""Weights of the KL by name.

- "constant": 1, the evidence bound itself from the start.
- "linear": from 0 to 1 over the first quarter of training (Bowman et al. 2016).
- "cyclical": four times from 0 to 1 over the first half of a cycle (Fu et al. 2019).
"""
