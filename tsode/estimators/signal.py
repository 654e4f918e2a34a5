"""Signal of a series: joint paths of what its observations are about, without their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Signal"]


@dataclass(frozen=True, eq=False)
class Signal:
    """Joint paths of one series at some times, in the data's own units.

    Parameters
    ----------
    paths : array[s m c]
        NaN where a solve failed.
    variation : array[s m-1 c] or None
        Quadratic variation of each path between neighbouring times, in squared units: the variance of the part that is
        Brownian motion. Zero where a path has slopes; None where nothing is known of it between the times.
    of : {"signal", "observation"}
        "observation" where a forecaster does not tell the two apart, or was asked for it.
    is_smooth : bool
        Whether paths are solution curves: the same seed draws the same curves at any other times.
    """

    paths: np.ndarray
    variation: np.ndarray | None
    of: str
    is_smooth: bool = False
