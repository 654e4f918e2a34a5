"""Fit an enzyme's rates to product curves, where binding is a hundred thousand times faster than turnover.

Five tubes hold the same enzyme and 20 to 500 uM of substrate; product is read at irregular times over 100 s, with
errors of 4 uM. Substrate binds within a millisecond, and is turned over in seconds: the equations are stiff. An
explicit method has to follow a binding that is long over, and runs out of steps; solver="auto" sees it in each tube and
changes to an implicit method. Then turnover and release are fitted, with the fast step as it is, not as an equilibrium.
Writes output/stiff_reaction.png.
"""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.optimize import least_squares

from tsode import part, solve
from tsode.errors import SolverError

BINDING, ENZYME = 1e2, 1.0  # per uM and s; uM
TRUTH = {"turnover": 10.0, "release": 2e3}  # per s
TUBES = {"20 uM": 20.0, "50 uM": 50.0, "100 uM": 100.0, "200 uM": 200.0, "500 uM": 500.0}
UNTIL, ERROR = 100.0, 4.0
rng = np.random.default_rng(0)


def reaction(turnover, release):
    """Free enzyme + substrate <-> complex -> enzyme + product; the enzyme that is free is what is not bound."""

    def field(t, z):
        substrate, bound, _ = z.unbind(dim=1)
        binds = BINDING * (ENZYME - bound) * substrate - release * bound
        made = turnover * bound
        return torch.stack([-binds, binds - made, made], dim=1)

    return field


starts = {tube: {"substrate": amount, "complex": 0.0, "product": 0.0} for tube, amount in TUBES.items()}


AUTO = part("auto", rtol=1e-4, atol=1e-7)


def run(times, solver=AUTO, **rates):
    return solve(reaction(**{**TRUTH, **rates}), starts, times, t0=0.0, solver=solver)


# The data: one row a reading.
when = {tube: np.sort(rng.uniform(0.5, UNTIL, 20)) for tube in TUBES}
seen = run(when)[["unique_id", "ds", "product"]]
seen["product"] += ERROR * rng.standard_normal(len(seen))
print(seen.groupby("unique_id", sort=False).head(2).round(2).to_string(index=False), end="\n\n")

# What goes wrong with an explicit method, and what the default does.
try:
    run(when, solver=part("tsit5", rtol=1e-4, atol=1e-7, max_steps=1000))
except SolverError as error:
    print("tsit5:", error, end="\n\n")
rows = []
for solver, until in (("tsit5", 0.02), ("auto", 0.02), ("auto", UNTIL)):
    begun = time.process_time()
    told = run([until], solver=part(solver, rtol=1e-4, atol=1e-7)).attrs["solver"]
    seconds = time.process_time() - begun
    steps, changes = (max(told[count].values()) for count in ("n_steps", "n_switches"))
    rows.append({"solver": solver, "seconds solved": until, "most steps": steps, "changes": changes, "CPU-s": seconds})
print(pd.DataFrame(rows).round(2).to_string(index=False), end="\n\n")


# The fit: rates by their logarithms, least squares of what was read.
def misses(logs):
    turnover, release = np.exp(logs)
    return (run(when, turnover=turnover, release=release)["product"] - seen["product"]).to_numpy() / ERROR


fit = least_squares(misses, np.log([5.0, 1e3]), diff_step=1e-2, ftol=1e-2)
errors = np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac)))
table = pd.DataFrame({"truth": TRUTH, "fitted": dict(zip(TRUTH, np.exp(fit.x)))})
table["s.e."] = table["fitted"] * errors
table.loc["Km, uM"] = [
    (rates["turnover"] + rates["release"]) / BINDING for _, rates in table[["truth", "fitted"]].items()
] + [table.loc["release", "s.e."] / BINDING]
print(table.round(2).to_string())

fitted = dict(zip(TRUTH, np.exp(fit.x)))
late, early = np.linspace(0.0, UNTIL, 201), np.geomspace(1e-7, UNTIL, 201)
curves, bound = run(late, **fitted), run(early, **fitted)
figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
for k, tube in enumerate(TUBES):
    at, path, fast = (frame[frame["unique_id"] == tube] for frame in (seen, curves, bound))
    axes[0].plot(path["ds"], path["product"], color=f"C{k}", lw=1.2, label=tube)
    axes[0].plot(at["ds"], at["product"], ".", color=f"C{k}", ms=5)
    axes[1].semilogx(fast["ds"], fast["complex"], color=f"C{k}", lw=1.2)
axes[0].set(title="product: read, and fitted", xlabel="s", ylabel="uM")
axes[0].legend(title="substrate")
axes[1].set(title="enzyme that is bound: nine decades of time", xlabel="s (logarithmic)", ylabel="uM")
output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "stiff_reaction.png", dpi=120)
