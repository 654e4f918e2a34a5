"""Contract of forecasts far beyond the horizon of training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from tsode.errors import TsodeWarning
from tsode.testing.example_forecasts import seeded_on_example
from tsode.testing.examples import START, example_panel

__all__ = ["check_far_ahead"]

LEADS = 10.0 ** np.array([1.0, 2.0, 4.0, 6.0])  # horizons
FARTHEST = 3.0  # ranges of the data beyond their ends
ROUNDING = 1e-3  # of a width


def check_far_ahead(estimator: Any) -> None:
    """However far ahead, intervals are finite, near the data, and no narrower the farther.

    Of forecasters that are bounded: a random walk is not.
    """
    if not estimator.is_bounded:
        return
    frame = example_panel()
    hours = frame.assign(ds=(frame["ds"] - START) / pd.Timedelta("1h"))
    fitted = clone(seeded_on_example(estimator)).fit(hours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)  # that this is beyond what was learned
        bands = fitted.predict_interval(horizon=(float(fitted.horizon_) * LEADS).tolist(), level=90)
    for name in fitted.channels_:
        low, high = (bands[f"{name}-{end}-90"].to_numpy().reshape(-1, len(LEADS)) for end in ("lo", "hi"))
        assert np.isfinite(low).all(), "intervals far ahead are finite."
        assert np.isfinite(high).all(), "intervals far ahead are finite."
        least, most = frame[name].min(), frame[name].max()
        beyond = max(high.max() - most, least - low.min()) / (most - least)
        assert beyond <= FARTHEST, f"intervals far ahead are {beyond:.3g} ranges of {name!r} beyond its data."
        if getattr(fitted, "support", "real") != "real":
            continue  # widths on the scale of a logarithm do not fall; those of the values go with the mean
        width = high - low
        fall = (1.0 - width[:, 1:] / width[:, :-1]).max()
        assert fall <= ROUNDING, f"intervals become no narrower farther ahead, but those of {name!r} do by {fall:.3g}."
