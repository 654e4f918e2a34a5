"""Hawkes process: events that excite further events, with an exponential kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsode.core.events import StreamBatch
from tsode.intensities.base import FutureIntensity, Intensity, Watched
from tsode.intensities.poisson import event_rates
from tsode.numerics.mixture_shares import mixture_shares

__all__ = ["HawkesExponential"]


class HawkesExponential(Intensity):
    """Hawkes process: ``lambda_k(t) = mu_k + sum_{t_i < t} alpha_{k m_i} exp(-beta (t - t_i))``.

    Hawkes 1971, with the recursion of Ozaki 1979 (eq. 10): the state is the excitation of each mark, which decays at
    one rate and jumps by a column of ``alpha``, so a stream of n events takes n steps and the compensator is closed.

    Parameters
    ----------
    n_marks : int

    Attributes
    ----------
    log_mu : Parameter[k]
        Log of the baselines.
    log_alpha : Parameter[k k]
        Log of ``alpha``: row = mark excited, column = mark of the event that excites.
    log_beta : Parameter[]
        Log of the rate of decay.
    """

    settled = frozenset({"log_mu", "log_alpha"})

    def __init__(self, n_marks: int) -> None:
        super().__init__(n_marks)
        self.log_mu = nn.Parameter(torch.full((n_marks,), -0.5))
        self.log_alpha = nn.Parameter(torch.full((n_marks, n_marks), 0.5 / n_marks).log())
        self.log_beta = nn.Parameter(torch.zeros(()))

    def start(self, n_streams: int) -> Tensor:
        return self.log_mu.new_zeros(n_streams, self.n_marks)

    def jump(self, z: Tensor, wait: Tensor, marks: Tensor) -> Tensor:
        return z * (-self.log_beta.exp() * wait.to(z.dtype))[:, None].exp() + self.log_alpha.exp().t()[marks]

    def states(self, batch: StreamBatch) -> Tensor:
        return self._left_over(batch, self.log_alpha.exp().t()[batch.marks] * batch.is_event[..., None])

    def _left_over(self, batch: StreamBatch, left: Tensor) -> Tensor:
        """What is left of what each event of a batch leaves (b n k), at the start and just after each event."""
        # the recursion by doubling: after log2(n) rounds each state holds what all events before it have left
        beta, times = self.log_beta.exp(), batch.times
        reach = 1
        while reach < batch.n_events:
            faded = (-beta * (times[:, reach:] - times[:, :-reach]).to(beta.dtype)).exp()
            left = left + nn.functional.pad(left[:, :-reach] * faded[..., None], (0, 0, reach, 0))
            reach *= 2
        return nn.functional.pad(left, (0, 0, 1, 0))

    def extrapolate(self, z: Tensor, waits: Tensor) -> FutureIntensity:
        mu, beta, waits = self.log_mu.exp(), self.log_beta.exp(), waits.to(z.dtype)
        rates = mu + z[:, None] * (-beta * waits)[..., None].exp()
        spent = self._spent(waits)
        return FutureIntensity(rates, mu.sum() * waits + z.sum(dim=-1, keepdim=True) * spent)

    def _spent(self, waits: Tensor) -> Tensor:
        """Integral of the kernel, of height 1, over `waits`."""
        beta = self.log_beta.exp()
        return -torch.expm1(-beta * waits) / beta

    def upper_bound(self, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return self.extrapolate(z, low[:, None]).total[:, 0]

    def natural(self, unit: float) -> dict[str, Tensor]:
        return {name: getattr(self, f"log_{name}").exp() * unit for name in ("mu", "alpha", "beta")}

    @torch.no_grad()
    def initialise(self, batch: StreamBatch) -> None:
        rates = event_rates(batch, self.n_marks)
        self.log_mu.copy_((0.5 * rates).log())
        self.log_beta.copy_(rates.sum().log())
        # half of the events excited (a branching ratio of 1/2), shared out by how frequent a mark is
        self.log_alpha.copy_((0.5 * rates).log()[:, None].expand(-1, self.n_marks))

    @torch.no_grad()
    def settle(self, watched: Sequence[Watched]) -> None:
        # Rates are linear in mu and alpha: those of one mark share out its events among their causes. Of each cause
        # (the baseline, an event of each mark) `reads` is the rate at an event, and `grown` the integral, for a
        # parameter of 1.
        rate, reads, marks = -self.log_beta.exp(), [], []
        time, grown = torch.zeros_like(rate), torch.zeros_like(self.log_mu)
        for batch, is_scored, is_counted in watched:
            excited = self._left_over(batch, batch.one_hot(self.n_marks, rate.dtype))
            counted = is_counted * self._spent(batch.gaps.to(rate.dtype))
            time, grown = time + (is_counted * batch.gaps).sum(), grown + (counted[..., None] * excited).sum(dim=(0, 1))
            rows, columns = is_scored.nonzero(as_tuple=True)
            earlier = batch.n_earlier[rows, columns]
            since = batch.gaps[rows, earlier].to(rate.dtype)
            reads.append(excited[rows, earlier] * (rate * since).exp()[:, None])
            marks.append(batch.marks[rows, columns])
        causes = torch.cat([torch.ones_like(torch.cat(marks))[:, None], torch.cat(reads)], dim=1)
        totals = torch.cat([time[None].clamp(min=1e-12), grown])
        used = totals > 0.0  # of the others nothing is known: they stay
        for mark in range(self.n_marks):
            own = causes[torch.cat(marks) == mark][:, used] / totals[used]
            found = torch.cat([self.log_mu[mark, None], self.log_alpha[mark]])
            found[used] = (mixture_shares(own) * max(len(own), 1) / totals[used]).log()
            self.log_mu[mark], self.log_alpha[mark] = found[0], found[1:]

    def guesses(self) -> list[dict[str, Tensor]]:
        # bursts much shorter or longer than the gaps are hills of their own; the branching ratio is that of the first
        shifts = [math.log(factor) for factor in (1.0, 0.1, 10.0, 100.0)]
        return [
            {"log_mu": self.log_mu.detach(), **{n: getattr(self, n).detach() + s for n in ("log_alpha", "log_beta")}}
            for s in shifts
        ]
