"""Infer the parameters of predators and prey, and forecast with what is not known about them.

Pelts of hares and lynxes that the Hudson's Bay Company bought, 1900 to 1920. The equations are Lotka and Volterra's;
their four parameters, the numbers in 1900 and the noise have priors. The posterior says how well they are known, and
the bands hold both that and the noise. Writes output/lynx_hare.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.datasets import load_lynx_hare
from tsode.inference import LogNormal, LogNormalNoise, Normal

COLOURS = {"hare": "tab:brown", "lynx": "tab:blue"}


def rates(t, z, p):
    hare, lynx = z.unbind(-1)
    return (p.alpha - p.beta * lynx) * hare, (p.delta * hare - p.gamma) * lynx


pelts = load_lynx_hare()
model = KnownODEForecaster(
    rates,
    states=["hare", "lynx"],
    parameters={
        "alpha": Normal(1, 0.5, lower=0),
        "beta": Normal(0.05, 0.05, lower=0),
        "gamma": Normal(1, 0.5, lower=0),
        "delta": Normal(0.05, 0.05, lower=0),
        "sigma_hare": LogNormal(-1, 1),
        "sigma_lynx": LogNormal(-1, 1),
    },
    initial={"hare": LogNormal(log(10), 1), "lynx": LogNormal(log(10), 1)},
    observed={name: LogNormalNoise(name, sd=f"sigma_{name}") for name in COLOURS},
    random_state=0,
).fit(pelts)
print(model.summary()[["mean", "sd", "q05", "q95", "ess_bulk", "pareto_k"]].round(4).to_string())
print(f"log evidence {model.log_evidence_:.2f}; problems: {model.problems_ or 'none'}")

years = np.arange(1900.0, 1920.01, 0.25)
gaps = pd.DataFrame({"unique_id": "hudson_bay", "ds": np.setdiff1d(years, pelts["ds"]), "hare": np.nan, "lynx": np.nan})
inside = model.impute(pd.concat([pelts, gaps]).sort_values("ds"), level=90)
ahead = model.predict_interval(times=list(np.arange(1920.25, 1935.01, 0.25)), level=90)
spread = model.predict_spread(times=[1921.0, 1925.0, 1930.0])
print(spread.round(2).to_string(index=False))
paths = model.trajectories(years, n_draws=60)

figure, axes = plt.subplots(1, 3, figsize=(15, 4), width_ratios=[2, 2, 1.4], layout="constrained")
for axis, (name, colour) in zip(axes, COLOURS.items()):
    between = inside[~inside["ds"].isin(pelts["ds"])]
    for part in (between, ahead):
        axis.plot(part["ds"], part[name], color=colour)
        axis.fill_between(part["ds"], part[f"{name}-lo-90"], part[f"{name}-hi-90"], color=colour, alpha=0.25, lw=0)
    axis.plot(pelts["ds"], pelts[name], "k.")
    axis.axvline(1920, color="grey", lw=0.8)
    axis.set(title=f"{name}, thousands of pelts: mean and 90 %", xlabel="year", ylim=(0, None))
for _, path in paths.groupby("draw"):
    axes[2].plot(path["hare"], path["lynx"], color="tab:green", alpha=0.15, lw=0.8)
axes[2].plot(pelts["hare"], pelts["lynx"], "k.-", lw=0.4)
axes[2].set(title="60 draws of the cycle", xlabel="hare", ylabel="lynx")
output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "lynx_hare.png", dpi=120)
