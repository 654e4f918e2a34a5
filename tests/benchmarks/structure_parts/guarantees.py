"""Promises of structured fields at random weights, over ten thousand states in double precision.

Every `Structured` member of the registry is checked by its own `check` at three sizes of weights; then each promise is
measured anew by what a user would see: eigenvalues, distances and energies along solutions, slopes over pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.benchmarks.structural_parts.report import Report
from tsode.dynamics import (
    DYNAMICS,
    AntiFeedback,
    Antisymmetric,
    Lipschitz,
    Oscillator,
    Parabolic,
    SecondOrder,
    Structured,
    UncoupledOscillator,
)
from tsode.evolutions.orthogonal import OrthogonalFlow
from tsode.nn.orthogonal_householder import HouseholderMatrix
from tsode.numerics import RK4, ExponentialEuler
from tsode.numerics.base import Solver
from tsode.numerics.integrate import integrate
from tsode.numerics.row_jacobian import linearise

__all__ = ["run"]

N_STATES, N_PAIRS, N_GAPS, N_STEPS = 10_000, 100_000, 10_000, 100_000
N_STATE = 10
SIZES = (0.1, 1.0, 3.0)


def random_weights(field: nn.Module, size: float, seed: int = 0) -> None:
    """Fill all weights with normal numbers of this size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in field.parameters():
            weight.copy_(size * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))


def states(n: int, width: int = N_STATE, seed: int = 1) -> Tensor:
    return 3.0 * torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def path(field: nn.Module, z: Tensor, span: float, n_spans: int, solver: Solver) -> Tensor:
    """States (b m d) at the ends of spans that follow each other, with the start."""
    t, found = torch.zeros(len(z), dtype=torch.float64), [z]
    for _ in range(n_spans):  # one solve for all times would keep every step
        solution = integrate(field, found[-1], t, t + span / n_spans, solver)
        assert not bool(solution.status.any())
        found.append(solution.z)
        t = t + span / n_spans
    return torch.stack(found, dim=1)


def run(report: Report) -> None:
    n = report.count(N_STATES)
    every_check(report, n)
    antisymmetric(report, n)
    parabolic(report, n)
    second_order(report)
    oscillators(report, n)
    anti_feedback(report, n)
    lipschitz(report)
    orthogonal(report)


def every_check(report: Report, n: int) -> None:
    for name, cls in DYNAMICS.items():
        if not issubclass(cls, Structured):
            continue
        for n_static in (0, 2):
            torch.manual_seed(0)
            field = cls(n_state=N_STATE, n_static=n_static).double()
            broken, worst = 0, ""
            for size in SIZES:
                random_weights(field, size)
                for guarantee in field.check(states(n)):
                    broken += not guarantee.holds
                    worst = str(guarantee) if not guarantee.holds or not worst else worst
            report.at_most(f"{name}, n_static={n_static}: promises broken of its own check", broken, 0)
            if broken:
                report.note(worst)


def antisymmetric(report: Report, n: int) -> None:
    linear, nonlinear = 0.0, -math.inf
    for size in SIZES:
        for how in ({}, {"tanh": "inside"}, {"gated": True}, {"tanh": "inside", "gated": True}):
            field = Antisymmetric(N_STATE, damping=0.3, **how).double()
            random_weights(field, size)
            real = torch.linalg.eigvals(field.matrix().detach()).real
            linear = max(linear, (real + 0.3).abs().max().item())
            jacobian = linearise(field, torch.zeros(n, dtype=torch.float64), states(n))[1].detach()
            nonlinear = max(nonlinear, torch.linalg.eigvals(jacobian).real.max().item())
    report.at_most("antisymmetric: |Re eig(W - W' - damping I) + damping|", linear, 1e-12)
    report.at_most("antisymmetric, tanh and gate in all ways: max Re eig(df/dx)", nonlinear, 1e-12)


def parabolic(report: Report, n: int) -> None:
    worst = -math.inf
    for size in SIZES:
        field = Parabolic(N_STATE, width=16).double()
        random_weights(field, size)
        steepest = torch.linalg.matrix_norm(field.surface.weight.detach(), 2).item() ** 2
        z = path(field, states(n), 50.0 / steepest, 20, RK4(max_step=0.05 / steepest))
        distance = torch.linalg.vector_norm(z - z.roll(1, dims=0), dim=2)
        worst = max(worst, ((distance.diff(dim=1)) / distance[:, :1]).max().item())
    report.at_most("parabolic: growth of a distance between solutions", worst, 1e-12)


def second_order(report: Report) -> None:
    field = SecondOrder(N_STATE, width=16).double()
    n_steps = report.count(N_STEPS)
    for size in SIZES:
        random_weights(field, size)
        step = 0.1 / torch.linalg.matrix_norm(field.surface.weight.detach(), 2).item()
        errors = leapfrog_errors(field, states(100), step, n_steps)
        tenth = n_steps // 10
        grown = (errors[-tenth:].mean() / errors[:tenth].mean()).item()
        report.at_most(
            f"second_order, weights of {size:g}: energy error, last of {n_steps:,} steps / first", grown, 1.1
        )
        report.at_most(f"second_order, weights of {size:g}: largest relative energy error", errors.max().item(), 0.01)


@torch.no_grad()
def leapfrog_errors(field: SecondOrder, x: Tensor, step: float, n_steps: int) -> Tensor:
    """Largest relative energy error over the rows after every step of the leapfrog method."""
    t, theta = torch.zeros(len(x)), x[:, :0]
    q, v = x.chunk(2, dim=1)
    first = field.energy(x, theta)
    force, errors = field.force(t, q, theta), []
    for _ in range(n_steps):
        v = v + 0.5 * step * force
        q = q + step * v
        force = field.force(t, q, theta)
        v = v + 0.5 * step * force
        errors.append(((field.energy(torch.cat([q, v], dim=1), theta) - first) / first).abs().max())
    return torch.stack(errors)


def oscillators(report: Report, n: int) -> None:
    worst, kept = 0.0, 0.0
    for size in SIZES:
        for field in (Oscillator(N_STATE).double(), UncoupledOscillator(N_STATE).double()):
            random_weights(field, size)
            with torch.no_grad():  # rates of their own start: 1e4 radians are no use
                field.log_rate.copy_(torch.linspace(math.log(0.1), math.log(5.0), N_STATE // 2))
            stiff = 1.0 if isinstance(field, Oscillator) else 1.0 + field.weight.square().max().item()
            z = path(field, states(n), 10.0, 20, RK4(max_step=0.01 / stiff**0.5))
            if isinstance(field, Oscillator):
                y, v = z.chunk(2, dim=2)
                amplitude = (y.square() + v.square() + 2 * field.damping * y * v).sqrt()
                worst = max(worst, (amplitude / amplitude[:, :1].clamp(min=1 / field.damping)).max().item())
            else:
                energy = torch.stack([field.energy(x, x[:, :0]) for x in z.unbind(1)], dim=1).detach()
                kept = max(kept, ((energy - energy[:, :1]) / energy[:, :1]).abs().max().item())
    report.at_most("oscillator: amplitude in parts of its bound", worst, 1 + 1e-6)
    report.at_most("uncoupled_oscillator: relative energy error, by a solver of order 4", kept, 1e-6)


def anti_feedback(report: Report, n: int) -> None:
    worst = 0.0
    for size in SIZES:
        field = AntiFeedback(N_STATE).double()
        random_weights(field, size)
        for stretch in (1.0, 1e3, 1e6):
            z, t0 = states(n), torch.zeros(n, dtype=torch.float64)
            with torch.no_grad():
                end = integrate(field, z, t0, t0 + stretch, ExponentialEuler(n_steps=20)).z
            worst = max(worst, (end.abs() / z.abs().clamp(min=1 / field.floor - 1)).max().item())
    report.at_most("anti_feedback: coordinate in parts of its bound, time stretched up to 1e6", worst, 1 + 1e-12)


def lipschitz(report: Report) -> None:
    n, steepest = report.count(N_PAIRS), 0.0
    for size in SIZES:
        field = Lipschitz(N_STATE, slope=2.0).double()
        random_weights(field, size)
        nn.init.constant_(field.share, math.pi / 2)  # as steep as it can be
        x, y = states(n, seed=2), states(n, seed=3)
        y[::2] = x[::2] + 1e-3 * y[::2]
        with torch.no_grad():
            t = torch.zeros(n)
            apart = torch.linalg.vector_norm(field(t, x) - field(t, y), dim=1)
        steepest = max(steepest, (apart / torch.linalg.vector_norm(x - y, dim=1)).max().item())
    report.at_most(f"lipschitz: slope over {n:,} pairs in parts of its bound, less 1", steepest / 2.0 - 1, 1e-9)
    report.at_most("lipschitz, slope 1: error of |x| after training", error_of_absolute_value(), 1e-3)


def error_of_absolute_value() -> float:
    torch.manual_seed(0)
    field = Lipschitz(n_state=1, slope=1.0, width=16).double()
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    optimiser = torch.optim.LBFGS(field.parameters(), max_iter=1000, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = (field(torch.zeros(len(x)), x) - x.abs()).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    between = torch.linspace(-1, 1, 10_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        return (field(torch.zeros(len(between)), between) - between.abs()).abs().max().item()


def orthogonal(report: Report) -> None:
    n_gaps, worst = report.count(N_GAPS), 0.0
    generator = torch.Generator().manual_seed(4)
    for basis in ("householder", "givens", "exponential", "cayley"):
        flow = OrthogonalFlow(N_STATE // 2, basis=basis).double()
        random_weights(flow, 1.0)
        z = start = states(10)
        t = torch.zeros(len(z), dtype=torch.float64)
        with torch.no_grad():
            for gap in torch.randn(n_gaps, len(z), dtype=torch.float64, generator=generator).mul(2.0).exp():
                z, t = flow.evolve(z, t, t + gap).z, t + gap
        norms = [torch.linalg.vector_norm(x, dim=1) for x in (z, start)]
        worst = max(worst, (norms[0] / norms[1] - 1).abs().max().item())
    report.at_most(f"orthogonal: norm after {n_gaps:,} irregular gaps, relative change", worst, 1e-10)
    wrong = 0.0
    for k in range(1, N_STATE + 1):
        made = HouseholderMatrix(N_STATE, n_reflections=k).double()
        wrong = max(wrong, (torch.linalg.det(made()) - (-1.0) ** k).abs().item())
    report.at_most("householder: |det - (-1)^k| of k reflections", wrong, 1e-12)
