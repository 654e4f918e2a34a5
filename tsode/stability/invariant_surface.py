"""Invariant surfaces of a fixed point, tangent to two eigenvectors, as power series of two numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.stability.flow import Flow
from tsode.stability.taylor import taylor

__all__ = ["invariant_surface"]

RESONANT = 1e-8  # of the largest of both eigenvalues: a sum of multiples closer to an eigenvalue than this
REAL = 1e-12


def invariant_surface(
    flow: Flow, z: np.ndarray, jacobian: np.ndarray, which: str, order: int, t: float, scale: float
) -> pd.DataFrame:  # fmt: skip
    """Surface through a fixed point ``z`` (d,) that the flow maps to itself; see `invariant_manifold`.

    In complex numbers ``s`` (of real eigenvalues real ones) ``W = z + sum w_mn s1**m s2**n`` and
    ``(A - m eigenvalue_1 - n eigenvalue_2) w_mn`` is minus the coefficient of the field along the series so far. The
    coefficients of one order are found from those of the field along as many rays through the point.
    """
    values, vectors = np.linalg.eig(jacobian)
    pair = _pair(values, which)
    rates, is_turning = values[pair], abs(values[pair[0]].imag) > REAL * np.abs(values).max()
    first = vectors[:, pair]
    if is_turning:
        turned = first[:, 0] / first[np.abs(first[:, 0]).argmax(), 0]
        turned = scale * turned / (2 * np.linalg.norm(turned))
        first = np.stack([turned, turned.conj()], axis=1)
    else:
        first, rates = first.real.astype(complex), rates.real.astype(complex)
        first = scale * first / np.linalg.norm(first, axis=0)
        first = first * np.sign(first[np.abs(first).argmax(axis=0), [0, 1]].real)
    series: dict[tuple[int, int], np.ndarray] = {(1, 0): first[:, 0], (0, 1): first[:, 1]}
    for k in range(2, order + 1):
        angles = np.pi * (np.arange(k + 1) + 0.5) / (k + 1)
        rays = _numbers(np.cos(angles), np.sin(angles), is_turning)
        coefficients = _along(flow, z, series, rays, k, t)
        powers = np.stack([rays[0] ** m * rays[1] ** (k - m) for m in range(k + 1)], axis=1)
        of_field = np.linalg.solve(powers, coefficients.astype(complex))
        for m in range(k + 1):
            rate = m * rates[0] + (k - m) * rates[1]
            near = values[np.abs(values - rate).argmin()]
            if abs(near - rate) <= RESONANT * np.abs(rates).max():
                raise ParameterError(
                    f"The eigenvalues {rates[0]:.6g} and {rates[1]:.6g} are in resonance: {m} times the first and "
                    f"{k - m} times the second are the eigenvalue {near:.6g}, and the surface has no such power series "
                    f"beyond order {k - 1}. Ask for order={k - 1}."
                )
            series[m, k - m] = np.linalg.solve(jacobian - rate * np.eye(len(z)), -of_field[m])
    return _table(flow, z, series, rates, is_turning, order, t, scale)


def _pair(values: np.ndarray, which: str) -> list[int]:
    """Positions of the two eigenvalues."""
    signs = {"unstable": 1, "stable": -1, "fast": -1, "slow": -1}
    if which not in signs:
        raise ParameterError(f"which={which!r} is none of 'unstable', 'stable', 'fast', 'slow'.")
    allowed = np.flatnonzero(np.sign(values.real) == signs[which])
    size = np.abs(values.real[allowed])
    order = allowed[np.lexsort((-values.imag[allowed], np.round(size / np.abs(values).max(), 12)))]
    chosen = (order if which == "slow" else order[::-1])[:2].tolist()
    shown = ", ".join(f"{x:.6g}" for x in values)
    if len(chosen) < 2:
        raise ParameterError(f"There are no two eigenvalues for which={which!r} among {shown}.")
    one, other = values[chosen]
    if (
        abs(one - other.conjugate()) > REAL * np.abs(values).max()
        and max(abs(one.imag), abs(other.imag)) > REAL * np.abs(values).max()
    ):
        raise ParameterError(
            f"The two eigenvalues for which={which!r} among {shown} take one of a pair from the other."
        )
    return sorted(chosen, key=lambda i: -values[i].imag)


def _numbers(x: Any, y: Any, is_turning: bool) -> tuple[Any, Any]:
    """What the powers are of: both coordinates, or ``x + i y`` and its conjugate."""
    return (x + 1j * y, x - 1j * y) if is_turning else (x + 0j, y + 0j)


def _along(flow: Flow, z: np.ndarray, series: dict[tuple[int, int], np.ndarray], rays: Any, k: int, t: float
           ) -> np.ndarray:  # fmt: skip
    """Coefficients (b d) of power k of the field along the series on rays."""
    parts = [np.tile(z, (len(rays[0]), 1))]
    for degree in range(1, k):
        terms = [(rays[0] ** m * rays[1] ** n)[:, None] * w for (m, n), w in series.items() if m + n == degree]
        parts.append(np.sum(terms, axis=0).real)
    stacked = torch.from_numpy(np.stack(parts))
    time = torch.full((len(rays[0]),), t, dtype=torch.float64)

    def field(s: Tensor) -> Tensor:
        powers = [s**degree for degree in range(1, k)]
        return flow.slope(time, stacked[0] + sum(p[:, None] * w for p, w in zip(powers, stacked[1:])))

    return taylor(field, time, k)


def _table(flow: Flow, z: np.ndarray, series: dict[tuple[int, int], np.ndarray], rates: np.ndarray, is_turning: bool,
           order: int, t: float, scale: float) -> pd.DataFrame:  # fmt: skip
    """Real coefficients, a row a pair of powers, and how well the surface is one."""
    real: dict[tuple[int, int], np.ndarray] = {(0, 0): z.astype(complex)}
    for (m, n), w in series.items():
        if not is_turning:
            real[m, n] = w
            continue
        x, y = np.polynomial.Polynomial([0, 1j]), np.polynomial.Polynomial([0, -1j])
        # (x + i y)**m (x - i y)**n as a polynomial of y at x = 1
        for j, c in enumerate(((1 + x) ** m * (1 + y) ** n).coef):
            key = (m + n - j, j)
            real[key] = real.get(key, np.zeros(len(z), dtype=complex)) + c * w
    keys = sorted(real, key=lambda key: (sum(key), key[1]))
    index = pd.MultiIndex.from_tuples(keys, names=["power_1", "power_2"])
    table = pd.DataFrame(np.stack([real[key].real for key in keys]), index, list(flow.names))
    last = max(np.abs(real[key]).max() for key in keys if sum(key) >= max(order - 1, 2)) if order > 1 else 0.0
    radius = min(1.0, float((1e-6 * scale / max(last, 1e-300)) ** (1 / max(order - 1, 1))))
    angles = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
    share = radius * np.repeat([0.5, 1.0], 24)
    a, b = _numbers(share * np.cos(np.tile(angles, 2)), share * np.sin(np.tile(angles, 2)), is_turning)
    states, wanted = np.tile(z.astype(complex), (len(a), 1)), np.zeros((len(a), len(z)), dtype=complex)
    for (m, n), w in series.items():
        term = (a**m * b**n)[:, None] * w
        states, wanted = states + term, wanted + (m * rates[0] + n * rates[1]) * term
    time = torch.full((len(a),), t, dtype=torch.float64)
    slope = flow.slope(time, torch.from_numpy(states.real.copy())).numpy()
    table.attrs = {
        "eigenvalues": rates.tolist() if is_turning else rates.real.tolist(), "radius": radius,
        "residual": float(np.abs(slope - wanted.real).max()),
    }  # fmt: skip
    return table
