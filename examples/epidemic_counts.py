"""Infer an epidemic from counts between visits and from the bacteria in its water, and forecast the rest of it.

A village of 10,000 with a disease like cholera: whoever falls ill sheds bacteria into the water, and the water makes
others ill. Nobody sees the susceptible: known are how many have fallen ill since the last visit, a count, and a
measurement of the bacteria with some 15 per cent of error. Two visits were missed, so that the next ones count two
weeks. The equations are given, their four parameters have wide priors; what came after the twelfth week is held out.
The numbers are the simulated data of the benchmark `sir` of stat_comp_benchmarks (Stan developers, BSD 3-Clause).
Writes output/epidemic_counts.png, output/epidemic_counts_check.png and output/epidemic_counts_pairs.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.inference import Between, LogNormal, LogNormalNoise, PoissonNoise
from tsode.plots import plot_pairs, plot_posterior_predictive

ILL = [441, 419, 553, 666, 753, 692, 644, 509, 371, 286, 200, 147, 101, 68, 49, 35, 19, 12, 7, 10]
BACTERIA = [
    6141.73, 5801.72, 9439.14, 13742, 11975, 16387, 15144, 14705.6, 8736.39, 7553.29,
    6007.09, 5979.96, 3048.17, 1566.77, 1275.21, 824.85, 604.605, 516.25, 258.046, 188.591,
]  # fmt: skip
MISSED, LAST = [35, 77], 84  # days

weeks = pd.DataFrame({"ds": 7.0 * np.arange(1, 21), "ill": ILL, "bacteria": BACTERIA})
weeks["visit"] = (~weeks["ds"].isin(MISSED)).cumsum().where(~weeks["ds"].isin(MISSED)).bfill()
visits = weeks.groupby("visit").agg(ds=("ds", "last"), ill=("ill", "sum"), bacteria=("bacteria", "last"))
visits.insert(0, "unique_id", "village")
past, later = visits[visits["ds"] <= LAST], visits[visits["ds"] > LAST]


def rates(t, z, p):
    susceptible, ill, bacteria = z.unbind(-1)
    infected = p.beta * susceptible * bacteria / (bacteria + 1e6)
    return -infected, infected - p.gamma * ill, p.xi * ill - p.delta * bacteria


fallen_ill = Between(lambda t_before, z_before, t, z, p: z_before[:, 0] - z[:, 0])
model = KnownODEForecaster(
    rates,
    states=["susceptible", "ill", "bacteria"],
    parameters={  # a third to three times a typical value: two of three by the prior
        "beta": LogNormal(log(1.0), 1),  # infections per day, were the water full of bacteria
        "gamma": LogNormal(log(0.2), 1),  # recoveries per day: ill for five days
        "delta": LogNormal(log(0.3), 1),  # share of bacteria that dies per day: within three
        "xi": LogNormal(log(10.0), 1),  # shed per day by each who is ill
    },
    initial={"susceptible": 10_000.0, "ill": 0.0, "bacteria": 10_000.0},
    observed={"ill": PoissonNoise(fallen_ill), "bacteria": LogNormalNoise("bacteria", sd=0.15)},
    initial_time=0.0,
    random_state=0,
).fit(past)
print(model.summary()[["mean", "sd", "q05", "q95", "ess_bulk", "rhat", "pareto_k"]].round(3).to_string())
print(f"log evidence {model.log_evidence_:.2f}; problems: {model.problems_ or 'none'}\n")

ahead = model.predict_interval(later, level=90)
table = later[["ds"]].copy()
for name in ("ill", "bacteria"):
    low, high = (ahead[f"{name}-{side}-90"].to_numpy() for side in ("lo", "hi"))
    table[name], table[f"{name} 90 %"] = later[name], [f"{a:.0f} to {b:.0f}" for a, b in zip(low, high)]
    inside = int(((later[name] >= low) & (later[name] <= high)).sum())
    print(f"{name}: {inside} of {len(later)} held-out values in their 90 % interval")
print(table.to_string(index=False))

days = np.arange(LAST + 1.0, 141.0)
parts = {"ill": ahead, "bacteria": model.predict_interval(times=list(days), level=90)}  # counts are between visits
fitted = model.fitted_curves()
figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
for axis, (name, part) in zip(axes, parts.items()):
    counts = {"step": "pre"} if name == "ill" else {}
    known = fitted.dropna(subset=name)
    for bands, colour in ((known, "C0"), (pd.concat([known[-1:], part]), "C1")):
        low, high = bands[f"{name}-lo-90"], bands[f"{name}-hi-90"]
        axis.fill_between(bands["ds"], low, high, color=colour, alpha=0.3, lw=0, **counts)
        axis.plot(bands["ds"], bands[name], color=colour, drawstyle="steps-pre" if counts else "default")
    axis.plot(past["ds"], past[name], "k.", label="seen")
    axis.plot(later["ds"], later[name], "o", color="white", mec="black", ms=4, label="held out")
    axis.set(yscale="log", xlabel="day")
axes[0].set(title="fallen ill since the last visit: mean and 90 %", ylim=(1, None))
axes[1].set(title="bacteria in the water: mean and 90 %")
axes[0].legend(frameon=False)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/epidemic_counts.png", dpi=120)
plot_posterior_predictive(model).savefig("output/epidemic_counts_check.png", dpi=120)
plot_pairs(model).savefig("output/epidemic_counts_pairs.png", dpi=120)
print("\nPictures: output/epidemic_counts.png, output/epidemic_counts_check.png, output/epidemic_counts_pairs.png")
