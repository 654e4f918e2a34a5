"""Long memory of the orthogonal flow: the adding problem with irregular gaps, and the copy task.

The state rotates between events and jumps by what a small gated network makes of each, ``z_plus = z_minus + g(x)``.
Since the flow is linear and runs backward without loss, all states of a series come at once: jumps are carried back to
the start, summed up, and carried on to where they are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks.structural_parts.report import Report
from tsode.evolutions.orthogonal import OrthogonalFlow

__all__ = ["run"]

Sample = Callable[[int, torch.Generator], tuple[Tensor, Tensor, Tensor]]

LENGTH, BLANKS, N_SYMBOLS, N_COPIED = 2000, 200, 8, 10
N_ADDING_STEPS, N_COPY_STEPS, N_ROWS, N_TEST = 1200, 500, 32, 500


class Remembering(nn.Module):
    """Jumps of a network, rotation between them, and a readout of the state (b m d) at all events.

    Parameters
    ----------
    n_inputs, n_outputs, n_modes : int
    openness : float
        Logit of the gate of a jump at the start: where few of many events matter it begins nearly closed.
    frequencies : (float, float)
        At the start, in radians per unit of time.
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, n_modes: int, openness: float, frequencies: tuple[float, float]
    ) -> None:
        super().__init__()
        self.flow = OrthogonalFlow(n_modes, frequencies=frequencies)
        n_state = self.flow.n_state
        self.value = nn.Sequential(nn.Linear(n_inputs, 32), nn.SiLU(), nn.Linear(32, n_state))
        self.gate = nn.Linear(n_inputs, n_state)
        nn.init.constant_(self.gate.bias, openness)
        self.readout = nn.Sequential(nn.Linear(n_state, 128), nn.SiLU(), nn.Linear(128, n_outputs))

    def jump(self, x: Tensor) -> Tensor:
        return self.gate(x).sigmoid() * self.value(x)

    def states(self, times: Tensor, x: Tensor) -> Tensor:
        """States right after each event (b n d): ``times`` (b n) from 0, ``x`` (b n k)."""
        jumps, flat = self.jump(x), times.flatten()
        zero = torch.zeros_like(flat)
        at_start = self.flow.evolve(jumps.flatten(0, 1), flat, zero).z.view_as(jumps).cumsum(dim=1)
        return self.flow.evolve(at_start.flatten(0, 1), zero, flat).z.view_as(jumps)

    def last_state(self, times: Tensor, x: Tensor) -> Tensor:
        """State after the last event (b d), as of `states`."""
        jumps = self.jump(x)
        end = times[:, -1:].expand_as(times)
        return self.flow.evolve(jumps.flatten(0, 1), times.flatten(), end.flatten()).z.view_as(jumps).sum(dim=1)


Loss = Callable[[Remembering, Tensor, Tensor, Tensor], Tensor]


def adding(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Times (n LENGTH) at irregular gaps over about one unit, values with marks, and the sum of the two marked."""
    gaps = torch.empty(n, LENGTH, dtype=torch.float64).exponential_(generator=generator) / LENGTH
    values, marks = torch.rand(n, LENGTH, generator=generator), torch.zeros(n, LENGTH)
    half = LENGTH // 2
    for first in (0, half):
        marks[torch.arange(n), first + torch.randint(half, (n,), generator=generator)] = 1.0
    return gaps.cumsum(dim=1), torch.stack([values, marks], dim=2), (values * marks).sum(dim=1)


def copying(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Times (n m) over one unit, one-hot inputs (n m 10) and classes (n m).

    Symbols, blanks, a sign to start; and the symbols again.
    """
    symbols = torch.randint(N_SYMBOLS, (n, N_COPIED), generator=generator)
    m, blank, sign = BLANKS + 2 * N_COPIED, N_SYMBOLS, N_SYMBOLS + 1
    shown, wanted = torch.full((n, m), blank), torch.full((n, m), blank)
    shown[:, :N_COPIED], shown[:, m - N_COPIED - 1], wanted[:, m - N_COPIED :] = symbols, sign, symbols
    times = (torch.arange(m, dtype=torch.float64) / m).expand(n, -1)
    return times, functional.one_hot(shown, N_SYMBOLS + 2).float(), wanted


def run(report: Report) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = Remembering(2, 1, n_modes=8, openness=-math.log(LENGTH), frequencies=(0.1, 10.0))
    error = train(report, model, adding, adding_loss, report.count(N_ADDING_STEPS), generator)
    report.at_most(f"adding problem, length {LENGTH:,}, irregular gaps: MSE", error, 1e-3)
    model = Remembering(N_SYMBOLS + 2, N_SYMBOLS + 2, n_modes=64, openness=4.0, frequencies=(10.0, 700.0))
    error = train(report, model, copying, copying_loss, report.count(N_COPY_STEPS), generator)
    memoryless = N_COPIED * math.log(N_SYMBOLS) / (BLANKS + 2 * N_COPIED)
    report.at_most(f"copy task, T = {BLANKS}: cross-entropy, the bar being that without memory", error, memoryless)


def adding_loss(model: Remembering, times: Tensor, x: Tensor, target: Tensor) -> Tensor:
    return (model.readout(model.last_state(times, x))[:, 0] - target).square().mean()


def copying_loss(model: Remembering, times: Tensor, x: Tensor, wanted: Tensor) -> Tensor:
    return functional.cross_entropy(model.readout(model.states(times, x)).flatten(0, 1), wanted.flatten())


def train(
    report: Report, model: Remembering, sample: Sample, loss: Loss, n_steps: int, generator: torch.Generator
) -> float:
    """Loss on new series after training on series that are never seen twice."""
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=n_steps)
    for step in range(n_steps):
        optimiser.zero_grad()
        value = loss(model, *sample(N_ROWS, generator))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % (n_steps // 10 or 1) == 0:
            report.note(f"step {step}: {value.item():.5f}")
    with torch.no_grad():
        parts = [loss(model, *sample(N_ROWS, generator)).item() for _ in range(N_TEST // N_ROWS)]
    return sum(parts) / len(parts)
