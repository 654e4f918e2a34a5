"""One patient, one dose, seven blood samples: what should be given next?

Theophylline, swallowed once. The prior is a textbook's, per kilogram (Goodman & Gilman: clearance .65 +- .20 mL/min,
volume .50 +- .16 L); the samples of the first eight hours tell of this patient's own absorption, clearance and volume.
This posterior is held against the samples that came later, learns from them too (the patient clears slowly, and the
textbook's prior was too sure), and is asked what other doses would do, draw by draw. Writes
output/theophylline_patient.png, output/theophylline_patient_fit.png and output/theophylline_patient_plans.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.datasets import load_theophylline, load_theophylline_doses, load_theophylline_static
from tsode.inference import LogNormal
from tsode.plots import plot_fan, plot_individual_fits, plot_what_if
from tsode.systems import one_compartment_oral

PATIENT, SEEN = 1, 8.0  # hours
LOW, HIGH = 5.0, 15.0  # mg/L: less does not help, more is toxic

levels = load_theophylline().rename(columns={"theophylline_mg_l": "concentration"})
levels = levels[(levels["unique_id"] == PATIENT) & (levels["ds"] > 0)]
seen, later = levels[levels["ds"] <= SEEN], levels[levels["ds"] > SEEN]
doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"}).assign(target="depot")
given = doses[doses["unique_id"] == PATIENT]
weight = load_theophylline_static().set_index("unique_id").loc[PATIENT, "weight_kg"]
body = one_compartment_oral(
    absorption=LogNormal(log(1.5), 0.7),  # per hour
    clearance=LogNormal(log(0.039 * weight), 0.3),  # L/h
    volume=LogNormal(log(0.5 * weight), 0.3),  # L
    level=5.0,
).with_(parameters={"sd": 0.25, "cv": 0.15})  # of a measurement: mg/L, and a share of it

# At the bedside: model, doses and levels, picture.
model = KnownODEForecaster(system=body, random_state=0).fit(seen, events=given)
ahead = model.predict_interval(times=list(np.linspace(SEEN, 30.0, 105)), level=[50, 90])
plot = plot_fan(seen, ahead, "concentration", truth=later, label="theophylline (mg/L)")

plot.set_xlabel("hours since the dose")
columns = ["mean", "sd", "q05", "q95", "ess_bulk", "rhat", "pareto_k"]
print(model.summary()[columns].round(3).to_string(), f"\nproblems: {model.problems_ or 'none'}\n")
check = model.predict_interval(later, level=90)
low, high = check["concentration-lo-90"].to_numpy(), check["concentration-hi-90"].to_numpy()
table = pd.DataFrame({"hour": later["ds"], "measured": later["concentration"]})
table["forecast"], table["from"], table["to"] = check["concentration"].to_numpy(), low, high
print("Samples that came later, and their forecasts with 90 % intervals (mg/L)\n")
print(table.round(2).to_string(index=False))
print(f"{int(((table['measured'] >= low) & (table['measured'] <= high)).sum())} of {len(table)} are inside\n")

model.update(later, refit=True)
print(f"With these samples too:\n\n{model.summary()[columns].round(3).to_string()}\n")
amount, every = float(given["amount"].iloc[0]), [25.0, 37.0, 49.0, 61.0]
plans = {"nothing more": given}
for name, share in (("the same every 12 h", 1.0), ("half every 12 h", 0.5)):
    more = pd.DataFrame({"unique_id": PATIENT, "ds": every, "target": "depot", "amount": share * amount})
    plans[name] = pd.concat([given, more], ignore_index=True)
hours = {PATIENT: np.linspace(24.5, 73.0, 195)}
answer = model.what_if(plans, times=hours, level=90, n_samples=1000, random_state=0)
rows = {}
for name, plan in plans.items():
    paths = model.sample(times={PATIENT: np.linspace(49.5, 73.0, 48)}, events=plan, n_samples=400, random_state=0)
    x = paths["concentration"]
    rows[name] = {"below": (x < LOW).mean(), "within": x.between(LOW, HIGH).mean(), "above": (x > HIGH).mean()}
print(f"Share of the third day below, within and above {LOW:.0f} to {HIGH:.0f} mg/L, with doses from hour 25 on\n")
print(pd.DataFrame(rows).T.round(2).to_string())

figure, axes = plt.subplots(2, 1, figsize=(9, 7), layout="constrained", sharex=True)
for axis, difference in zip(axes, (False, True)):
    plot_what_if(
        answer,
        "concentration",
        difference=difference,
        history=levels,
        events=plans,
        label="theophylline (mg/L)",
        ax=axis,
    )
axes[0].axhspan(LOW, HIGH, color="0.93", zorder=0)
axes[0].set(xlabel="", title=f"Patient {PATIENT}: plans, with 90 % bands")
axes[1].set(xlabel="hours since the first dose", title="Difference from nothing more, with the same draws in both")
Path("output").mkdir(exist_ok=True)
plot.figure.savefig("output/theophylline_patient.png", dpi=120)
figure.savefig("output/theophylline_patient_plans.png", dpi=120)
plot_individual_fits(model).savefig("output/theophylline_patient_fit.png", dpi=120)
print("\nPictures: output/theophylline_patient.png, and the same with _fit and _plans")
