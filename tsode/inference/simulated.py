"""Data simulated from the prior of a known system: parameters, solves, and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsode.errors import SolverError
from tsode.inference.correlated_errors import correlated_columns
from tsode.inference.known_density import KnownDensity
from tsode.inference.observations import Observations

__all__ = ["Draw", "Simulated", "draw_from_laws", "simulate", "without_values"]

_MOST_ROUNDS = 20


class Simulated(NamedTuple):
    """Data sets of the prior.

    Parameters
    ----------
    u : Tensor[g b p]
        True coordinates of each.
    values : Tensor[g b s m c]
    n_failed : int
        Draws that no data set came of, since a solve failed or noise could not be about it; others stand for them.
    """

    u: Tensor
    values: Tensor
    n_failed: int


def without_values(data: Observations) -> Observations:
    """The same series at the same times, of which nothing was seen."""
    return replace(data, values=torch.full_like(data.values, torch.nan))


def draw_from_laws(density: KnownDensity, u: Tensor, generator: torch.Generator) -> Tensor:
    """Values (g b s m c) with noise, NaN where there is no law."""
    laws = list(density.predictive(u, density.data.times).values())
    p = torch.rand(*laws[0].is_fine.shape, len(laws), generator=generator, dtype=torch.float64)
    given = [law.given and law.given._replace(rho=law.given.rho[..., None]) for law in laws]
    p = correlated_columns(p.clamp(1e-15, 1.0 - 1e-15), given)
    drawn = torch.stack([law.family.quantile(law.params, p[..., c]) for c, law in enumerate(laws)], dim=-1)
    return torch.where(torch.stack([law.is_fine for law in laws], dim=-1), drawn, torch.nan)


Draw = Callable[[Any, Tensor, torch.Generator], Tensor]
"""Values (g b s m c) of a density at points (g b p)."""


def simulate(
    density: Any, n: int, generator: torch.Generator, must_succeed: bool = True, draw: Draw = draw_from_laws
) -> Simulated:
    """Data sets at the times of a density, ``n`` of each problem, of draws of the prior for which there are any.

    Its data are `without_values`. The draws are those of the prior that inference goes by, for which what has no solve
    has no probability.

    Raises
    ------
    SolverError
        If too few draws give any, unless fewer do.
    """
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(density.n_problems)]
    n_failed = 0
    for _ in range(_MOST_ROUNDS):
        wanted = n - min(map(len, found))
        if not wanted:
            break
        u = density.sample_prior(wanted, generator)
        with torch.no_grad():
            drawn = draw(density, u, generator)
        is_fine = drawn.isfinite().flatten(2).all(dim=2)
        for g, own in enumerate(found):
            for b in range(wanted):
                if len(own) < n:
                    n_failed += not bool(is_fine[g, b])
                    if bool(is_fine[g, b]):
                        own.append((u[g, b], drawn[g, b]))
    least = min(map(len, found))
    if least < n and (must_succeed or not least):
        raise SolverError(
            f"{n_failed} draws of the prior gave {least} data sets, since for all others a solve failed or noise could "
            "not be about it: look at failures(), and narrow the priors."
        )
    return Simulated(
        torch.stack([torch.stack([x for x, _ in own[:least]]) for own in found]),
        torch.stack([torch.stack([x for _, x in own[:least]]) for own in found]),
        n_failed,
    )
