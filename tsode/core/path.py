"""States of a filter along its events, with both limits at each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tsode._checks import check_shapes

__all__ = ["ListedEvents", "PaddedPath", "Path"]


class ListedEvents(NamedTuple):
    """The events of a batch without their padding, in one list.

    Parameters
    ----------
    flat_index : Tensor[q]
        Of each event in the flattened batch (b n).
    z_minus : Tensor[q d]
        State just before it.
    predicted : Tensor[q c] or None
        Location predicted for it, where the pass that made the states has kept it.
    """

    flat_index: Tensor
    z_minus: Tensor
    predicted: Tensor | None


class Path(ABC):
    """States just before and just after each event; between events the state flows.

    Members differ in how they hold the states.

    Attributes
    ----------
    times : Tensor[b n], float64
        Event times.
    status : Tensor[b], int64
        Worst `Status` along the row.
    """

    times: Tensor
    status: Tensor

    @property
    @abstractmethod
    def z_start(self) -> Tensor:
        """State before the first event: Tensor[b d]."""

    @property
    @abstractmethod
    def z_minus(self) -> Tensor:
        """Left limit at each event, which predicts what is seen there: Tensor[b n d]."""

    @property
    @abstractmethod
    def z_plus(self) -> Tensor:
        """Right limit at each event, which has seen it: Tensor[b n d]."""

    @property
    @abstractmethod
    def z_end(self) -> Tensor:
        """State after the last event (of a row without events, its start): Tensor[b d]."""

    @abstractmethod
    def list_events(self, is_event: Tensor) -> ListedEvents:
        """The events without padding; ``is_event`` (b n) is False in the padding."""

    def index_before(self, query_times: Tensor, side: str = "left") -> Tensor:
        """Number of events at or before each query time.

        Parameters
        ----------
        query_times : Tensor[b m], float64
        side : {"left", "right"}
            "left": only events strictly before the query; "right": an event at the query time counts as seen.

        Returns
        -------
        Tensor[b m], int64
            0 where the query stands before every event.
        """
        return torch.searchsorted(self.times.contiguous(), query_times.contiguous(), right=side == "right")

    @property
    def starts(self) -> tuple[Tensor, Tensor]:
        """States and times from which the path goes on after ``0, 1, ..., n`` events: Tensor[b n+1 d], Tensor[b n+1].

        The first of the times is of no meaning: nothing has happened yet.
        """
        states = torch.cat([self.z_start[:, None], self.z_plus], dim=1)
        if not self.times.shape[1]:
            return states, self.times.new_zeros(len(self.times), 1)
        return states, torch.cat([self.times[:, :1], self.times], dim=1)


@dataclass(frozen=True)
class PaddedPath(Path):
    """A path that holds a state for each event of the padded batch.

    Parameters
    ----------
    times : Tensor[b n], float64
    start : Tensor[b d]
    minus, plus : Tensor[b n d]
        Left and right limits at each event.
    status : Tensor[b], int64
    """

    times: Tensor
    start: Tensor
    minus: Tensor
    plus: Tensor
    status: Tensor

    def __post_init__(self) -> None:
        check_shapes(
            times=(self.times, "b n"), start=(self.start, "b d"), minus=(self.minus, "b n d"),
            plus=(self.plus, "b n d"), status=(self.status, "b"),
        )  # fmt: skip

    @property
    def z_start(self) -> Tensor:
        return self.start

    @property
    def z_minus(self) -> Tensor:
        return self.minus

    @property
    def z_plus(self) -> Tensor:
        return self.plus

    @property
    def z_end(self) -> Tensor:
        return self.plus[:, -1] if self.times.shape[1] else self.start

    def list_events(self, is_event: Tensor) -> ListedEvents:
        index = is_event.flatten().nonzero()[:, 0]
        return ListedEvents(index, self.minus.flatten(0, 1).index_select(0, index), None)
