"""Batch of irregular series, padded, each with its own times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tsode._checks import check_shapes
from tsode.core.covariates import Covariates

__all__ = ["FARTHEST", "IrregularBatch"]

FARTHEST = 1e6  # in standard deviations of the channel: no measurement lies there


@dataclass(frozen=True)
class IrregularBatch:
    """Irregular series side by side; padding stands at the end of a row.

    Padding repeats the row's last time with nothing seen, so that a padded step has length zero and changes nothing.
    An event is an observation, or an input at a known time (a dose), of which everything but the effect is known ahead;
    of both at one time the observation comes first.

    Parameters
    ----------
    times : Tensor[b n], float64, in the batch's time unit
        Event times, non-decreasing along a row.
    values : Tensor[b n c]
        Observed values. What stands where `mask` is False is replaced by 0: no NaN ever enters a graph.
    mask : Tensor[b n c], bool
        True = seen.
    lengths : Tensor[b], int64
        Number of events of each row before its padding.
    inputs : Tensor[b n e] or None
        Inputs at each event, zeros at observations; None where there are no inputs at all.
    covariates : Covariates or None
        Features of each row that are known at any time.
    """

    times: Tensor
    values: Tensor
    mask: Tensor
    lengths: Tensor
    inputs: Tensor | None = None
    covariates: Covariates | None = None

    def __post_init__(self) -> None:
        check_shapes(
            times=(self.times, "b n"), values=(self.values, "b n c"), mask=(self.mask, "b n c"),
            lengths=(self.lengths, "b"),
        )  # fmt: skip
        object.__setattr__(self, "values", self.values.where(self.mask, 0.0))

    @classmethod
    def from_arrays(
        cls,
        times: Sequence[np.ndarray],
        values: Sequence[np.ndarray],
        dtype: torch.dtype = torch.float32,
        inputs: Sequence[np.ndarray] | None = None,
        covariates: Covariates | None = None,
    ) -> IrregularBatch:
        """Pad series of different lengths into one batch.

        Parameters
        ----------
        times : sequence of array[n], float64
            One array a series, sorted.
        values : sequence of array[n c]
            NaN = not observed.
        dtype : torch.dtype
            Of the values.
        inputs : sequence of array[n e], optional
            One array a series; 0 at observations.
        covariates : Covariates, optional
        """
        n_series, n_channels = len(times), values[0].shape[1]
        lengths = np.array([len(t) for t in times], dtype=np.int64)
        width = int(lengths.max(initial=0))
        padded_times = np.zeros((n_series, width))
        padded_values = np.full((n_series, width, n_channels), np.nan)
        for row, (t, v) in enumerate(zip(times, values)):
            padded_times[row, : len(t)] = t
            padded_times[row, len(t) :] = t[-1] if len(t) else 0.0
            padded_values[row, : len(t)] = v
        padded_inputs = None
        if inputs is not None:
            padded_inputs = torch.zeros(n_series, width, inputs[0].shape[1], dtype=dtype)
            for row, u in enumerate(inputs):
                padded_inputs[row, : len(u)] = torch.as_tensor(u, dtype=dtype)
        seen = ~np.isnan(padded_values)
        return cls(
            times=torch.from_numpy(padded_times),
            values=torch.from_numpy(padded_values).to(dtype),
            mask=torch.from_numpy(seen),
            lengths=torch.from_numpy(lengths),
            inputs=padded_inputs,
            covariates=covariates,
        )

    @property
    def n_series(self) -> int:
        return self.times.shape[0]

    @property
    def n_events(self) -> int:
        """Width of the batch: events of the longest row."""
        return self.times.shape[1]

    @property
    def n_channels(self) -> int:
        return self.values.shape[2]

    @property
    def is_event(self) -> Tensor:
        """Tensor[b n], bool: True before the padding."""
        return torch.arange(self.n_events, device=self.times.device) < self.lengths[:, None]

    @property
    def is_input(self) -> Tensor:
        """Tensor[b n], bool: True at inputs."""
        if self.inputs is None:
            return torch.zeros_like(self.times, dtype=torch.bool)
        return (self.inputs != 0).any(dim=2)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> IrregularBatch:
        """Move all tensors to `device` and the values to `dtype`; times stay float64."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: t if t is None else t.to(device) for name, t in moved.items()}
        for name in ("values", "inputs", "covariates"):
            if moved[name] is not None:
                moved[name] = moved[name].to(dtype=dtype)
        return IrregularBatch(**moved)

    def select(self, rows: Tensor) -> IrregularBatch:
        """The series at `rows` (indices), in that order, with the width kept."""
        chosen: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "covariates"}
        chosen = {name: t if t is None else t[rows] for name, t in chosen.items()}
        return IrregularBatch(**chosen, covariates=None if self.covariates is None else self.covariates.select(rows))

    def last_seen(self) -> tuple[Tensor, Tensor]:
        """Value last seen of every channel before and up to each event.

        Returns
        -------
        last : Tensor[b n+1 c]
            ``last[:, k]`` is the last value of events ``0 .. k-1`` (0 where there is none).
        seen : Tensor[b n+1 c], bool
            Whether there was one.
        """
        n = self.n_events
        steps = torch.arange(1, n + 1, device=self.mask.device, dtype=torch.int32)[:, None]
        latest = (self.mask * steps).cummax(dim=1).values if n else self.mask.int()
        latest = nn.functional.pad(latest, (0, 0, 1, 0))
        padded = nn.functional.pad(self.values, (0, 0, 1, 0))
        return padded.gather(1, latest.long()), latest > 0

    def n_seen(self, query_times: Tensor) -> Tensor:
        """Number of events strictly before each query (b m) at which something was seen: Tensor[b m]."""
        count = nn.functional.pad(self.mask.any(dim=2).cumsum(dim=1), (1, 0))
        return count.gather(1, torch.searchsorted(self.times.contiguous(), query_times.contiguous()))

    def since_last(self, query_times: Tensor, side: str = "left") -> Tensor:
        """Time from the last event at which something was seen to each query (b m), float64; 0 where there is none.

        Parameters
        ----------
        query_times : Tensor[b m], float64
        side : {"left", "right"}
            "left": an event at the query time is not yet seen; "right": it is.
        """
        if not self.n_events:
            return torch.zeros_like(query_times)
        is_seen = self.mask.any(dim=2)
        steps = torch.arange(1, self.n_events + 1, device=is_seen.device)
        latest = nn.functional.pad((is_seen * steps).cummax(dim=1).values, (1, 0))
        behind = torch.searchsorted(self.times.contiguous(), query_times.contiguous(), right=side == "right")
        index = latest.gather(1, behind)
        return torch.where(index > 0, query_times - self.times.gather(1, (index - 1).clamp(min=0)), 0.0)

    def bounded(self) -> IrregularBatch:
        """The same batch with values of at most `FARTHEST` standard deviations: networks stay finite whatever came."""
        return replace(self, values=self.values.clamp(-FARTHEST, FARTHEST))

    def compact(self) -> IrregularBatch:
        """The same batch without events that are neither an observation nor an input: they become padding."""
        is_seen = self.mask.any(dim=2) | self.is_input
        lengths = is_seen.sum(dim=1)
        order = (~is_seen).to(torch.int8).argsort(dim=1, stable=True)
        # Whole rows of a matrix: several times faster than a gather along an axis.
        rows = (order + self.n_events * torch.arange(self.n_series, device=order.device)[:, None]).reshape(-1)
        parts = {"values": self.values, "mask": self.mask}
        if self.inputs is not None:
            parts["inputs"] = self.inputs
        moved: dict[str, Any] = {name: t.flatten(0, 1).index_select(0, rows).view_as(t) for name, t in parts.items()}
        times = self.times.gather(1, order)
        if self.n_events:
            last = times.gather(1, (lengths - 1).clamp(min=0)[:, None])
            times = torch.where(torch.arange(self.n_events, device=times.device) < lengths[:, None], times, last)
        return replace(self, times=times, lengths=lengths, **moved)

    def after_empty_event(self, time: float) -> IrregularBatch:
        """The batch with one event more in every row, in front, at which nothing is seen."""

        def pad(x: Tensor) -> Tensor:
            return torch.cat([x.new_zeros(x.shape[0], 1, *x.shape[2:]), x], dim=1)

        return self.replace(
            times=torch.cat([self.times.new_full((self.n_series, 1), time), self.times], dim=1),
            values=pad(self.values),
            mask=pad(self.mask),
            inputs=None if self.inputs is None else pad(self.inputs),
            lengths=self.lengths + 1,
        )

    def replace(self, **changes: Any) -> IrregularBatch:
        """A copy with some fields changed."""
        return replace(self, **changes)
