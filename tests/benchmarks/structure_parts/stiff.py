"""Stiff fields: truth values, orders, batches with one stiff row, the choice of the method, and what a step costs."""

from __future__ import annotations

import time

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structure_parts.stiff_problems import PROBLEMS, StiffProblem, robertson, van_der_pol
from tsode.numerics import SOLVERS, Dopri5, Rodas4, Switching
from tsode.numerics.base import Solution, Solver, VectorField
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.row_jacobian import linearise
from tsode.testing.convergence import convergence_order

# Robertson's reactions: t = 40 from the literature; both by scipy's Radau with its Jacobian at rtol 1e-12, atol 1e-18.
ROBERTSON = {
    40.0: (7.158270687194e-01, 9.185534764558e-06, 2.841637457458e-01),
    4e6: (5.168096014930e-04, 2.068294491227e-09, 9.994831883302e-01),
}
VAN_DER_POL = {1.0: (6.663286859, 2.008619861), 10.0: (19.078369567, 2.014285361)}  # period, amplitude
START = torch.zeros(1, dtype=torch.float64)
MOST_STEPS = 20_000


def run(report: Report) -> None:
    with torch.no_grad():
        _robertson(report)
        _van_der_pol(report)
        _orders(report)
        _batch(report)
        _choice(report)
        _overhead(report)
        _ten_problems(report)


def _ten_problems(report: Report) -> None:
    """Steps beside those of scipy's Radau at the same tolerances, which has the same Jacobian."""
    for rtol in (1e-4, 1e-7):
        for name, problem in PROBLEMS.items():
            settings = {"rtol": rtol, "atol": rtol * problem.size}
            radau, path = _radau(problem, **settings)
            for solver in (Rodas4(**settings, max_steps=MOST_STEPS), Switching(**settings, max_steps=MOST_STEPS)):
                found, seconds = _timed(problem.field, _numbers(list(problem.start)), problem.until, solver)
                assert not found.status.item()
                ratio = int(found.n_steps) / radau
                report.at_most(f"steps of {_name(solver)} over Radau's, rtol {rtol:g}: {name}", ratio, 3.0)
                off = ((found.z[0] - path).abs() / (path.abs() + problem.size)).max().item()
                switches = 0 if found.n_switches is None else int(found.n_switches)
                report.note(
                    f"{int(found.n_steps)} to {radau} steps, {switches} changes, {seconds:.2f} s, {off:.1e} from it"
                )
    found, seconds = _timed(
        PROBLEMS["behind a cosine by 1e5"].field, _numbers([0.0]), 10.0, Rodas4(rtol=1e-10, atol=1e-12)
    )
    report.at_most("steps of rodas4 behind a cosine by 1e5 at rtol 1e-10", int(found.n_steps), 1000)


def _radau(problem: StiffProblem, rtol: float, atol: float) -> tuple[int, Tensor]:
    """Steps of scipy's Radau, and the state at the end."""

    def row(t: float, z: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.tensor([t], dtype=torch.float64), torch.from_numpy(np.array(z))[None]

    found = solve_ivp(
        lambda t, z: problem.field(*row(t, z))[0].numpy(), (0.0, problem.until), problem.start, "Radau",
        rtol=rtol, atol=atol, jac=lambda t, z: linearise(problem.field, *row(t, z))[1][0].numpy(),
    )  # fmt: skip
    return len(found.t) - 1, torch.from_numpy(found.y[:, -1])


def _robertson(report: Report) -> None:
    z = _numbers([1.0, 0.0, 0.0])
    for until, truth in ROBERTSON.items():
        for solver in (Rodas4(rtol=1e-7, atol=1e-13), Switching(rtol=1e-7, atol=1e-13)):
            found, seconds = _timed(robertson, z, until, solver)
            report.at_most(f"Robertson t = {until:g}, {_name(solver)}: relative error", _off(found.z, truth), 1e-5)
            report.note(f"{int(found.n_steps)} steps, {seconds:.2f} s CPU")


def _van_der_pol(report: Report) -> None:
    for mu, (period, amplitude) in VAN_DER_POL.items():
        solver = Switching(rtol=1e-9, atol=1e-11, max_steps=MOST_STEPS)
        measured = _cycle(mu, period, solver)
        for what, value, truth in zip(("period", "amplitude"), measured, (period, amplitude)):
            report.at_most(f"van der Pol mu = {mu:g}: {what}, relative error", abs(value / truth - 1), 1e-5)
    found, seconds = _timed(van_der_pol(1000.0), _numbers([2.0, 0.0]), 2000.0, Switching(max_steps=MOST_STEPS))
    report.at_most("van der Pol mu = 1000 to t = 2000 by auto: seconds of CPU", seconds, 2.0)
    off = abs(found.z[0, 0].item() / 1.70616773 - 1)  # by scipy's Radau at a tolerance of 1e-10
    report.at_most("  x there, relative error", off, 1e-4)


def _cycle(mu: float, period: float, solver: Solver) -> tuple[float, float]:
    """Period and amplitude of the limit cycle, from where its crests stand in a finely read path."""
    # settled for four periods, then one and a half are read
    settled = integrate(van_der_pol(mu), _numbers([2.0, 0.0]), START, START + 4 * period, solver).z
    times = torch.linspace(0.0, 2.6 * period, 200_001, dtype=torch.float64)[None]
    x, v = integrate_to(van_der_pol(mu), settled, START, times, solver).z[0].unbind(dim=1)
    crest = ((v[:-1] > 0) & (v[1:] <= 0)).nonzero()[:, 0]
    share = v[crest] / (v[crest] - v[crest + 1])
    when = times[0, crest] + share * (times[0, 1] - times[0, 0])
    return (when[1] - when[0]).item(), x[crest + 1].maximum(x[crest])[0].item()


def _orders(report: Report) -> None:
    field = lambda t, z: z * (1 - z)  # noqa: E731
    z = _numbers([0.1, 0.6])
    exact = lambda t: z / (z + (1 - z) * torch.exp(-t)[:, None])  # noqa: E731
    for name in ("dopri5", "tsit5", "ros34pw2", "rodas4", "auto"):
        solver = SOLVERS[name]()
        orders = convergence_order(solver, field, z, START, START + 1.5, exact)
        assert orders is not None
        report.within(f"order of {name}", orders[0], solver.order - 0.15, solver.order + 0.85)


def _batch(report: Report) -> None:
    """One stiff row among others: these take the same steps to the same bits."""
    n = 32
    mu = torch.linspace(0.5, 2.0, n, dtype=torch.float64)
    mu[5] = 1000.0
    z, t0 = _numbers([2.0, 0.0]).repeat(n, 1), START.repeat(n)
    others = torch.arange(n) != 5
    for solver in (Rodas4(max_steps=MOST_STEPS), Switching(max_steps=MOST_STEPS)):
        whole = integrate(van_der_pol(mu), z, t0, t0 + 10.0, solver)
        apart = integrate(van_der_pol(mu[others]), z[others], t0[others], t0[others] + 10.0, solver)
        changed = (whole.z[others] != apart.z).any(dim=1) | (whole.n_steps[others] != apart.n_steps)
        report.at_most(f"rows that one stiff row beside them changes, {_name(solver)}", changed.sum().item(), 0)


def _choice(report: Report) -> None:
    """CPU of `Switching` beside the better fixed choice; where the explicit one fails, beside the other."""
    idle = torch.cat([_numbers([1.0]), torch.linspace(-1, 1, 499, dtype=torch.float64)[None]], dim=1)
    problems: dict[str, tuple[VectorField, Tensor, float]] = {
        "decay by 2e5 from 3e4": (lambda t, z: -2e5 * z, _numbers([3e4]), 1.0),
        "one fast state among 500": (_slow_and_one_fast, idle, 1.0),
        "stiff within a window": (_window, _numbers([1.0]), 8.0),
        "van der Pol mu = 1000": (van_der_pol(1000.0), _numbers([2.0, 0.0]), 3000.0),
        "van der Pol mu = 10": (van_der_pol(10.0), _numbers([2.0, 0.0]), 60.0),
        "van der Pol mu = 1": (van_der_pol(1.0), _numbers([2.0, 0.0]), 60.0),
        "Robertson t = 40": (robertson, _numbers([1.0, 0.0, 0.0]), 40.0),
    }
    for name, (field, z, until) in problems.items():
        fixed = []
        for solver in (Dopri5(max_steps=MOST_STEPS // 4), Rodas4(max_steps=MOST_STEPS // 4)):
            found, seconds = _timed(field, z, until, solver)
            if not found.status.item():
                fixed.append(seconds)
        found, seconds = _timed(field, z, until, Switching(max_steps=MOST_STEPS))
        assert not found.status.item()
        report.at_most(f"CPU of auto over the better fixed choice: {name}", seconds / min(fixed), 3.0)
        switches = 0 if found.n_switches is None else found.n_switches.item()
        report.note(f"{int(found.n_steps)} steps, {switches} changes, {seconds:.2f} s")


def _overhead(report: Report) -> None:
    """A step of Dopri5 of a field that costs nothing, in additions of its state, the cheapest operation there is."""
    z = _numbers([1.0, 0.5])
    field = lambda t, z: -z  # noqa: E731
    ratios = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(20_000):
            torch.add(z, z)
        addition = (time.process_time() - begun) / 20_000
        found, seconds = _timed(field, z, 60.0, Dopri5(rtol=1e-8, atol=1e-10))
        ratios.append(seconds / int(found.n_steps) / addition)
    report.at_most("a step of Dopri5 at b = 1, in additions of its state", min(ratios), 300)


def _slow_and_one_fast(t: Tensor, z: Tensor) -> Tensor:
    return torch.cat([-1e5 * (z[:, :1] - torch.cos(t)[:, None]), 0.1 * torch.sin(z[:, 1:])], dim=1)


def _window(t: Tensor, z: Tensor) -> Tensor:
    pace = 1 + 1e5 * torch.exp(-(((t - 3) / 0.3) ** 4))[:, None]
    return -pace * (z - torch.cos(3 * t)[:, None])


def _timed(field: VectorField, z: Tensor, until: float, solver: Solver) -> tuple[Solution, float]:
    begun = time.process_time()
    found = integrate(field, z, START, START + until, solver)
    return found, time.process_time() - begun


def _off(z: Tensor, truth: tuple[float, ...]) -> float:
    return (z[0] / _numbers(*truth) - 1).abs().max().item()


def _name(solver: Solver) -> str:
    return next(name for name, made in SOLVERS.items() if type(solver) is made)


def _numbers(*values: float | list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
