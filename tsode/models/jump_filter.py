"""Jump filter: a state flows between observations, jumps at them, and flows on into the future."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.path import Path
from tsode.core.status import worst
from tsode.evolution import Evolution
from tsode.jumps.base import JumpMap, Observation
from tsode.likelihoods.base import Likelihood
from tsode.models.base import ForecastModel
from tsode.models.fused import evolve_to, kernel_for
from tsode.models.residual_process import ResidualProcess
from tsode.models.spread import SpreadCurve
from tsode.readouts import Readout

__all__ = ["Filtered", "JumpFilter"]


@dataclass(frozen=True)
class Filtered:
    """Everything one pass over a batch of histories gives.

    Parameters
    ----------
    batch : IrregularBatch
        The events that were run over: those at which something was seen.
    path : Path
    last : Tensor[b n+1 c]
        ``last[:, k]`` is the value last seen before event ``k``.
    seen : Tensor[b n+1 c], the values' dtype
        1 where there was one.
    """

    batch: IrregularBatch
    path: Path
    last: Tensor
    seen: Tensor

    @cached_property
    def events(self) -> Tensor:
        """Index of each event in the flattened batch (b n), padding left out: Tensor[q]."""
        ragged = getattr(self.path, "ragged", None)
        return self.batch.is_event.flatten().nonzero()[:, 0] if ragged is None else ragged.events


class JumpFilter(ForecastModel):
    """Composition of an evolution, a jump, a readout and a likelihood.

    The forecast is the same flow and the same readout run on past the last observation: there is no separate decoder.

    Parameters
    ----------
    evolution : Evolution
        How the state moves between events.
    jump : JumpMap
        How it changes at an observation.
    readout : Readout
        From the state to the parameters of `likelihood`.
    likelihood : Likelihood

    Attributes
    ----------
    use_fused : bool
        Whether a fused kernel runs the events when there is one for these parts (`tsode.models.fused`). It agrees with
        the plain loop up to rounding; set it to False for double backward.
    """

    use_fused: bool = True

    def __init__(self, evolution: Evolution, jump: JumpMap, readout: Readout, likelihood: Likelihood) -> None:
        super().__init__()
        self.evolution = evolution
        self.jump = jump
        self.readout = readout
        self.likelihood = likelihood
        self.n_channels = readout.n_channels
        self.z_start = nn.Parameter(torch.zeros(evolution.n_state))
        self.residuals = ResidualProcess(readout.n_channels)
        self.spread = SpreadCurve(readout.n_channels)  # set on validation data after training

    def filter(self, batch: IrregularBatch) -> Filtered:
        """Run over the events of a batch, each row by its own clock; events that saw nothing are left out."""
        batch = batch.compact()
        last, seen = batch.last_seen()
        seen = seen.to(batch.values.dtype)
        run = (kernel_for(self) if self.use_fused else None) or JumpFilter._loop
        return Filtered(batch, run(self, batch, last, seen), last, seen)

    def _loop(self, batch: IrregularBatch, last: Tensor, seen: Tensor) -> Path:
        """The plain loop: any parts, ordinary autograd. The fused kernels are tested against it."""
        mask = batch.mask.to(batch.values.dtype)
        z = self.z_start.expand(batch.n_series, -1)
        start, status = z, torch.zeros_like(batch.lengths)
        before, after = [], []
        for k in range(batch.n_events):
            evolved = self.evolution.evolve(z, batch.times[:, max(k - 1, 0)], batch.times[:, k])
            status = worst(status, evolved.status)
            predicted = self.readout.location(evolved.z, last[:, k], seen[:, k])[..., None]
            if self.jump.needs_scale:
                lead = (batch.times[:, k] - batch.times[:, max(k - 1, 0)]).to(z.dtype)
                predicted = self._read(evolved.z, lead, last[:, k], seen[:, k])[..., :2]
            z = self.jump(evolved.z, Observation(batch.values[:, k], mask[:, k], predicted))
            before.append(evolved.z)
            after.append(z)
        empty = start[:, None][:, :0]
        z_minus = torch.stack(before, dim=1) if before else empty
        z_plus = torch.stack(after, dim=1) if after else empty
        return Path(batch.times, start, z_minus, z_plus, status)

    def _read(self, z: Tensor, lead: Tensor, last: Tensor, seen: Tensor, location: Tensor | None = None) -> Tensor:
        """Parameters of the likelihood: Tensor[... c p]; a known `location` is taken over."""
        if location is None:
            location = self.readout.location(z, last, seen)
        spread = self.readout.spread(z, lead, last, seen)
        return self.likelihood.compose(location, spread[..., 0], spread[..., 1:])

    def one_step(self, filtered: Filtered) -> Tensor:
        """Parameters predicted for each of ``filtered.events`` from all before it: Tensor[q c p]."""
        path, events = filtered.path, filtered.events
        lead = path.times.diff(dim=1, prepend=path.times[:, :1]).flatten()[events]
        last, seen = (t[:, :-1].flatten(0, 1).index_select(0, events) for t in (filtered.last, filtered.seen))
        return self._read(path.before(events), lead.to(last.dtype), last, seen, path.predicted)

    def ahead(self, filtered: Filtered, query_times: Tensor, with_last: bool | Tensor = True) -> tuple[Tensor, Tensor]:
        """Parameters at times after (or, where the evolution runs backward, before) the last event, in one pass.

        Parameters
        ----------
        filtered : Filtered
        query_times : Tensor[b m], float64
        with_last : bool or Tensor[b m]
            Whether the readout is told the last values; a backcast is not.

        Returns
        -------
        params : Tensor[b m c p]
        status : Tensor[b]
        """
        path, z = filtered.path, filtered.path.z_end
        t = query_times[:, 0]
        if path.times.shape[1]:
            t = torch.where(filtered.batch.lengths > 0, path.times[:, -1], t)
            # a row that has seen nothing: the start state holds at any time
            query_times = torch.where(filtered.batch.lengths[:, None] > 0, query_times, t[:, None])
        if self.use_fused:
            evolved = evolve_to(self.evolution, z, t, query_times)
        else:
            evolved = self.evolution.evolve_to(z, t, query_times)
        lead = (query_times - t[:, None]).to(z.dtype)
        shape = (-1, query_times.shape[1], -1)
        last, seen = filtered.last[:, -1:].expand(*shape), filtered.seen[:, -1:].expand(*shape)
        if with_last is not True:
            told = torch.as_tensor(with_last, dtype=last.dtype, device=last.device).expand(query_times.shape)
            last, seen = last * told[..., None], seen * told[..., None]
        return self._read(evolved.z, lead, last, seen), worst(path.status, evolved.status)

    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        forecast, _ = self._forecast(batch, query_times, side)
        return forecast

    def _forecast(self, batch: IrregularBatch, query_times: Tensor, side: str) -> tuple[Forecast, Tensor]:
        """The forecast, and how many events stand behind each query."""
        filtered = self.filter(batch)
        path = filtered.path
        lengths = filtered.batch.lengths[:, None]
        index = torch.minimum(path.index_before(query_times, side), lengths)
        if bool(((index == lengths) & (index > 0)).all()):
            # all queries after all events: one flow a series serves them
            params, status = self.ahead(filtered, query_times)
        else:
            z, t = path.start_for(index)
            t = torch.where(index > 0, t, query_times)  # nothing seen yet: the start state holds at any time
            b, m, d = z.shape
            flat = self.evolution.evolve_to(z.reshape(b * m, d), t.reshape(-1), query_times.reshape(-1, 1))
            pick = index[..., None].expand(-1, -1, self.n_channels)
            last, seen = filtered.last.gather(1, pick), filtered.seen.gather(1, pick)
            params = self._read(flat.z.reshape(b, m, d), (query_times - t).to(z.dtype), last, seen)
            status = worst(path.status, flat.status.reshape(b, m).amax(dim=1))
        params = self.likelihood.rescale(params, self.spread(filtered.batch.since_last(query_times, side)).to(params))
        return Forecast(query_times, params, self.likelihood, status), index

    def sample(self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw joint paths: the forecast's own marginals, tied together by the fitted `ResidualProcess`."""
        order = query_times.argsort(dim=1)
        ordered = query_times.gather(1, order)
        forecast, segment = self._forecast(batch, ordered, "left")
        scores = self.residuals.normal_scores(forecast, segment, n_samples, generator)
        p = torch.special.ndtr(scores.double()).clamp(1e-12, 1.0 - 1e-12)
        paths = self.likelihood.quantile(forecast.params.double(), p).to(forecast.params)
        back = order.argsort(dim=1)[None, ..., None].expand_as(paths)
        return paths.gather(2, back)
