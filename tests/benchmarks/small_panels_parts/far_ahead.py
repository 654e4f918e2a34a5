"""Forecasts far beyond the horizon: finite, not far outside of the data, and no surer than nearer ones.

Every forecaster that the tests know, in its small size, on their example panel with times in hours; and the default,
fully trained, a structural model and one with classes of rates. Leads are 1, 10, 100, 10,000 and 1,000,000 horizons,
and each is asked by itself.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import clone

from tests.benchmarks.small_panels_parts.forecasters import forecaster, rated
from tests.benchmarks.structural_parts.report import Report
from tests.registries import SMALL_FORECASTERS
from tsode import DriftForecaster, LinearSDEForecaster
from tsode.errors import TsodeError
from tsode.estimators import BaseForecaster
from tsode.testing import example_panel

__all__ = ["run"]

LEADS = (1.0, 10.0, 1e2, 1e4, 1e6)  # horizons
MOST_OUTSIDE = 3.0  # ranges of the data, on either side
LEAST_GROWTH = 0.99  # of the mean width of a channel's intervals from one lead to the next
HORIZON = 32.0  # hours: half of the span of each series, which "auto" takes


def run(report: Report) -> None:
    frame = example_panel()
    frame["ds"] = (frame["ds"] - frame["ds"].min()) / pd.Timedelta("1h")
    full = {
        "default, fully trained": forecaster(0),
        "classes of rates": rated(0),
        "structural": LinearSDEForecaster(components="auto", random_state=0),
    }
    for name, model in (SMALL_FORECASTERS | full).items():
        seasonal = {"period": 24.0} if "period" in model.get_params() else {}  # numbers have no day of their own
        _measure(report, name, clone(model).set_params(**seasonal).fit(frame), frame)


def _measure(report: Report, name: str, model: BaseForecaster, frame: pd.DataFrame) -> None:
    channels = [column for column in frame if column not in ("unique_id", "ds")]
    span = (frame[channels].max() - frame[channels].min()).to_numpy()
    outside, widths = [], []
    for lead in LEADS:
        try:
            table = model.predict_interval(horizon=[lead * HORIZON], level=90)
        except TsodeError as error:
            report.note(f"{name}: refuses {lead:g} horizons: {error}")
            continue
        low, high = (table[[f"{channel}-{end}-90" for channel in channels]].to_numpy() for end in ("lo", "hi"))
        beyond = np.maximum(frame[channels].min().to_numpy() - low, high - frame[channels].max().to_numpy())
        outside.append(float((beyond / span).max()))
        widths.append((high - low).mean(axis=0))
    growth = np.min(np.divide(widths[1:], widths[:-1]), axis=1)
    report.note(f"{name}: ranges outside of the data: {' '.join(f'{one:.3g}' for one in outside)}")
    report.note(f"{name}: width by that at the lead before: {' '.join(f'{one:.3g}' for one in growth)}")
    n_finite = int(np.isfinite(widths).all(axis=1).sum())
    report.at_least(f"{name}: leads with a finite answer", n_finite, len(LEADS))
    if not isinstance(model, DriftForecaster):  # a straight line leaves any range
        report.at_most(f"{name}: most ranges outside of the data", float(np.max(outside)), MOST_OUTSIDE)
    report.at_least(f"{name}: least width by that at the lead before", float(np.min(growth)), LEAST_GROWTH)
