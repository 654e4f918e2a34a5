"""Areas under sampled curves, and the line that their end follows on a scale of logarithms."""

from __future__ import annotations

import numpy as np

__all__ = ["area", "terminal_line"]

_AS_GOOD = 1e-4  # of the adjusted R2: by how much more points may be worse


def area(t: np.ndarray, c: np.ndarray, method: str) -> tuple[float, float]:
    """Area under the values ``c`` (n,) at times ``t``, and under ``t c``.

    Between two values a straight line; by "log-down" one of their logarithms where they fall and are positive::

        k = ln(c0 / c1) / (t1 - t0),   integral of c: (c0 - c1) / k,   of t c: (t0 c0 - t1 c1) / k + (c0 - c1) / k^2
    """
    t0, t1, c0, c1 = t[:-1], t[1:], c[:-1], c[1:]
    gap = t1 - t0
    auc = gap * (c0 + c1) / 2
    aumc = gap * (t0 * c0 + t1 * c1) / 2
    if method == "log-down":
        falls = (c1 > 0) & (c1 < c0) & (gap > 0)
        ratio = np.divide(c0, c1, out=np.ones_like(c0), where=falls)
        k = np.divide(np.log(ratio), gap, out=np.ones_like(gap), where=falls)
        auc = np.where(falls, (c0 - c1) / k, auc)
        aumc = np.where(falls, (t0 * c0 - t1 * c1) / k + (c0 - c1) / k**2, aumc)
    return float(auc.sum()), float(aumc.sum())


def terminal_line(t: np.ndarray, c: np.ndarray, n_least: int) -> tuple[float, float, float]:
    """Rate of the line through the logarithms of the last values, how many these are, and its adjusted R2; else NaN.

    Of all numbers of points from `n_least` on whose line falls, and whose adjusted R2 is within 1e-4 of the best, the
    largest.
    """
    lines = []
    for n in range(n_least, len(t) + 1):
        x, y = t[-n:] - t[-n:].mean(), np.log(c[-n:])
        y = y - y.mean()
        slope = (x @ y) / (x @ x)
        if slope >= 0:
            continue
        r2 = (x @ y) ** 2 / ((x @ x) * (y @ y))
        lines.append((-slope, float(n), 1 - (1 - r2) * (n - 1) / (n - 2)))
    if not lines:
        return np.nan, np.nan, np.nan
    best = max(r2 for *_, r2 in lines)
    return [line for line in lines if line[2] >= best - _AS_GOOD][-1]
