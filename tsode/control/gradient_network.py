"""Gradient by a network: the deep BSDE method, around the slope of the terminal value."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from tsode._random import OwnDraws
from tsode.control.backward_problem import BackwardProblem, Gradient
from tsode.control.forward_sde import Paths
from tsode.training.adamw import AdamW

__all__ = ["NetworkGradient", "fit_network"]

N_PILOT = 4096  # paths that scales are taken from
N_ROUNDS = 10  # of the first value, without noise
FLOOR = 1e-6  # of the largest spread of the states
FASTER = 3.0  # than the network: the value at the start, in its own scale


class NetworkGradient(nn.Module, Gradient):
    """``Z(t, x) = a(t) grad g(x) diffusion(t, x) + network(t, x)``, and ``Y`` from a value at the start on.

    The first part is right at the end and has the right shape before where a value is spread out evenly; without it a
    network in 100 dimensions sees noise alone for long. One network has all times, by their inputs.

    Parameters
    ----------
    problem : BackwardProblem
    n_hidden : int
        Units of each of two layers.
    pilot : Paths
        From which scales are taken, and the value that learning begins with.
    """

    def __init__(self, problem: BackwardProblem, n_hidden: int, pilot: Paths) -> None:
        super().__init__()
        self.problem = problem
        n, _, d = pilot.x.shape
        k = pilot.dw.shape[2]
        widths = (d + 1, n_hidden, n_hidden, k)
        first, second, last = (nn.Linear(i, o, dtype=torch.float64) for i, o in pairwise(widths))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)
        self.share = nn.Parameter(torch.ones(n - 1, 1, 1, dtype=torch.float64))
        end = problem.terminal(pilot.x[-1]).detach()
        self.scale = float(end.std().clamp(min=1e-12))
        spread = pilot.x.std(dim=1, keepdim=True)[:-1]
        self.middle, self.spread = pilot.x.mean(dim=1, keepdim=True)[:-1], spread.clamp(min=FLOOR * float(spread.max()))
        span = problem.times - problem.times[0]
        self.clock = (2.0 * span / span[-1] - 1.0)[:-1, None, None]
        self.z_scale = self.scale / math.sqrt(float(span[-1]) * k)
        self.y0 = nn.Parameter(self._first_value(pilot, end))
        self.history: list[dict[str, Any]] = []

    @property
    def value(self) -> float:  # type: ignore[override]
        return float(self.y0.detach())

    @torch.no_grad()
    def _first_value(self, pilot: Paths, end: Tensor) -> Tensor:
        """Value without noise: what the mean of the end becomes by the driver at ``Z = 0``."""
        first, still = end.mean(), torch.zeros_like(pilot.dw[0])
        for _ in range(N_ROUNDS):
            y, total = first.expand(len(end)), torch.zeros_like(end)
            for i, h in enumerate(pilot.t.diff()):
                change = h * self.problem.driver(i, pilot.x[i], y, still)
                y, total = y - change, total + change
            following = (end + total).mean()
            if not bool(following.isfinite()):
                break
            first = following
        return first.clone()

    def along(self, paths: Paths) -> tuple[Tensor, Tensor]:
        y, z = self.walk(paths)
        return y[:-1], z

    def walk(self, paths: Paths) -> tuple[Tensor, Tensor]:
        """``Y`` (n+1 b) from the start to the end of paths, and ``Z`` (n b k)."""
        x = paths.x[:-1]
        inputs = torch.cat([(x - self.middle) / self.spread, self.clock.expand(*x.shape[:2], 1)], dim=2)
        z = self.z_scale * self.network(inputs) + self.share * self.problem.terminal_slope(x)
        moved = (z * paths.dw).sum(dim=2)
        y = [self.y0.expand(x.shape[1])]
        for i, h in enumerate(paths.t.diff()):
            y.append(y[-1] - h * self.problem.driver(i, x[i], y[-1], z[i]) + moved[i])
        return torch.stack(y), z


def fit_network(
    problem: BackwardProblem, generator: torch.Generator, *, n_hidden: int, n_iterations: int, batch_size: int,
    learning_rate: float, verbose: int = 0,
) -> NetworkGradient:  # fmt: skip
    """Learn a gradient by the squared distance from what ``Y`` is at the end to the terminal value.

    The step falls along a cosine to zero. The error of steps of time is of the first order, and larger than that of
    a regression where the driver is a square of ``Z``. Learning stops where the loss is no longer finite.

    References
    ----------
    Han, Jentzen and E 2018, *Solving high-dimensional partial differential equations using deep learning*, PNAS
    115:8505, eq. 5 to 8.
    """
    with OwnDraws(generator):
        gradient = NetworkGradient(problem, n_hidden, problem.paths(N_PILOT, generator))
    inner = [p for name, p in gradient.named_parameters() if name != "y0"]
    of_rest, of_value = AdamW(inner, weight_decay=0.0), AdamW([gradient.y0], weight_decay=0.0)
    for k in tqdm(range(n_iterations), disable=not verbose, desc="backward", unit="step"):
        paths = problem.paths(batch_size, generator)
        y, _ = gradient.walk(paths)
        loss = ((problem.terminal(paths.x[-1]) - y[-1]) / gradient.scale).square().mean()
        gradient.history.append({"iteration": k, "loss": loss.detach(), "value": gradient.y0.detach().clone()})
        if not bool(loss.isfinite()):
            break
        of_rest.zero_grad()
        of_value.zero_grad()
        loss.backward()
        rate = 0.5 * learning_rate * (1.0 + math.cos(math.pi * k / n_iterations))
        of_rest.step(rate)
        of_value.step(FASTER * gradient.scale * rate)
    for row in gradient.history:
        row |= {"loss": float(row["loss"]), "value": float(row["value"])}
    return gradient
