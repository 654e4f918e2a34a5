"""Smoother of structural models: what any part of the sum was, given all that was seen, earlier and later."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.kernels.paired_filter import Belief, PairedSteps, PairedSystem, Update, filter_rows

__all__ = ["PairedSmoother"]


@dataclass(frozen=True)
class PairedSmoother:
    """The two passes over the rows of some problems; made by `of`.

    Modified Bryson-Frazier form (Bierman 1973): nothing is inverted, so that no start and no noise is a special case.

    Attributes
    ----------
    after : Belief
        After each row: (n b m), (n b m m).
    later : (Tensor[n+1 b m], Tensor[n+1 b m m])
        What each row and all after it say of the state just before it, zeros at the end.
    """

    system: PairedSystem
    after: Belief
    later: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, system: PairedSystem, values: Tensor, mask: Tensor) -> PairedSmoother:
        n, (b, m) = len(values), system.start.shape[:2]
        passed = list(filter_rows(system, values, mask, keeps=True))
        readouts = system.readout.expand(n, b, m)
        vector, matrix = torch.zeros_like(system.start[:, 0]), torch.zeros_like(system.start)
        vectors, matrices = [vector], [matrix]
        for k in range(n - 1, -1, -1):
            vector, matrix = _before_row(vector, matrix, readouts[k], mask[k], passed[k][2])
            vectors.append(vector)
            matrices.append(matrix)
            if k:
                vector, matrix = pull_back(PairedSteps(*(x[system.which[k]] for x in system.steps)), vector, matrix)
        after = Belief(torch.stack([p[1].mean for p in passed]), torch.stack([p[1].cov for p in passed]))
        return cls(system, after, (torch.stack(vectors[::-1]), torch.stack(matrices[::-1])))

    def states(self, row: Tensor, since: PairedSteps, until: PairedSteps) -> Belief:
        """Mean (q b m) and covariance (q b m m) of the states at times between rows.

        Parameters
        ----------
        row : Tensor[q], int64
            Rows behind each time; none stands for the start.
        since, until : PairedSteps
            From the row before, and on to the row after (q b ...).
        """
        mean = torch.cat([torch.zeros_like(self.after.mean[:1]), self.after.mean])[row]
        cov = torch.cat([self.system.start[None], self.after.cov])[row]
        mean, cov = carry(since, mean, cov)
        vector, matrix = pull_back(until, self.later[0][row], self.later[1][row])
        cov_matrix = cov @ matrix
        return Belief(mean + (cov @ vector[..., None]).squeeze(-1), cov - cov_matrix @ cov)


def _before_row(r: Tensor, curve: Tensor, h: Tensor, seen: Tensor, update: Update) -> tuple[Tensor, Tensor]:
    """Evidence before a row from that after it: ``r <- h v / F + L' r``, ``N <- h h' / F + L' N L``, L = 1 - K h'."""
    inverse = seen / update.variance
    gain = update.cross * inverse[:, None]
    kept = (gain * r).sum(dim=-1)
    r = torch.addcmul(r, (update.error * inverse - kept)[:, None], h)
    left = curve - (curve @ gain[..., None]) * h[:, None]  # one side after the other: right however much is left
    other_side = inverse[:, None] * h - (gain[:, None] @ left).squeeze(1)
    return r, left + h[..., None] * other_side[:, None]


def carry(steps: PairedSteps, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Beliefs (... m), (... m m) after steps (... m)."""
    own, other, variance, covariance = steps
    half = own[..., None] * cov + other[..., None] * _swapped(cov, -2)
    cov = own[..., None, :] * half + other[..., None, :] * _swapped(half, -1)
    cov = cov + torch.diag_embed(variance)
    cov[..., 0::2, 1::2].diagonal(dim1=-2, dim2=-1).add_(covariance)
    cov[..., 1::2, 0::2].diagonal(dim1=-2, dim2=-1).add_(covariance)
    return own * mean + other * _swapped(mean, -1), cov


def pull_back(steps: PairedSteps, vector: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """``A' r`` and ``A' N A``."""
    own, other = steps[:2]
    back = _swapped(other, -1)  # of the transpose
    half = own[..., None] * matrix + back[..., None] * _swapped(matrix, -2)
    matrix = own[..., None, :] * half + back[..., None, :] * _swapped(half, -1)
    return own * vector + back * _swapped(vector, -1), matrix


def _swapped(x: Tensor, dim: int) -> Tensor:
    """Partners for each other along an axis."""
    dim = dim % x.ndim
    return x.unflatten(dim, (-1, 2)).flip(dim + 1).flatten(dim, dim + 1)
