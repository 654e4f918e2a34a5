"""CPU seconds of 1,000 series of 100 times and two channels, by filters of 100 members, beside one plain solve.

Prey and predators in logarithms, with noise of the rates and of the values, through the density of a stochastic system
as engines ask it: parameters are read, stops lined up, and steps are those that it chooses. The plain solve is that of
the equations without noise, by the same system at the same times. Figures are medians over rounds in which each has had
its turn, the first round left out.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.filters.unscented import UnscentedKalman
from tsode.assimilation.system import stochastic
from tsode.inference import KnownSystem, LogNormal, LogNormalNoise, Normal, Observations
from tsode.inference.parameters import Parameters

__all__ = ["run"]

N_SERIES, N_TIMES, N_MEMBERS, N_ROUNDS = 1000, 100, 100, 3
GAP, SD = 0.25, 0.1  # between values, and of their noise
NOISE = 0.15  # of the rates
BAR = 60.0
FILTERS = {
    "square root": SquareRootEnsemble(N_MEMBERS),
    "perturbed observations": EnsembleKalman(N_MEMBERS),
    "particles": ParticleFilter(N_MEMBERS),
}
BESIDE = {"extended": ExtendedKalman(), "unscented": UnscentedKalman()}


@torch.no_grad()
def run(report: Report) -> None:
    n = report.count(N_SERIES)
    density = built(n)
    u = torch.zeros(1, 1, len(density.names), dtype=torch.float64)  # the middle of the prior
    values, times = density.space.unpack(u).values, density.data.times
    turns: dict[str, Callable[[], object]] = {"plain solve": partial(density.solve, values, times, "before")}
    for name, filter in (FILTERS | BESIDE).items():
        turns[name] = partial(density.with_filter(filter).log_prob, u)
    spent: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(N_ROUNDS):
        for name, turn in turns.items():
            started = time.process_time()
            turn()
            spent[name].append(time.process_time() - started)
    seconds = {name: statistics.median(found[1:] or found) for name, found in spent.items()}
    steps = (GAP / density.step).ceil()
    report.note(f"{n} series, {N_TIMES} times, {int(steps.max())} steps from one to the next at most")
    report.note(f"plain solve: {seconds['plain solve']:.2f} CPU-s")
    for name in turns:
        if name in FILTERS:
            report.at_most(f"{name}: CPU-s of {n} series, {N_MEMBERS} members", seconds[name], BAR)
        if name != "plain solve":
            ratio = seconds[name] / seconds["plain solve"]
            report.note(f"{name}: {seconds[name]:.2f} CPU-s, {ratio:.1f} plain solves")
    report.note(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at the peak")


def rates(t: Tensor, z: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    """Of the logarithms of prey and predators."""
    return p.alpha - p.beta * z[:, 1].exp(), p.delta * z[:, 0].exp() - p.gamma


def prey(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 0].exp()


def predators(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 1].exp()


def built(n: int) -> FilteredDensity:
    """Of ``n`` series that are simulated by small steps."""
    generator = torch.Generator().manual_seed(0)
    known = KnownSystem(
        rates, ["prey", "predators"], {"alpha": LogNormal(0.0, 0.1), "beta": 1.0, "delta": 1.0, "gamma": 1.0},
        {"prey": Normal(1.0, 0.3), "predators": Normal(0.0, 0.3)},
        {"prey seen": LogNormalNoise(prey, sd=SD), "predators seen": LogNormalNoise(predators, sd=SD)},
    )  # fmt: skip
    p = Parameters({name: torch.ones(n, dtype=torch.float64) for name in ("alpha", "beta", "delta", "gamma")})
    z = torch.tensor([1.0, 0.0]) + 0.3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    values, clock, step = [], torch.zeros(n, dtype=torch.float64), GAP / 50
    for _ in range(N_TIMES):
        for _ in range(50):
            shock = torch.randn(n, 2, generator=generator, dtype=torch.float64)
            z = z + step * torch.stack(rates(clock, z, p), dim=1) + NOISE * step**0.5 * shock
        values.append((z + SD * torch.randn(n, 2, generator=generator, dtype=torch.float64)).exp())
    times = GAP * torch.arange(1, N_TIMES + 1, dtype=torch.float64).expand(n, -1)
    data = Observations(list(range(n)), torch.zeros(n, dtype=torch.float64), times, torch.stack(values, dim=1))
    return FilteredDensity(stochastic(known, {"prey": NOISE, "predators": NOISE}), data, ExtendedKalman())
