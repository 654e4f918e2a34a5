"""Gradients: ways beside truth and each other, memory by steps, queries and iterations, work and precision."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor, nn

from tests.benchmarks.structural_parts.report import Report
from tsode.numerics import RK4, SOLVERS, DampedALF, Dopri5, TorchDiffEq
from tsode.numerics.base import Gradient, Solver, VectorField
from tsode.numerics.gradients import Adjoint, Backprop, Binomial, Checkpoint, Forward, Reversible
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.paired import PairedStep

TIGHT = Dopri5(rtol=1e-9, atol=1e-11, max_steps=10_000)
TIGHTEST = Dopri5(rtol=1e-11, atol=1e-13, max_steps=100_000)
WAYS: tuple[Gradient, ...] = (Backprop(), Checkpoint(), Binomial(), Adjoint(), Forward())

# Lotka and Volterra's animals at t = 10 from (1, 1), by the four rates: forty digits of mpmath, rounded.
BY_RATES = {
    "u": (2.16055752, 0.18856878, 0.56318279, 0.93965129),
    "v": (-6.25677052, -0.69797759, -1.70901768, -2.74397916),
}
N_STEPS = (100, 1_000, 10_000)
N_WIDE = 512
M_MMAP_THRESHOLD = -3  # of <malloc.h>
STATE = 16 * N_WIDE * 8  # bytes
# Damped steps can be taken back some eighty times only.
REVERSIBLE: dict[str, Any] = {
    name: made for name, made in SOLVERS.items() if issubclass(made, PairedStep) and not issubclass(made, DampedALF)
}


def run(report: Report) -> None:
    known_derivatives(report)
    linear(report)
    fast_decay(report)
    taken_back(report)
    if not sys.platform.startswith("linux"):
        report.skip("peaks of memory are read from /proc")
        return
    memory_by_steps(report)
    memory_by_queries(report)
    memory_by_iterations(report)
    work_and_precision(report)


def at(*times: float) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)


# -- right -------------------------------------------------------------------------------------------------------------


def known_derivatives(report: Report) -> None:
    """Ways on Lotka and Volterra's equations, in the digits that are known, and beside backprop."""
    rates = torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=torch.float64, requires_grad=True)

    def field(t: Tensor, z: Tensor) -> Tensor:
        (a, b, c, d), (u, v) = rates, z.unbind(dim=1)
        return torch.stack([a * u - b * u * v, d * u * v - c * v], dim=1)

    def by_rates(solver: Solver, way: Gradient, n_seen: int) -> Tensor:
        end = integrate(field, torch.ones(1, 2, dtype=torch.float64), at(0.0), at(10.0), solver, way).z[0, :n_seen]
        return torch.stack([torch.autograd.grad(part, rates, retain_graph=True)[0] for part in end])

    truth = torch.tensor([BY_RATES["u"], BY_RATES["v"]], dtype=torch.float64)
    error = float((by_rates(TIGHT, Backprop(), 2) / truth - 1).abs().max())
    report.at_most("Lotka-Volterra to t = 10 at 1e-9, backprop from truth, relative", error, 1e-5)
    plain = by_rates(TIGHTEST, Backprop(), 1)
    for way in WAYS[1:]:
        apart = float((by_rates(TIGHTEST, way, 1) / plain - 1).abs().max())
        report.at_most(f"  at 1e-11, {way.name} from backprop, relative", apart, 1e-8)


def linear(report: Report) -> None:
    """Ways on a linear field, beside the matrix exponential."""
    values = np.array([[-0.3, 1.2, 0.0], [-1.0, -0.1, 0.4], [0.2, 0.0, -0.7]])
    matrix = torch.tensor(values, requires_grad=True)
    truth = expm(2.5 * values)
    for way in WAYS:
        z = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
        end = integrate(lambda t, x: x @ matrix.T, z, at(0.0), at(2.5), TIGHTEST, way).z[0]
        found = torch.stack([torch.autograd.grad(part, z, retain_graph=True)[0][0] for part in end])
        report.at_most(f"linear field, {way.name} from the exponential", float(np.abs(found - truth).max()), 1e-8)


def fast_decay(report: Report) -> None:
    """States solved for backward explode where they have decayed; states that are kept do not."""
    field = _Decay()
    start = torch.ones(1, 1, dtype=torch.float64)
    truth = 0.4 * np.exp(-50.0 * 0.4)

    def by_rate(solver: Solver, way: Any) -> float:
        z = start.clone().requires_grad_()
        end = integrate(field, z, at(0.0), at(0.4), solver, way).z
        return float(torch.autograd.grad(end.sum(), field.rate)[0])

    with torch.no_grad():
        end = integrate(field, start, at(0.0), at(0.4), TorchDiffEq()).z
        back = integrate(field, end, at(0.4), at(0.0), TorchDiffEq()).z
    report.at_least("z' = -50 z to .4, solved back from its end: error of the start", abs(float(back) - 1), 0.01)
    theirs = by_rate(TorchDiffEq(), "adjoint")
    report.at_least("  adjoint that solves for z backward: error of d/drate", abs(theirs / truth - 1), 0.01)
    fine = Dopri5(rtol=1e-9, atol=1e-14, max_steps=100_000)
    for way in (Checkpoint(), Binomial(), Adjoint()):
        report.at_most(f"  {way.name}, relative", abs(by_rate(fine, way) / truth - 1), 1e-6)
    apart = abs(by_rate(fine, Checkpoint()) / by_rate(fine, Backprop()) - 1)
    report.at_most("  checkpoint from backprop, relative", apart, 1e-10)


class _Decay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(-50.0, dtype=torch.float64))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.rate * z


def taken_back(report: Report) -> None:
    """Solvers whose steps have an inverse, on a pendulum."""
    length = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    for name, made in REVERSIBLE.items():
        found = []
        for way in (Backprop(), Reversible()):
            z = torch.tensor([[1.0, 0.2]], dtype=torch.float64, requires_grad=True)
            end = integrate(_Pendulum(length), z, at(0.0), at(20.0), made(n_steps=1000), way).z
            found.append(torch.cat([x.flatten() for x in torch.autograd.grad(end.sum(), [z, length])]))
        report.at_most(f"{name}: reversible from backprop", float((found[1] - found[0]).abs().max()), 1e-8)


class _Pendulum:
    """A pendulum, in the forms that solvers of mechanics may ask for."""

    def __init__(self, length: Tensor) -> None:
        self.length = length

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.cat([self.velocity(t, z[:, 1:]), self.force(t, z[:, :1])], dim=1)

    def velocity(self, t: Tensor, p: Tensor) -> Tensor:
        return p

    def force(self, t: Tensor, q: Tensor) -> Tensor:
        return -torch.sin(q) / self.length


# -- memory ------------------------------------------------------------------------------------------------------------


def perceptron(n_state: int, width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_state, width), nn.Tanh(), nn.Linear(width, n_state)).double()


def timeless(net: nn.Module) -> VectorField:
    return lambda t, z: 0.1 * net(z)


def peak(work: Callable[[], Any], has_pages: bool = False) -> tuple[float, float, Any]:
    """Resident set in MB, before and at its peak, of work in a process of its own, and what it gives.

    With `has_pages` every state has pages of its own, so that holes between those that are kept do not count; slow.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def child() -> None:
        gc.collect()
        memory = ctypes.CDLL(None)
        memory.malloc_trim(0)  # or what others have freed would hide what is used now
        if has_pages:
            memory.mallopt(M_MMAP_THRESHOLD, STATE // 2)
        with open("/proc/self/clear_refs", "w") as file:  # the peak begins anew
            file.write("5")
        before = _status("VmRSS")
        answer = work()
        theirs.send((before, _status("VmHWM"), answer))

    process = context.Process(target=child)
    process.start()
    found: tuple[float, float, Any] = ours.recv()
    process.join()
    return found


def _status(key: str) -> float:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) / 1024


def gradient_of(n_steps: int, way: Gradient, solver: Solver | None = None, queries: int = 0) -> Callable[[], float]:
    """One gradient by the weights of a perceptron, of 16 rows."""

    def work() -> float:
        net = perceptron(N_WIDE, 16)
        z = torch.ones(16, N_WIDE, dtype=torch.float64, requires_grad=True)
        start = torch.zeros(16, dtype=torch.float64)
        if queries:
            times = torch.linspace(0.0, 1.0, queries, dtype=torch.float64).expand(16, -1)
            chosen: Solver = RK4(max_step=1.0 / n_steps)
            value = integrate_to(timeless(net), z, start, times, chosen, way).z.sum()
        else:
            value = integrate(timeless(net), z, start, start + 1, solver or RK4(n_steps=n_steps), way).z.sum()
        value.backward()
        return float(sum(p.grad.abs().sum() for p in net.parameters() if p.grad is not None))

    return work


def memory_by_steps(report: Report) -> None:
    """Peak beside the number of steps; what is kept of a step, in states.

    Every way keeps the clock of each step, four numbers a row in a tensor each, which is a fiftieth of a state here.
    """
    report.note(f"{'MB above the start':<24}" + "".join(f"{n:>10,}" for n in N_STEPS) + "  steps")
    for way in (Backprop(), Checkpoint(), Checkpoint(every=10), Binomial(), Adjoint()):
        counts = N_STEPS[:2] if isinstance(way, Backprop | Adjoint) else N_STEPS
        found = [peak(gradient_of(report.count(n) if n > 1000 else n, way), way == Checkpoint()) for n in counts]
        above = [within - before for before, within, _ in found]
        report.note(f"{way!r:<24}" + "".join(f"{x:>10.1f}" for x in above))
        if way == Checkpoint():
            report.at_most("checkpoint: states kept of a step", kept(above), 1.5)
        if way == Binomial():
            report.at_most("binomial: states kept of a step", kept(above), 0.05)
            report.at_most("binomial: peak at 10,000 steps beside that at 100", found[2][1] / found[0][1], 1.2)
    for name, made in REVERSIBLE.items():
        found = [peak(gradient_of(n, Reversible(), made(n_steps=n))) for n in N_STEPS]
        above = [within - before for before, within, _ in found]
        report.note(f"{name + ', reversible':<24}" + "".join(f"{x:>10.1f}" for x in above))
        report.at_most(f"{name}, reversible: states kept of a step", kept(above), 0.05)
        ratio = found[2][1] / found[0][1]
        report.at_most(f"{name}, reversible: peak at 10,000 steps beside that at 100", ratio, 1.2)


def kept(above: list[float]) -> float:
    """States that are kept of a step, by peaks above the start in MB."""
    return (above[2] - above[1]) * 2**20 / (N_STEPS[2] - N_STEPS[1]) / STATE


def memory_by_queries(report: Report) -> None:
    """Peak beside the number of times asked for, in 200 steps; an answer is a state."""
    counts = (100, 500, 1_000)
    report.note(f"{'MB above the start':<24}" + "".join(f"{n:>10,}" for n in counts) + "  queries")
    for way in (Backprop(), Checkpoint(), Binomial()):
        found = [peak(gradient_of(200, way, queries=n)) for n in counts]
        above = [within - before for before, within, _ in found]
        report.note(f"{way!r:<24}" + "".join(f"{x:>10.1f}" for x in above))
        if way == Checkpoint():
            per_query = (above[2] - above[1]) * 2**20 / (counts[2] - counts[1]) / STATE
            report.at_most("checkpoint: bytes a query, in answers (itself, its gradient, its indices)", per_query, 6.0)


def memory_by_iterations(report: Report) -> None:
    """Peak after so many iterations of a training."""

    def work(way: Gradient) -> Callable[[], tuple[float, float]]:
        def train() -> tuple[float, float]:
            net, peaks = perceptron(8, 16), []
            optimiser = torch.optim.Adam(net.parameters())
            z, start = torch.ones(8, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
            for _ in range(200):
                optimiser.zero_grad()
                integrate(timeless(net), z, start, start + 1, RK4(n_steps=5), way).z.square().sum().backward()
                optimiser.step()
                peaks.append(_status("VmHWM"))
            return peaks[19], peaks[199]

        return train

    for way in (Backprop(), Checkpoint(), Binomial(), Adjoint()):
        _, _, (early, late) = peak(work(way))
        report.at_most(f"{way.name}: peak of iteration 200 beside that of 20", late / early, 1.01)


# -- work --------------------------------------------------------------------------------------------------------------


def work_and_precision(report: Report) -> None:
    """Error, CPU and memory of a gradient by so many parameters."""
    report.note(f"{'parameters':>10}  {'way':<12}{'tolerance':>10}{'error':>12}{'CPU s':>9}{'MB':>8}")
    for width in (6, 60, 600, 6000):
        net = perceptron(8, width)
        n = sum(p.numel() for p in net.parameters())
        truth = _gradient(net, Dopri5(rtol=1e-11, atol=1e-13, max_steps=100_000), Backprop())
        for rtol in (1e-5, 1e-8):
            for way in WAYS:
                if way == Forward() and n > 200:  # as many tangents
                    continue
                solver = Dopri5(rtol=rtol, atol=rtol / 100, max_steps=10_000)

                def work(solver: Solver = solver, way: Gradient = way, net: nn.Module = net) -> tuple[Any, float]:
                    began = time.process_time()
                    return _gradient(net, solver, way).numpy(), time.process_time() - began

                before, within, (found, seconds) = peak(work)
                error = float(np.abs(found - truth.numpy()).max() / truth.abs().max())
                report.note(
                    f"{n:>10,}  {way.name:<12}{rtol:>10.0e}{error:>12.1e}{seconds:>9.2f}{within - before:>8.1f}"
                )
                report.at_most(f"{way.name}, {n:,} parameters at {rtol:.0e}: error of the gradient", error, 1e3 * rtol)


def _gradient(net: nn.Module, solver: Solver, way: Gradient) -> Tensor:
    z, start = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(4, 8), torch.zeros(4, dtype=torch.float64)
    end = integrate(timeless(net), z, start, start + 10, solver, way).z
    return torch.cat([x.flatten() for x in torch.autograd.grad(end.square().sum(), list(net.parameters()))])
