"""Fitted forecasters as systems: the field that their state follows, and where the state of every series stands."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.frames.labels import guess_label
from tsode.inference.known_system import KnownSystem
from tsode.inference.parameters import Parameters
from tsode.stability.flow import FieldFlow

__all__ = ["FittedSystem", "KnownRates", "Rate", "RateOf", "RowFlow"]

Rate = Callable[[Tensor, Tensor], Tensor]
RateOf = Callable[[Tensor], Rate]


@dataclass(frozen=True, eq=False)
class RowFlow(FieldFlow):
    """Flow of a field that has something of its own in each row: what stands still there, parameters.

    Parameters
    ----------
    rate_of : callable
        Rows (b,) -> the field of these.
    rows : Tensor[b]
    """

    rate_of: RateOf | None = None
    rows: Tensor | None = None

    def at(self, rows: Tensor) -> RowFlow:
        assert self.rate_of is not None
        assert self.rows is not None
        chosen = self.rows[rows]
        return replace(self, rows=chosen, rate=self.rate_of(chosen))


@dataclass(frozen=True, eq=False)
class KnownRates:
    """Fields of known equations.

    Parameters
    ----------
    system : KnownSystem
    values : dict of str to Tensor[r + n]
        Parameters, and inputs as they are held, of each row; after these medians of the draws of each series.
    per_model : float
        Units of the clock in a unit of the equations' time.
    """

    system: KnownSystem
    values: Mapping[str, Tensor]
    per_model: float

    def check(self, name: str) -> None:
        """Raise a `ParameterError` if there is no parameter or input of this name."""
        if name not in self.values:
            raise ParameterError(
                f"The equations have no parameter or input {name!r}.{guess_label(name, list(self.values))}"
            )

    def __call__(self, rows: Tensor, **given: float | Tensor) -> Rate:
        own = {name: value[rows] for name, value in self.values.items()}
        own |= {name: torch.as_tensor(value, dtype=torch.float64).expand(len(rows)) for name, value in given.items()}
        p = Parameters(own)
        return lambda t, z: self.system.derivatives(t / self.per_model, z, p) / self.per_model


@dataclass(frozen=True, eq=False)
class FittedSystem:
    """Field of a fitted forecaster and the states of its series after all that was seen of them.

    Rows are series, or draws from the posterior of series.

    Parameters
    ----------
    flow : RowFlow
        In the unit of time of the data's clock.
    starts : Tensor[r d]
        States after the last row of each series.
    t0 : Tensor[r]
        When, in that unit from where the model counts.
    ids : tuple of label
        Series.
    series, draw : Tensor[r], int64
        Place in `ids`, and number of the draw, of each row.
    is_shared : bool
        Whether the field is the same for all series.
    id_col, time_col : label
    last_times : tuple
        Last times of the series, as the data have them.
    to_native : callable
        Spans in the unit of the flow -> spans of the data.
    reach : float
        The horizon, in the unit of the flow.
    """

    flow: RowFlow
    starts: Tensor
    t0: Tensor
    ids: tuple[Hashable, ...]
    series: Tensor
    draw: Tensor
    is_shared: bool
    id_col: Hashable
    time_col: Hashable
    last_times: tuple[Any, ...]
    to_native: Callable[[np.ndarray], np.ndarray]
    reach: float

    @property
    def n_state(self) -> int:
        """Number of coordinates that move."""
        return self.flow.n_state

    @property
    def n_draws(self) -> int:
        """Draws from the posterior; 1 of a forecaster that has none."""
        return int(self.draw.max()) + 1

    @property
    def field_of_row(self) -> Tensor:
        """Which of the different fields each row follows: Tensor[r], int64."""
        return self.draw if self.is_shared else self.draw + self.n_draws * self.series

    def series_of_field(self, field: int) -> Hashable:
        """Id of the series that has the field to itself."""
        return self.ids[field // self.n_draws]

    def by_series(self, table: pd.DataFrame, banded: str, middle: str) -> pd.DataFrame:
        """A table of rows at leads as one of series at times of their own, and of draws as one of what they give.

        Parameters
        ----------
        table : DataFrame
            ``start`` is the place of a row here, ``time`` a lead in the unit of the flow.
        banded : str
            Column that gets quantiles.
        middle : {"mean", "median"}
            Of the draws; complex columns are left out then.
        """
        rows, spans = table["start"].to_numpy(), self.to_native(table["time"].to_numpy())
        series = self.series.numpy()[rows]
        table = table.drop(columns=["start", "time"])
        table.insert(0, "lead", spans)
        table.insert(0, str(self.time_col), np.array([self.last_times[place] for place in series]) + spans)
        table.insert(0, str(self.id_col), [self.ids[place] for place in series])
        if self.n_draws > 1:
            keys = list(table.columns[:3])
            table = table.drop(columns=[name for name in table.columns if np.iscomplexobj(table[name])])
            grouped = table.groupby(keys, sort=False)
            found = grouped.agg(middle)
            for name, q in (("q05", 0.05), ("q95", 0.95)):
                found[f"{banded}_{name}"] = grouped[banded].quantile(q)
            table = found.reset_index()
        table.attrs["unit"] = self.flow.unit
        return table

    def place_of(self, series: Hashable) -> int:
        """Place of a series; None where there is one only, or all share their field.

        Raises
        ------
        ParameterError
            If there is none of that id, or none was named.
        """
        if series is None and (self.is_shared or len(self.ids) == 1):
            return 0
        if series not in self.ids:
            shown = ", ".join(map(repr, self.ids[:5])) + (", ..." if len(self.ids) > 5 else "")
            raise ParameterError(f"series={series!r} is none of {shown}.{guess_label(series, self.ids)}")
        return self.ids.index(series)

    def of_one(self, series: Hashable = None, draw: int | None = None, **given: float | Tensor) -> FieldFlow:
        """Flow of one field, for states as many as one likes.

        Parameters
        ----------
        series : label, optional
            May be left out where all share their field.
        draw : int, optional
            From the posterior; by default its median, parameter by parameter.
        **given
            Parameters or inputs of known equations that take other values: numbers, or one a state.
        """
        place = self.place_of(series)
        n_rows = len(self.starts)
        row = n_rows + place if draw is None and self.n_draws > 1 else place * self.n_draws + (draw or 0)
        rates: Any = self.flow.rate_of
        if given and not isinstance(rates, KnownRates):
            raise ParameterError("The field of a learned forecaster has no parameters by name: leave them out.")
        for name in given:
            rates.check(name)
        single = torch.tensor([row])
        if not given and self.flow.is_affine:
            return FieldFlow(rates(single), self.flow.names, self.flow.solver, self.flow.unit, self.flow.stride)

        def rate(t: Tensor, z: Tensor) -> Tensor:
            field: Rate = rates(single.expand(len(z)), **given)
            return field(t, z)

        return FieldFlow(rate, self.flow.names, self.flow.solver, self.flow.unit, self.flow.stride)

    def along(
        self, name: str, series: Hashable = None, draw: int | None = None
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Field ``f(t, z, p)`` of `of_one` with a parameter or input, by its name, as its third argument."""
        self.of_one(series, draw, **{name: 0.0})  # names what is unknown here already
        return lambda t, z, p: self.of_one(series, draw, **{name: p}).rate(t, z)
