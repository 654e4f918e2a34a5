"""Smoothing by the kind of a filter: states at stops given all data, and at times before the next stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tsode.assimilation.backward_simulation import Recorder, simulate_back
from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.ensemble_smoothing import smooth_ensembles, smoothed_members
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.ensemble import EnsembleFilter
from tsode.assimilation.filters.gaussian import GaussianFilter
from tsode.assimilation.filters.particle import ParticleFilter, Particles
from tsode.assimilation.gaussian_smoothing import Smoothed, sample_back, smooth, smooth_back
from tsode.assimilation.motion import Draws
from tsode.assimilation.rows import Rows
from tsode.assimilation.run import Passed
from tsode.numerics.semidefinite_root import semidefinite_root

__all__ = ["evenly", "paths_at_stops", "smoothed_at_stops", "smoothed_before"]

_BACK = 12  # purpose of random numbers
N_PATHS = 64  # of a row's particles, back through all stops


def smoothed_at_stops(density: FilteredDensity, rows: Rows, passed: Passed, draws: Draws) -> list[Tensor]:
    """What all data say of the states at stops: mean and covariance (r k ...) of a normal belief, or members (r k m d).

    The members of one row at all its stops are paths.
    """
    filter = density.filter
    if isinstance(filter, GaussianFilter):
        return [torch.stack(parts, dim=1) for parts in zip(*smooth(passed.seen, passed.before))]
    if isinstance(filter, EnsembleFilter):
        return [torch.stack(smooth_ensembles(passed.seen, passed.before), dim=1)]
    assert isinstance(filter, ParticleFilter)
    recorder = Recorder(filter)
    density.with_filter(recorder).passed(rows, draws)
    return [simulate_back(recorder.steps, recorder.marks, N_PATHS, draws)[:, 1:]]  # the first is the start


def evenly(filter: Filter[Any], belief: Any, t: Tensor, draws: Draws) -> Any:
    """The belief by states that weigh the same."""
    if not isinstance(filter, ParticleFilter):
        return belief
    drawn = filter.members(belief, N_PATHS, t, draws)
    places = torch.arange(N_PATHS).expand(drawn.shape[:2])
    return Particles(drawn, torch.full_like(drawn[..., 0], N_PATHS).log().neg(), drawn, places, places, belief.is_due)


def smoothed_before(filter: Filter[Any], known: Any, ahead: Any, later: Sequence[Tensor], is_there: Tensor) -> Any:
    """Beliefs at times before the next stop, or at it, given all data.

    Parameters
    ----------
    filter : Filter
    known : NamedTuple
        There, by the data up to it.
    ahead : NamedTuple
        What that belief is at the next stop.
    later : list of Tensor
        Of `smoothed_at_stops`, at that stop.
    is_there : Tensor[r], bool
        Where the time is that of the stop.
    """
    at = is_there[:, None, None]
    if isinstance(filter, GaussianFilter):
        law = Smoothed(*later)
        found = smooth_back(known, ahead, law)
        mean = torch.where(is_there[:, None], law.mean, found.mean)
        return known._replace(mean=mean, root=semidefinite_root(torch.where(at, law.cov, found.cov)))
    (members,) = later
    if isinstance(filter, EnsembleFilter):
        moved = smoothed_members(known.members, ahead.members, members)
        return known._replace(members=torch.where(at, members, moved))
    # particles between stops by the regression of those that have been carried on, as ensembles are
    moved = smoothed_members(known.particles, ahead.particles, members)
    return known._replace(particles=torch.where(at, members, moved))


def paths_at_stops(density: FilteredDensity, rows: Rows, passed: Passed, draws: Draws) -> Tensor:
    """A joint path (r k d) of each row's states at its stops, given all data."""
    if isinstance(density.filter, GaussianFilter):
        shape = rows.stops.time.shape[1], len(density.system.states)
        return sample_back(passed.seen, passed.before, draws.normal(_BACK, rows.t0, *shape))
    (members,) = smoothed_at_stops(density, rows, passed, draws)
    r, _, m, _ = members.shape
    chosen = (draws.uniform(_BACK, rows.t0, 1)[:, 0] * m).long().clamp(max=m - 1)
    return members[torch.arange(r), :, chosen]
