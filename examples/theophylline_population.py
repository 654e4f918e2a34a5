"""Twelve people, one dose each: what do they share, how do they differ, and what of the thirteenth?

A population of the theophylline curves: one compartment, doses that are swallowed, absorption, clearance and volume of
each person's own around a typical value. Maximum likelihood by FOCEI gives the typical values, how people differ, and
standard errors; each person has a posterior under the population. A new patient is forecast from the dose alone, and
again after two blood levels. Writes output/theophylline_population.png and output/theophylline_population_fits.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.datasets import load_theophylline, load_theophylline_doses
from tsode.diagnostics import noncompartmental
from tsode.inference import AdditiveNoise, LogNormal
from tsode.plots import plot_individual_fits


def rates(t, z, p):
    gut, body = z.unbind(-1)
    return -p.ka * gut, p.ka * gut - p.cl / p.v * body


levels = load_theophylline().rename(columns={"theophylline_mg_l": "concentration"})
doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"}).assign(target="gut")
model = KnownODEForecaster(
    rates,
    states=["gut", "body"],
    initial={"gut": 0.0, "body": 0.0},
    # where the search begins: per hour, L/h, L, mg/L
    parameters={
        "ka": LogNormal(log(1.5), 0.5), "cl": LogNormal(log(3.0), 0.5), "v": LogNormal(log(30.0), 0.5),
        "sd": LogNormal(0.0, 0.5),
    },
    observed={"concentration": AdditiveNoise(lambda t, z, p: z[:, 1] / p.v, sd="sd")},
    random_effects=["ka", "cl", "v"],
    inference="likelihood",
    n_starts=2,
    random_state=0,
).fit(levels, events=doses)  # fmt: skip

table = model.estimates()
print(f"{table.attrs['method']}: objective {table.attrs['objective']:.3f}, condition {table.attrs['condition']:.0f}, "
      f"{table.attrs['n_at_best']} of {len(table.attrs['ends'])} starts\n")  # fmt: skip
print(table.round(3).to_string(), f"\nproblems: {model.problems_ or 'none'}\n")
own = model.individual_parameters()
shown = pd.DataFrame({f"{name} ({unit})": own[name, "mean"] for name, unit in
                      {"ka": "1/h", "cl": "L/h", "v": "L"}.items()})  # fmt: skip
shown["dose / AUC (L/h)"] = noncompartmental(levels, events=doses)["clearance"].to_numpy()
print("People, and clearance without any model beside theirs\n")
print(shown.round(2).to_string(), "\n")

patient, hours = "new", np.linspace(0.0, 24.0, 97)
dose = pd.DataFrame({"unique_id": [patient], "ds": [0.0], "target": ["gut"], "amount": [320.0]})
seen = pd.DataFrame({"unique_id": patient, "ds": [2.0, 7.0], "concentration": [9.6, 7.9]})
asked = pd.DataFrame({"unique_id": patient, "ds": hours})
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for axis, (rows, title) in zip(axes, ((seen.iloc[:0], "by the dose alone"), (seen, "after two levels"))):
    later = asked[asked["ds"] > rows["ds"].max()] if len(rows) else asked
    band = model.predict_interval(later, context=rows, events=dose, level=[50, 90])
    for level, shade in ((90, 0.2), (50, 0.35)):
        axis.fill_between(band["ds"], band[f"concentration-lo-{level}"], band[f"concentration-hi-{level}"],
                          color="C0", alpha=shade, lw=0, label=f"{level} %")  # fmt: skip
    axis.plot(band["ds"], band["concentration"], color="C0", label="mean")
    axis.plot(rows["ds"], rows["concentration"], "ko", label="measured" if len(rows) else None)
    axis.set(title=f"A new patient, {title}", xlabel="hours since the dose")
    spread = model.predict_spread(later.tail(1), context=rows, events=dose)
    print(f"{title}: standard deviation at 24 h {spread['concentration-sd'].iloc[0]:.2f} mg/L, of which noise "
          f"{spread['concentration-sd-aleatoric'].iloc[0]:.2f}")  # fmt: skip
axes[0].set_ylabel("theophylline (mg/L)")
axes[1].legend(frameon=False)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/theophylline_population.png", dpi=120)
plot_individual_fits(model).savefig("output/theophylline_population_fits.png", dpi=120)
print("\nPictures: output/theophylline_population.png and output/theophylline_population_fits.png")
