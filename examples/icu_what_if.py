"""Vital signs in intensive care, and what if the oxygen had been turned up?

Fits a jump ODE on vital signs and blood gases of 400 patients of PhysioNet 2012, with each change of the oxygen in the
air they breathe (FiO2) and each sign of mechanical ventilation as an event at a known time. Shows what the events are
worth in the forecast of the second day, then compares two plans for one patient. That is how the forecasts differ; it
is no effect of oxygen, which was turned up for patients who needed it. Writes output/icu_what_if.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import JumpODEForecaster
from tsode.datasets import load_physionet2012
from tsode.plots import plot_what_if

CUT, VITALS = 24.0, ["HR", "MAP", "SaO2", "PaO2", "PaCO2", "pH"]

frame = load_physionet2012()
frame = frame[["unique_id", "ds", *VITALS, "FiO2", "MechVent"]]
settings = frame[["unique_id", "ds", "FiO2"]].dropna()
oxygen = settings[settings.groupby("unique_id")["FiO2"].diff().fillna(1.0) != 0.0].rename(columns={"FiO2": "amount"})
oxygen = oxygen.assign(kind="set", target="FiO2")
ventilated = frame.loc[frame["MechVent"].notna(), ["unique_id", "ds"]].assign(kind="mark", target="ventilated")
events = pd.concat([oxygen, ventilated], ignore_index=True)
frame = frame.drop(columns=["FiO2", "MechVent"]).dropna(subset=VITALS, how="all")

ids = np.random.default_rng(0).permutation(frame["unique_id"].unique())
train, test = (frame[frame["unique_id"].isin(part)] for part in (ids[:320], ids[320:]))
history = test[test["ds"] <= CUT]
future = test[(test["ds"] > CUT) & test["unique_id"].isin(history["unique_id"])]
table = {}
for name, given in (("without events", None), ("with events", events)):
    forecaster = JumpODEForecaster(horizon=CUT, max_epochs=8, n_members=1, random_state=0).fit(train, events=given)
    error = (forecaster.predict(future, context=history)[VITALS] - future[VITALS]).abs().mean()
    table[name] = error
print("Mean absolute error over hours 24 to 48 of 80 patients who were not in the fit:\n")
print(pd.DataFrame(table).round(3).to_string())

low = events[(events["kind"] == "set") & events["amount"].between(0.35, 0.45) & (events["ds"] <= CUT)]
counts = history[history["unique_id"].isin(low["unique_id"])].groupby("unique_id")[["PaO2", "SaO2"]].count()
patient = counts.sum(axis=1).idxmax()
past = events[(events["unique_id"] == patient) & (events["ds"] <= CUT)]
turned_up = pd.DataFrame({"unique_id": patient, "ds": [CUT], "kind": "set", "target": "FiO2", "amount": [1.0]})
plans = {"as it was": past, "FiO2 to 1.0 at hour 24": pd.concat([past, turned_up])}
times = {patient: np.linspace(12.0, 48.0, 145)}
answer = forecaster.what_if(plans, times=times, context=history[history["unique_id"] == patient], random_state=0)
after = answer[(answer["ds"] > CUT) & (answer["scenario"] != "as it was")]
print(f"\nPatient {patient}, mean difference after the change: ", end="")
print(", ".join(f"{name} {after[f'{name}-diff'].mean():+.2f}" for name in VITALS))

figure, axes = plt.subplots(2, 1, figsize=(9, 7), layout="constrained", sharex=True)
for ax, (channel, label) in zip(axes, {"PaO2": "PaO2 (mmHg)", "HR": "heart rate (per minute)"}.items()):
    plot_what_if(answer, channel, history=history, events=plans, label=label, ax=ax)
axes[0].set_xlabel("")
axes[0].set_title(f"Patient {patient}: two plans", loc="left")
axes[1].set_xlabel("hours in intensive care")
axes[1].get_legend().remove()
Path("output").mkdir(exist_ok=True)
figure.savefig("output/icu_what_if.png", dpi=150)
print("\nPicture: output/icu_what_if.png")
