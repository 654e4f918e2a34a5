"""Two tables that nobody knows yet: a panel of measurements and one series, each given to `AutoForecaster` as it is.

Forecasters are tried on the data for ten seconds at most each time; the leaderboard says who was tried and how they
did, the explanation what that means. Writes output/first_hour.png, with a fan of the forecast of each, and
output/first_hour_panel.png and output/first_hour_series.png with the leaderboards.
"""

import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import AutoForecaster
from tsode.datasets import load_mauna_loa_co2, load_theophylline
from tsode.errors import TsodeWarning
from tsode.plots import plot_fan, plot_leaderboard

BUDGET = 10
# A member that there was no time to fit to all data finds the last of a trend beyond what it has learned from.
warnings.filterwarnings("ignore", "The history of series", TsodeWarning)
started = time.process_time()
out = Path("output")
out.mkdir(exist_ok=True)


def try_on(name, data, horizon):
    """An automatic choice, with its leaderboard printed and drawn."""
    auto = AutoForecaster(horizon=horizon, budget=BUDGET, random_state=0).fit(data)
    print(f"\n{name}\n")
    board = auto.leaderboard_[["model", "crps", "skill", "coverage_80", "weight", "status"]]
    board = board.assign(status=board["status"].str.slice(0, 60))
    print(board.to_string(index=False, float_format="{:.2f}".format, na_rep=""))
    print(f"\n{auto.explain()}")
    plot_leaderboard(auto).figure.savefig(out / f"first_hour_{name}.png", dpi=150)
    return auto


levels = load_theophylline()  # twelve people, eleven samples each, at uneven times
panel = try_on("panel", levels, horizon=12.0)
co2 = load_mauna_loa_co2().set_index("ds")["co2_ppm"].loc["1975":"1980"]
past, future = co2[:"1979"], co2["1980":]
series = try_on("series", past, horizon="365D")

figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
person = 3
seen = levels[(levels["unique_id"] == person) & (levels["ds"] < 8.0)]
later = levels[(levels["unique_id"] == person) & (levels["ds"] >= 8.0)]
bands = panel.predict_interval(times=np.linspace(0.1, 20.0, 200), context=seen, level=(50, 80, 95))
plot_fan(seen, bands, series=person, truth=later, label="theophylline (mg/L)", ax=left)
left.set(xlabel="hours", title=f"Person {person}, of whom eight hours are known")
times = pd.date_range(past.index[-1] - pd.Timedelta("400D"), past.index[-1] + pd.Timedelta("365D"), freq="3D")
bands = series.predict_interval(times=times[times > past.index[0]], level=(50, 80, 95))
plot_fan(past[times[0] :], bands, truth=future, label="CO2 (ppm)", ax=right)
right.set_title("A year of CO2 ahead")
figure.savefig(out / "first_hour.png", dpi=150)
print(f"\nPicture: {out / 'first_hour.png'} ({time.process_time() - started:.0f} CPU seconds)")
