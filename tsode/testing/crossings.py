"""Contract of forecasters about crossings: what their probabilities promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsode.testing.example_forecasts import fitted_on_example, rows_of
from tsode.testing.examples import example_panel

__all__ = ["check_crossings"]

N_SAMPLES = 40


def check_crossings(estimator: Any) -> None:
    """Probabilities of crossings grow, add up, come again with the same seed, and are those of a series alone."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    frame = frame[frame["unique_id"].isin(["s2", "s3", "s7"])]
    ends = frame.groupby("unique_id")["ds"].max()
    how = {"horizon": ["1h", "9h", "1D"], "direction": "either", "n_samples": N_SAMPLES, "random_state": 0}

    def ask(context: pd.DataFrame) -> Any:
        return fitted.predict_crossing("a", {"low": 9.5, "high": 11.0}, context=context, **how)

    found = ask(frame)
    table = found.probability.pivot(index=["unique_id", "level"], columns="ds", values="probability").to_numpy()
    for rows in np.split(table, 3):
        known = rows[:, ~np.isnan(rows).all(axis=0)]
        assert ((known >= 0.0) & (known <= 1.0)).all(), "probabilities lie between 0 and 1."
        assert (np.diff(known, axis=1) >= -1e-12).all(), "the probability of having crossed grows with time."
    share = found.first.groupby(["unique_id", "ds"])["incidence"].sum()
    assert share.max() <= 1.0 + 1e-12, f"one level is the first, but the probabilities add up to {share.max():.3g}."
    times = found.first_times.dropna()
    after = times["ds"].to_numpy() >= ends[times["unique_id"]].to_numpy()
    assert after.all(), "crossings come after the last observation."
    again, alone = ask(frame.sample(frac=1.0, random_state=3)), ask(rows_of(frame, "s3"))
    # rounding may bring single paths to the other side
    for other, what in ((again, "the same seed and other rows"), (alone, "a series alone")):
        gap = rows_of(found.probability, "s3")["probability"] - rows_of(other.probability, "s3")["probability"]
        assert gap.abs().max() <= 2.0 / N_SAMPLES, f"{what} cross with another probability: by {gap.abs().max():.3g}."
