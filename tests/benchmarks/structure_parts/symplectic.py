"""Energy of Kepler's orbits and of pendulums over many periods, by symplectic steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tsode.dynamics import DYNAMICS, SeparableHamiltonian
from tsode.numerics import RK4, BlanesMoan, Leapfrog
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.integrate import integrate
from tsode.numerics.symplectic import SeparableField

KNOWN = {0.01: 3.707e-4, 0.005: 9.263e-5}  # largest energy error of leapfrog, by the length of the step
PERIOD = 8.34975292691849  # of the pendulum from q = 2 at rest
N_STEPS = 100_000


def run(report: Report) -> None:
    _kepler(report)
    _pendulum(report)
    _long(report)


class Kepler(SeparableHamiltonian):
    """Plane with a centre at its origin; its forces are written out, for speed."""

    def __init__(self) -> None:
        super().__init__(4, kinetic=free, potential=lambda q, theta: -1.0 / q.norm(dim=1))

    def velocity(self, t: Tensor, p: Tensor, theta: Tensor) -> Tensor:
        return p

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        return -q / q.norm(dim=1, keepdim=True) ** 3


def free(p: Tensor, theta: Tensor) -> Tensor:
    return 0.5 * p.square().sum(dim=1)


def _energies(field: Any, z: Tensor) -> Tensor:
    return field.energy(z[:, : field.n_moving], z[:, field.n_moving :])


def _worst(field: Any, z: Tensor, solver: FixedStep, h: float, marks: list[int]) -> list[float]:
    """Largest energy error of the first so many steps, for each of the marks."""
    t, dt = torch.zeros(len(z), dtype=torch.float64), torch.full((len(z),), h, dtype=torch.float64)
    step: Callable = getattr(solver, "bare_step", solver.step)
    start, worst, found = _energies(field, z), 0.0, []
    with torch.no_grad():
        for k in range(1, marks[-1] + 1):
            z = step(field, t, dt, z).z
            worst = max(worst, float((_energies(field, z) - start).abs().max()))
            if k in marks:
                found.append(worst)
    return found


def _kepler(report: Report) -> None:
    field = Kepler()
    z = torch.tensor([[0.4, 0.0, 0.0, 2.0]], dtype=torch.float64)
    for solver, name in ((Leapfrog(), "leapfrog"), (BlanesMoan(), "blanes_moan")):
        far = report.count(100)
        errors = {}
        for h in (0.01, 0.02) if solver.order == 4 else (0.01, 0.005):
            periods = (10, far) if h == 0.01 and far > 10 else (10,)
            errors[h] = _worst(field, z, solver, h, [round(2.0 * math.pi / h * n) for n in periods])
            if solver.order == 2:
                for n, worst in zip(periods, errors[h]):
                    text = f"Kepler e = .6, {name}, h = {h:g}, {n} periods: distance of the error from {KNOWN[h]:g}"
                    report.at_most(text, abs(worst - KNOWN[h]), 6e-4 * KNOWN[h])
            report.note(f"Kepler e = .6, {name}, h = {h:g}: largest energy errors {errors[h]} over {periods} periods")
        if len(errors[0.01]) == 2:
            report.at_most(f"{name}: error over {far} periods / over 10", errors[0.01][1] / errors[0.01][0], 1.01)
        coarse, fine = errors[max(errors)][0], errors[min(errors)][0]
        report.within(f"{name}: measured order of the energy error", math.log2(coarse / fine),
                      solver.order - 0.2, solver.order + 0.3)  # fmt: skip
    drift = _worst(field, z, RK4(), 0.05, [round(2.0 * math.pi / 0.05 * n) for n in (10, far)])
    report.note(f"for comparison RK4, h = .05: {drift[0]:.3g} over 10 periods, {drift[-1]:.3g} over {far}: it grows")


def _pendulum(report: Report) -> None:
    field = SeparableHamiltonian(2, kinetic=free, potential=lambda q, theta: -q.cos().sum(dim=1))
    z, t = torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for solver in (Leapfrog(n_steps=8_000), BlanesMoan(n_steps=200)):
        with torch.no_grad():
            end = integrate(field, z, t, t + PERIOD, solver).z
        late = abs(float(end[0, 1])) / math.sin(2.0)  # the force at the turning point is sin 2
        report.at_most(f"pendulum from q = 2, {type(solver).__name__}: error of the period", late, 1e-6)


def _long(report: Report) -> None:
    """Learned fields at random weights: the error of the second half of the steps is not above that of the first."""
    n = report.count(N_STEPS)
    for name in ("separable_hamiltonian", "second_order"):
        if name not in DYNAMICS:
            report.skip(f"there is no dynamics {name!r}")
            continue
        torch.manual_seed(0)
        field = DYNAMICS[name](8).double()
        if not isinstance(field, SeparableField) or not hasattr(field, "energy"):
            report.skip(f"{name!r} does not tell its energy")
            continue
        z = torch.randn(10, 8, dtype=torch.float64)
        first, all_of_them = _worst(field, z, Leapfrog(), 0.05, [n // 2, n])
        report.at_most(f"{name}, {n} leapfrog steps of .05: error of all / of the first half", all_of_them / first, 1.1)
        report.note(f"{name}: largest energy error {all_of_them:.3g}")
