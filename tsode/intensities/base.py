"""Conditional intensity of marked events: the base class, and what a member promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsode._registry import lookup
from tsode.core.events import StreamBatch

__all__ = ["UNTIL", "FutureIntensity", "Intensity", "IntensityTrace", "Watched"]

UNTIL = {"window": True, "last_event": False}  # where a log-likelihood ends: whether the last silence counts


@dataclass(frozen=True)
class FutureIntensity:
    """Intensity and compensator at times after a state, as long as nothing happens.

    Parameters
    ----------
    rates : Tensor[b m k]
        Intensity of each mark at each time ahead (the left limit).
    compensator : Tensor[b m]
        Integral of the total intensity from the state's time up to each.
    """

    rates: Tensor
    compensator: Tensor

    @property
    def total(self) -> Tensor:
        """Tensor[b m]: intensity of an event of any mark."""
        return self.rates.sum(dim=-1)


class Watched(NamedTuple):
    """Events, and what of them is in a log-likelihood.

    Parameters
    ----------
    batch : StreamBatch
    is_scored : Tensor[b n], bool
        The events whose intensity is.
    is_counted : Tensor[b n+1], bool
        Those of `StreamBatch.gaps` over which the integral is.
    """

    batch: StreamBatch
    is_scored: Tensor
    is_counted: Tensor


@dataclass(frozen=True)
class IntensityTrace:
    """One pass over the events of a batch.

    Parameters
    ----------
    batch : StreamBatch
    log_rate : Tensor[b n]
        Log intensity of each event's own mark just before it; 0 in the padding.
    increments : Tensor[b n+1]
        Compensator over each of `StreamBatch.gaps`: under the true model those that end in an event are independent
        and exponential with mean 1 (time rescaling; Brown et al. 2002).
    """

    batch: StreamBatch
    log_rate: Tensor
    increments: Tensor

    def log_likelihood(self, n_given: Tensor | int = 0, until: str = "window") -> Tensor:
        """Log-likelihood of each stream, ``sum log lambda_mark(t_i) - integral of sum_k lambda_k``.

        Daley & Vere-Jones 2003, proposition 7.3.III.

        Parameters
        ----------
        n_given : int or Tensor[b], int64
            Number of first events that are given: their intensities and the integral up to the last of them are left
            out. A window that was opened by an event wants 1. Of a stream with fewer events nothing is left.
        until : {"window", "last_event"}
            Where the integral ends: at the end of the window, so that silence after the last event counts, or at the
            last event.

        Returns
        -------
        Tensor[b]
        """
        _, is_scored, is_counted = self.watched(n_given, until)
        before = (self.log_rate - self.increments[:, :-1]) * is_scored
        return before.sum(dim=1) - self.increments[:, -1] * is_counted[:, -1]

    def watched(self, n_given: Tensor | int = 0, until: str = "window") -> Watched:
        """The events and gaps that are in `log_likelihood`."""
        is_tail_counted = lookup(UNTIL, until, "end of a log-likelihood")
        is_scored = self.is_scored(n_given)
        tail = (self.batch.lengths >= n_given) & is_tail_counted
        return Watched(self.batch, is_scored, torch.cat([is_scored, tail[:, None]], dim=1))

    def is_scored(self, n_given: Tensor | int = 0) -> Tensor:
        """Tensor[b n], bool: the events whose intensity is in the log-likelihood."""
        events = torch.arange(self.batch.n_events, device=self.log_rate.device)
        given = torch.as_tensor(n_given, device=events.device).reshape(-1, 1)
        return (events >= given) & self.batch.is_event


class Intensity(nn.Module, ABC):
    """Family of conditional intensities of marked events.

    The history of events up to a time is encoded in a state (b d). A member promises: streams do not see each other; an
    intensity ahead depends on the state and on its own time only.

    Parameters
    ----------
    n_marks : int

    Attributes
    ----------
    is_exact : bool
        Whether the compensator is a closed form.
    is_finite_memory : bool
        Whether events of long ago may be left out: a long stream is then cut into segments to train on.
    settled : frozenset of str
        Names of the parameters that `settle` finds; by default there are none.
    """

    is_exact: bool = True
    is_finite_memory: bool = False
    settled: frozenset[str] = frozenset()

    def __init__(self, n_marks: int) -> None:
        super().__init__()
        self.n_marks = n_marks

    @abstractmethod
    def start(self, n_streams: int) -> Tensor:
        """State (b d) at the start of a window, before any event."""

    @abstractmethod
    def jump(self, z: Tensor, wait: Tensor, marks: Tensor) -> Tensor:
        """State just after an event of `marks` (b,) that comes `wait` (b,), float64, after the time of ``z`` (b d)."""

    @abstractmethod
    def extrapolate(self, z: Tensor, waits: Tensor) -> FutureIntensity:
        """Intensity and compensator `waits` (b m), float64, not negative, after the time of ``z`` (b d)."""

    def rates(self, z: Tensor, waits: Tensor) -> Tensor:
        """The rates (b m k) of `extrapolate` alone, for a member to which the compensator is dear."""
        return self.extrapolate(z, waits).rates

    @abstractmethod
    def upper_bound(self, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Bound (b,) of the total intensity between `low` and `high` (b,) after the time of ``z``, for thinning."""

    def initialise(self, batch: StreamBatch) -> None:
        """Set parameters to a first guess from training streams; by default they stay."""

    def reorder_marks(self, order: Tensor) -> None:
        """Give mark ``order[i]`` the initial weights of mark ``i``; nothing to do where marks begin alike."""

    def settle(self, watched: Sequence[Watched]) -> None:
        """Set the parameters named in `settled` to the most likely ones, given the others: a search is for those."""

    def guesses(self) -> list[dict[str, Tensor]]:
        """First guesses to climb from, as states of this module: one, unless the likelihood has several hills."""
        return [{name: part.clone() for name, part in self.state_dict().items()}]

    def natural(self, unit: float) -> dict[str, Tensor]:
        """Parameters as the field writes them, by name, with `unit` of model time as the unit of time.

        Shape (), (k,) of a mark each, or (k, k): row = mark concerned, column = mark of the event that concerns it.
        """
        return dict(self.named_parameters())

    def states(self, batch: StreamBatch) -> Tensor:
        """States (b n+1 d) at the start and just after each event; what stands after padding is not used."""
        z = self.start(batch.n_streams)
        states = [z]
        for wait, marks in zip(batch.gaps[:, :-1].unbind(1), batch.marks.unbind(1)):
            z = self.jump(z, wait, marks)
            states.append(z)
        return torch.stack(states, dim=1)

    def encode_history(self, batch: StreamBatch) -> Tensor:
        """State (b d) just after the last event of each stream: all that is needed to go on from there."""
        states = self.states(batch)
        return states[torch.arange(batch.n_streams, device=states.device), batch.lengths]

    def trace(self, batch: StreamBatch) -> IntensityTrace:
        """Pass over all events once; the only loop is over the events of a stream.

        The intensity of an event is that from the events strictly before it: those of one time do not excite each
        other, whatever their order, and between them no time passes.
        """
        states, gaps = self.states(batch), batch.gaps
        # without the padding: streams are seldom of one length, and it is the extrapolation that costs
        rows, columns = batch.is_gap.nonzero(as_tuple=True)
        earlier = batch.n_earlier[rows, columns]
        is_end = columns == batch.n_events
        future = self.extrapolate(states[rows, earlier], gaps[rows, earlier.where(~is_end, columns), None])
        grown = future.compensator[:, 0].where(is_end | (earlier == columns), 0.0)
        marks = nn.functional.pad(batch.marks, (0, 1))[rows, columns, None]
        log_rates = future.rates[:, 0].gather(1, marks)[:, 0].log()
        nothing = log_rates.new_zeros(gaps.shape)
        log_rate, increments = (nothing.index_put((rows, columns), part) for part in (log_rates, grown))
        return IntensityTrace(batch, log_rate[:, :-1], increments)
