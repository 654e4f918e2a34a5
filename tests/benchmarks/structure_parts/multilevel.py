"""Multilevel training of a neural field on two sets of Physiome-ODE: loss beside evaluations of the field."""

from __future__ import annotations

import json

import pandas as pd

from tests.benchmarks.physiome import FOLDER, load, wide
from tests.benchmarks.structural_parts.report import Report
from tsode import LatentODEForecaster, part

__all__ = ["run"]

SETS = ("LI01", "KAR02")
# of an activation without a fused kernel, whose evaluations are not counted
FIELD, SOLVER = part("mlp", activation="silu"), part("rk4", max_step=0.0625)
N_LEVELS, N_EPOCHS, SEEDS = 3, 18, (0, 1)
MOST_EVALUATIONS, MOST_LOSS = 0.6, 1.02  # equal within what seeds make of it, which stands beside


def run(report: Report) -> None:
    if not (FOLDER / "manifest.json").exists():
        report.skip(f"no benchmark in {FOLDER.name}: set PHYSIOME_DATA")
        return
    entries = json.loads((FOLDER / "manifest.json").read_text())["datasets"]
    seeds = SEEDS[: report.count(len(SEEDS))]
    for code in SETS:
        parts = load(code, 0, entries[code])
        train, valid = (wide(pd.concat(parts[name].values())) for name in ("train", "valid"))
        losses: dict[int, list[float]] = {1: [], N_LEVELS: []}
        evaluations = dict.fromkeys(losses, 0.0)
        for seed in seeds:
            for n_levels in losses:
                model = LatentODEForecaster(
                    evolution=FIELD, solver=SOLVER, n_levels=n_levels, max_epochs=N_EPOCHS,
                    early_stopping=False, random_state=seed,
                ).fit(train, validation=valid)  # fmt: skip
                history = model.history_
                losses[n_levels].append(float(history["valid_loss"].min()))
                evaluations[n_levels] += float(history["n_evaluations"].mean()) / len(seeds)
        fine, coarse = (sum(losses[n]) / len(seeds) for n in (1, N_LEVELS))
        for n_levels, own in losses.items():
            report.note(f"{code}, {n_levels} levels: validation loss " + "  ".join(f"{x:.4f}" for x in own)
                        + f"   {evaluations[n_levels]:.1f} evaluations a batch")  # fmt: skip
        report.at_most(f"{code}: evaluations in those of fine steps", evaluations[N_LEVELS] / evaluations[1],
                       MOST_EVALUATIONS)  # fmt: skip
        report.at_most(f"{code}: validation loss (CRPS) in that of fine steps", coarse / fine, MOST_LOSS)
