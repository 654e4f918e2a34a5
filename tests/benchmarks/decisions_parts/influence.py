"""Influence of training series: implicit leave-one-out beside true refits, of a linear SDE and of a jump ODE."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from tests.benchmarks.structural_parts.report import Report
from tests.influence.scenes import ou_panel
from tsode import JumpODEForecaster, LinearSDEForecaster
from tsode.influence import influence
from tsode.influence.series_influence import held_objective, moved_to
from tsode.influence.window_scores import WindowObjective

__all__ = ["run"]

N_SERIES, N_TIMES = 50, 30
JUMP = {
    "horizon": 2.0, "max_epochs": 10, "n_modes": 8, "n_static": 4, "n_hidden": 16, "expert": None, "n_members": 1,
}  # fmt: skip


def run(report: Report) -> None:
    data = ou_panel(max(8, report.count(N_SERIES)), N_TIMES)
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


def _jump(report: Report, data: pd.DataFrame) -> None:
    """Refits by L-BFGS from the fitted weights to the minimum of the same objective, which knows no curvature."""
    forecaster = JumpODEForecaster(**JUMP, random_state=0).fit(data)
    objective = held_objective(forecaster)
    assert isinstance(objective, WindowObjective)
    objective.start()
    base = forecaster.predict(horizon=2.0)["y"].to_numpy()
    refits, reached = {}, []
    for k, key in enumerate(forecaster._panel.ids):
        point, is_reached = objective.least(k)
        left = moved_to(forecaster, objective, point).predict(horizon=2.0)["y"].to_numpy()
        refits[key] = float(np.sqrt(np.mean((left - base) ** 2)))
        reached.append(is_reached)
    report.at_least("jump ODE: share of refits at their minimum", float(np.mean(reached)), 1.0)
    for method in ("implicit", "warm"):
        found = influence(forecaster, horizon=2.0, method=method).set_index("series")["rms"]
        rank = spearmanr(found.loc[list(refits)], list(refits.values())).statistic
        report.at_least(f"jump ODE, {len(refits)} series: rank correlation of {method} with refits", float(rank), 0.7)
