"""Laws of the observed cells given the effects of their series, and data sets that a population would give."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import SolverError
from tsode.inference.paired_cells import Links
from tsode.inference.population.subjects import Subjects

__all__ = ["LawsGivenEffects", "laws_given_effects", "simulate_population"]

AT_ONCE = 2**14  # series of a solve
ROUNDS = 20  # of draws anew where a solve fails


class LawsGivenEffects(NamedTuple):
    """Laws of the cells of each channel.

    Parameters
    ----------
    params : dict of str to Tensor[b k r]
        Of the family of the channel's noise.
    is_fine : Tensor[b n], bool
        Series that have them; elsewhere they mean nothing.
    links : Links
        Cells whose errors are correlated; each law is of a cell by itself.
    """

    params: dict[str, Tensor]
    is_fine: Tensor
    links: Links


def laws_given_effects(subjects: Subjects, theta: Tensor, eta: Tensor) -> LawsGivenEffects:
    """Laws at shared coordinates (g b p) and effects (g b s q)."""
    joint = subjects.joint
    point = joint.space.unpack(subjects.points(theta, eta))
    way = joint.solve(point.values, joint.data.times, joint.data.side)
    found = joint.judge(point, way)
    is_fine = (way.status == Status.OK) & point.is_fine.T.repeat_interleave(joint.space.n_series, dim=1)
    for channel, cells in joint.cells.items():
        n_bad = torch.zeros(is_fine.shape, dtype=torch.int64)
        is_fine = is_fine & (n_bad.index_add(1, cells.series, found.is_bad[channel].long()) == 0)
    return LawsGivenEffects(found.laws, is_fine, subjects.links(point.values))


@torch.no_grad()
def simulate_population(
    subjects: Subjects, theta: Tensor, n: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], int]:
    """Data sets (n k) of each channel with the design of the observed ones, and how many series were drawn anew.

    Every data set has effects of its own, and noise in every cell; limits of quantification are not applied. A series
    whose solve fails gets other effects.

    Parameters
    ----------
    subjects : Subjects
        Each a problem of its own.
    theta : Tensor[p]
        Shared coordinates.
    n : int
    generator : torch.Generator

    Raises
    ------
    SolverError
        If a series fails whatever its effects; it is named.
    """
    g, _, q = subjects.shape
    observed = subjects.joint.system.observed
    parts: dict[str, list[Tensor]] = {channel: [] for channel in observed}
    n_again = 0
    for size in torch.arange(n).split(max(1, AT_ONCE // g)):
        b = len(size)
        at = theta.expand(g, b, -1)
        eta = torch.randn(g, b, 1, q, generator=generator, dtype=torch.float64)
        for _ in range(ROUNDS):
            laws = laws_given_effects(subjects, at, eta)
            is_bad = ~laws.is_fine.T
            if not bool(is_bad.any()):
                break
            n_again += int(is_bad.sum())
            eta[is_bad] = torch.randn(int(is_bad.sum()), 1, q, generator=generator, dtype=torch.float64)
        else:
            lost = subjects.joint.data.ids[int(is_bad.sum(dim=1).argmax())]
            raise SolverError(
                f"No data can be simulated of series {lost!r}: its solve fails with {ROUNDS} draws of its effects. "
                "Look at the spreads (omega) and at the equations far from typical parameters."
            )
        widths = [params.shape[1] for params in laws.params.values()]
        levels = [torch.rand(b, k, generator=generator, dtype=torch.float64).clamp(1e-15, 1.0 - 1e-15) for k in widths]
        together = laws.links.correlated(torch.cat(levels, dim=1)).split(widths, dim=1)
        for (channel, params), level in zip(laws.params.items(), together):
            parts[channel].append(observed[channel].family.quantile(params, level))
    return {channel: torch.cat(drawn) for channel, drawn in parts.items()}, n_again
