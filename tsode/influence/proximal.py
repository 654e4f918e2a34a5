"""Objective of training on whole series, held near the fitted weights, and its minimum without one of the series."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tsode.core.series import Series, collate
from tsode.errors import DataError
from tsode.models.linear.gaussian import LinearGaussianModel
from tsode.training.series_pieces import pieces_of

__all__ = ["ProximalObjective"]

MOST_STEPS, CHEAP_STEPS, MOST_HALVINGS = 100, 10, 30
SETTLED = 1e-9  # nats that a step still promises
HOLD = 1.0  # weight of half the squared distance from the fitted weights


class ProximalObjective:
    """Negative log likelihood of all series, in nats, plus half the squared distance from the fitted weights.

    Likelihoods of linear systems have directions along which nothing changes (a rotation of the hidden state), so the
    minimum is made one by what holds the weights where training left them: a standard deviation of 1 each.

    Parameters
    ----------
    module : LinearGaussianModel
        As it was fitted; a copy in double precision is worked on.
    series : sequence of Series
    n_events : int
        Longer series are cut into pieces, as in training.
    """

    def __init__(self, module: LinearGaussianModel, series: Sequence[Series], n_events: int) -> None:
        self.module = copy.deepcopy(module).to("cpu", torch.float64).eval()
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.centre = parameters_to_vector(self._parameters).detach().clone()
        pieces = [pieces_of(one, n_events) for one in series]
        self.n, self.hold = len(series), HOLD
        self._owner = torch.tensor([k for k, own in enumerate(pieces) for _ in own], dtype=torch.int64)
        if not len(self._owner):
            raise DataError("No series has two observation times, so none has influenced what was learned.")
        self._own = [collate(own, torch.float64) if own else None for own in pieces]
        self._all = collate([piece for own in pieces for piece in own], torch.float64)

    def place(self, point: Tensor) -> None:
        """Give the module these parameters (p)."""
        vector_to_parameters(point, self._parameters)

    def value(self, point: Tensor, kept: Tensor) -> tuple[float, Tensor]:
        """Objective and its gradient (p) at a point (p), of series weighted by `kept` (n)."""
        self.place(point)
        loss = (self.module.loss(self._all) * kept[self._owner]).sum()
        slope = _flat(torch.autograd.grad(loss, self._parameters))
        away = point - self.centre
        return float(loss.detach()) + 0.5 * self.hold * float(away @ away), slope + self.hold * away

    def curvature(self, point: Tensor, k: int | None = None) -> Tensor:
        """Second derivatives (p p) of the likelihood of all series, or of series `k`, without what holds weights."""
        batch = self._all if k is None else self._own[k]
        if batch is None:
            return torch.zeros(len(point), len(point), dtype=point.dtype)
        self.place(point)
        slope = _flat(torch.autograd.grad(self.module.loss(batch).sum(), self._parameters, create_graph=True))
        rows = torch.autograd.grad(slope, self._parameters, torch.eye(len(slope)).to(slope), is_grads_batched=True)
        return torch.cat([part.flatten(1) for part in rows], dim=1).detach()

    def start(self) -> tuple[Tensor, bool]:
        """The minimum with all series (p), whose curvature is kept, and whether it was reached."""
        self._least, self._is_settled = self.settle(self.centre)
        self._whole = self.curvature(self._least)
        return self._least, self._is_settled

    def move(self, k: int, is_warm: bool) -> tuple[Tensor, bool]:
        """Minimum without series `k` (p): one Newton step to it from that of `start`, or as many as it takes."""
        if is_warm:
            point, is_reached = self.without(k, self._least)
            return point, is_reached and self._is_settled
        kept = torch.ones(self.n, dtype=torch.float64)
        kept[k] = 0.0
        rest = self._whole - self.curvature(self._least, k)
        return self._least + self.step(self._least, kept, rest), self._is_settled

    def settle(self, point: Tensor) -> tuple[Tensor, bool]:
        """Minimum with all series, by Newton steps from a point, and whether it was reached."""
        kept = torch.ones(self.n, dtype=torch.float64)
        for _ in range(MOST_STEPS):
            point, is_settled = self.descend(point, kept, self.curvature(point), 1)
            if is_settled:
                return point, True
        return point, False

    def without(self, k: int, point: Tensor) -> tuple[Tensor, bool]:
        """Minimum without series `k`, from a point (p), and whether it was reached."""
        kept = torch.ones(self.n, dtype=torch.float64)
        kept[k] = 0.0
        for _ in range(MOST_STEPS):
            # steps cost a fraction of a curvature, which is worked out anew where they come to nothing
            rest = self.curvature(point) - self.curvature(point, k)
            point, is_settled = self.descend(point, kept, rest, CHEAP_STEPS)
            if is_settled:
                return point, True
        return point, False

    def step(self, point: Tensor, kept: Tensor, curvature: Tensor) -> Tensor:
        """Newton step (p) down from a point (p), given the curvature (p p) of the likelihood there."""
        return -_solve(curvature, self.value(point, kept)[1])

    def descend(self, point: Tensor, kept: Tensor, curvature: Tensor, n_steps: int) -> tuple[Tensor, bool]:
        """Go down by steps with one curvature for all of them; tells whether the minimum was reached."""
        value, slope = self.value(point, kept)
        for _ in range(n_steps):
            step = -_solve(curvature, slope)
            promised = -float(slope @ step)
            if promised < SETTLED:
                return point, True
            for halving in range(MOST_HALVINGS):
                tried = point + 0.5**halving * step
                found, its_slope = self.value(tried, kept)
                if found <= value - 1e-4 * 0.5**halving * promised:
                    break
            else:
                return point, False
            point, value, slope = tried, found, its_slope
        return point, -float(slope @ -_solve(curvature, slope)) < SETTLED


def _solve(curvature: Tensor, slope: Tensor) -> Tensor:
    """Newton's step, made downhill where the objective bends the other way, by the size of each eigenvalue."""
    values, vectors = torch.linalg.eigh(0.5 * (curvature + curvature.mT))
    return vectors @ ((vectors.mT @ slope) / (values + HOLD).abs().clamp(min=1e-2))


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
