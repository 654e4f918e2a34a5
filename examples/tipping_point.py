"""A pasture on its way to collapse: how much grazing it can bear, from four pastures that are measured now and then.

Vegetation grows back logistically and is eaten at a rate that saturates (May 1977), so that at some grazing pressures a
green and a bare state are both stable. The pressure is a known input; the forecaster's own equations are followed along
it to the folds at which a state ends, with a band over draws from the posterior. Saves output/tipping_point.png.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp

from tsode import KnownODEForecaster
from tsode.inference import LogNormal
from tsode.inference.noise import LogNormalNoise
from tsode.plots import plot_bifurcation
from tsode.stability import continuation, fitted_system

GROWTH, CAPACITY, HALF = 0.6, 10.0, 1.0
# grazing at the start, how it changes in a year, and the biomass (t/ha) at the start
PASTURES = {
    "north": (0.6, 0.0, 6.5),
    "east": (1.2, -0.04, 3.0),
    "south": (2.2, -0.13, 1.0),
    "west": (1.0, 0.035, 6.5),
}
YEARS = 12.0

rng = np.random.default_rng(0)
rows, inputs = [], []
for name, (level, slope, start) in PASTURES.items():

    def truth(t, v, level=level, slope=slope):
        return GROWTH * v * (1 - v / CAPACITY) - (level + slope * t) * v**2 / (v**2 + HALF**2)

    times = np.sort(rng.uniform(0.0, YEARS, 30))
    biomass = solve_ivp(truth, (0.0, YEARS), [start], t_eval=times, rtol=1e-9, atol=1e-9).y[0]
    measured = biomass * np.exp(0.05 * rng.normal(size=30))
    rows.append(pd.DataFrame({"unique_id": name, "ds": times, "biomass": measured}))
    inputs.append(pd.DataFrame({"unique_id": name, "ds": [0.0, YEARS], "grazing": [level, level + slope * YEARS]}))


def rates(t, z, p):
    v = z[:, 0]
    return (p.growth * v * (1 - v / p.capacity) - p.grazing * v**2 / (v**2 + p.half**2))[:, None]


model = KnownODEForecaster(
    rates,
    states=["biomass"],
    parameters={
        "growth": LogNormal(np.log(0.5), 0.5),
        "capacity": LogNormal(np.log(10), 0.3),
        "half": LogNormal(0.0, 0.5),
        "cv": LogNormal(np.log(0.1), 0.5),
    },
    initial={"biomass": LogNormal(np.log(4), 1.0)},
    observed={"biomass": LogNormalNoise("biomass", sd="cv")},
    inference="laplace",
    initial_time=0.0,
    random_state=0,
).fit(pd.concat(rows), known=pd.concat(inputs))
print(model.summary()[["mean", "sd", "q05", "q95"]].round(3).to_string())

system = fitted_system(model, n_draws=16)
branches = continuation(system, bounds=(0.5, 2.5), name="grazing", series="west")
print("\nFolds, with bands over the posterior (the truth has them at 1.563 and 1.072):\n")
print(branches.attrs["events"].round(3).to_string(index=False))

collapse = branches.attrs["events"].iloc[0]
level, slope, _ = PASTURES["west"]
years = (collapse[["grazing_q05", "grazing", "grazing_q95"]].to_numpy(dtype=float) - level) / slope
print(f"\nIf its grazing goes on rising, the west pasture gets there in year {years[1]:.1f} "
      f"({years[0]:.1f} to {years[2]:.1f}); it was last measured in year {YEARS:.0f}.")  # fmt: skip

axes = plot_bifurcation(branches)
axes.axvspan(collapse["grazing_q05"], collapse["grazing_q95"], color="C3", alpha=0.15, linewidth=0)
west = rows[-1]
axes.plot(level + slope * west["ds"], west["biomass"], "o", color="black", markersize=3, label="west, as measured")
axes.set(xlabel="grazing pressure (t/ha a year)", ylabel="biomass (t/ha)")
axes.legend(frameon=False)
Path("output").mkdir(exist_ok=True)
axes.figure.savefig("output/tipping_point.png", dpi=120)
