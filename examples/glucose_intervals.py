"""Glucose of a person the forecaster has never seen: intervals at chosen times, and whether they hold.

Learns from other people, then follows one sensor: whatever has been read so far is the context of the next forecast.
"""

import warnings
from pathlib import Path

import pandas as pd

from tsode import JumpODEForecaster, LastValueForecaster
from tsode.datasets import load_cgm
from tsode.errors import TsodeWarning
from tsode.metrics import coverage, mae
from tsode.plots import plot_fan

PERSON = "1636-69-035"
HORIZON = pd.Timedelta("2h")
CHANNEL = "glucose_mg_dl"

frame = load_cgm()  # unique_id, ds, glucose_mg_dl
frame["ds"] = pd.to_timedelta(frame["ds"], unit="min")
others = frame[(frame["unique_id"] != PERSON) & (frame["ds"] < pd.Timedelta("2D"))]
one = frame[frame["unique_id"] == PERSON]

forecaster = JumpODEForecaster(horizon=HORIZON, max_epochs=5, random_state=0, verbose=1)
forecaster.fit(others)
last_value = LastValueForecaster(horizon=HORIZON).fit(others)

now = pd.Timedelta("93h")
seen = one[one["ds"] <= now]
print(f"\nChosen times after the last reading of {PERSON} before hour 93 (mg/dL):\n")
chosen = forecaster.predict_interval(horizon=["10min", "45min", "2h"], context=seen, level=(50, 90))
print(chosen.to_string(float_format="%.0f"))

# After a dropout the last reading is long ago: a warning says so, and bands are wide.
warnings.filterwarnings("ignore", "The history of series", TsodeWarning)
parts = []
for start in pd.timedelta_range("1D", one["ds"].max() - HORIZON, freq="2h"):
    past, future = one[one["ds"] <= start], one[(one["ds"] > start) & (one["ds"] <= start + HORIZON)]
    if len(future):  # else the sensor had dropped out
        part = forecaster.predict_interval(future, context=past, level=(50, 80, 95))
        part["truth"], part["lead"] = future[CHANNEL], future["ds"] - start
        part["last value"] = last_value.predict(future, context=past)[CHANNEL]
        parts.append(part)
result = pd.concat(parts)
half_hours = pd.to_timedelta([0, 30, 60, 90, 120], unit="min")
lead = pd.cut(result["lead"], half_hours, labels=["0-30 min", "30-60 min", "60-90 min", "90-120 min"])
rows = {}
for name, part in [*result.groupby(lead, observed=True), ("all", result)]:
    truth = part["truth"]
    rows[name] = {
        f"in {level} %": 100.0 * coverage(truth, part[f"{CHANNEL}-lo-{level}"], part[f"{CHANNEL}-hi-{level}"])
        for level in (50, 80, 95)
    }
    rows[name] |= {"MAE": mae(truth, part[CHANNEL]), "MAE, last value": mae(truth, part["last value"])}
print(f"\nShare of {len(result)} readings inside the intervals, and mean error, by time ahead:\n")
print(pd.DataFrame(rows).T.round(1).to_string())

grid = pd.timedelta_range(now - pd.Timedelta("21h"), now + HORIZON, freq="2min")
bands = forecaster.predict_interval(times=grid, context=seen, level=(50, 80, 95))
axes = plot_fan(seen, bands, truth=one[one["ds"] > now], label="glucose (mg/dL)")
axes.figure.suptitle(f"Subject {PERSON}: forecasts from what had been seen so far", x=0.01, ha="left")
Path("output").mkdir(exist_ok=True)
axes.figure.savefig("output/glucose_intervals.png", dpi=150)
print("\nPicture: output/glucose_intervals.png")
