"""An epidemic whose contact rate drifts: weekly counts, forecast four weeks ahead, and scored against the last value.

No equation says when people meet more or less. The contact rate is a state that walks at random, found by a filter from
the counts along with how many are ill; the depletion of the susceptible is known. The counts are simulated, by another
model than is fitted: day by day, person by person, with latent and infectious periods, contacts that fall when places
are closed and come back when they open, and one case in four reported. The model is fitted to the first year;
every forecast after it uses the counts up to its origin and nothing later. Saves output/epidemic.png and
output/epidemic_innovations.png.
"""

import time
from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tsode import KnownSDEForecaster
from tsode.backtest import score_table
from tsode.diagnostics import innovations
from tsode.inference import HalfNormal, LogNormal, NegativeBinomialNoise, Normal
from tsode.plots import plot_innovations, plot_plume

PEOPLE, REPORTED, WEEKS, FITTED = 5_000_000, 0.25, 92, 52
# infectious contacts a day by week: closed from the tenth on, opened, closed again, opened again
CONTACTS = [(0, 0.26), (10, 0.26), (12, 0.15), (24, 0.17), (34, 0.25), (41, 0.24), (43, 0.16), (54, 0.18), (64, 0.26),
            (72, 0.25), (75, 0.15), (92, 0.17)]  # fmt: skip

rng = np.random.default_rng(7)
susceptible, latent, ill, counts, of_week = PEOPLE - 3000, 1000, 2000, [], 0
for day in range(7 * WEEKS):
    contacts = np.interp(day / 7, *zip(*CONTACTS))
    infected = rng.binomial(susceptible, 1 - np.exp(-contacts * ill / PEOPLE))
    onset, recovered = rng.binomial(latent, 1 - np.exp(-1 / 2)), rng.binomial(ill, 1 - np.exp(-1 / 5))
    susceptible, latent, ill = susceptible - infected, latent + infected - onset, ill + onset - recovered
    of_week += rng.binomial(onset, REPORTED)
    if day % 7 == 6:
        counts.append(of_week)
        of_week = 0
cases = pd.DataFrame({"ds": np.arange(1.0, WEEKS + 1), "cases": counts})


def rates(t, z, p):
    log_ill, share = z.unbind(-1)
    infected = p.beta * share  # by each who is ill, in a week
    return torch.stack([infected - 1.4, -infected * log_ill.exp() / PEOPLE], dim=-1)


def reported(t, z, p):
    return REPORTED * p.beta * z[:, 1] * z[:, 0].exp()


model = KnownSDEForecaster(
    rates,
    states=["log_ill", "share"],  # how many are ill, and the share that is susceptible
    parameters={"beta": LogNormal(log(1.5), 0.5)},
    drifting=["beta"],
    process_noise={"beta": HalfNormal(0.3)},  # of its logarithm, in a week
    initial={"log_ill": Normal(log(2000.0), 1.0), "share": 1.0},
    observed={"cases": NegativeBinomialNoise(reported, size=1000.0)},
    initial_time=0.0,
    inference="laplace",
    random_state=0,
)
started = time.process_time()
model.fit(cases[:FITTED])
print(model.summary()[["mean", "sd", "q05", "q95"]].round(3).to_string())

origins = list(np.arange(FITTED, WEEKS - 3, 4.0))
scores = score_table(
    {"drifting contacts": model}, cases, cutoffs=origins, horizon=4.0, prefit=True, level=90,
    metrics=("mae", "crps", "interval", "coverage"),
).droplevel("channel")  # fmt: skip
ours, last = scores.loc["drifting contacts"], scores.loc["LastValueForecaster"]
print(f"\nFour weeks ahead from {len(origins)} origins, of weeks that the fit has not seen (cases; less is better):\n")
print(scores.round(2).to_string())
print(
    f"\nThe error of the mean is {ours['mae-rel']:.2f} times that of the last value, and the whole forecast costs "
    f"{ours['crps-rel']:.2f} times\nas much (CRPS): the last value's bands are as wide as a year with large waves asks "
    f"for, ours as wide as the wave\nthat is there. Of the weeks {ours['coverage']:.0%} lie in our 90 % bands, and "
    f"{last['coverage']:.0%} in those of the last value."
)
left = innovations(model, cases)
print("\nErrors one week ahead:", left.attrs["channels"].loc["cases", "verdict"])
print("(contacts fall at once when places are closed, and a random walk holds such weeks for unlikely).")

figure, axis = plt.subplots(figsize=(10, 5), layout="constrained")
for origin in origins[1::3]:
    past = cases[cases["ds"] <= origin]
    paths = model.sample(times=origin + np.arange(1.0, 5.0), context=past, n_samples=80, random_state=0)
    plot_plume(past, paths, truth=cases, label="cases a week", ax=axis)
axis.plot(cases["ds"], cases["cases"], color="0.6", linewidth=0.7, zorder=0)
axis.axvline(FITTED, color="0.5", linestyle="--", linewidth=0.8)
handles = dict(zip(*reversed(axis.get_legend_handles_labels())))
axis.legend(handles.values(), handles.keys(), frameon=False)
axis.set(yscale="log", xlabel="week", xlim=(0, WEEKS + 1), title="80 paths of four weeks; fitted up to the dashed line")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/epidemic.png", dpi=120)
plot_innovations(left).savefig("output/epidemic_innovations.png", dpi=120)
print(f"\nPictures in output: epidemic.png, epidemic_innovations.png ({time.process_time() - started:.0f} CPU seconds)")
