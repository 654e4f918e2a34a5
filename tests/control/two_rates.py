"""Price of a call spread with two rates of interest, by finite differences in the logarithm of the price."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded

__all__ = ["price_with_two_rates"]


def price_with_two_rates(
    x0: float, horizon: float, *, growth: float, sigma: float, lend: float, borrow: float,
    strikes: tuple[float, float], n: int = 2001, n_steps: int = 2000,
) -> float:  # fmt: skip
    """``u(0, x0)`` of a call at the first strike less two at the second (Gobet, Lemor & Warin 2005, section 6.3).

    ``u_t + sigma^2 x^2 / 2 u_xx + lend (x u_x - u) + (borrow - lend) (x u_x - u)^+ = 0``: what is borrowed, ``x u_x -
    u``, costs the higher rate. In ``s = log x``, implicit in the linear part and explicit in the other; the growth of
    the price under the measure that paths are drawn from does not matter.
    """
    s = np.log(x0) + np.linspace(-6.0, 6.0, n) * sigma * np.sqrt(horizon)
    x, ds, dt = np.exp(s), s[1] - s[0], horizon / n_steps
    u = np.maximum(x - strikes[0], 0.0) - 2.0 * np.maximum(x - strikes[1], 0.0)
    drift, spread = lend - 0.5 * sigma**2, 0.5 * sigma**2
    below, above = spread / ds**2 - 0.5 * drift / ds, spread / ds**2 + 0.5 * drift / ds
    bands = np.zeros((3, n))
    bands[0, 2:], bands[2, :-2] = -dt * above, -dt * below
    bands[1] = 1.0
    bands[1, 1:-1] += dt * (below + above + lend)
    for step in range(1, n_steps + 1):
        lent = np.maximum(np.gradient(u, ds) - u, 0.0)
        right = u + dt * (borrow - lend) * lent
        # at the ends the value is linear in the price: at the upper, twice the second strike's bond is lent
        left = step * dt
        right[0] = 0.0
        right[-1] = -x[-1] + (2.0 * strikes[1] - strikes[0]) * np.exp(-lend * left)
        u = solve_banded((1, 1), bands, right)
    return float(np.interp(np.log(x0), s, u))
