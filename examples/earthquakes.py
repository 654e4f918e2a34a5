"""Earthquakes as events with marks: when does the next one come, and how strong is it?

Fits a neural jump intensity and two classics on a part of 4,296 streams, scores them on streams that were held out
beside a counting model, checks that time rescaled by the intensity is a Poisson process, and draws one stream.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import PointProcessForecaster
from tsode.datasets import load_earthquakes
from tsode.plots import plot_intensity

STREAM = "test-211"

events = load_earthquakes()  # unique_id, ds, mark (class of the magnitude), split
train, valid, test = (events[events["split"] == part] for part in ("train", "dev", "test"))
train = train[train["unique_id"].isin(train["unique_id"].unique()[:1500])]  # half of them: a minute less


def counting_score(known: pd.DataFrame, asked: pd.DataFrame) -> float:
    """Log-likelihood per event of a log-normal gap given the last mark, and of a Markov chain of marks."""

    def pairs(frame: pd.DataFrame) -> pd.DataFrame:
        one = frame.assign(gap=frame.groupby("unique_id")["ds"].diff(), last=frame.groupby("unique_id")["mark"].shift())
        return one.dropna().assign(log_gap=lambda table: np.log(table["gap"].clip(lower=1e-5)))

    known, asked = pairs(known), pairs(asked)
    fit = known.groupby("last")["log_gap"].agg(["mean", "std"]).loc[asked["last"]].to_numpy()
    chain = pd.crosstab(known["last"], known["mark"]).add(1)
    chain = chain.div(chain.sum(axis=1), axis=0).stack()
    z = (asked["log_gap"] - fit[:, 0]) / fit[:, 1]
    gap = -0.5 * z**2 - np.log(fit[:, 1]) - 0.5 * np.log(2 * np.pi) - asked["log_gap"]
    return float((gap + np.log(chain.loc[list(zip(asked["last"], asked["mark"]))].to_numpy())).mean())


rows = {"counting": {"held out": counting_score(train, test)}}
models = {}
for name in ("poisson", "hawkes", "neural_jump"):
    model = PointProcessForecaster(name, max_epochs=25, random_state=0, verbose=1).fit(train, validation=valid)
    models[name] = model
    rows[name] = {"held out": model.score(test), "KS": model.ks_test(train).statistic}
    rows[name]["KS held out"] = model.ks_test(test).statistic
n_events = len(test) - test["unique_id"].nunique()
print(
    f"\nLog-likelihood in nats per event of {n_events} held-out events, and the distance of gaps in rescaled time from"
)
print("exponential ones (0 = none; the held-out streams are busier than those in fit):\n")
print(pd.DataFrame(rows).T.round(3).to_string(na_rep=""))

# One stream up to its ninth event; the later ones are not used.
model, one = models["neural_jump"], test[test["unique_id"] == STREAM]
seen = one.iloc[:9]
ahead = model.predict_next(context=seen, quantiles=(0.1, 0.5, 0.9))
start, last = seen["ds"].iloc[0], seen["ds"].iloc[-1]
grid = np.unique(np.concatenate([np.linspace(start, last + 3.0, 1500), seen["ds"], seen["ds"] + 1e-4]))
rates = model.predict_intensity(times=grid, context=seen)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(4, 1), layout="constrained")
plot_intensity(seen, rates, next_event=ahead, label="earthquakes per unit of time", ax=axes[0])
axes[0].set_xlabel("time since the first event of the stream")
shares = ahead[[f"p-{mark}" for mark in model.marks_]].iloc[0]
axes[1].barh([str(mark) for mark in model.marks_], shares, color=[f"C{k}" for k in range(len(shares))], alpha=0.75)
axes[1].set(xlabel="probability", ylabel="mark of the next event")
axes[1].spines[["top", "right"]].set_visible(False)
figure.suptitle(f"Stream {STREAM}: intensity of each magnitude class, from the events so far", x=0.01, ha="left")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/earthquakes.png", dpi=150)
print("\nPicture: output/earthquakes.png")
