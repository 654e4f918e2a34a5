"""Influence of training series: implicit leave-one-out of a linear SDE beside true refits to the minimum."""

from __future__ import annotations

from scipy.stats import spearmanr

from tests.benchmarks.structural_parts.report import Report
from tests.influence.scenes import ou_panel
from tsode import LinearSDEForecaster
from tsode.influence import influence

__all__ = ["run"]

N_SERIES, N_TIMES = 50, 30


def run(report: Report) -> None:
    data = ou_panel(max(8, report.count(N_SERIES)), N_TIMES)
    forecaster = LinearSDEForecaster(n_state=1, horizon=2.0, max_epochs=20, random_state=0).fit(data)
    found = {
        method: influence(forecaster, horizon=2.0, method=method).set_index("series") for method in ("implicit", "warm")
    }
    warm = found["warm"]
    report.at_least("share of refits at their minimum", float((warm["status"] == "ok").mean()), 1.0)
    rank = spearmanr(found["implicit"]["rms"].loc[warm.index], warm["rms"]).statistic
    report.at_least(f"linear SDE, {len(warm)} series: rank correlation with refits", float(rank), 0.95)
