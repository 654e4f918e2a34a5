"""Series of Ornstein-Uhlenbeck processes, exactly simulated."""

from __future__ import annotations

import numpy as np

from tsode.core.series import Series

__all__ = ["ou_series"]


def ou_series(n: int, seed: int = 0, n_events: int = 12, speed: float = 1.0) -> list[Series]:
    """Standardised, of one channel, seen with noise at gaps of about a quarter."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        times = np.cumsum(rng.gamma(2.0, 0.125, n_events))
        x, values = rng.standard_normal(), []
        for gap in np.diff(times, prepend=times[0]):
            decay = np.exp(-speed * gap)
            x = decay * x + np.sqrt(1.0 - decay**2) * rng.standard_normal()
            values.append(x + 0.2 * rng.standard_normal())
        made.append(Series(times, np.array(values)[:, None]))
    return made
