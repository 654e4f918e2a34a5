"""Five people, one injection each: two compartments as a population, and the sixth forecast from the first hour.

Indomethacin falls in two phases: it first spreads from the blood into tissue, then leaves the body. The size of the
dose is not part of the data, so that clearances and volumes are those of a dose of 1: times the dose in mg they are
litres. Clearance and the exchange with tissue vary among people, noise is in proportion. The last subject is kept out
of the fit and forecast from the injection alone, then from the first four levels; what came is drawn beside. Writes
output/indomethacin_population.png and output/indomethacin_population_fits.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.datasets import load_indomethacin
from tsode.diagnostics import noncompartmental
from tsode.inference import LogNormal, ProportionalNoise
from tsode.plots import plot_individual_fits

PARTS = {"noise": "aleatoric", "of its own": "individual", "of what all share": "population"}


def rates(t, z, p):
    blood, tissue = z[:, 0] / p.v1, z[:, 1] / p.v2
    exchange = p.q * (blood - tissue)
    return -p.cl * blood - exchange, exchange


levels = load_indomethacin().rename(columns={"indomethacin_mg_l": "level"})
doses = pd.DataFrame({"unique_id": levels["unique_id"].unique(), "ds": 0.0, "target": "blood", "amount": 1.0})
last = levels["unique_id"].max()
five, sixth = levels[levels["unique_id"] != last], levels[levels["unique_id"] == last]
model = KnownODEForecaster(
    rates,
    states=["blood", "tissue"],
    initial={"blood": 0.0, "tissue": 0.0},
    # where the search begins, of a dose of 1: per hour, and per mg/L
    parameters={
        "cl": LogNormal(log(0.5), 0.7), "v1": LogNormal(log(0.4), 0.7), "q": LogNormal(log(0.5), 0.7),
        "v2": LogNormal(log(1.0), 0.7), "cv": LogNormal(log(0.2), 0.5),
    },
    observed={"level": ProportionalNoise(lambda t, z, p: z[:, 0] / p.v1, cv="cv")},
    random_effects=["cl", "q"],
    inference="likelihood",
    n_starts=2,
    random_state=0,
).fit(five, events=doses[doses["unique_id"] != last])  # fmt: skip

table = model.estimates()
print(f"{table.attrs['method']}: objective {table.attrs['objective']:.3f}, {table.attrs['n_at_best']} of "
      f"{len(table.attrs['ends'])} starts at the best end\n")  # fmt: skip
print(table[["estimate", "se", "rse", "lower", "upper", "shrinkage"]].round(3).to_string())
print(f"problems: {model.problems_ or 'none'}\n")

# half-lives of the two phases of each person, by the eigenvalues of the compartments
own, shared = model.individual_parameters(), table["estimate"]
out, to = (own[name, "mean"] / shared["v1"] for name in ("cl", "q"))
back = own["q", "mean"] / shared["v2"]
total = out + to + back
root = np.sqrt(total**2 - 4.0 * out * back)
shown = pd.DataFrame({"fast phase (h)": 2 * log(2) / (total + root), "slow phase (h)": 2 * log(2) / (total - root)})
plain = noncompartmental(five, events=doses[doses["unique_id"] != last])
shown["slow phase by the last levels (h)"] = plain["half_life"].to_numpy()
print("Half-lives of each person, and without any model beside them\n")
print(shown.round(2).to_string(), "\n")

asked = pd.DataFrame({"unique_id": last, "ds": np.linspace(0.26, 8.0, 120)})
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for axis, n, title in zip(axes, (0, 4), ("by the injection alone", "after four levels")):
    seen = sixth.iloc[:n]
    later = asked[asked["ds"] > seen["ds"].max()] if n else asked
    known = {"context": seen, "events": doses[doses["unique_id"] == last]}
    band = model.predict_interval(later, level=[50, 90], **known)
    for level, shade in ((90, 0.2), (50, 0.35)):
        axis.fill_between(band["ds"], band[f"level-lo-{level}"], band[f"level-hi-{level}"], color="C0", alpha=shade,
                          lw=0, label=f"{level} %")  # fmt: skip
    axis.plot(band["ds"], band["level"], color="C0", label="mean")
    axis.plot(seen["ds"], seen["level"], "ko", label="used")
    axis.plot(sixth["ds"].iloc[n:], sixth["level"].iloc[n:], "ko", mfc="white", label="what came")
    axis.set(title=f"Subject {last}, {title}", xlabel="hours since the injection", yscale="log")
    held = model.predict_interval(sixth.iloc[4:][["unique_id", "ds"]], level=90, **known)
    rest = sixth["level"].iloc[4:].to_numpy()
    n_in = int(((held["level-lo-90"] <= rest) & (rest <= held["level-hi-90"])).sum())
    spread = model.predict_spread(sixth.iloc[-3:-2][["unique_id", "ds"]], **known).iloc[0]
    parts = ", ".join(f"{name} {1000 * spread[f'level-sd-{key}']:.1f}" for name, key in PARTS.items())
    print(f"{title}: {n_in} of the {len(rest)} later levels in the 90 % band; standard deviation at "
          f"{sixth['ds'].iloc[-3]:g} h {1000 * spread['level-sd']:.1f} ug/L ({parts})")  # fmt: skip
axes[0].set_ylabel("indomethacin (mg/L)")
axes[1].legend(frameon=False)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/indomethacin_population.png", dpi=120)
plot_individual_fits(model, log=True).savefig("output/indomethacin_population_fits.png", dpi=120)
print("\nPictures: output/indomethacin_population.png and output/indomethacin_population_fits.png")
