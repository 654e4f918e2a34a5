"""The states of a filter along its events, with both limits at each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode._checks import check_shapes

__all__ = ["Path"]


@dataclass(frozen=True)
class Path:
    """States just before and just after each event; between events the state flows.

    Parameters
    ----------
    times : Tensor[b n], float64
        Event times.
    z_start : Tensor[b d]
        State before the first event.
    z_minus, z_plus : Tensor[b n d]
        Left and right limits at each event. ``z_minus`` predicts what is seen there; ``z_plus`` has seen it.
    status : Tensor[b], int64
        Worst `Status` along the row.
    """

    times: Tensor
    z_start: Tensor
    z_minus: Tensor
    z_plus: Tensor
    status: Tensor

    def __post_init__(self) -> None:
        check_shapes(
            times=(self.times, "b n"), z_start=(self.z_start, "b d"), z_minus=(self.z_minus, "b n d"),
            z_plus=(self.z_plus, "b n d"), status=(self.status, "b"),
        )  # fmt: skip

    @property
    def predicted(self) -> Tensor | None:
        """Locations predicted for each event (q c), where the pass that made the states has kept them."""
        return None

    @property
    def z_end(self) -> Tensor:
        """State after the last event (of a row without events, its start): Tensor[b d]."""
        return self.z_plus[:, -1] if self.times.shape[1] else self.z_start

    def before(self, events: Tensor) -> Tensor:
        """States just before the events at these indices (q,) of the flattened batch (b n): Tensor[q d]."""
        return self.z_minus.flatten(0, 1).index_select(0, events)

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
