"""Cost of structured fields beside the plain perceptron: a call with its gradient, and training a jump ODE forecaster.

Fields have the width 64 of state and hidden layers, single precision, 64 rows. CPU time of one thread; rounds of all
fields alternate, and the least of the rounds counts, lest other work on the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from tests.benchmarks.structural_parts.report import Report
from tsode.dynamics import DYNAMICS, Structured
from tsode.dynamics.base import Dynamics
from tsode.models.filters.build import build_filter
from tsode.testing import example_batch

__all__ = ["run"]

N_ROUNDS, N_CALLS, N_STEPS = 15, 40, 3
WIDTH, N_ROWS = 64, 64


def least_seconds(tasks: dict[str, Callable[[], object]], n_rounds: int, n_calls: int) -> dict[str, float]:
    """CPU seconds of one call of each task, the least over rounds that take turns."""
    seconds = dict.fromkeys(tasks, float("inf"))
    for task in tasks.values():
        task()
    for _ in range(n_rounds):
        for name, task in tasks.items():
            started = time.process_time()
            for _ in range(n_calls):
                task()
            seconds[name] = min(seconds[name], (time.process_time() - started) / n_calls)
    return seconds


def call(field: Dynamics) -> Callable[[], object]:
    """A call of the field with its gradient."""
    t = torch.zeros(N_ROWS, dtype=torch.float64)
    z = torch.randn(N_ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return lambda: field(t, z).square().sum().backward()


def training_step(name: str) -> Callable[[], object]:
    """Loss and gradient of a jump filter with this field on a batch of irregular series."""
    torch.manual_seed(0)
    model = build_filter(2, evolution=name, n_state=WIDTH)
    batch, queries = example_batch(2, torch.float32)
    return lambda: model.forecast(batch, queries).params.square().mean().backward()


def run(report: Report) -> None:
    names = ["mlp", *(name for name, cls in DYNAMICS.items() if issubclass(cls, Structured))]
    torch.manual_seed(0)
    n_rounds = report.count(N_ROUNDS)
    calls = least_seconds({name: call(DYNAMICS[name](n_state=WIDTH)) for name in names}, n_rounds, N_CALLS)
    steps = least_seconds({name: training_step(name) for name in names}, n_rounds, N_STEPS)
    report.note(f"{'field':<24}{'call, us':>12}{'/ mlp':>8}{'training step, ms':>20}{'/ mlp':>8}")
    for name in names:
        own, own_step = calls[name] / calls["mlp"], steps[name] / steps["mlp"]
        report.note(f"{name:<24}{1e6 * calls[name]:>12.0f}{own:>8.2f}{1e3 * steps[name]:>20.1f}{own_step:>8.2f}")
    report.at_most("antisymmetric beside mlp: a call with its gradient", calls["antisymmetric"] / calls["mlp"], 1.1)
    report.at_most("antisymmetric beside mlp: a step of training", steps["antisymmetric"] / steps["mlp"], 1.1)
