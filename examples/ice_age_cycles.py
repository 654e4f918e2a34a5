"""Ice ages as a sum of cycles: forecasts of 50,000 years, and what the last 1.2 million years are made of.

Oxygen isotopes of the sea floor (a high value is a cold time with much ice) stand a thousand years apart, and further
back two thousand. The times of the data are ages with a minus before them, so that they run forward. Cycles with the
known periods of the Earth's orbit, and components chosen from the data, are fitted up to 600,000 years ago and forecast
from twelve later times. The picture goes on into the future as if there were no people. Writes
output/ice_age_cycles.png.
"""

from pathlib import Path

import numpy as np

from tsode import LinearSDEForecaster, part
from tsode.backtest import score_table
from tsode.datasets import load_palaeoclimate
from tsode.plots import plot_decomposition

stack = load_palaeoclimate().query("unique_id == 'lr04_benthic_stack' and ds > -1200")
ice = stack.set_index("ds")["d18o_benthic_permil"]
orbit = {"eccentricity": 95.0, "obliquity": 41.0, "precession": 23.0}  # thousands of years
cycles = [part("cycle", period=period, period_sd=0.05, name=name) for name, period in orbit.items()]
forecasters = {
    "cycles of the orbit": LinearSDEForecaster(components=["level", *cycles, "ou"], random_state=0),
    "components='auto'": LinearSDEForecaster(components="auto", random_state=0),
}
starts = np.arange(-600.0, -49.0, 50.0)
scores = score_table(forecasters, ice, cutoffs=starts, horizon=50.0, metrics=["mae", "crps", "coverage"], level=90)
print("Forecasts of up to 50,000 years, per mil; share in 90 % intervals; relative to the last value:\n")
print(scores.loc["d18o_benthic_permil"].round(3).to_string())

forecaster = forecasters["cycles of the orbit"].fit(ice)
print("\nPeriods found, in thousands of years, and for how many turns a cycle keeps its phase:\n")
found = forecaster.summary().loc["d18o_benthic_permil"]
print(found.loc[list(orbit)].query("parameter != 'variance'").to_string(float_format="{:.3g}".format))

axes = plot_decomposition(forecaster, horizon=100.0, label="δ18O (per mil)\ncold is down")
axes[0].invert_yaxis()
for ax in axes[1:]:
    ax.invert_yaxis()
axes[-1].set_xlabel("thousands of years relative to 1950")
Path("output").mkdir(exist_ok=True)
axes[0].figure.savefig("output/ice_age_cycles.png", dpi=150)
print("\nPicture: output/ice_age_cycles.png")
