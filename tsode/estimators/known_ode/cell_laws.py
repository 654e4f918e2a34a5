"""Laws of the cells in which channels were seen, and draws from them."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.estimators.known_ode.laws import laws_by_draws, laws_of
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise.base import Between
from tsode.inference.paired_cells import given_partners, links_of
from tsode.likelihoods.base import Likelihood

__all__ = ["drawn_at_cells", "laws_at_cells", "laws_given_others", "own_times"]

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
    return _laws_and_draws(density, u)[0]


def laws_given_others(density: KnownDensity, u: Tensor) -> dict[str, tuple[Likelihood, Tensor]]:
    """As `laws_at_cells`, given the values that the errors of cells are correlated with."""
    laws, draws = _laws_and_draws(density, u)
    if not density.pairs:
        return laws
    params = {channel: of.transpose(0, 1) for channel, (_, of) in laws.items()}
    pairs, observed = density.of_values().pairs, density.system.observed
    given = given_partners(pairs, density.cells, observed, params, density.space.unpack(draws).values)
    return {channel: (family, given[channel].transpose(0, 1)) for channel, (family, _) in laws.items()}


def drawn_at_cells(density: KnownDensity, u: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """One value (n k) of each channel's cells by each draw, with noise that is correlated where it is to be.

    Parameters
    ----------
    density, u
        As in `laws_at_cells`.
    generator : torch.Generator
    """
    laws, draws = _laws_and_draws(density, u)
    values = density.space.unpack(draws).values
    links = links_of(
        density.pairs, density.cells, u.shape[1], lambda pair: values[pair.parameter][pair.series, :, 0].mT
    )
    widths = [len(params) for _, params in laws.values()]
    levels = [torch.rand(n, u.shape[1], generator=generator, dtype=torch.float64) for n in widths]
    together = links.correlated(torch.cat(levels).clamp(1e-15, 1.0 - 1e-15).T).T.split(widths)
    return {channel: family.quantile(params, p) for (channel, (family, params)), p in zip(laws.items(), together)}


def _laws_and_draws(density: KnownDensity, u: Tensor) -> tuple[dict[str, tuple[Likelihood, Tensor]], Tensor]:
    """Laws at cells, and the draws (s k p) that they are by."""
    parts = [_laws(density, part) for part in u.split(max(1, _AT_ONCE // len(u)), dim=1)]
    laws = {
        channel: (family, torch.cat([part[channel][1] for part, _ in parts], dim=1))
        for channel, (family, _) in parts[0][0].items()
    }
    return laws, torch.cat([draws for _, draws in parts], dim=1)


def own_times(density: KnownDensity, channel: str) -> tuple[Tensor, Tensor]:
    """Times (s m) when a channel was seen, and the place of each of its cells in the row of its series."""
    cells, data = density.cells[channel], density.data
    count = torch.bincount(cells.series, minlength=len(data.ids))
    place = torch.arange(len(cells.series)) - (count.cumsum(dim=0) - count)[cells.series]
    # the last time fills a row up, the start one without any
    times = data.start[:, None].repeat(1, max(1, int(count.max())))
    times[cells.series, place] = data.times[cells.series, cells.column]
    return times.cummax(dim=1).values, place


def _laws(density: KnownDensity, u: Tensor) -> tuple[dict[str, tuple[Likelihood, Tensor]], Tensor]:
    plain, _, draws = laws_by_draws(density, u, density.data.times)
    found = {}
    for c, (channel, noise) in enumerate(density.system.observed.items()):
        cells = density.cells[channel]
        place, law = cells.column, plain[c]
        if isinstance(noise.of, Between):  # it counts from whatever time is asked for before: from its own alone
            times, place = own_times(density, channel)
            law = laws_of(density, u, times)[0][c]
        found[channel] = (law.family, law.params[cells.series, :, place])
    return found, draws
