"""Latent SDE: the bound's gap to the evidence by the step, what a training step costs, and what doses are worth.

Before: Euler-Maruyama steps of one length, and the path integral of Girsanov's theorem for the divergence.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from tests.benchmarks.small_panels_parts.girsanov import GirsanovSDE
from tests.benchmarks.structural_parts.report import Report
from tests.models.latent.exact_guide import guided, log_evidence, posterior, simulate
from tsode import LatentSDEForecaster
from tsode.core.batch import IrregularBatch
from tsode.metrics import crps_from_quantiles
from tsode.models.latent.base import LatentModel
from tsode.models.latent.sde import build_latent_sde
from tsode.numerics import EulerMaruyama, HeunMaruyama
from tsode.training.evidence import gather_evidence
from tsode.training.latent_objective import LatentObjective
from tsode.training.windows import Window

__all__ = ["run"]

DEFAULT, STEPS = 0.125, (0.5, 0.25, 0.125, 1 / 32, 1 / 128)
GAP_BAR, COST_BAR, DOSE_BAR = 0.02, 1.0, 0.8
N_SERIES, N_EVENTS, N_SAMPLES = 24, 6, 1000
SHAPES = ((40, 4.0, 13), (11, 4.0, 3), (100, 4.0, 25), (8, 8.0, 2))  # events, their span, targets in one unit more


def run(report: Report) -> None:
    gaps(report)
    cost(report)
    doses(report)


@torch.no_grad()
def gaps(report: Report) -> None:
    """An Ornstein-Uhlenbeck process with the exact guide: nats a value that the bound falls short of the evidence."""
    batch = simulate(report.count(N_SERIES), N_EVENTS, 2.5)
    evidence = log_evidence(batch)
    for step in STEPS:
        before, now, euler = (
            gap_of(model, batch, evidence)
            for model in (
                GirsanovSDE(guided(), step),
                guided(HeunMaruyama(max_step=step)),
                guided(EulerMaruyama(max_step=step)),
            )
        )
        report.note(
            f"step {step:.4f}: nats a value short of the evidence {now[0]:.4f} ({now[2]:.1f} CPU-s); steered "
            f"Euler-Maruyama {euler[0]:.4f} ({euler[2]:.1f}); before {before[0]:.4f} ({before[2]:.1f}); +- {now[1]:.4f}"
        )
        if step == DEFAULT:
            report.at_most("nats a value that the bound is short of the evidence, default step", abs(now[0]), GAP_BAR)


def gap_of(model: LatentModel, batch: IrregularBatch, evidence: torch.Tensor) -> tuple[float, float, float]:
    started = time.process_time()
    draws = model.fresh_draws(N_SAMPLES, batch.n_series, torch.Generator().manual_seed(0))
    found = gather_evidence(model, posterior(model, batch), batch, draws)
    seconds = time.process_time() - started
    bound = found.log_likelihood - found.cost - found.kl.sum(dim=1)
    error = float((bound.var(dim=0).mean() / N_SAMPLES / batch.n_series) ** 0.5)
    return float((evidence - bound.mean(dim=0)).mean()) / N_EVENTS, error / N_EVENTS, seconds


def cost(report: Report) -> None:
    """A training step of 64 series by turns before and now, with the default sizes."""
    for n_events, span, n_targets in SHAPES:
        window = windows_of(64, n_events, span, n_targets)
        torch.manual_seed(0)
        model = build_latent_sde(1)
        old, new = (stepper(m, window) for m in (GirsanovSDE(model), model))
        times: tuple[list[float], list[float]] = [], []
        for turn in range(report.count(20) + 1):
            for seconds, step in zip(times, (old, new)):
                started = time.process_time()
                step()
                if turn:
                    seconds.append(time.process_time() - started)
        before, now = (1e3 * statistics.median(seconds) for seconds in times)
        what = f"training step of {n_events} events over {span:g} units: now / before"
        report.at_most(what, now / before, COST_BAR)
        report.note(f"{now:.0f} CPU-ms now, {before:.0f} before")


def stepper(model: LatentModel, window: Window) -> Callable[[], None]:
    objective = LatentObjective("elbo", 1000, torch.Generator().manual_seed(0))

    def step() -> None:
        model.zero_grad()
        objective(model, window)[0].backward()

    return step


def windows_of(n_series: int, n_events: int, span: float, n_targets: int) -> Window:
    rng = np.random.default_rng(0)

    def events(n: int, first: float, last: float) -> IrregularBatch:
        times = [np.sort(rng.uniform(first, last, n)) for _ in range(n_series)]
        return IrregularBatch.from_arrays(times, [rng.normal(size=(n, 1)) for _ in times])

    context = events(n_events, 0.0, span)
    return Window(context, events(n_targets, span, span + 1.0), context)


def doses(report: Report) -> None:
    """Levels after doses of their own times and amounts, eliminated under noise: CRPS told of the doses and not."""
    train, test = dosed(report.count(80), seed=1), dosed(80, seed=2)
    history, ahead = (
        test[0][test[0]["ds"] <= 24.0],
        test[0][test[0]["ds"] > 24.0].reset_index(drop=True),
    )
    levels = np.linspace(0.05, 0.95, 19)
    scores = {}
    for name in ("told", "not told"):
        events = {"events": train[1]} if name == "told" else {}
        model = LatentSDEForecaster(n_state=4, horizon=12.0, random_state=0)
        started = time.process_time()
        model.fit(train[0], **events)
        seconds = time.process_time() - started
        events = {"events": test[1]} if name == "told" else {}
        table = model.predict_quantiles(ahead[["unique_id", "ds"]], context=history, quantiles=list(levels), **events)
        found = table.drop(columns=["unique_id", "ds"]).to_numpy()
        scores[name] = crps_from_quantiles(ahead["level"].to_numpy(), found, levels)
        report.note(f"{name} of doses: CRPS {scores[name]:.4f}, fit {seconds:.1f} CPU-s")
    report.at_most("CRPS told of doses / not told", scores["told"] / scores["not told"], DOSE_BAR)


def dosed(n_series: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Levels at 20 random times of 36 hours, after five doses and under noise in proportion; and the doses."""
    rng = np.random.default_rng(seed)
    rows, given = [], []
    for k in range(n_series):
        at, amount = np.sort(rng.uniform(0.0, 34.0, 5)), rng.uniform(20.0, 100.0, 5)
        times = np.sort(rng.uniform(0.0, 36.0, 20))
        grid = np.linspace(0.0, 36.0, 1441)
        level, states = rng.uniform(0.0, 4.0), np.zeros_like(grid)
        for i in range(len(grid)):
            if i:
                level = max(level - 0.12 * level * 0.025 + 0.1 * level * 0.025**0.5 * rng.normal(), 0.0)
                level += amount[(at > grid[i - 1]) & (at <= grid[i])].sum() / 10.0
            states[i] = level
        observed = np.interp(times, grid, states) + 0.2 * rng.normal(size=20)
        rows.append(pd.DataFrame({"unique_id": k, "ds": times, "level": observed}))
        given.append(pd.DataFrame({"unique_id": k, "ds": at, "amount": amount}))
    return pd.concat(rows, ignore_index=True), pd.concat(given, ignore_index=True)
