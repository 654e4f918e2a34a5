"""Objective of training on whole series, held near the fitted weights, and its minimum without a part of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tsode.core.batch import IrregularBatch
from tsode.core.series import Series, collate
from tsode.errors import DataError
from tsode.influence.left_out import LeftOut
from tsode.models.linear.gaussian import LinearGaussianModel
from tsode.training.series_pieces import pieces_of

__all__ = ["ProximalObjective"]

MOST_STEPS, FEW_STEPS, CHEAP_STEPS, MOST_HALVINGS = 100, 3, 10, 30
SETTLED = 1e-9  # nats that a step still promises
HOLD = 1.0  # weight of half the squared distance from the fitted weights


class Rest(NamedTuple):
    """What is left of training: weights (n) of the series, and what stands in place of one with weight 0."""

    kept: Tensor
    instead: IrregularBatch | None = None


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
        self._series, self._n_events = series, n_events
        pieces = [pieces_of(one, n_events) for one in series]
        self.n, self.hold = len(series), HOLD
        self._owner = torch.tensor([k for k, own in enumerate(pieces) for _ in own], dtype=torch.int64)
        if not len(self._owner):
            raise DataError("No series has two observation times, so none has influenced what was learned.")
        self._own = [_batch(own) for own in pieces]
        self._all = collate([piece for own in pieces for piece in own], torch.float64)

    def place(self, point: Tensor) -> None:
        """Give the module these parameters (p)."""
        vector_to_parameters(point, self._parameters)

    def rest(self, out: LeftOut | None = None) -> Rest:
        """Everything, or what is left without a part."""
        kept = torch.ones(self.n, dtype=torch.float64)
        if out is None:
            return Rest(kept)
        kept[out.k] = 0.0
        instead = out.rest(self._series[out.k])
        return Rest(kept, None if instead is None else _batch(pieces_of(instead, self._n_events)))

    def value(self, point: Tensor, rest: Rest) -> tuple[float, Tensor]:
        """Objective and its gradient (p) at a point (p), of what is left."""
        self.place(point)
        loss = (self.module.loss(self._all) * rest.kept[self._owner]).sum()
        if rest.instead is not None:
            loss = loss + self.module.loss(rest.instead).sum()
        slope = _flat(torch.autograd.grad(loss, self._parameters))
        away = point - self.centre
        return float(loss.detach()) + 0.5 * self.hold * float(away @ away), slope + self.hold * away

    def curvature(self, point: Tensor, batch: IrregularBatch | None) -> Tensor:
        """Second derivatives (p p) of the likelihood of a batch, without what holds weights."""
        if batch is None:
            return torch.zeros(len(point), len(point), dtype=point.dtype)
        self.place(point)
        slope = _flat(torch.autograd.grad(self.module.loss(batch).sum(), self._parameters, create_graph=True))
        rows = torch.autograd.grad(slope, self._parameters, torch.eye(len(slope)).to(slope), is_grads_batched=True)
        return torch.cat([part.flatten(1) for part in rows], dim=1).detach()

    def start(self, asked: Sequence[LeftOut] = ()) -> tuple[Tensor, bool]:
        """The minimum with all series (p), whose curvature is kept, and whether it was reached."""
        self._least, self._is_settled = self.settle(self.centre)
        self._whole = self.curvature(self._least, self._all)
        return self._least, self._is_settled

    def move(self, out: LeftOut, is_warm: bool) -> tuple[Tensor, bool]:
        """Minimum without a part (p): one Newton step to it from that of `start`, or as many as it takes."""
        if is_warm:
            point, is_reached = self.without(out, self._least)
            return point, is_reached and self._is_settled
        rest = self.rest(out)
        own, instead = (self.curvature(self._least, batch) for batch in (self._own[out.k], rest.instead))
        return self._least + self.step(self._least, rest, self._whole - own + instead), self._is_settled

    def settle(self, point: Tensor) -> tuple[Tensor, bool]:
        """Minimum with all series, by Newton steps from a point, and whether it was reached."""
        for _ in range(MOST_STEPS):
            point, is_settled = self.descend(point, self.rest(), self.curvature(point, self._all), FEW_STEPS)
            if is_settled:
                return point, True
        return point, False

    def without(self, out: LeftOut, point: Tensor) -> tuple[Tensor, bool]:
        """Minimum without a part, from a point (p), and whether it was reached."""
        rest = self.rest(out)
        for _ in range(MOST_STEPS):
            # steps cost a fraction of a curvature, which is worked out anew where they come to nothing
            whole = self._whole if point is self._least else self.curvature(point, self._all)
            own, instead = (self.curvature(point, batch) for batch in (self._own[out.k], rest.instead))
            point, is_settled = self.descend(point, rest, whole - own + instead, CHEAP_STEPS)
            if is_settled:
                return point, True
        return point, False

    def step(self, point: Tensor, rest: Rest, curvature: Tensor) -> Tensor:
        """Newton step (p) down from a point (p), given the curvature (p p) of the likelihood there."""
        return -_solve(curvature, self.value(point, rest)[1])

    def descend(self, point: Tensor, rest: Rest, curvature: Tensor, n_steps: int) -> tuple[Tensor, bool]:
        """Go down by steps with one curvature for all of them; tells whether the minimum was reached."""
        value, slope = self.value(point, rest)
        for _ in range(n_steps):
            step = -_solve(curvature, slope)
            promised = -float(slope @ step)
            if promised < SETTLED:
                return point, True
            for halving in range(MOST_HALVINGS):
                tried = point + 0.5**halving * step
                found, its_slope = self.value(tried, rest)
                if found <= value - 1e-4 * 0.5**halving * promised:
                    break
            else:
                return point, False
            point, value, slope = tried, found, its_slope
        return point, -float(slope @ -_solve(curvature, slope)) < SETTLED


def _batch(pieces: Sequence[Series]) -> IrregularBatch | None:
    return collate(pieces, torch.float64) if pieces else None


def _solve(curvature: Tensor, slope: Tensor) -> Tensor:
    """Newton's step, made downhill where the objective bends the other way, by the size of each eigenvalue."""
    values, vectors = torch.linalg.eigh(0.5 * (curvature + curvature.mT))
    return vectors @ ((vectors.mT @ slope) / (values + HOLD).abs().clamp(min=1e-2))


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
