"""Double pendulum, let go near the top: chaos without noise, whose optimum is the equation itself.

Two arms of length 1 with masses of 1 at their ends, both at one angle from N(pi, 0.2^2) at first, and at rest. Trained
on the first 2.5 units of time, and tested from the start alone to 5.

Reference: F. Krach, J. Teichmann, "Learning chaotic systems and long-term predictions with neural jump ODEs",
arXiv:2407.18808.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.small_panels_parts.optima.paths import Paths, Problem, grid_times, seen_at
from tests.benchmarks.structural_parts.report import Report

__all__ = ["DoublePendulum", "energy", "slopes"]

GRAVITY = 9.81
STEP, N_SUBSTEPS = 0.025, 10


class DoublePendulum(Problem):
    bar = None
    horizon = 2.5
    channels = ("angle of the upper", "angle of the lower", "momentum of the upper", "momentum of the lower")

    def __init__(self, chance: float) -> None:
        self.chance = chance
        self.name = f"double pendulum, seen {chance:g}"

    def simulate(self, n: int, generator: np.random.Generator, is_test: bool = False) -> Paths:
        n_steps = 200 if is_test else 100
        times, is_asked = grid_times(n, n_steps * STEP, n_steps)
        z = np.zeros((n, 4))
        z[:, :2] = generator.normal(np.pi, 0.2, n)[:, None]
        path, h = [z], STEP / N_SUBSTEPS
        for _ in range(n_steps):
            for _ in range(N_SUBSTEPS):
                k1 = slopes(z)
                k2 = slopes(z + 0.5 * h * k1)
                k3 = slopes(z + 0.5 * h * k2)
                z = z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + slopes(z + h * k3))
            path.append(z)
        truth = np.stack(path, axis=1)
        is_seen = seen_at(times, 0.0 if is_test else self.chance, (1.0,) * 4, (True,) * 4, generator)
        return Paths(times, truth, np.where(is_seen, truth, np.nan), is_asked)

    def best(self, paths: Paths) -> np.ndarray:
        return paths.truth

    def tell(
        self, report: Report, who: str, paths: Paths, best: np.ndarray, forecast: np.ndarray, has_bar: bool
    ) -> None:
        """How far ahead errors stay below those of the mean at each time, over all channels in units of their own."""
        error, spread = (
            np.mean((paths.truth - of) ** 2, axis=0) for of in (forecast, paths.truth.mean(axis=0, keepdims=True))
        )
        unit = spread.mean(axis=0)
        error, spread = (error / unit).mean(axis=1), (spread / unit).mean(axis=1)
        is_lost = error[1:] >= spread[1:]
        until = paths.times[0, 1 + np.argmax(is_lost)] if is_lost.any() else paths.times[0, -1]
        at = {t: error[round(t / STEP)] / spread[round(t / STEP)] for t in (0.5, 1.0, 1.5, 2.0, 2.5, 5.0)}
        shares = ", ".join(f"{share:.3f} at {t:g}" for t, share in at.items())
        report.note(f"{self.name}: {who}: error by that of the mean at each time: {shares}")
        report.note(f"{self.name}: {who}: below it until {until:.3g}, of {paths.times[0, -1]:g}")


def slopes(z: np.ndarray) -> np.ndarray:
    """Of angles and momenta (... 4): Hamilton's equations."""
    upper, lower, p, q = np.moveaxis(z, -1, 0)
    c, s = np.cos(upper - lower), np.sin(upper - lower)
    inertia = 1.0 + s**2
    turn = p * q * s / inertia - (p**2 + 2.0 * q**2 - 2.0 * p * q * c) * s * c / inertia**2
    return np.stack(
        [
            (p - q * c) / inertia,
            (2.0 * q - p * c) / inertia,
            -2.0 * GRAVITY * np.sin(upper) - turn,
            -GRAVITY * np.sin(lower) + turn,
        ],
        axis=-1,
    )


def energy(z: np.ndarray) -> np.ndarray:
    """Of angles and momenta (... 4)."""
    upper, lower, p, q = np.moveaxis(z, -1, 0)
    c, s = np.cos(upper - lower), np.sin(upper - lower)
    motion = (p**2 + 2.0 * q**2 - 2.0 * p * q * c) / (2.0 * (1.0 + s**2))
    return motion - GRAVITY * (2.0 * np.cos(upper) + np.cos(lower))
