"""Time to a threshold: when does the CO2 of an ice age cross 230 ppm next, foretold 46 times and checked.

The CO2 of 800,000 years from an Antarctic core is learned up to 250,000 years ago, by a linear SDE. From every 5,000th
year after that, with what was seen until then, it foretells by which year the level will next be crossed, in either
direction; what happened is in the core. Nothing that comes later is used. Probabilities are scored by Brier's score
beside those of a forecast that always says how often it happened in the older part, and set against how often the
crossings came. Writes output/ice_core_thresholds.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import LinearSDEForecaster
from tsode.datasets import load_palaeoclimate
from tsode.metrics import brier_score
from tsode.plots import plot_crossing, plot_crossing_calibration

CUT, MODERN, LEVEL = -250.0, -0.2, 230.0  # thousands of years; after the second, CO2 is of people's making
LEADS = np.array([5.0, 10.0, 20.0])

core = load_palaeoclimate().query("unique_id == 'epica_dome_c' and -803 < ds").set_index("ds")
co2 = core["co2_ppm"].dropna()
co2 = co2.groupby(np.round(co2.index, 1)).mean()[:MODERN]


def has_crossed(origins, lead):
    """Whether CO2, read along lines between the samples, crosses within `lead` of each origin."""
    times = np.arange(co2.index[0], MODERN, 0.1)
    above = np.interp(times, co2.index, co2) > LEVEL
    moments = times[1:][np.diff(above.astype(int)) != 0]
    return np.array([((t < moments) & (moments <= t + lead)).any() for t in origins])


def history(origins):
    """One series for each origin: all that was seen until then."""
    parts = [co2[:t].rename_axis("ds").reset_index().assign(unique_id=f"{-t:.0f} ka") for t in origins]
    return pd.concat(parts)[["unique_id", "ds", "co2_ppm"]]


origins = np.arange(CUT, MODERN - LEADS[-1], 5.0)
model = LinearSDEForecaster(horizon=50.0, random_state=0, id_col="unique_id", time_col="ds")
model.fit(co2[:CUT].rename_axis("ds").reset_index().assign(unique_id="core")[["unique_id", "ds", "co2_ppm"]])
context = history(origins)
last = context.groupby("unique_id", sort=False)["ds"].max()
before = {key: list(t + LEADS) for key, t in zip(last.index, origins)}
found = model.predict_crossing(
    "co2_ppm", LEVEL, direction="either", before=before, context=context, n_samples=500, random_state=0
)

older = np.arange(co2.index[0] + 1.0, CUT - LEADS[-1], 1.0)
table = found.probability.assign(lead=np.tile(LEADS, len(origins)))
print(f"CO2 crosses {LEVEL:g} ppm, foretold from {len(origins)} times:\n")
print("within, ka   happened   foretold   Brier   Brier of the older rate")
happened = []
for lead, rows in table.groupby("lead"):
    came, rate = has_crossed(origins, lead), has_crossed(older, lead).mean()
    p = rows["probability"].to_numpy()
    print(f"{lead:10.0f}{came.mean():11.2f}{p.mean():11.2f}{brier_score(came, p):8.3f}"
          f"{brier_score(came, np.full(len(p), rate)):12.3f}")  # fmt: skip
    happened.append(pd.Series(came, index=rows.index))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", width_ratios=[3, 2])
start = -140.0
crossed = next(t for t in np.arange(start, 0.0, 0.1) if has_crossed([start], t - start)[0])
ahead = model.predict_crossing(
    "co2_ppm", LEVEL, direction="up", horizon=list(np.arange(0.5, 30.5, 0.5)), context=history([start]), random_state=0
)
print(f"\nFrom {-start:.0f} ka, at the end of an ice age, up:")
print(ahead.first_times.drop(columns="unique_id").round(1).to_string(index=False))
print(f"It was crossed at {crossed:.1f}.")
plot_crossing(ahead, observed=crossed, ax=left)
left.set_xlabel("thousands of years relative to 1950")
plot_crossing_calibration(pd.concat(happened).sort_index(), table["probability"], n_bins=6, ax=right)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/ice_core_thresholds.png", dpi=150)
print("\nPicture: output/ice_core_thresholds.png")
