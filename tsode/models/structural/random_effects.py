"""Parameters of each series of its own, drawn towards those of the panel: random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps, PairedSystem, log_likelihood
from tsode.models.structural.evidence import Posterior, normals, posteriors
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.problems import Data, Doubts
from tsode.models.structural.reweighting import judge
from tsode.models.structural.structure import Structure
from tsode.numerics.quasi_newton import minimise

__all__ = ["Effects", "History", "learn_effects", "own_fits"]

N_DRAWS = 8  # of the parameters of a series
LEAST_SD = 0.05  # of a parameter between series, in standard deviations of its prior
TOLERANCE = 1e-7  # nats
POLISHES = 2  # steps of Newton
ROUNDS = 3  # of expectation and maximisation
NUMBERS_AT_ONCE = 2**25
MOST_ROWS = 1000  # of a series, from which its own parameters are learned
SHORT = 32  # rows


class History(NamedTuple):
    """One series in model time and scaled values.

    Parameters
    ----------
    times, values : array[n]
    features : array[n f]
    noise : array[n]
        Variance known of each value.
    """

    times: np.ndarray
    values: np.ndarray
    features: np.ndarray
    noise: np.ndarray

    def last(self, n: int) -> History:
        return History(*(part[-n:] for part in self))


@dataclass(frozen=True, eq=False)
class Effects:
    """Normal law of the parameters ``z`` of a structure between series.

    Parameters
    ----------
    mean, sd : Tensor[p]
    """

    mean: Tensor
    sd: Tensor

    def around(self, u: Tensor) -> Tensor:
        """Parameters (k p) from departures in standard deviations."""
        return self.mean + self.sd * u


def learn_effects(member: Member, histories: Sequence[History], span: float, doubts: Doubts | None = None) -> Effects:
    """Mean and spread of a structure's parameters between series, by expectation and maximisation (Laplace).

    Parameters
    ----------
    member : Member
        Fitted to all series together.
    histories : sequence of History
    span : float
    doubts : Doubts, optional
        About their values.
    """
    structure, data = member.structure, _padded(histories, span)
    data = data if doubts is None else data.with_doubts(doubts)
    effects = Effects(member.z[0], torch.ones_like(member.z[0]))
    start = torch.zeros(len(histories), structure.n_parameters, dtype=torch.float64)
    for _ in range(ROUNDS):
        posterior = _posteriors(structure, data, effects, start)
        mode, variance = effects.around(posterior.mode), (effects.sd * posterior.sd) ** 2
        mean = mode.mean(dim=0)
        spread = (variance + (mode - mean) ** 2).mean(dim=0).sqrt().clamp(LEAST_SD, 1.0)
        effects = Effects(mean, spread)
        start = (mode - mean) / spread
    return effects


def own_fits(fit: ChannelFit, histories: Sequence[History]) -> list[ChannelFit]:
    """Fits of each series by itself, to its last rows, with the panel's law of the parameters as their prior."""
    assert fit.effects is not None
    cut = [history.last(MOST_ROWS) for history in histories]
    members: list[list[Member]] = [[] for _ in histories]
    for alike in _of_like_length(cut):
        data = _padded([cut[k] for k in alike], fit.span)
        if fit.limit is not None:
            data = data.with_doubts(judge(fit.likeliest.structure, fit.likeliest.z[0], data, fit.limit).doubts)
        for member, effects in zip(fit.members, fit.effects):
            structure = member.structure
            start = torch.zeros(len(alike), structure.n_parameters, dtype=torch.float64)
            posterior = _posteriors(structure, data, effects, start)
            numbers = normals(N_DRAWS, structure.n_parameters, torch.Generator().manual_seed(0))
            for place, k in enumerate(alike):
                members[k].append(replace(member, z=effects.around(posterior.draws(place, numbers))))
    return [replace(fit, members=tuple(of_series), effects=None) for of_series in members]


def _of_like_length(histories: Sequence[History]) -> list[list[int]]:
    """Places of series to be padded together: none is more than twice as long as another, or all are short."""
    order = sorted(range(len(histories)), key=lambda k: len(histories[k][0]))
    groups: list[list[int]] = []
    for k in order:
        if not groups or len(histories[k][0]) > max(SHORT, 2 * len(histories[groups[-1][0]][0])):
            groups.append([])
        groups[-1].append(k)
    return groups


def _padded(histories: Sequence[History], span: float) -> Data:
    n = max(len(t) for t, *_ in histories)
    padded = [[np.pad(x, [(0, n - len(x))] + [(0, 0)] * (x.ndim - 1), mode="edge") for x in one] for one in histories]
    times, values, features, noise = (torch.from_numpy(np.stack(part, axis=1)) for part in zip(*padded))
    mask = (torch.arange(n)[:, None] < torch.tensor([len(t) for t, *_ in histories])).double()
    gap = (times / span).diff(dim=0, prepend=times[:1] / span)
    return Data(gap, torch.arange(n), values * mask, mask, noise, torch.zeros_like(noise), features)


def _posteriors(structure: Structure, data: Data, effects: Effects, start: Tensor) -> Posterior:
    """Posterior of the departures of each series, some series at a time."""
    n, b = data.values.shape
    size = max(1, NUMBERS_AT_ONCE // (n * structure.n_states**2))
    modes, curvatures, values = [], [], []
    for part in torch.arange(b).split(size):
        value_of = partial(_evaluate, structure, data, effects, part)
        point, value, _ = minimise(value_of, start[part], tolerance=TOLERANCE)
        found = posteriors(value_of, point, value)
        for _ in range(POLISHES):  # to where rounding alone decides, whatever the path was
            slope = value_of(point, torch.arange(len(part)))[1]
            inner = (found.axes.mT @ slope[..., None]).squeeze(-1) / found.eigenvalues
            move = (found.axes @ inner[..., None]).squeeze(-1)
            point = point - torch.where((move.abs() < 0.1).all(dim=1, keepdim=True), move, 0.0)
        modes.append(point)
        curvatures.append((found.axes * found.eigenvalues[:, None]) @ found.axes.mT)
        values.append(value)
    return Posterior(torch.cat(modes), torch.cat(curvatures), torch.cat(values))


def _evaluate(
    structure: Structure, data: Data, effects: Effects, of: Tensor, u: Tensor, which: Tensor
) -> tuple[Tensor, Tensor]:
    """Negative log posterior of the series ``of[which]`` at departures (k p), and its slopes."""
    rows = of[which]
    point = u.detach().requires_grad_()
    with torch.enable_grad():
        z = effects.around(point)
        parts = structure.parts(z, data.gap[:, rows])
        values = data.values[:, rows] - torch.einsum("nkf,kf->nk", data.features[:, rows], structure.coefficients(z))
        system = PairedSystem(
            PairedSteps(*(part.expand(len(data.gap), len(rows), -1) for part in parts.steps)), data.index,
            torch.diag_embed(parts.start), parts.readout[None], parts.noise[None],
        )  # fmt: skip
        system = Doubts(data.noise[:, rows], data.shift[:, rows]).applied(system, structure.level())
        value = -log_likelihood(system, values, data.mask[:, rows])
        value = torch.where(value.isfinite(), value, torch.inf) + 0.5 * (point * point).sum(dim=1)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), slope
