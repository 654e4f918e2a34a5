"""Choose hyperparameters with optuna: trials that fall behind are stopped early, the best is tried on a later year.

Trials are scored on forecasts from four days of 1999 on. The best of many scores flatters, so the result is judged by
2000, of which the search sees nothing.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator
from optuna.distributions import FloatDistribution, IntDistribution

from tsode import JumpODEForecaster
from tsode.backtest import score_table
from tsode.datasets import load_ushcn
from tsode.integrations.optuna import tune

weather = load_ushcn()[["unique_id", "ds", "tmax_degc"]].dropna()  # some 120 stations, each on its own days
known = weather[weather["ds"] < "2000"]
forecaster = JumpODEForecaster(
    horizon="60D",
    n_modes=8,
    n_static=8,
    n_hidden=32,
    n_members=1,
    expert=None,
    max_context=32,
    max_epochs=6,
    random_state=0,
)
space = {
    "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
    "n_modes": IntDistribution(2, 32, log=True),
    "drop": FloatDistribution(0.0, 0.8),
}
days = pd.date_range("1998-12-31", periods=4, freq="90D")
tuned, study = tune(forecaster, known, space, cutoffs=days, n_trials=10, random_state=0, verbose=1)

trials = study.trials_dataframe(attrs=("value", "params", "state")).rename(
    columns=lambda name: name.removeprefix("params_")
)
trials["epochs"] = [len(trial.intermediate_values) for trial in study.trials]
trials.loc[trials["state"] == "PRUNED", "value"] = float("nan")
print("\nTrials by CRPS relative to the last value (1 = as good as that), in 1999:\n")
print(trials.sort_values("value").round(4).to_string(na_rep="", index=False))

named = {"as given": forecaster.fit(known), "tuned": tuned}
later = pd.date_range("1999-12-31", periods=4, freq="90D")
scores = score_table(named, weather, cutoffs=later, horizon="60D", metrics=["crps", "coverage"], prefit=True)
print("\nForecasts of 2000: CRPS in °C, share in 80 % intervals, and CRPS relative to the last value:\n")
print(scores.loc["tmax_degc"].round(3).to_string())

figure, ax = plt.subplots(figsize=(9, 4.5), layout="constrained")
for trial in study.trials:
    is_best, is_pruned = trial.number == study.best_trial.number, trial.state.name == "PRUNED"
    epochs, losses = list(trial.intermediate_values), list(trial.intermediate_values.values())
    color, width = ("C3", 2.2) if is_best else ("0.6", 1.0) if is_pruned else ("C0", 1.0)
    label = "best on the held-out ends" if is_best else "pruned" if is_pruned else "completed"
    ax.plot(epochs, losses, color=color, linewidth=width, label=label, zorder=2 + is_best)
    if is_pruned:
        ax.plot(epochs[-1], losses[-1], "x", color="0.3", zorder=3)
by_label = dict(zip(*reversed(ax.get_legend_handles_labels())))
ax.legend(by_label.values(), by_label.keys(), frameon=False)
ax.set(xlabel="epoch", ylabel="validation loss", title="Trials of the search; × = pruned")
ax.xaxis.set_major_locator(MaxNLocator(integer=True))
ax.spines[["top", "right"]].set_visible(False)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/tune_forecaster.png", dpi=150)
print("\nPicture: output/tune_forecaster.png")
