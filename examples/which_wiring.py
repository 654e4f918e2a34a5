"""Ask which interactions of hares and lynxes twenty years of pelts support.

Pelts that the Hudson's Bay Company bought, 1900 to 1920. That lynxes eat hares and live on them is taken for granted;
whether hares crowd each other and lynxes quarrel is asked. Each structure is inferred, and weighted by its evidence.
Pelts are not animals, and the answer is one among these terms with these priors. Writes output/which_wiring.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tsode import KnownODEForecaster, compare_structures
from tsode.datasets import load_lynx_hare
from tsode.inference import HalfNormal, LogNormal, LogNormalNoise, Normal
from tsode.plots import plot_inclusion


def rates(t, z, p):
    hare, lynx = z.unbind(-1)
    return (
        (p.growth - p.eaten * lynx - p.crowding * hare) * hare,
        (p.fed * hare - p.loss - p.quarrel * lynx) * lynx,
    )


model = KnownODEForecaster(
    rates,
    states=["hare", "lynx"],
    parameters={
        "growth": Normal(1, 0.5, lower=0),
        "eaten": HalfNormal(0.05),
        "loss": Normal(1, 0.5, lower=0),
        "fed": HalfNormal(0.05),
        "crowding": HalfNormal(0.02),
        "quarrel": HalfNormal(0.02),
        "sigma": LogNormal(-1, 1),
    },
    initial={"hare": LogNormal(log(30), 0.5), "lynx": LogNormal(log(5), 0.5)},
    observed={name: LogNormalNoise(name, sd="sigma") for name in ("hare", "lynx")},
)
edges = {"lynx->hare": "eaten", "hare->lynx": "fed", "hare->hare": "crowding", "lynx->lynx": "quarrel"}
found = compare_structures(model, edges, load_lynx_hare(), always=["lynx->hare", "hare->lynx"], random_state=0)
print(found.table[["log_evidence", "log_evidence_se", "probability", "stacking_weight"]].head(6).round(3).to_string())
print(found.inclusion.round(3).to_string())
print(found.summary())

ahead = found.predict_quantiles(times=[1921.0, 1924.0, 1928.0], quantiles=(0.05, 0.5, 0.95))
alone = found.member(found.table.index[0]).predict_quantiles(times=[1921.0, 1924.0, 1928.0], quantiles=(0.05, 0.95))
width = ahead["hare-q-0.95"] - ahead["hare-q-0.05"]
of_best = alone["hare-q-0.95"] - alone["hare-q-0.05"]
print(f"bands of the ensemble are {np.round(width / of_best, 2).tolist()} times as wide as those of the best structure")
print(found.next_observation(times=[1921.0, 1924.0, 1928.0]).head(3).round(3).to_string(index=False))

figure, axes = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[1, 1.5], layout="constrained")
plot_inclusion(found, axes=axes)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/which_wiring.png", dpi=120)
