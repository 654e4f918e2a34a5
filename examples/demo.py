"""Forecast the glucose of 57 people, with gaps where a sensor dropped out: ``make demo``.

Fits on the first five days of everybody, forecasts the sixth day from six starting points, scores against three
baselines, and draws one person's forecast into output/demo.png.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tsode import ConstantForecaster, DriftForecaster, JumpODEForecaster, LastValueForecaster
from tsode.datasets import load_cgm
from tsode.errors import TsodeWarning
from tsode.metrics import coverage, mae, rmse
from tsode.plots import plot_fan

HORIZON = pd.Timedelta("4h")
CUTOFF = pd.Timedelta("5D")
STARTS = [CUTOFF + lead * HORIZON for lead in range(6)]

frame = load_cgm()  # unique_id, ds, glucose_mg_dl: a reading about every five minutes, with dropouts
frame["ds"] = pd.to_timedelta(frame["ds"], unit="min")

forecasters = {
    "jump ODE": JumpODEForecaster(horizon=HORIZON, max_epochs=10, random_state=0, verbose=1),
    "last value": LastValueForecaster(horizon=HORIZON),
    "drift": DriftForecaster(horizon=HORIZON),
    "constant": ConstantForecaster(horizon=HORIZON),
}
# Some sensors dropped out long before a start: a warning names them, and their bands are wide.
warnings.filterwarnings("ignore", "The history of series", TsodeWarning)
rows = {}
for name, forecaster in forecasters.items():
    forecaster.fit(frame[frame["ds"] <= CUTOFF])
    parts, crps = [], []
    for start in STARTS:
        seen = frame[frame["ds"] <= start]
        future = frame[(frame["ds"] > start) & (frame["ds"] <= start + HORIZON)]
        bands = forecaster.predict_interval(future, context=seen, level=90)
        parts.append(bands.assign(truth=future["glucose_mg_dl"]))
        crps.append(-forecaster.score(future, context=seen, metric="crps"))
    result = pd.concat(parts)
    truth = result["truth"]
    rows[name] = {
        "MAE": mae(truth, result["glucose_mg_dl"]),
        "RMSE": rmse(truth, result["glucose_mg_dl"]),
        "CRPS": np.average(crps, weights=[len(part) for part in parts]),
        "90 % coverage": 100.0 * coverage(truth, result["glucose_mg_dl-lo-90"], result["glucose_mg_dl-hi-90"]),
    }
table = pd.DataFrame(rows).T
winners = table.drop(columns="90 % coverage").idxmin()
winners["90 % coverage"] = (table["90 % coverage"] - 90.0).abs().idxmin()
print(f"\nForecasts of the next four hours on a held-out day, {len(truth)} readings, mg/dL:\n")
print(table.round(2).to_string())
print("\nBest: " + ", ".join(f"{metric}: {winner}" for metric, winner in winners.items()))

# One person, from a day before the third start to one horizon after it; what came later is not used.
person, start = "2133-036", STARTS[3]
one = frame[frame["unique_id"] == person]
grid = pd.timedelta_range(start - pd.Timedelta("20h"), start + HORIZON, freq="2min")
bands = forecasters["jump ODE"].predict_interval(times=grid, context=one[one["ds"] <= start], level=(50, 80, 95))
axes = plot_fan(one[one["ds"] <= start], bands, truth=one[one["ds"] > start], label="glucose (mg/dL)")
axes.figure.suptitle(
    f"Subject {person}: forecasts from what had been seen so far", x=0.01, ha="left", fontsize="medium"
)
Path("output").mkdir(exist_ok=True)
axes.figure.savefig("output/demo.png", dpi=150)
print("\nPicture: output/demo.png")
