"""Dosing by parameters: lag, bioavailability, rate and duration of what is given to a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.errors import ParameterError

__all__ = ["Dosing", "merge_events", "no_events", "place_doses", "repeat_rows", "split_resets"]


@dataclass(frozen=True)
class Dosing:
    """How what is given to one state gets there; each entry is the name of a parameter or a number.

    Parameters
    ----------
    lag : str or float
        How much later it arrives, not negative; of a steady state, all doses before did so too.
    bioavailability : str or float
        Share of the amount that arrives, over the same time.
    rate : str or float, optional
        What goes in per unit of time, of doses that have no duration of their own.
    duration : str or float, optional
        Time over which it goes in, likewise. At most one of the two.
    """

    lag: str | float = 0.0
    bioavailability: str | float = 1.0
    rate: str | float | None = None
    duration: str | float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and self.duration is not None:
            raise ParameterError("Dosing takes a rate or a duration, since one follows from the other: drop one.")
        for name, value in self.settings().items():
            if isinstance(value, str):
                continue
            least = 0.0 if name in ("lag", "bioavailability") else np.nextafter(0.0, 1.0)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not least <= value < np.inf:
                wanted = "not negative" if least == 0.0 else "above 0"
                raise ParameterError(
                    f"{name} of Dosing is the name of a parameter or a number {wanted}, not {value!r}."
                )

    def settings(self) -> dict[str, str | float]:
        """Entries that are set."""
        named = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return {name: value for name, value in named if value is not None}

    @property
    def has_lag(self) -> bool:
        return self.lag != 0.0


def no_events(n: int) -> ScheduledEvents:
    """The events of `n` rows that have none."""
    empty = torch.zeros(n, 0, dtype=torch.float64)
    whole = empty.long()
    return ScheduledEvents(empty, whole, whole, empty, empty, empty, whole, empty, whole.bool())


def repeat_rows(events: ScheduledEvents, n: int) -> ScheduledEvents:
    """All rows, so many times one after the other."""
    return ScheduledEvents(**{name: value.repeat(n, 1) for name, value in vars(events).items()})


def split_resets(events: ScheduledEvents, doses: Mapping[int, Dosing]) -> ScheduledEvents:
    """Events whose resets do not wait for a dose that comes late: each is a reset, and the dose after it.

    Parameters
    ----------
    events : ScheduledEvents
    doses : mapping of int to Dosing
        By the number of the state.
    """
    is_late = _is_of(events, [target for target, dosing in doses.items() if dosing.has_lag])
    is_split = is_late & (events.kind == EventKind.RESET_ADD) & (events.steady_state == 0)
    if (is_late & (events.since > 0)).any():
        raise ParameterError("A steady state of doses has a lag of its own and one that is a parameter: drop one.")
    if not is_split.any():
        return events
    resets = replace(
        events,
        time=events.time.where(is_split, torch.inf),
        kind=torch.full_like(events.kind, int(EventKind.RESET)),
        **{name: torch.zeros_like(getattr(events, name)) for name in _OF_A_DOSE},
    )
    kind = events.kind.where(~is_split, int(EventKind.ADD))
    both = _side_by_side([resets, replace(events, kind=kind)])
    # a reset stands just before its dose, behind what comes before that
    place = torch.arange(events.time.shape[1]).repeat(2).expand(both.time.shape)
    return _sorted(both, place)


def place_doses(
    events: ScheduledEvents, doses: Mapping[int, Dosing], number: Callable[[str | float], Tensor]
) -> ScheduledEvents:
    """The events (r k) as the parameters of each row have them, in the order in which they happen.

    Parameters
    ----------
    events : ScheduledEvents
        From `split_resets`.
    doses : mapping of int to Dosing
        By the number of the state.
    number : callable
        Gives what an entry of `Dosing` stands for at each of the events, (r k), or (r 1) where it is the same.
    """
    late = [events]
    for target, dosing in doses.items():
        is_dose = _is_of(events, [target])
        amount, duration, time, since = events.amount, events.duration, events.time, events.since
        if dosing.bioavailability != 1.0:
            amount = torch.where(is_dose, amount * number(dosing.bioavailability), amount)
        is_open = is_dose & (duration == 0) & (amount != 0)
        if dosing.rate is not None:
            duration = torch.where(is_open, amount / number(dosing.rate), duration)
        if dosing.duration is not None:
            duration = torch.where(is_open, number(dosing.duration).expand_as(duration), duration)
        if dosing.has_lag:
            lag = number(dosing.lag).expand_as(time)
            is_steady = is_dose & (events.steady_state > 0)
            time = torch.where(is_dose & ~is_steady, time + lag, time)
            if is_steady.any():
                whole, since = _steady(lag, events.every, is_steady)
                steady = replace(events, amount=amount, duration=duration)
                late += _on_their_way(steady, lag, whole, is_steady)
        events = replace(events, amount=amount, duration=duration, time=time, since=since)
    if not any(dosing.has_lag for dosing in doses.values()):
        return events
    late[0] = events
    return merge_events(late)


def merge_events(parts: list[ScheduledEvents]) -> ScheduledEvents:
    """Events of several tables with the same rows, by time; at one time those of the first table come first."""
    return _sorted(_side_by_side(parts))


_OF_A_DOSE = ("amount", "duration", "every", "steady_state", "since", "is_part")


def _is_of(events: ScheduledEvents, targets: list[int]) -> Tensor:
    """Which events (r k) give something to one of these states."""
    is_given = (events.kind == EventKind.ADD) | (events.kind == EventKind.RESET_ADD)
    return is_given & torch.isin(events.target, torch.tensor(targets, dtype=events.target.dtype))


def _steady(lag: Tensor, every: Tensor, is_steady: Tensor) -> tuple[Tensor, Tensor]:
    """Whole intervals that a lag holds, and how long ago the last dose of a steady state has arrived."""
    interval = torch.where(is_steady, every, 1.0)
    whole = (lag.detach() / interval).floor()
    rest = lag - whole * interval
    return whole, torch.where(is_steady & (rest.detach() > 0), interval - rest, 0.0)


def _on_their_way(events: ScheduledEvents, lag: Tensor, whole: Tensor, is_steady: Tensor) -> list[ScheduledEvents]:
    """Doses of a steady state that have been given and arrive later."""
    if (is_steady & (events.every <= 0)).any():
        raise ParameterError("A constant input in steady state has no lag: it has gone on for ever.")
    none = torch.zeros_like(events.since)
    arrivals = []
    for k in range(int(torch.where(is_steady, whole, 0.0).max()) + 1):
        time = torch.where(is_steady & (k <= whole), events.time + lag - (whole - k) * events.every, torch.inf)
        kind = torch.full_like(events.kind, int(EventKind.ADD))
        arrivals.append(
            replace(events, time=time, kind=kind, steady_state=none.long(), since=none, every=none, is_part=none.bool())
        )
    return arrivals


def _side_by_side(parts: list[ScheduledEvents]) -> ScheduledEvents:
    names = vars(parts[0])
    return ScheduledEvents(**{name: torch.cat([getattr(part, name) for part in parts], dim=1) for name in names})


def _sorted(events: ScheduledEvents, place: Tensor | None = None) -> ScheduledEvents:
    """By time; at one time in the order of `place`, then as they stand."""
    order = torch.arange(events.time.shape[1]).expand(events.time.shape)
    if place is not None:
        order = place.argsort(dim=1, stable=True)
    order = order.gather(1, events.time.detach().gather(1, order).argsort(dim=1, stable=True))
    return ScheduledEvents(**{name: value.gather(1, order) for name, value in vars(events).items()})
