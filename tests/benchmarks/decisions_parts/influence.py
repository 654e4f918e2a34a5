"""Influence of training series: leave-one-out of a linear SDE and a jump ODE beside refits, ridges beside bounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from tests.benchmarks.structural_parts.report import Report
from tests.influence.scenes import ou_panel
from tsode import JumpODEForecaster, LinearSDEForecaster
from tsode.influence import influence, ridge_bound, stability_bound
from tsode.influence.left_out import each_observation, each_series
from tsode.influence.series_influence import held_objective, moved_to
from tsode.influence.window_scores import WindowObjective

__all__ = ["run"]

N_SERIES, N_TIMES = 50, 30
JUMP = {
    "horizon": 2.0, "max_epochs": 10, "n_modes": 8, "n_static": 4, "n_hidden": 16, "expert": None, "n_members": 1,
}  # fmt: skip


def run(report: Report) -> None:
    data = ou_panel(max(8, report.count(N_SERIES)), N_TIMES)
    _ridge(report, data)
    _linear(report, data)
    _jump(report, data)


def _linear(report: Report, data: pd.DataFrame) -> None:
    forecaster = LinearSDEForecaster(n_state=1, horizon=2.0, max_epochs=20, random_state=0).fit(data)
    found = {
        method: influence(forecaster, horizon=2.0, method=method).set_index("series") for method in ("implicit", "warm")
    }
    warm = found["warm"]
    report.at_least("share of refits at their minimum", float((warm["status"] == "ok").mean()), 1.0)
    rank = spearmanr(found["implicit"]["rms"].loc[warm.index], warm["rms"]).statistic
    report.at_least(f"linear SDE, {len(warm)} series: rank correlation with refits", float(rank), 0.95)
    some = list(forecaster._panel.ids)[:3]
    found = {
        method: influence(forecaster, horizon=2.0, of="observations", series=some, method=method)
        for method in ("implicit", "warm")
    }
    named = {method: table.set_index(["series", "time"])["rms"] for method, table in found.items()}
    report.at_least(
        "share of refits without a value at their minimum", float((found["warm"]["status"] == "ok").mean()), 1.0
    )
    rank = spearmanr(named["implicit"].loc[named["warm"].index], named["warm"]).statistic
    report.at_least(f"linear SDE, {len(named['warm'])} values: rank correlation with refits", float(rank), 0.95)


def _jump(report: Report, data: pd.DataFrame) -> None:
    """Refits by L-BFGS from the fitted weights to the minimum of the same objective, which knows no curvature."""
    forecaster = JumpODEForecaster(**JUMP, random_state=0).fit(data)
    _by_chance(report, data, forecaster)
    objective = held_objective(forecaster)
    assert isinstance(objective, WindowObjective)
    base = forecaster.predict(horizon=2.0)["y"].to_numpy()
    panel = forecaster._panel
    asked = {"series": each_series(panel), "observations": each_observation(panel, [panel.ids[0]])}
    for of, parts in asked.items():
        objective.start(parts)
        refits, reached = [], []
        for out in parts:
            point, is_reached = objective.least(out)
            left = moved_to(forecaster, objective, point).predict(horizon=2.0)["y"].to_numpy()
            refits.append(float(np.sqrt(np.mean((left - base) ** 2))))
            reached.append(is_reached)
        report.at_least(f"jump ODE: share of refits without one of {of} at their minimum", float(np.mean(reached)), 1.0)
        which = {"of": of, "series": None if of == "series" else panel.ids[0]}
        for method in ("implicit", "warm"):
            found = influence(forecaster, horizon=2.0, method=method, **which)
            by = ["series"] if of == "series" else ["time"]  # as the parts go
            rank = spearmanr(found.sort_values(by)["rms"], refits).statistic
            what = f"jump ODE, {len(refits)} {of}: rank correlation of {method} with refits"
            report.at_least(what, float(rank), 0.7)


def _by_chance(report: Report, data: pd.DataFrame, forecaster: JumpODEForecaster) -> None:
    """How far fits from the beginning move by another seed, and by leaving a series out."""
    times = {key: rows["ds"].max() + np.linspace(0.2, 2.0, 5) for key, rows in data.groupby("unique_id")}
    base = forecaster.predict(times=times)["y"].to_numpy()

    def moved(seed: int, left_out: str | None) -> float:
        other = JumpODEForecaster(**JUMP, random_state=seed).fit(data[data["unique_id"] != left_out])
        change = other.predict(times=times, context=data)["y"].to_numpy() - base
        return float(np.sqrt(np.mean(change**2)))

    by_seed = [moved(seed, None) for seed in (1, 2, 3)]
    by_series = [moved(0, key) for key in list(times)[:3]]
    report.note(f"fits from the beginning move by {np.round(by_seed, 3).tolist()} with other seeds, and by "
                f"{np.round(by_series, 3).tolist()} without a series")  # fmt: skip


def _ridge(report: Report, data: pd.DataFrame) -> None:
    """Ridge regression of each series' last value on those before: one exchanged, or left out, beside the bounds.

    Losses are half the squared error and half the squared weights times the penalty; L is the largest gradient of any
    of them where the weights have been, or the largest slope by the prediction.
    """
    rows = np.stack([of_series["y"].to_numpy()[-4:] for _, of_series in data.groupby("unique_id")])
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    x, y = np.concatenate([rows[:, :3], np.ones((len(rows), 1))], axis=1), rows[:, 3]
    n, penalty, n_steps, n_orders = len(x), 0.1, 200, 50
    smoothness = float((x**2).sum(axis=1).max()) + penalty
    steps = np.minimum(1.0 / smoothness, 2.0 / (10.0 + np.arange(n_steps)))
    rng = np.random.default_rng(0)
    order, other = rng.integers(n, size=(n_orders, n_steps)), rng.permutation(n)

    def gradient(w: np.ndarray, at: np.ndarray, target: np.ndarray) -> np.ndarray:
        return ((w * at).sum(axis=-1) - target)[..., None] * at + penalty * w

    # (order, exchanged series or none, weight): where a series is exchanged, another stands in its place
    place = np.arange(n + 1)
    w, largest = np.zeros((n_orders, n + 1, x.shape[1])), 0.0
    for t in range(n_steps):
        drawn = np.broadcast_to(order[:, t, None], (n_orders, n + 1))
        drawn = np.where(drawn == place, other[drawn], drawn)
        step = gradient(w, x[drawn], y[drawn])
        largest = max(largest, float(np.linalg.norm(gradient(w[:, :, None], x, y), axis=-1).max()))
        w = w - steps[t] * step
    loss = 0.5 * (w @ x.T - y) ** 2 + 0.5 * penalty * (w**2).sum(axis=-1, keepdims=True)  # (order, exchanged, point)
    change = float(np.abs(loss[:, :-1] - loss[:, -1:]).mean(axis=0).max())  # in the mean over orders, at the worst
    bound = stability_bound(largest, steps, n)
    report.note(f"ridge by stochastic gradients: L {largest:.2f}, sum of steps {steps.sum():.2f}, {n} series")
    report.at_most(f"ridge by stochastic gradients: change of a loss (bound {bound:.3g})", change, bound)

    def minimiser(kept: np.ndarray) -> np.ndarray:  # of the mean squared error and the penalty
        return np.linalg.solve(x[kept].T @ x[kept] / n + penalty * np.eye(x.shape[1]), x[kept].T @ y[kept] / n)

    every = np.ones(n, dtype=bool)
    weights = np.stack([minimiser(every), *(minimiser(np.arange(n) != k) for k in range(n))])
    residual = weights @ x.T - y
    change = float(np.abs(residual[1:] ** 2 - residual[0] ** 2).max())
    slope = 2.0 * float(np.abs(residual).max())
    bound = ridge_bound(slope, float(np.linalg.norm(x, axis=1).max()), penalty, n)
    report.at_most(f"ridge in closed form: change of a squared error (bound {bound:.3g})", change, bound)
