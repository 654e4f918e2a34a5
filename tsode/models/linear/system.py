"""Linear system seen through noise, and beliefs over its state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tsode.core.batch import IrregularBatch
from tsode.errors import DataError
from tsode.evolutions.linear_sde import Transition, discretise
from tsode.jumps.gaussian import Conditioned, condition
from tsode.models.held_rates import held_rates

__all__ = ["Beliefs", "FilteredBeliefs", "LinearSystem", "with_rates"]


@dataclass(frozen=True)
class LinearSystem:
    """``dx = (A x + b) dt + L dW``, seen as ``y = H x + d + E k(t) + r * noise``, with covariates ``k``.

    An input ``u`` moves ``x`` to ``x + P u``; at a rate ``u`` that is held it adds ``P u`` to ``dx/dt``.

    Parameters
    ----------
    drift : Tensor[d d]
        A.
    offset : Tensor[d]
        b.
    diffusion : Tensor[d k]
        L.
    readout : Tensor[c d]
        H.
    readout_offset : Tensor[c]
        d.
    noise : Tensor[c]
        r, standard deviations.
    initial_mean : Tensor[d]
    initial_cov : Tensor[d d]
        Belief at a series' first event, before anything is seen; at time 0 for a series without events.
    is_stationary : bool
        Whether the initial belief is the stationary one, and so holds at any time before the first event as well.
        If not, the state stands still before the first event.
    input_map : Tensor[d e] or None
        P; None without inputs.
    effect : Tensor[c f] or None
        E; None without covariates.
    initial_time : float or None
        When the initial belief holds, no later than any event; None: at a series' first event.
    n_rates : int
        Inputs, the last ones, that are changes of a rate which is held until the next.
    """

    drift: Tensor
    offset: Tensor
    diffusion: Tensor
    readout: Tensor
    readout_offset: Tensor
    noise: Tensor
    initial_mean: Tensor
    initial_cov: Tensor
    is_stationary: bool
    input_map: Tensor | None = None
    effect: Tensor | None = None
    initial_time: float | None = None
    n_rates: int = 0

    def covariate_mean(self, batch: IrregularBatch, times: Tensor) -> Tensor | float:
        """Part of the observations at `times` (b m) that covariates explain: Tensor[b m c], or 0."""
        if self.effect is None or batch.covariates is None:
            return 0.0
        return batch.covariates.at(times).to(self.effect) @ self.effect.mT

    def residual_batch(self, batch: IrregularBatch) -> IrregularBatch:
        """The batch less what covariates explain, and with an empty event at its start where it has none there.

        Values whose squares would overflow count as the largest that do not.
        """
        batch = _with_start(batch, self.initial_time)
        largest = 1e-3 * torch.finfo(self.drift.dtype).max ** 0.5
        batch = batch.replace(values=batch.values.to(self.drift).clamp(-largest, largest))
        if self.effect is None or batch.covariates is None:
            return batch
        return batch.replace(values=batch.values - self.covariate_mean(batch, batch.times))

    def input_jumps(self, batch: IrregularBatch) -> Tensor | None:
        """What the inputs of a batch add to the state at each event: Tensor[b n d], or None."""
        if self.input_map is None or batch.inputs is None:
            return None
        n = self.input_map.shape[1] - self.n_rates
        return batch.inputs[..., :n].to(self.input_map) @ self.input_map[:, :n].mT

    def rates(self, batch: IrregularBatch) -> Tensor | None:
        """Rates that are held after ``0, 1, ..., n`` events of a batch: Tensor[b n+1 r], or None."""
        if not self.n_rates or batch.inputs is None:
            return None
        return held_rates(batch, batch.inputs.shape[2] - self.n_rates).rates.to(self.drift)

    def transitions(self, gaps: Tensor, rates: Tensor | None = None) -> Transition:
        """Exact transitions over `gaps` (...), at held `rates` (... r)."""
        if rates is None:
            return discretise(self.drift, self.offset, self.diffusion, gaps)
        # the rates are carried along as states that stand still (Van Loan 1978, theorem 1)
        r = self.n_rates
        offset, diffusion = functional.pad(self.offset, (0, r)), functional.pad(self.diffusion, (0, 0, 0, r))
        return with_rates(discretise(self._with_inputs(), offset, diffusion, gaps), rates)

    def _with_inputs(self) -> Tensor:
        """Drift (... d+r d+r) of the states with the rates at which something flows into them."""
        assert self.input_map is not None
        flows_in = self.input_map[:, -self.n_rates :].expand(*self.drift.shape[:-1], -1)
        return functional.pad(torch.cat([self.drift, flows_in], dim=-1), (0, 0, 0, self.n_rates))

    def condition(self, mean: Tensor, cov: Tensor, values: Tensor, mask: Tensor) -> Conditioned:
        """Belief(s) after seeing `values` (... c) where `mask`."""
        error = values.to(mean.dtype) - self.observed_mean(mean)
        return condition(mean, cov, error, mask, self.readout, self.noise**2)

    def observed_mean(self, x: Tensor) -> Tensor:
        """Noise-free observation of states: (... d) -> (... c)."""
        return x @ self.readout.mT + self.readout_offset

    def variation(self, gaps: Tensor) -> Tensor:
        """Quadratic variation (b m c) of the noise-free observation over `gaps` (b m)."""
        rates = (self.readout @ self.diffusion).square().sum(dim=-1)
        return gaps[..., None].to(rates) * rates

    def observed_variance(self, cov: Tensor) -> Tensor:
        """Variance of each channel's observation, noise included: (... d d) -> (... c)."""
        return ((self.readout @ cov) * self.readout).sum(-1) + self.noise**2


@dataclass(frozen=True)
class Beliefs:
    """Gaussian beliefs over the state at several times of each row.

    Parameters
    ----------
    times : Tensor[b m], float64
    mean : Tensor[b m d]
    cov : Tensor[b m d d]
    """

    times: Tensor
    mean: Tensor
    cov: Tensor


@dataclass(frozen=True)
class FilteredBeliefs:
    """Beliefs of one pass over a batch of histories.

    Parameters
    ----------
    predicted : Beliefs
        At each event, from all events before it (b n ...).
    updated : Beliefs
        At each event, from all events up to it (b n ...).
    log_likelihood : Tensor[b]
        Log density of all seen values of the series, in nats.
    status : Tensor[b], int64
        `Status.NON_FINITE` where a belief overflowed or a predictive covariance was not positive definite.
    log_densities : Tensor[b n]
        Of what was seen at each event, given all before it.
    """

    predicted: Beliefs
    updated: Beliefs
    log_likelihood: Tensor
    status: Tensor
    log_densities: Tensor


def with_rates(whole: Transition, rates: Tensor) -> Transition:
    """Transition of the states alone, from that of the states and the rates behind them."""
    d = whole.phi.shape[-1] - rates.shape[-1]
    flowed_in = (whole.phi[..., :d, d:] @ rates[..., None]).squeeze(-1)
    return Transition(whole.phi[..., :d, :d], whole.shift[..., :d] + flowed_in, whole.cov[..., :d, :d])


def _with_start(batch: IrregularBatch, initial_time: float | None) -> IrregularBatch:
    """The batch with an empty event at the initial time; where there is none, at time 0 if it has no event at all."""
    if initial_time is None:
        return batch if batch.n_events else batch.after_empty_event(0.0).replace(lengths=batch.lengths)
    if bool((batch.times < initial_time).any()):
        raise DataError("A series was observed before the initial time: give an earlier initial_time=, or later rows.")
    return batch.after_empty_event(initial_time)
