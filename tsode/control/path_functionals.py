"""Functionals of paths that are often asked for: a maximum, the time in a range, a payoff."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["PathFunctional", "maximum", "payoff", "time_in_range"]

PathFunctional = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Paths (s m c) in the data's units and their times (m,) -> values (s,)."""


def maximum(channel: int = 0) -> PathFunctional:
    """Largest value at the times.

    Parameters
    ----------
    channel : int
        Place of the channel in ``channels_``.

    Examples
    --------
    >>> import numpy as np
    >>> maximum()(np.array([[[1.0], [4.0]], [[3.0], [2.0]]]), np.array([0.0, 1.0])).tolist()
    [4.0, 3.0]
    """
    return lambda paths, times: paths[:, :, channel].max(axis=1)


def time_in_range(low: float, high: float, channel: int = 0) -> PathFunctional:
    """Share of the time from the first to the last of the times that a path is in ``low <= value <= high``.

    Each time stands for the halves of the gaps beside it, so that it is right to the first order in the gaps.

    Examples
    --------
    >>> import numpy as np
    >>> time_in_range(0.0, 2.0)(np.array([[[1.0], [1.0], [4.0]]]), np.array([0.0, 1.0, 2.0])).tolist()
    [0.75]
    """

    def share(paths: np.ndarray, times: np.ndarray) -> np.ndarray:
        is_in = ((paths[:, :, channel] >= low) & (paths[:, :, channel] <= high)).astype(float)
        if len(times) < 2 or times[0] == times[-1]:
            return np.asarray(is_in.mean(axis=1))
        return 0.5 * (is_in[:, 1:] + is_in[:, :-1]) @ (np.diff(times) / (times[-1] - times[0]))

    return share


def payoff(strike: float, channel: int = 0) -> PathFunctional:
    """How far the value at the last of the times is above a strike, or 0: that of a European call.

    Examples
    --------
    >>> import numpy as np
    >>> payoff(2.5)(np.array([[[1.0], [4.0]], [[3.0], [2.0]]]), np.array([0.0, 1.0])).tolist()
    [1.5, 0.0]
    """
    return lambda paths, times: np.maximum(paths[:, -1, channel] - strike, 0.0)
