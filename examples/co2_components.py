"""Carbon dioxide at Mauna Loa: trend, season and what is left, and the five years ahead.

Weekly values of four decades, of which 59 weeks are missing and none is filled in. Up to the end of 1996 components are
chosen from the data (`components="auto"`) or named, and the scale is chosen (`support="auto"`); five years are forecast
at once and scored beside the baselines. Then the components that were named take the whole record apart and carry it on
to the end of 2006, without another fit. Writes output/co2_components.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from tsode import LinearSDEForecaster, part
from tsode.backtest import score_table
from tsode.datasets import load_mauna_loa_co2
from tsode.plots import plot_decomposition, plot_fan

CUT, AHEAD = pd.Timestamp("1996-12-31"), "1826D"

co2 = load_mauna_loa_co2().set_index("ds")["co2_ppm"]
components = {"chosen": "auto", "named": ["slope", "ou", part("season", period="365.2425D", name="year")]}
forecasters = {
    name: LinearSDEForecaster(components=given, support="auto", horizon=AHEAD, random_state=0).fit(co2[:CUT])
    for name, given in components.items()
}
chosen, named = forecasters.values()
print(f"Structures that were chosen on the {chosen.transforms_['co2_ppm']} scale, and their weights:\n")
print(pd.Series(chosen.weights_["co2_ppm"]).round(2).to_string())
print("\nParameters of the one that was named, and between what they lie with a probability of 80 %:\n")
print(named.summary().loc["co2_ppm"].to_string(float_format="{:.3g}".format))

metrics = ["mae", "crps", "coverage"]
scores = score_table(forecasters, co2, cutoffs=[CUT], horizon=AHEAD, metrics=metrics, level=90, prefit=True)
print(f"\nForecasts of {len(co2[CUT:])} weeks, up to five years ahead: errors in ppm and relative to the last value,")
print("and share in 90 % intervals:\n")
print(scores.loc["co2_ppm"].round(2).to_string())

figure = plt.figure(figsize=(9, 11), layout="constrained")
top, bottom = figure.subfigures(2, height_ratios=[2, 5])
weeks = pd.date_range("1997", "2001-12-31", freq="7D")
fan = chosen.predict_interval(times=weeks, level=(50, 80, 95))
ax = plot_fan(co2[:CUT], fan, truth=co2[CUT:], label="CO2 (ppm)", ax=top.subplots())
ax.set_title("Forecast from the end of 1996, and what came", loc="left", fontsize="medium")
weeks = pd.date_range("1990", "2006-12-31", freq="7D")
axes = plot_decomposition(named.update(co2[CUT:]), times=weeks, label="CO2 (ppm)", figure=bottom)
axes[0].set_title("Parts of the whole record, and the five years after it", loc="left", fontsize="medium")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/co2_components.png", dpi=150)
print("\nPicture: output/co2_components.png")
