"""Daily weather at some 120 stations, each seen on its own 5 % of days: learn from three years, forecast the fourth.

Five channels at once, 60 days ahead from six starting points, scored against baselines channel by channel.
"""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import ConstantForecaster, DriftForecaster, JumpODEForecaster, LastValueForecaster
from tsode.datasets import load_ushcn
from tsode.errors import TsodeWarning
from tsode.metrics import coverage, crps_from_quantiles
from tsode.plots import plot_fan

HORIZON = pd.Timedelta("60D")
STARTS = pd.date_range("2000-01-01", periods=6, freq=HORIZON)
LEVELS = np.arange(1, 20) / 20

frame = load_ushcn()  # unique_id, ds, five channels; NaN = not observed
known = frame.loc[frame["ds"] < STARTS[0], "unique_id"]
frame = frame[frame["unique_id"].isin(known)]  # stations that have a history to forecast from
channels = list(frame.columns[2:])
forecasters = {
    "jump ODE": JumpODEForecaster(horizon=HORIZON, max_epochs=12, random_state=0, verbose=1),
    "last value": LastValueForecaster(horizon=HORIZON),
    "drift": DriftForecaster(horizon=HORIZON),
    "constant": ConstantForecaster(horizon=HORIZON),
}
# Some stations stopped long before a start: a warning names them, and their bands are as wide as the channel.
warnings.filterwarnings("ignore", "The history of series", TsodeWarning)
scores, covered = {}, {}
for name, forecaster in forecasters.items():
    forecaster.fit(frame[frame["ds"] < STARTS[0]])
    parts = []
    for start in STARTS:
        seen = frame[frame["ds"] < start]
        future = frame[(frame["ds"] >= start) & (frame["ds"] < start + HORIZON)]
        forecast = forecaster.predict_quantiles(future, context=seen, quantiles=LEVELS)
        parts.append(future.join(forecast.drop(columns=["unique_id", "ds"])))
    result = pd.concat(parts)
    columns = {channel: [f"{channel}-q-{level:g}" for level in LEVELS] for channel in channels}
    scores[name] = {c: crps_from_quantiles(result[c], result[columns[c]], LEVELS) for c in channels}
    covered[name] = {c: 100.0 * coverage(result[c], result[columns[c][0]], result[columns[c][-1]]) for c in channels}

table = pd.DataFrame(scores)
table["best"] = table.idxmin(axis=1)
print(f"\nCRPS of forecasts up to 60 days ahead in 2000, in the units of each channel ({len(result)} rows):\n")
print(table.round(2).to_string())
print("\nShare of observations in the 90 % interval, in %:\n")
print(pd.DataFrame(covered).round(1).to_string())

# One station, from ten months before the first start; what came later is not used.
station, start = "USC00152791", STARTS[0]
one = frame[frame["unique_id"] == station]
seen, later = one[one["ds"] < start], one[one["ds"] >= start]
days = pd.date_range(start - pd.Timedelta("300D"), start + HORIZON, freq="12h")
bands = forecasters["jump ODE"].predict_interval(times=days, context=seen, level=(50, 80, 95))
figure, axes = plt.subplots(2, sharex=True, figsize=(9, 7), layout="constrained")
for ax, channel, label in zip(axes, channels, ("daily maximum (°C)", "daily minimum (°C)")):
    plot_fan(seen, bands, channel, truth=later, label=label, ax=ax)
axes[1].get_legend().remove()
figure.suptitle(f"Station {station}: forecasts from what had been seen so far", x=0.01, ha="left")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/climate_panel.png", dpi=150)
print("\nPicture: output/climate_panel.png")
