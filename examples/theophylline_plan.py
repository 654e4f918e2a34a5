"""Theophylline dosed into 10 to 20 mg/L: a plan from seven samples, and again after each level.

A patient has swallowed one dose, and seven samples of the first eight hours are known. Which doses, of tablets of 50 mg
every eight hours, bring the blood into the range that helps, and are unlikely to pass its dangerous end? The plan is
made through the posterior: the same draws of absorption, clearance and volume judge every candidate. The samples
that the patient really gave later say how this body went on; from its equations come the levels that would be measured
under the plan, after each of which the rest is planned anew. Writes output/theophylline_plan.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tsode import KnownODEForecaster, solve
from tsode.control import ChanceLimit, Doses, TargetRange, plan
from tsode.datasets import load_theophylline, load_theophylline_doses, load_theophylline_static
from tsode.inference import LogNormal
from tsode.plots import plot_plan
from tsode.systems import one_compartment_oral

PATIENT, SEEN, END = 1, 8.0, 72.0  # hours
LOW, HIGH = 10.0, 20.0  # mg/L
MEASURED = [19.5, 27.5, 43.5]  # hours, just before a dose

levels = load_theophylline().rename(columns={"theophylline_mg_l": "concentration"})
levels = levels[(levels["unique_id"] == PATIENT) & (levels["ds"] > 0)]
doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"}).assign(target="depot")
given = doses[doses["unique_id"] == PATIENT]
weight = load_theophylline_static().set_index("unique_id").loc[PATIENT, "weight_kg"]
body = one_compartment_oral(
    absorption=LogNormal(log(1.5), 0.7),  # per hour
    clearance=LogNormal(log(0.039 * weight), 0.3),  # L/h
    volume=LogNormal(log(0.5 * weight), 0.3),  # L
    level=5.0,
).with_(parameters={"sd": 0.25, "cv": 0.1}, per_series=["absorption", "clearance", "volume"])

known = KnownODEForecaster(system=body, random_state=0)
known.fit(levels, events=given)  # with the samples that came later: what this body is like
ka, clearance, volume = (known.summary().loc[name, "mean"] for name in ("absorption", "clearance", "volume"))


def body_of_patient(t, z):
    depot, central = z.unbind(-1)
    return torch.stack([-ka * depot, ka * depot - clearance / volume * central], dim=-1)


def curve(events, times):
    """What the blood of the patient really holds."""
    own = events[events["ds"] < times[-1]].drop(columns="unique_id")
    path = solve(body_of_patient, {"depot": 0.0, "central": 0.0}, times, events=own)
    return path["central"].to_numpy() / volume


target = TargetRange("concentration", LOW, HIGH, probability=0.7, between=(24.0, END))
limit = ChanceLimit("concentration", above=HIGH, probability=0.1)
actions = Doses(list(np.arange(12.0, END, 8.0)), "depot", high=600.0, available=50.0)
model = KnownODEForecaster(system=body, random_state=0).fit(levels[levels["ds"] <= SEEN], events=given)
first = plan(model, target, constraints=limit, actions=actions, events=given, times=END, random_state=0)
print(first, "\n")

noise, now = np.random.default_rng(0), first
seen = levels[levels["ds"] <= SEEN]
history = seen
for time in MEASURED:
    truth = float(curve(now.events, np.array([0.0, time]))[-1])
    level = truth + np.hypot(0.25, 0.1 * truth) * noise.normal()
    row = pd.DataFrame({"unique_id": [PATIENT], "ds": [time], "concentration": [level]})
    history = pd.concat([history[row.columns], row], ignore_index=True)
    now = now.replan(row, random_state=0)
    print(f"After {time:g} h, {level:.1f} mg/L: {now.doses['amount'].tolist()} mg from then on ({now.status})")

hours = np.linspace(24.0, END, 481)
rows = {}
for name, events in {"nothing more": given, "first plan": first.events, "planned again": now.events}.items():
    x = curve(events, hours)
    rows[name] = {
        "in range": ((x >= LOW) & (x <= HIGH)).mean(),
        "highest (mg/L)": x.max(),
        "mg": events["amount"].sum(),
    }
print(f"\nThe patient's own blood from hour 24 to {END:g}\n")
print(pd.DataFrame(rows).T.round(2).to_string())

figure, axes = plt.subplots(2, 1, figsize=(9, 7.5), layout="constrained", sharex=True, sharey=True)
shown = np.linspace(0.5, END, 300)
pictures = {"Planned from seven samples": (first, seen), "Planned again after three levels": (now, history)}
for axis, (title, (one, dots)) in zip(axes, pictures.items()):
    plot_plan(one, "concentration", target=target, limit=limit, history=dots, label="theophylline (mg/L)", ax=axis)
    axis.plot(shown, curve(one.events, shown), "k:", lw=1.2, label="the patient")
    axis.set(title=title, xlabel="", ylim=(-1, 31))
    axis.legend(frameon=False, fontsize="small", ncols=4, loc="upper left")
axes[1].set_xlabel("hours since the first dose")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/theophylline_plan.png", dpi=120)
print("\nPicture: output/theophylline_plan.png")
