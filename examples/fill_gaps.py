"""Fill gaps from one side or from both: what smoothing adds.

Hides two hours here and there in the glucose of people who were not in the fit, fills them with four forecasters, and
scores the filled values against what was hidden. Filters fill a gap from what came before it; the latent ODE and the
linear SDE smooth, so they also use what came after. Writes output/fill_gaps.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from tsode import JumpODEForecaster, LastValueForecaster, LatentODEForecaster, LinearSDEForecaster
from tsode.datasets import load_cgm

HORIZON, GAP = pd.Timedelta("2h"), 24  # 24 readings, five minutes apart

frame = load_cgm().groupby("unique_id").head(600)  # about two days of each person
frame["ds"] = pd.to_timedelta(frame["ds"], unit="min")
people = frame["unique_id"].unique()
others = frame[frame["unique_id"].isin(people[:40])]
truth = frame[frame["unique_id"].isin(people[40:])].reset_index(drop=True)
place = truth.groupby("unique_id").cumcount()
hidden = (place % 150 >= 100) & (place % 150 < 100 + GAP)  # four gaps a person
seen = truth.assign(glucose_mg_dl=truth["glucose_mg_dl"].mask(hidden))

settings = {"horizon": HORIZON, "random_state": 0, "max_context": 64}
forecasters = {
    "last value": LastValueForecaster(horizon=HORIZON),
    "jump ODE (filters)": JumpODEForecaster(**settings, n_members=1, max_epochs=6),
    "latent ODE (smooths)": LatentODEForecaster(**settings, max_epochs=6),
    "linear SDE (smooths)": LinearSDEForecaster(4, horizon=HORIZON, max_epochs=6, random_state=0),
}
filled, errors = {}, {}
for name, forecaster in forecasters.items():
    filled[name] = forecaster.fit(others).impute(seen)["glucose_mg_dl"]
    error = (filled[name] - truth["glucose_mg_dl"])[hidden].abs()
    into = place[hidden] % 150 - 100
    errors[name] = [error[(into >= a) & (into < a + 8)].mean() for a in (0, 8, 16)] + [error.mean()]
columns = ["0-40 min into the gap", "40-80 min", "80-120 min", "whole gap"]
table = pd.DataFrame(errors, index=columns).T
print(f"Mean absolute error of {int(hidden.sum())} hidden readings, mg/dL:\n")
print(table.round(1).to_string())
print(f"\nBest over the whole gap: {table['whole gap'].idxmin()}")

person = people[45]
one = truth["unique_id"] == person
window = one & (place >= 60) & (place < 160)
hours = truth["ds"] / pd.Timedelta("1h")
figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
axes.plot(hours[window], truth["glucose_mg_dl"][window], color="0.75", lw=3, label="hidden truth")
axes.plot(hours[window], seen["glucose_mg_dl"][window], ".", color="black", label="seen")
for name, values in filled.items():
    axes.plot(hours[window & hidden], values[window & hidden], label=name)
axes.set(xlabel="hours", ylabel="glucose (mg/dL)", title=f"Subject {person}: a gap of two hours, filled")
axes.legend(frameon=False, fontsize="small")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/fill_gaps.png", dpi=150)
print("\nPicture: output/fill_gaps.png")
