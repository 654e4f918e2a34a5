"""Latent SDE by Girsanov's theorem: steps that know no event, and the integral of the squared control as the cost."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.core.status import worst
from tsode.evolutions.stochastic import Guided, SolvedSDE
from tsode.models.latent.base import Draws, Inference, LatentPaths
from tsode.models.latent.sde import LatentSDE
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.euler_maruyama import EulerMaruyama

__all__ = ["GirsanovSDE"]


class GirsanovSDE(LatentSDE):
    """What `LatentSDE` did before its noise was steered, for draws of its own for each row.

    Parameters
    ----------
    like : LatentSDE
        Whose parts it shares.
    step : float
        Of Euler-Maruyama. The guide's pull is to be no faster than its inverse.
    """

    def __init__(self, like: LatentSDE, step: float = 0.125) -> None:
        super().__init__(like.encoder, like.sde, like.guide, like.emission, EulerMaruyama(max_step=step), step)
        self.posterior, self.draws, self.seed = like.posterior, like.draws, like.seed

    def paths(self, inference: Inference, times: Tensor, draws: Draws) -> LatentPaths:
        z, events = inference.state(draws.start), inference.batch.times - inference.start[:, None]
        times, last = times - inference.start[:, None], events[:, -1]
        s, b = z.shape[:2]

        def fold(of_rows: Tensor) -> Tensor:
            return of_rows.expand(s, *of_rows.shape).flatten(0, 1)

        zero, end = fold(torch.zeros_like(last)), fold(last)
        reach = float(torch.maximum(last, times.amax(dim=1)).max()) + 2.0 * self.query_step
        noise = BrownianPath.draw(draws.generator, s * b, self.n_latent, reach, 0.125, depth=3, dtype=z.dtype)
        noise = noise.starting_at(zero)
        guided = SolvedSDE(Guided(self.sde, self._steer(inference, events)), self.solver, noise)
        stops = torch.cat([times.minimum(last[:, None]), last[:, None]], dim=1)
        history = guided.evolve_to(z.flatten(0, 1), zero, fold(stops))
        future = SolvedSDE(self.sde, self.solver, noise).evolve_to(
            history.z[:, -1], end, fold(times.maximum(last[:, None]))
        )
        is_ahead = fold(times > last[:, None])[..., None]
        return LatentPaths(
            torch.where(is_ahead, future.z, history.z[:, :-1]).unflatten(0, (s, b)),
            history.cost[:, -1].unflatten(0, (s, b)),
            worst(history.status, future.status).reshape(s, b).amax(dim=0),
        )

    def _steer(self, inference: Inference, events: Tensor):
        ahead = self.guide.summarise_events(inference)
        rows, lengths = torch.arange(len(events))[:, None], inference.batch.lengths[:, None]

        def steer(t: Tensor, z: Tensor) -> Tensor:
            now, n_samples = t[: len(events), None], len(z) // len(events)
            index = torch.minimum(torch.searchsorted(events, now, right=True), lengths - 1)
            lead = (events.gather(1, index) - now).clamp(min=0).to(z.dtype)
            parts = self.guide.look_ahead(ahead[rows, index][:, 0], lead)
            log_pull, target = self.guide(z, *(part.repeat(n_samples, 1) for part in parts))
            return log_pull.exp() * (target - z)

        return steer
