"""Energy of Hamiltonian fields that are learned from noisy irregular samples, beside Hamiltonian neural networks'.

The set-ups are those of Greydanus, Dzamba, Yosinski (NeurIPS 2019, their repository's data and notebooks). The same are
systems, starts, numbers of series and of rows, spans, the noise of pendulums (.05) and the measure: the energy of
forecasts from true starts over 20 time units, less the true one, squared. What differs: times are random, where theirs
are regular; no derivatives are given, where theirs have them, for two bodies without an error; fields learn by multiple
shooting: the starts of pieces of series are fitted together with the weights, where rows have noise. Two bodies are
learned as theirs are, without noise, and from positions and momenta with noise of .01.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.structural_parts.report import Report
from tsode.dynamics import MLPDynamics, SeparableHamiltonian
from tsode.dynamics.base import Dynamics
from tsode.numerics import RK4, BlanesMoan, Dopri5
from tsode.numerics.base import Solver
from tsode.numerics.integrate import integrate, integrate_to
from tsode.training.soap import SOAP

TRUTH = Dopri5(rtol=1e-10, atol=1e-12, max_steps=10_000)
HORIZON = 20.0
N_TESTS = 15
LEARNING_RATE = 1e-2
BATCH = 25  # series
START_RATE = 0.2  # of the noise, for the starts of pieces
GAPS = 5  # of a piece that is shot over


@dataclass(frozen=True)
class System:
    """A system with a known energy, samples of it, and starts of new series."""

    field: SeparableHamiltonian
    span: float
    n_times: int
    noise: float
    starts: Callable[[int, torch.Generator], Tensor]
    new_starts: Callable[[int, torch.Generator], Tensor]
    n_series: int
    n_iterations: int
    tie: float  # weight at the end of the breaks between pieces beside that of the misses; 1 at the start
    published: tuple[float, float]  # energy MSE of their baseline and of their network


def pendulum() -> System:
    """``H = 2 (1 - cos q) + p**2``."""

    def starts(n: int, generator: torch.Generator) -> Tensor:
        y = 2.0 * torch.rand(n, 2, dtype=torch.float64, generator=generator) - 1.0
        radius = 1.8 * torch.rand(n, 1, dtype=torch.float64, generator=generator) + 0.2
        return y / y.norm(dim=1, keepdim=True) * radius

    def new(n: int, generator: torch.Generator) -> Tensor:
        x = 1.6 * torch.rand(n, 2, dtype=torch.float64, generator=generator) - 0.8
        return x + 0.2 * x.sign()

    field = SeparableHamiltonian(
        2, kinetic=lambda p, _: p.square().sum(dim=1), potential=lambda q, _: 2.0 * (1.0 - q.cos()).sum(dim=1)
    )
    return System(field, 3.0, 45, 0.05, starts, new, 25, 400, 1e3, (4.15e-2, 2.49e-2))


def two_bodies(noise: float) -> System:
    """Two bodies of mass 1 in a plane, ``[q, p]`` with x of both, then y of both."""

    def starts(n: int, generator: torch.Generator) -> Tensor:
        position = torch.rand(n, 2, dtype=torch.float64, generator=generator) + 0.5
        factor = 1.0 + 0.05 * torch.randn(n, 1, dtype=torch.float64, generator=generator)
        turned = torch.stack([-position[:, 1], position[:, 0]], dim=1)
        velocity = factor * turned / (2.0 * position.norm(dim=1, keepdim=True) ** 1.5)
        both = [torch.stack([x, -x], dim=2).flatten(1) for x in (position, velocity)]
        return torch.cat(both, dim=1)

    def potential(q: Tensor, _: Tensor) -> Tensor:
        return -1.0 / ((q[:, 0] - q[:, 1]).square() + (q[:, 2] - q[:, 3]).square()).sqrt()

    field = SeparableHamiltonian(8, kinetic=lambda p, _: 0.5 * p.square().sum(dim=1), potential=potential)
    return System(field, 20.0, 50, noise, starts, starts, 800, 1600, 1e2, (6.33e-2, 3.88e-5))


def run(report: Report) -> None:
    systems = {"pendulum": pendulum(), "two bodies": two_bodies(0.0), "two bodies, noise of .01": two_bodies(0.01)}
    for name, system in systems.items():
        errors = {}
        fields: tuple[tuple[str, Dynamics, Solver, Solver], ...] = (
            (
                "Hamiltonian",
                SeparableHamiltonian(system.field.n_state),
                BlanesMoan(n_steps=1),
                BlanesMoan(max_step=0.1),
            ),
            ("unconstrained", MLPDynamics(system.field.n_state), RK4(n_steps=2), RK4(max_step=0.05)),
        )
        for kind, field, solver, reader in fields:
            torch.manual_seed(0)
            began = time.process_time()
            fit(field.double(), solver, system, report.count(system.n_iterations))
            errors[kind] = forecast_errors(field, reader, system)
            energy, state = errors[kind]
            report.note(f"{name}, {kind}: energy MSE {energy:.3g}, state MSE {state:.3g} over {HORIZON:g} time units, "
                        f"{time.process_time() - began:.0f} CPU-s")  # fmt: skip
        baseline, published = system.published
        report.note(f"{name}, published: energy MSE {published:g}, of their baseline {baseline:g}")
        report.at_most(f"{name}: energy MSE of a learned energy", errors["Hamiltonian"][0], published)
        ratio = errors["Hamiltonian"][1] / errors["unconstrained"][1]
        report.at_most(f"{name}: state MSE / that of the unconstrained field", ratio, 1.0)


def samples(system: System) -> tuple[Tensor, Tensor]:
    """Random times (b n), the first of them 0, and noisy states (b n d)."""
    generator = torch.Generator().manual_seed(0)
    b, n = system.n_series, system.n_times
    times = (system.span * torch.rand(b, n, dtype=torch.float64, generator=generator)).sort(dim=1).values
    times[:, 0] = 0.0
    with torch.no_grad():
        states = integrate_to(system.field, system.starts(b, generator), times[:, 0], times, TRUTH).z
    return times, states + system.noise * torch.randn(states.shape, dtype=torch.float64, generator=generator)


def fit(field: Dynamics, solver: Solver, system: System, n_iterations: int) -> None:
    """Multiple shooting: least squares in the weights and the starts of all pieces, which are tied to each other."""
    times, values = samples(system)
    n_pieces = (system.n_times - 1) // GAPS  # rows past the last whole piece are left out
    rows = GAPS * torch.arange(n_pieces)[:, None] + torch.arange(GAPS + 1)
    times, seen = times[:, rows], values[:, rows]
    is_exact = system.noise == 0
    starts = nn.Embedding.from_pretrained(seen[:, :, 0].flatten(1), freeze=is_exact, sparse=True)
    weights, of_starts = SOAP(field.parameters(), weight_decay=0.0), torch.optim.SparseAdam(starts.parameters())
    order = torch.empty(0, dtype=torch.int64)
    for k in range(n_iterations):
        order = order if len(order) >= BATCH else torch.randperm(len(seen))
        chosen, order = order[:BATCH], order[BATCH:]
        first = starts(chosen).unflatten(1, (n_pieces, -1))
        clock, rows_seen = times[chosen].flatten(0, 1), seen[chosen]
        z, path = first.flatten(0, 1), [first]
        for i in range(GAPS):
            z = integrate(field, z, clock[:, i], clock[:, i + 1], solver).z
            path.append(z.unflatten(0, (-1, n_pieces)))
        misses = torch.stack(path, dim=2) - rows_seen
        breaks = path[-1][:, :-1] - first[:, 1:]
        loss = misses.square().mean()
        if not is_exact:
            loss = loss + system.tie ** (k / n_iterations) * breaks.square().sum() / misses.numel()
        field.zero_grad()
        of_starts.zero_grad()
        (loss / (system.noise or 1e-2) ** 2).backward()
        cooling = 0.5 * (1.0 + math.cos(math.pi * k / n_iterations))
        weights.step(LEARNING_RATE * cooling)
        if not is_exact:
            of_starts.param_groups[0]["lr"] = START_RATE * system.noise * cooling
            of_starts.step()


def forecast_errors(field: Dynamics, solver: Solver, system: System) -> tuple[float, float]:
    """Mean squares of what forecasts from true starts miss in energy and in the states."""
    z = system.new_starts(N_TESTS, torch.Generator().manual_seed(1))
    t = torch.zeros(N_TESTS, dtype=torch.float64)
    times = torch.linspace(0.0, HORIZON, 100, dtype=torch.float64).expand(N_TESTS, -1)
    with torch.no_grad():
        forecast, truth = (integrate_to(f, z, t, times, s).z for f, s in ((field, solver), (system.field, TRUTH)))
    energies = [system.field.energies(states.flatten(0, 1)) for states in (forecast, truth)]
    return float((energies[0] - energies[1]).square().mean()), float((forecast - truth).square().mean())
