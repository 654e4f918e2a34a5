"""Rows of a filter: the series of some data at some sets of parameters, with all that a filter is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.known_motion import KnownMotion
from tsode.assimilation.motion import Motion, Seen, Start
from tsode.assimilation.stops import Stops
from tsode.assimilation.system import StochasticSystem
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.noise.base import Noise
from tsode.inference.noise.log_normal import LogNormalNoise
from tsode.inference.observations import Observations
from tsode.inference.parameters import Parameters

__all__ = ["Rows"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Series ``n`` of data at ``b`` points of parameters: rows ``r = b n``, the series of the first point first.

    Parameters
    ----------
    system : StochasticSystem
    data : Observations
    values : mapping of str to Tensor[r]
        Parameters.
    series : Tensor[r], int64
    motion : KnownMotion
        Without inputs.
    stops : Stops
    in_logs : set of str
        Channels of log-normal noise that filters see on the scale of logarithms.
    """

    system: StochasticSystem
    data: Observations
    values: Mapping[str, Tensor]
    series: Tensor
    motion: KnownMotion
    stops: Stops
    in_logs: frozenset[str] = frozenset()

    @property
    def t0(self) -> Tensor:
        """When each row begins."""
        return self.data.start[self.series]

    def motion_to(self, k: int) -> Motion:
        """The motion on the way to stop ``k``; after the last one, without end."""
        times = self.stops.time
        until = times[:, k] if k < times.shape[1] else torch.full_like(self.t0, torch.inf)
        return self.motion.to(until, self.stops.inputs[k])

    def start(self) -> Start:
        """What is known before any data."""
        t0 = self.t0
        p = Parameters(self.values).beside(self.motion.along(t0))
        mean = self.system.start(p, self.series, t0)
        sd, uncertain = torch.zeros_like(mean), dict(self.system.uncertain)
        for name, prior in uncertain.items():
            place = self.system.place_of(name, "initial=")
            mean = mean.index_fill(1, torch.tensor([place]), prior.moments[0])
            sd[:, place] = prior.moments[1]

        def quantile(levels: Tensor) -> Tensor:
            drawn = mean[:, None].expand(levels.shape).clone()
            for name, prior in uncertain.items():
                place = self.system.place_of(name, "initial=")
                drawn[..., place] = torch.from_numpy(prior.quantile(levels[..., place].numpy()))
            return drawn

        return Start(mean, sd, quantile)

    def seen_at(self, k: int) -> Sequence[Seen | None]:
        """What is seen at stop ``k``, by channel."""
        row = self.stops.row[:, k]
        values = self.data.values[self.series, row.clamp(min=0)].double()
        is_seen = (row >= 0)[:, None] & ~values.isnan()
        t = self.stops.time[:, k]
        return [
            self.seen(c, t, values[:, c], is_seen[:, c]) if bool(is_seen[:, c].any()) else None
            for c in range(len(self.system.observed))
        ]

    def seen(self, c: int, t: Tensor, value: Tensor, is_seen: Tensor) -> Seen:
        """Values (r,) of a channel at times (r,)."""
        channel, noise = list(self.system.observed.items())[c]
        is_log = channel in self.in_logs
        filler = value[is_seen][0] if bool(is_seen.any()) else torch.ones((), dtype=torch.float64)
        value = torch.where(is_seen, value, filler)
        is_below, is_above = noise.is_below(value), noise.is_above(value)

        def log_prob(s: Tensor) -> Tensor:
            params, is_possible = self.law(noise, t, s.exp() if is_log else s)
            score = noise.log_prob(params.transpose(0, 1), value, is_below & ~is_above, is_above).mT
            return torch.where(is_possible, score, -torch.inf)

        def predict(z: Tensor) -> Tensor:
            s = self.predict(noise, t, z)
            return s.log() if is_log else s

        normal = variance = offset = None
        if isinstance(noise, AdditiveNoise) or (isinstance(noise, LogNormalNoise) and is_log):
            normal = torch.where(is_below | is_above, torch.nan, value.log() if is_log else value)
            variance = self._number(noise.sd, t).square()
            offset = -value.log() if is_log else None
        place = None
        if isinstance(noise.of, str):
            place = torch.zeros(len(t), len(self.system.states), dtype=torch.float64)
            place[:, self.system.place_of(noise.of, "observed=")] = 1.0
        return Seen(is_seen, predict, log_prob, normal, variance, offset, place)

    def predict(self, noise: Noise, t: Tensor, z: Tensor) -> Tensor:
        """What noise is about (r m), at times (r,) and states (r m d)."""
        when, p = self.motion.parameters(t, z.shape[1])
        return self.system.predict(noise, when, z.flatten(0, 1), p, None, None).reshape(z.shape[:2])

    def law(self, noise: Noise, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (r m q) of the noise's family at predictions (r m), and where there are any."""
        tolerance = torch.full_like(s, torch.finfo(s.dtype).tiny)
        is_possible = noise.is_possible(s.detach(), tolerance)
        held = noise.held(torch.where(is_possible, s, 1.0), tolerance)
        own = {number: self._number(given, t)[:, None].expand_as(held) for number, given in noise.settings().items()}
        return noise.params(held, own), is_possible

    def _number(self, given: str | float, t: Tensor) -> Tensor:
        if not isinstance(given, str):
            return torch.full_like(t, float(given))
        return self.motion.parameters(t, 1)[1][given]
