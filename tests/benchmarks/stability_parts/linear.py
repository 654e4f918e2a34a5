"""Analyses of linear systems of 1 to 30 dimensions, each beside its closed form."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tsode.numerics import Dopri5
from tsode.numerics.base import VectorField
from tsode.stability import (
    Map,
    finite_time_exponents,
    fixed_points,
    invariant_manifold,
    jacobian,
    lyapunov_spectrum,
    period_map,
    predictability_horizon,
)

__all__ = ["run"]

BAR = 1e-8
DIMENSIONS = range(1, 31)
SOLVED = (1, 2, 5, 10)  # dimensions in which a solve stands behind the answer
PERIOD = 1.5


def affine(matrix: np.ndarray, offset: np.ndarray) -> VectorField:
    """``matrix @ z + offset``."""
    a, b = torch.as_tensor(matrix), torch.as_tensor(offset)
    return lambda t, z: z @ a.mT + b


def apart(found: np.ndarray, truth: np.ndarray) -> float:
    """Largest distance of each of some complex numbers to the nearest of the others, both ways."""
    distances = np.abs(np.asarray(found)[:, None] - np.asarray(truth)[None])
    return float(max(distances.min(axis=0).max(), distances.min(axis=1).max()))


def run(report: Report) -> None:
    worst: dict[str, float] = defaultdict(float)
    rng = np.random.default_rng(0)
    for d in report.some(DIMENSIONS):
        for name, error in errors(d, rng).items():
            worst[name] = max(worst[name], error)
    for name, error in worst.items():
        report.at_most(f"{name}, the worst of {len(report.some(DIMENSIONS))} dimensions", error, BAR)


def errors(d: int, rng: np.random.Generator) -> dict[str, float]:
    matrix, offset = rng.normal(size=(d, d)) / math.sqrt(d), rng.normal(size=d)
    field, start = affine(matrix, offset), rng.normal(size=d)
    rest, values = np.linalg.solve(matrix, -offset), np.linalg.eigvals(matrix)
    sorted_parts = np.sort(values.real)[::-1]
    size = 1 + np.abs(rest)
    found: dict[str, float] = {}
    points = fixed_points(field, [start])
    found["fixed point, relative"] = float((np.abs(points.iloc[0, :d].to_numpy(dtype=float) - rest) / size).max())
    found["its eigenvalues"] = apart(points.filter(like="eigenvalue").to_numpy()[0], values)
    table = lyapunov_spectrum(field, start)
    found["exponents"] = float(np.abs(table.iloc[:, 0].to_numpy() - sorted_parts).max())
    horizon = predictability_horizon(table, 1e-6, 0.1)
    truth = math.log(1e5) / sorted_parts[0] if sorted_parts[0] > 0 else math.inf
    found["horizon, relative"] = 0.0 if horizon == truth else abs(horizon / truth - 1)
    logs = finite_time_exponents(field, start, [PERIOD]).filter(like="exponent").to_numpy()[0]
    singular = np.linalg.svd(expm(PERIOD * matrix))[1]
    found["finite-time exponents"] = float(np.abs(logs - np.log(singular) / PERIOD).max())
    local = jacobian(field, start)
    norm = np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]
    found["logarithmic norm"] = abs(float(local["logarithmic_norm"][0]) - norm)
    found["spectral abscissa"] = abs(float(local["spectral_abscissa"][0]) - sorted_parts[0])
    decay = -sorted_parts[sorted_parts < 0]
    if len(decay):
        found["stiffness ratio, relative"] = abs(float(local["stiffness_ratio"][0]) * decay.min() / decay.max() - 1)
    found |= of_map(matrix, offset, start) | of_manifold(d, rng)
    return found | (of_period(d, rng) if d in SOLVED else {})


def of_map(matrix: np.ndarray, offset: np.ndarray, start: np.ndarray) -> dict[str, float]:
    step, d = affine(matrix, offset), len(start)
    system = Map(lambda z: step(z[:, 0], z))
    rest, values = np.linalg.solve(np.eye(d) - matrix, offset), np.linalg.eigvals(matrix)
    points = fixed_points(system, [start])
    logs = np.sort(np.log(np.abs(values)))[::-1]
    table = lyapunov_spectrum(system, start)
    two = finite_time_exponents(system, start, [2]).filter(like="exponent").to_numpy()[0]
    truth = np.log(np.linalg.svd(matrix @ matrix)[1]) / 2
    place = np.abs(points.iloc[0, :d].to_numpy(dtype=float) - rest) / (1 + np.abs(rest))
    return {
        "map: fixed point, relative": float(place.max()),
        "map: multipliers": apart(points.filter(like="eigenvalue").to_numpy()[0], values),
        "map: exponents": float(np.abs(table.iloc[:, 0].to_numpy() - logs).max()),
        "map: finite-time exponents": float(np.nanmax(np.abs(two - truth))),
    }


def of_manifold(d: int, rng: np.random.Generator) -> dict[str, float]:
    """The slow manifold of a field with real eigenvalues is the straight line along the eigenvector."""
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0] + 0.1 * rng.normal(size=(d, d)) / math.sqrt(d)
    rates = -1.0 - 0.37 * np.sqrt(np.arange(d))  # no multiple of the first, up to order 3, is another
    matrix = basis @ np.diag(rates) @ np.linalg.inv(basis)
    series = invariant_manifold(affine(matrix, np.zeros(d)), np.zeros(d), which="slow", order=3).to_numpy()
    vector = basis[:, 0] / np.linalg.norm(basis[:, 0])
    line = series[1] - vector * (vector @ series[1])
    return {
        "manifold: direction": float(np.abs(line).max()),
        "manifold: what is not straight": float(np.abs(series[2:]).max()),
    }


def of_period(d: int, rng: np.random.Generator) -> dict[str, float]:
    """Multipliers of a field that has a phase: ``(1 + cos(2 pi t / period)) A z``."""
    matrix = rng.normal(size=(d, d)) / math.sqrt(d)
    a = torch.as_tensor(matrix)

    def field(t: Tensor, z: Tensor) -> Tensor:
        return (1 + (2 * math.pi / PERIOD * t).cos())[:, None] * (z @ a.mT)

    solver = Dopri5(rtol=1e-11, atol=1e-13, max_steps=100_000)
    points = fixed_points(period_map(field, PERIOD, solver=solver), [np.zeros(d)])
    truth = np.exp(PERIOD * np.linalg.eigvals(matrix))
    return {"period map: multipliers": apart(points.filter(like="eigenvalue").to_numpy()[0], truth)}
