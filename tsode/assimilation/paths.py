"""Paths with noise from a belief on, through events that are known ahead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.motion import Draws
from tsode.assimilation.rows import Rows
from tsode.assimilation.run import n_steps
from tsode.numerics.semidefinite_root import semidefinite_root

__all__ = ["PathsAhead"]

_PATH = 11  # purpose of random numbers


@dataclass(frozen=True, eq=False)
class PathsAhead:
    """Joint paths of the states of rows, from a stop on.

    Noise is that of whole intervals, between times that are asked for and events that set or multiply a state; what is
    added within an interval is carried along without noise of its own. So paths under other doses have the same noise
    in the same places, and where the equation is linear their difference has none.

    Parameters
    ----------
    rows : Rows
    step : Tensor[r], float64
        Longest interval, of a motion that is not linear.
    draws : Draws
    """

    rows: Rows
    step: Tensor
    draws: Draws

    def states(self, z: Tensor, place: Tensor, clock: Tensor, times: Tensor) -> Tensor:
        """States (r m q d) at increasing ``times`` (r q), of paths that are at ``z`` (r m d) at the times `clock` (r,).

        Parameters
        ----------
        place : Tensor[r], int64
            Of the first stop that is still to come.
        """
        found = []
        hard = self._hard()
        for end in times.unbind(1):
            while True:
                ahead = torch.arange(hard.shape[1]) >= place[:, None]
                until = torch.minimum(torch.where(ahead, hard, torch.inf).amin(dim=1), end)
                z, place = self._noisy(z, place, clock, until)
                clock, meets = until, until < end
                if not bool(meets.any()):
                    break
                z, place = self._changed(z, place, meets)
            found.append(z)
        return torch.stack(found, dim=2)

    def _hard(self) -> Tensor:
        """Times (r k+1) of stops that set or multiply a state; infinite elsewhere."""
        stops = self.rows.stops
        parts = [
            torch.full_like(self.step, torch.inf)
            if change is None
            else torch.where((change.factor != 1.0).any(dim=1), stops.time[:, k], torch.inf)
            for k, change in enumerate(stops.changes)
        ]
        return torch.stack([*parts, torch.full_like(self.step, torch.inf)], dim=1)

    def _noisy(self, z: Tensor, place: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """States after intervals with noise from `begin` to `end` (r,)."""
        motion, gap = self.rows.motion, end - begin
        if motion.is_linear:
            cov = motion.transition(begin, z[:, 0], gap).cov
            z, place = self._quiet(z, place, begin, end)
            normal = self.draws.normal(_PATH, begin, z.shape[1], z.shape[2])
            return z + normal @ semidefinite_root(cov).mT, place
        count = n_steps(gap, self.step)
        for i in range(int(count.max()) if len(count) else 0):
            first = torch.minimum(begin + i * self.step, end)
            last = torch.where(count > i + 1, begin + (i + 1) * self.step, end)
            middle = 0.5 * (first + last)
            z, place = self._quiet(z, place, first, middle)
            root = motion.to(last, None).diffusion(middle, z) * (last - first).to(z).sqrt()[:, None, None, None]
            normal = self.draws.normal(_PATH, first, z.shape[1], motion.n_noise)
            z, place = self._quiet(z + (root @ normal[..., None]).squeeze(-1), place, middle, last)
        return z, place

    def _quiet(self, z: Tensor, place: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """States after the drift alone from `begin` to `end` (r,), and what is added before the end."""
        times = torch.nn.functional.pad(self.rows.stops.time, (0, 1), value=torch.inf)
        while True:
            here = times.gather(1, place[:, None])[:, 0]
            meets = here < end
            until = torch.where(meets, torch.maximum(here, begin), end)
            z = self.rows.motion.to(until, self._inputs(place)).moved(begin, z, until - begin)
            begin = until
            if not bool(meets.any()):
                return z, place
            z, place = self._changed(z, place, meets)

    def _changed(self, z: Tensor, place: Tensor, meets: Tensor) -> tuple[Tensor, Tensor]:
        """States after the stops at `place`, in rows that meet them."""
        for k in place[meets].unique().tolist():
            change = self.rows.stops.changes[k]
            if change is not None:
                is_here = (meets & (place == k))[:, None, None]
                z = torch.where(is_here, change.factor[:, None] * z + change.shift[:, None], z)
        return z, place + meets.long()

    def _inputs(self, place: Tensor) -> Tensor | None:
        """What goes into the states (r d) per unit of time on the way to the stops at `place` (r,)."""
        inputs = self.rows.stops.inputs
        if inputs[0] is None:
            return None
        stacked = torch.stack([one for one in inputs if one is not None], dim=1)
        return stacked[torch.arange(len(place)), place]
