"""First passages of Brownian motion and of mean-reverting paths, and whether crossings come as they are foretold."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.linalg import solve_banded
from scipy.special import ndtr

from tests.benchmarks.structural_parts.report import Report
from tsode import KnownSDEForecaster, LinearSDEForecaster
from tsode.inference import AdditiveNoise, Normal
from tsode.metrics import brier_decomposition, brier_score
from tsode.numerics.first_passage import passage_probability, passage_times

__all__ = ["run"]

DRIFT, SIGMA = 0.4, 0.9  # of Brownian motion
RATE, SPREAD = 1.0, 1.0  # of the Ornstein-Uhlenbeck process about 0: rate, diffusion
SCENES = ((0.0, 1.0, 2.0), (0.0, 0.6, 1.0), (-0.5, 0.8, 3.0))  # start, level, time
N_PATHS, N_FEW, N_MANY = 200_000, 20, 2000
N_SERIES, N_SEEN, LEVEL, NOISE = 500, 16, 0.9, 0.3
SPAN, AHEAD = 8.0, (0.5, 1.0, 2.0, 4.0)


def run(report: Report) -> None:
    on_grids(report)
    through_forecasters(report)
    calibration(report)


# -- truths --------------------------------------------------------------------------------------------------------


def of_brownian_motion(start: float, level: float, t: float) -> float:
    """Inverse Gaussian law."""
    spread, gap = SIGMA * t**0.5, level - start
    back = np.exp(2 * DRIFT * gap / SIGMA**2) * ndtr((-DRIFT * t - gap) / spread)
    return float(ndtr((DRIFT * t - gap) / spread) + back)


def of_ou(start: float, level: float, t: float, n: int = 2001, n_steps: int = 4000) -> float:
    """Backward equation with an absorbing level, by Crank and Nicolson after eight steps of Euler's."""
    x = np.linspace(-8.0 * SPREAD / (2.0 * RATE) ** 0.5, level, n)
    h, dt = x[1] - x[0], t / n_steps
    by_noise, by_drift = 0.5 * SPREAD**2 / h**2, -RATE * x / (2.0 * h)

    def bands(c: float) -> np.ndarray:
        out = np.zeros((3, n))
        out[1], out[0, 2:], out[2, :-2] = 1.0 + 2.0 * by_noise * c, -(by_noise + by_drift)[1:-1] * c, -(
            by_noise - by_drift
        )[1:-1] * c  # fmt: skip
        out[1, 0], out[0, 1], out[1, -1] = 1.0, -1.0, 1.0  # reflected far below, absorbed at the level
        return out

    survival = np.ones(n)
    survival[-1] = 0.0
    euler, half = bands(dt), bands(0.5 * dt)
    for k in range(n_steps):
        right = survival.copy()
        if k >= 8:
            up, down = (by_noise + by_drift)[1:-1] * survival[2:], (by_noise - by_drift)[1:-1] * survival[:-2]
            right[1:-1] += 0.5 * dt * (up - 2.0 * by_noise * survival[1:-1] + down)
        right[0] = right[-1] = 0.0
        survival = solve_banded((1, 1), euler if k < 8 else half, right)
    return 1.0 - float(np.interp(start, x, survival))


# -- paths by their exact steps ------------------------------------------------------------------------------------


def brownian_step(x: np.ndarray, dt: float, rng: np.random.Generator) -> np.ndarray:
    return x + DRIFT * dt + SIGMA * dt**0.5 * rng.normal(size=len(x))


def ou_step(x: np.ndarray, dt: float, rng: np.random.Generator) -> np.ndarray:
    sd = SPREAD * (-np.expm1(-2.0 * RATE * dt) / (2.0 * RATE)) ** 0.5
    return x * np.exp(-RATE * dt) + sd * rng.normal(size=len(x))


def on_grids(report: Report) -> None:
    n_paths = report.count(N_PATHS)
    rng = np.random.default_rng(0)
    for name, step, truth_of, sigma in (
        ("Brownian", brownian_step, of_brownian_motion, SIGMA), ("OU", ou_step, of_ou, SPREAD),
    ):  # fmt: skip
        for start, level, until in SCENES:
            truth = truth_of(start, level, until)
            paths = [np.full(n_paths, start)]
            for _ in range(N_FEW):
                paths.append(step(paths[-1], until / N_FEW, rng))
            gap = np.stack(paths, axis=1) - level
            variation = np.full((1, N_FEW), sigma**2 * until / N_FEW)
            inside = passage_probability(gap, np.broadcast_to(variation, (n_paths, N_FEW)), "up")[:, -1]
            error = inside.std() / n_paths**0.5
            n_fine = n_paths // 10
            x, has_crossed = np.full(n_fine, start), np.zeros(n_fine, dtype=bool)
            for _ in range(N_MANY):
                x = step(x, until / N_MANY, rng)
                has_crossed |= x >= level
            plain = has_crossed.mean()
            what = f"{name} from {start:g} through {level:g} before {until:g} ({truth:.4f})"
            off, off_plain = abs(inside.mean() - truth), abs(plain - truth)
            report.at_most(f"{what}: 20 steps, off", off, 0.003)
            report.at_most(f"{what}: 20 steps, errors off", off / error, 3.0)
            report.at_most(f"{what}: 20 with bridge less 2,000 without", off - off_plain, 0.0)
            by_points = abs((gap >= 0).any(axis=1).mean() - truth)
            error = (plain * (1 - plain) / n_fine) ** 0.5
            report.note(f"without bridge: 20 steps off {by_points:.4f}, 2,000 {off_plain:.4f} (error {error:.4f})")


# -- through forecasters -------------------------------------------------------------------------------------------


def forecasters() -> dict[str, tuple[Any, Any]]:
    names = {"horizon": 3.0, "id_col": "unique_id", "time_col": "ds"}
    seen = {"readout": [[1.0]], "noise": [1e-7], "initial_mean": [0.0], "initial_cov": [[4.0]]}
    walk = {"drift": [[0.0]], "offset": [DRIFT], "diffusion": [[SIGMA]], **seen}
    ou = {"drift": [[-RATE]], "diffusion": [[SPREAD]], **seen}
    how = {"states": ["x"], "initial": {"x": Normal(0, 2)}, "observed": {"y": AdditiveNoise("x", sd=1e-5)},
           "initial_time": 0.0, "random_state": 0, **names}  # fmt: skip
    by_drift = KnownSDEForecaster(
        lambda t, z, p: (p.a + 0.0 * z[:, 0],), parameters={"a": DRIFT}, process_noise={"x": SIGMA}, **how
    )
    by_rate = KnownSDEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), parameters={"k": RATE}, process_noise={"x": SPREAD}, **how
    )
    return {
        "Brownian, linear SDE": (LinearSDEForecaster(system=walk, **names), of_brownian_motion),
        "Brownian, known SDE": (by_drift, of_brownian_motion),
        "OU, linear SDE": (LinearSDEForecaster(system=ou, **names), of_ou),
        "OU, known SDE": (by_rate, of_ou),
    }


def through_forecasters(report: Report) -> None:
    for name, (forecaster, truth_of) in forecasters().items():
        for start, level, until in SCENES[:2]:
            data = pd.DataFrame({"unique_id": "a", "ds": [0.0, 1.0], "y": [start - 0.3, start]})
            found = forecaster.fit(data).predict_crossing(
                "y", level, before=[1.0 + until], n_samples=report.count(100_000), n_steps=N_FEW, random_state=0
            )
            row, truth = found.probability.iloc[0], truth_of(start, level, until)
            off = abs(row["probability"] - truth)
            what = f"{name} through {level:g} before {until:g} ({truth:.4f})"
            report.at_most(f"{what}: off", off, 0.003)
            report.at_most(f"{what}: errors off", off / row["error"], 3.0)


# -- calibration ---------------------------------------------------------------------------------------------------


class Law(NamedTuple):
    """A mean-reverting path and the noise of its observations, in units of the data."""

    rate: float
    diffusion: float
    mean: float
    noise: float

    @classmethod
    def of_fitted(cls, forecaster: LinearSDEForecaster) -> Law:
        """Law that a linear SDE of one state has learned."""
        system, scaler = forecaster.module_.system(), forecaster.reader_.scaler
        drift, offset, diffusion, readout, beside, noise = (
            float(x.detach().double().squeeze())
            for x in (
                system.drift,
                system.offset,
                system.diffusion,
                system.readout,
                system.readout_offset,
                system.noise,
            )
        )
        scale, unit = float(scaler.scale[0]), float(forecaster.reader_.timeline.unit)
        mean = float(scaler.inverse(np.array([readout * offset / -drift + beside]))[0])
        return cls(-drift / unit, abs(readout * diffusion) * scale / unit**0.5, mean, noise * scale)

    def forecaster(self) -> LinearSDEForecaster:
        system = {"drift": [[-self.rate]], "offset": [self.rate * self.mean], "diffusion": [[self.diffusion]]}
        system |= {"readout": [[1.0]], "noise": [self.noise], "initial_mean": [self.mean]}
        system["initial_cov"] = [[self.diffusion**2 / (2.0 * self.rate)]]
        return LinearSDEForecaster(system=system, horizon=SPAN / 2.0, id_col="unique_id", time_col="ds")


TRUTH = Law(RATE, SPREAD, 0.0, NOISE)


def simulate(n: int, seed: int, law: Law) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Noisy looks at paths of a law, half of each path long, and when the rest crosses.

    Returns
    -------
    seen : DataFrame
    crossed : DataFrame
        Indexed by id: the time of the first crossing of `LEVEL` upwards after the last look.
    """
    rng = np.random.default_rng(seed)
    n_fine = 800
    keep = np.exp(-law.rate * SPAN / n_fine)
    sd = law.diffusion / (2.0 * law.rate) ** 0.5
    fine = [sd * rng.normal(size=n)]
    for _ in range(n_fine):
        fine.append(keep * fine[-1] + sd * (1.0 - keep**2) ** 0.5 * rng.normal(size=n))
    paths = law.mean + np.stack(fine, axis=1)
    rows = []
    half = n_fine // 2
    times = np.linspace(0.0, SPAN, n_fine + 1)
    for k in range(n):
        at = np.sort(np.append(rng.choice(half, N_SEEN - 1, replace=False), half))
        rows.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times[at],
                                  "y": paths[k, at] + law.noise * rng.normal(size=N_SEEN)}))  # fmt: skip
    variation = np.full((n, n_fine - half), law.diffusion**2 * SPAN / n_fine)
    found = passage_times(
        times[half:], paths[:, half:], np.array([LEVEL]), variation, "up", torch.Generator().manual_seed(seed)
    )
    return pd.concat(rows), pd.DataFrame({"time": found.times[0]}, index=[f"s{k}" for k in range(n)])


def calibration(report: Report) -> None:
    """Crossings of new series: of the law that was fitted, and of the law that it was fitted to."""
    n = report.count(N_SERIES)
    started = time.process_time()
    fitted = LinearSDEForecaster(n_state=1, random_state=0, horizon=SPAN / 2.0, id_col="unique_id", time_col="ds")
    fitted.fit(simulate(n, 1, TRUTH)[0])
    learned = Law.of_fitted(fitted)
    report.note(
        f"a linear SDE fitted on {n} series, {time.process_time() - started:.1f} CPU-s: rate {learned.rate:.3f} "
        f"({RATE:g}), diffusion {learned.diffusion:.3f} ({SPREAD:g}), noise {learned.noise:.3f} ({NOISE:g})"
    )
    for what, law, seed in (("of the fitted law", learned, 3), ("of the truth", TRUTH, 2)):
        seen, crossed = simulate(n, seed, law)
        started = time.process_time()
        how = {"horizon": list(AHEAD), "context": seen, "n_samples": 500, "random_state": 0}
        table = fitted.predict_crossing("y", LEVEL, **how).probability
        by_law = law.forecaster().fit(seen).predict_crossing("y", LEVEL, **how).probability
        report.note(f"crossings of {n} series {what}, twice: {time.process_time() - started:.1f} CPU-s")
        tables = {what: table}
        if law is TRUTH:
            started = time.process_time()
            tables["of the truth, by a known SDE"] = (
                known_truth().fit(seen).predict_crossing("y", LEVEL, **how).probability
            )
            report.note(f"crossings of {n} series by a known SDE: {time.process_time() - started:.1f} CPU-s")
        happened = crossed.loc[table["unique_id"], "time"].to_numpy() < table["ds"].to_numpy()
        for lead in AHEAD:
            rows = np.isclose(table["ds"] - SPAN / 2.0, lead)
            y = happened[rows].astype(float)
            best = np.clip(by_law["probability"].to_numpy()[rows], 1e-9, 1 - 1e-9)
            for whose, one in tables.items():
                p = np.clip(one["probability"].to_numpy()[rows], 1e-9, 1 - 1e-9)
                # the error of a fit moves all forecasts of the truth to one side
                is_right = law is learned or one is not table
                judge(report, f"series {whose}, crossed within {lead:g}", y, p, best, is_right)


def judge(report: Report, label: str, y: np.ndarray, p: np.ndarray, best: np.ndarray, is_right: bool) -> None:
    """Probabilities (n) beside what happened (n) and those of the law itself (n)."""
    z = np.sum((y - p) * (1 - 2 * p)) / np.sqrt(np.sum((1 - 2 * p) ** 2 * p * (1 - p)))
    in_the_large, of_law = (np.sum(y - one) / np.sqrt(np.sum(one * (1 - one))) for one in (p, best))
    parts = brier_decomposition(y, p, n_bins=10)
    chance = 10 * np.mean(p * (1 - p)) / len(p)
    report.within(f"{label}: Spiegelhalter's z of {len(p)}", z, -3.0, 3.0)
    # a tenth of a chi-squared of ten degrees is above 2.96 once in a thousand
    report.at_most(f"{label}: reliability in units of chance", parts.reliability / chance, 2.96)
    if is_right:
        report.within(f"{label}: z of how many crossed", in_the_large, -3.0, 3.0)
    report.note(
        f"z of how many crossed {in_the_large:.2f}, of the law itself {of_law:.2f}; Brier {brier_score(y, p):.4f}, of "
        f"the law itself {brier_score(y, best):.4f}, uncertainty {parts.uncertainty:.4f}; happened {y.mean():.3f}, "
        f"foretold {p.mean():.3f}"
    )


def known_truth() -> KnownSDEForecaster:
    """The law of the simulated series as a known equation."""
    return KnownSDEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": RATE}, process_noise={"x": SPREAD},
        initial={"x": Normal(0.0, SPREAD / (2.0 * RATE) ** 0.5)}, initial_time=0.0,
        observed={"y": AdditiveNoise("x", sd=NOISE)}, horizon=SPAN / 2.0, id_col="unique_id", time_col="ds",
        random_state=0,
    )  # fmt: skip
