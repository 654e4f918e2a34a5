"""Twenty newborns of 0.6 to 3.5 kg: how clearance grows with weight, and the dose of the next one by weight alone.

Simulated after the drug monitoring of neonates: a loading dose and two smaller ones, three levels each. The
truth is known and printed beside the estimates. Three models: without weight, whose individual effects show what is
missing; with the powers of allometry (0.75 for clearance, 1 for volume) as they stand; and with powers to be found. A
new child is forecast by its weight, then with one level, beside the levels that it would have had. Writes
output/neonates_effects.png and output/neonates_forecast.png.
"""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.inference import LogNormal, LogNormalNoise, Normal
from tsode.inference.effects.covariates import Power
from tsode.plots import plot_effects

# clearance (L/h) and volume (L) at 1.5 kg, their powers of weight, spreads among children, and noise
TRUTH = {"cl": 0.008, "v": 1.5, "cl_weight": 0.75, "v_weight": 1.0, "omega_cl": 0.25, "omega_v": 0.15, "sd": 0.08}
HOURS = 12.0 * np.arange(3)
PARTS = {"noise": "aleatoric", "of its own": "individual", "of what all share": "population"}


def rates(t, z, p):
    return (-p.cl / p.v * z[:, 0],)


def doses_of(names, weights):
    """20 mg/kg, then 2.5 mg/kg every twelve hours."""
    size = np.outer(weights, [20.0, 2.5, 2.5])
    return pd.DataFrame({"unique_id": np.repeat(names, 3), "ds": np.tile(HOURS, len(names)), "target": "drug",
                         "amount": size.ravel()})  # fmt: skip


def levels_at(hours, weight, effects):
    """Levels without noise, by the closed form of one compartment, just before a dose of the same time."""
    cl = TRUTH["cl"] * (weight / 1.5) ** TRUTH["cl_weight"] * np.exp(TRUTH["omega_cl"] * effects[0])
    v = TRUTH["v"] * (weight / 1.5) ** TRUTH["v_weight"] * np.exp(TRUTH["omega_v"] * effects[1])
    since = np.asarray(hours)[:, None] - HOURS
    amount = weight * np.array([20.0, 2.5, 2.5])
    return (np.where(since > 0, np.exp(-cl / v * since.clip(0.0)), 0.0) * amount).sum(axis=1) / v


generator = np.random.default_rng(2)
names = [f"child {k:02d}" for k in range(1, 21)]
weights = np.exp(generator.uniform(log(0.6), log(3.5), len(names))).round(2)
rows = []
for name, weight in zip(names, weights):
    hours = np.sort(generator.choice([2.0, 10.0, 24.0, 40.0, 60.0, 84.0], 3, replace=False))
    level = levels_at(hours, weight, generator.standard_normal(2))
    level *= np.exp(TRUTH["sd"] * generator.standard_normal(len(hours)))
    rows.append(pd.DataFrame({"unique_id": name, "ds": hours, "level": level}))
levels = pd.concat(rows, ignore_index=True)
static = pd.DataFrame({"unique_id": names, "weight": weights})
doses = doses_of(names, weights)


def fitted(covariates):
    return KnownODEForecaster(
        rates,
        states=["drug"],
        initial={"drug": 0.0},
        parameters={"cl": LogNormal(log(0.01), 0.7), "v": LogNormal(log(1.0), 0.7), "sd": LogNormal(log(0.1), 0.5)},
        observed={"level": LogNormalNoise(lambda t, z, p: z[:, 0] / p.v, sd="sd")},
        random_effects=["cl", "v"],
        covariates=covariates,
        inference="likelihood",
        n_starts=1,
        n_draws=300,
        random_state=0,
    ).fit(levels, events=doses, static=None if covariates is None else static)


def power(coefficient):
    return Power(coefficient, at=1.5)


free = {"cl": {"weight": power(Normal(1.0, 0.5))}, "v": {"weight": power(Normal(1.0, 0.5))}}
models = {
    "no weight": fitted(None),
    "powers given": fitted({"cl": {"weight": power(0.75)}, "v": {"weight": power(1.0)}}),
    "powers found": fitted(free),
}
tables = {name: model.estimates() for name, model in models.items()}
shown = pd.DataFrame({name: table["estimate"] for name, table in tables.items()})
shown["se"] = tables["powers found"]["se"]
print("Estimates, standard errors of the last model, and the truth (at 1.5 kg)\n")
print(shown.assign(truth=pd.Series(TRUTH)).round(4).to_string(na_rep=""), "\n")
print(pd.DataFrame({name: {"objective": table.attrs["objective"], "BIC": table.attrs["bic"], "problems":
                           "; ".join(models[name].problems_) or "none"} for name, table in tables.items()}
                   ).T.to_string(), "\n")  # fmt: skip

Path("output").mkdir(exist_ok=True)
plot_effects(models["no weight"], static=static).savefig("output/neonates_effects.png", dpi=120)

model, weight, effects = models["powers given"], 1.1, (-0.8, 0.5)  # a child that clears slowly
child = {"events": doses_of(["next"], [weight]), "static": pd.DataFrame({"unique_id": ["next"], "weight": [weight]})}
hours = np.linspace(0.1, 96.0, 193)
seen = pd.DataFrame({"unique_id": "next", "ds": [48.0], "level": levels_at([48.0], weight, effects).round(1)})
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for axis, rows, title in zip(axes, (seen.iloc[:0], seen), ("by its weight", "by its weight and one level")):
    later = hours[hours > rows["ds"].max()] if len(rows) else hours
    asked = pd.DataFrame({"unique_id": "next", "ds": later})
    band = model.predict_interval(asked, context=rows, level=90, **child)
    axis.fill_between(band["ds"], band["level-lo-90"], band["level-hi-90"], color="C0", alpha=0.25, lw=0, label="90 %")
    axis.plot(band["ds"], band["level"], color="C0", label="mean")
    axis.plot(hours, levels_at(hours, weight, effects), "k--", lw=1.0, label="truth")
    axis.plot(rows["ds"], rows["level"], "ko", label="measured" if len(rows) else None)
    axis.set(title=f"A child of {weight:g} kg, {title}", xlabel="hours")
    end = model.predict_spread(asked.tail(1), context=rows, **child).iloc[0]
    mean, truth = band["level"].iloc[-1], levels_at(hours[-1:], weight, effects)[0]
    parts = ", ".join(f"{name} {end[f'level-sd-{key}']:.2f}" for name, key in PARTS.items())
    print(f"{title}: at 96 h {mean:.1f} mg/L (truth {truth:.1f}), standard deviation {end['level-sd']:.2f} ({parts})")
axes[0].set_ylabel("level (mg/L)")
axes[1].legend(frameon=False, loc="upper right")
figure.savefig("output/neonates_forecast.png", dpi=120)
print("\nPictures: output/neonates_effects.png and output/neonates_forecast.png")
