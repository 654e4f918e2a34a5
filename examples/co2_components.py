"""Carbon dioxide at Mauna Loa: trend, season and what is left, and the five years ahead.

Weekly values, of which some are missing and none is filled in. Components and the scale are chosen from the data up to
the end of 1996 (`components="auto"`, `support="auto"`); the five years that came are forecast at once and scored beside
the baselines. Then the whole record is taken apart and carried on to the end of 2006, without another fit. Writes
output/co2_components.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from tsode import LinearSDEForecaster
from tsode.backtest import score_table
from tsode.datasets import load_mauna_loa_co2
from tsode.plots import plot_decomposition, plot_fan

CUT, AHEAD = pd.Timestamp("1996-12-31"), "1826D"

co2 = load_mauna_loa_co2().set_index("ds")["co2_ppm"]["1970":]
forecaster = LinearSDEForecaster(components="auto", support="auto", horizon=AHEAD, random_state=0).fit(co2[:CUT])
print(f"Scale: {forecaster.transforms_['co2_ppm']}. Structures and their weights:\n")
print(pd.Series(forecaster.weights_["co2_ppm"]).round(2).to_string())
print("\nParameters of the first, and between what they lie with a probability of 80 %:\n")
print(forecaster.summary().loc["co2_ppm"].to_string(float_format="{:.3g}".format))

metrics = ["mae", "crps", "coverage"]
scores = score_table(
    {"components": forecaster}, co2, cutoffs=[CUT], horizon=AHEAD, metrics=metrics, level=90, prefit=True
)
print(f"\nForecasts of {len(co2[CUT:])} weeks, up to five years ahead: errors in ppm and relative to the last value,")
print("and share in 90 % intervals:\n")
print(scores.loc["co2_ppm"].round(2).to_string())

figure = plt.figure(figsize=(9, 11), layout="constrained")
top, bottom = figure.subfigures(2, height_ratios=[2, 5])
weeks = pd.date_range("1997", "2001-12-31", freq="7D")
fan = forecaster.predict_interval(times=weeks, level=(50, 80, 95))
ax = plot_fan(co2[:CUT], fan, truth=co2[CUT:], label="CO2 (ppm)", ax=top.subplots())
ax.set_title("Forecast from the end of 1996, and what came", loc="left", fontsize="medium")
weeks = pd.date_range("1990", "2006-12-31", freq="7D")
axes = plot_decomposition(forecaster.update(co2[CUT:]), times=weeks, label="CO2 (ppm)", figure=bottom)
axes[0].set_title("Parts of the whole record, and the five years after it", loc="left", fontsize="medium")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/co2_components.png", dpi=150)
print("\nPicture: output/co2_components.png")
