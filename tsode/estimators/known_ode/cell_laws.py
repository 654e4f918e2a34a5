"""Laws of the cells in which channels were seen, and draws from them."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.estimators.known_ode.laws import laws_of
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise.base import Between
from tsode.likelihoods.base import Likelihood

__all__ = ["drawn_from", "laws_at_cells", "own_times"]

_AT_ONCE = 2**14  # rows of a solve


def laws_at_cells(density: KnownDensity, u: Tensor) -> dict[str, tuple[Likelihood, Tensor]]:
    """Family of each channel, and its parameters (n k r) at the cells that `density.cells` has of the channel.

    Parameters
    ----------
    density : KnownDensity
        Of series that are problems of their own.
    u : Tensor[s k p]
        Draws of each series.
    """
    parts = [_laws(density, part) for part in u.split(max(1, _AT_ONCE // len(u)), dim=1)]
    return {
        channel: (family, torch.cat([part[channel][1] for part in parts], dim=1))
        for channel, (family, _) in parts[0].items()
    }


def drawn_from(family: Likelihood, params: Tensor, generator: torch.Generator) -> Tensor:
    """One value (n k) of each law, of parameters (n k r)."""
    p = torch.rand(params.shape[:2], generator=generator, dtype=torch.float64)
    return family.quantile(params, p.clamp(1e-15, 1.0 - 1e-15))


def own_times(density: KnownDensity, channel: str) -> tuple[Tensor, Tensor]:
    """Times (s m) when a channel was seen, and the place of each of its cells in the row of its series."""
    cells, data = density.cells[channel], density.data
    count = torch.bincount(cells.series, minlength=len(data.ids))
    place = torch.arange(len(cells.series)) - (count.cumsum(dim=0) - count)[cells.series]
    # the last time fills a row up, the start one without any
    times = data.start[:, None].repeat(1, max(1, int(count.max())))
    times[cells.series, place] = data.times[cells.series, cells.column]
    return times.cummax(dim=1).values, place


def _laws(density: KnownDensity, u: Tensor) -> dict[str, tuple[Likelihood, Tensor]]:
    plain = laws_of(density, u, density.data.times)[0]
    found = {}
    for c, (channel, noise) in enumerate(density.system.observed.items()):
        cells = density.cells[channel]
        place, law = cells.column, plain[c]
        if isinstance(noise.of, Between):  # it counts from whatever time is asked for before: from its own alone
            times, place = own_times(density, channel)
            law = laws_of(density, u, times)[0][c]
        found[channel] = (law.family, law.params[cells.series, :, place])
    return found
