"""Results beside peers and bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.report import Report

__all__ = ["AUTO", "FAST", "PEERS", "check"]

PEERS = Path(__file__).resolve().parents[1] / "first_hour_peers.csv"
AUTO, FAST = "Auto", "Auto:budget=5"


def check(rows: list[dict[str, Any]], tasks: list[str]) -> int:
    """Print each task and the bars over all of them; 1 if one was missed, 2 if none could be measured."""
    report, by_peer, by_fast = Report(), [], []
    table = {(row["task"], row["model"]): row for row in rows}
    peers = pd.read_csv(PEERS) if PEERS.exists() else pd.DataFrame({"task": [], "model": [], "crps": []})
    for task in tasks:
        report.begin(task, "CRPS by that of others, what intervals hold, CPU seconds")
        own = table.get((task, AUTO))
        if own is None:
            report.skip(f"no row of {AUTO}")
            continue
        report.note(f"CRPS {own['crps']:.4g}; 90 % intervals hold {own['hold_90']:.0f} %; {own['n_fits']} fits")
        of_task = peers[peers["task"] == task].sort_values("crps")
        for name, score in zip(of_task["model"], of_task["crps"], strict=True):
            report.note(f"by {name}: {own['crps'] / score:.3f}")
        if len(of_task):
            best = of_task.iloc[0]
            by_peer.append(own["crps"] / best["crps"])
            report.at_most(f"CRPS by that of the best peer, {best['model']}", by_peer[-1], 1.03)
        else:
            report.skip(f"{task}: no peers in {PEERS.name}: make peers")
        members = {
            model: row["crps"] for (where, model), row in table.items() if where == task and model.split(":")[0] != AUTO
        }
        for name, score in sorted(members.items(), key=lambda pair: pair[1]):
            report.note(f"by {name} alone: {own['crps'] / score:.3f}")
        if members:
            name = min(members, key=lambda member: members[member])
            report.at_most(f"CRPS by that of the best member alone, {name}", own["crps"] / members[name], 1.01)
        report.within("80 % intervals hold, per cent", own["hold_80"], 72.0, 88.0)
        report.at_most("CPU seconds of the longest fit", own["most_fit_cpu_s"], 90.0)
        fast = table.get((task, FAST))
        if fast is not None:
            by_fast.append(fast["crps"] / own["crps"])
            report.note(f"{FAST}: CRPS by the full budget's {by_fast[-1]:.3f}, {fast['fit_cpu_s']:.1f} CPU-s a fit")
    report.begin("all", "Geometric means over tasks")
    if by_peer:
        report.at_most(f"CRPS by that of the best peer, {len(by_peer)} tasks", _geometric(by_peer), 0.92)
    if by_fast:
        report.at_most(f"{FAST}: CRPS by the full budget's, {len(by_fast)} tasks", _geometric(by_fast), 1.10)
    n_missed = report.finish()
    return int(n_missed > 0) if report.n_bars else 2


def _geometric(ratios: list[float]) -> float:
    return float(np.exp(np.log(ratios).mean()))
