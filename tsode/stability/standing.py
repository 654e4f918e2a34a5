"""Door of analyses: states of a field, a map or a fitted forecaster, each in the field that it follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.affine_field import find_affine
from tsode.numerics.base import Solver
from tsode.stability.fitted import FittedSystem
from tsode.stability.flow import FieldFlow, Flow, as_flow, read_states
from tsode.stability.forecasters import as_fitted

__all__ = ["Standing", "stand"]

NEAR = 0.01  # of a start, at which others are laid around it


@dataclass(frozen=True, eq=False)
class Standing:
    """States in the fields that they follow.

    Parameters
    ----------
    flow : Flow
        Of as many rows.
    z : Tensor[b d]
    t : Tensor[b]
    field : Tensor[b], int64
        Which of the different fields.
    fitted : FittedSystem or None
        The forecaster that they are of.
    """

    flow: Flow
    z: Tensor
    t: Tensor
    field: Tensor
    fitted: FittedSystem | None = None

    def rows_of_fields(self) -> list[Tensor]:
        """Rows of each field."""
        return [(self.field == which).nonzero()[:, 0] for which in self.field.unique()]

    def first_of_fields(self) -> Tensor:
        """First row of each field."""
        return torch.stack([rows[0] for rows in self.rows_of_fields()])

    def spread(self, n_starts: int, random_state: Any) -> Standing:
        """So many states of each field, laid around what there is where there are fewer; of many fields fewer each."""
        fields = self.rows_of_fields()
        wanted = n_starts if len(fields) == 1 else max(4, n_starts // len(fields))
        rows = torch.cat([each if len(each) > 1 and self.fitted is None else _over(each, wanted) for each in fields])
        z = self.z[rows]
        is_again = torch.ones(len(rows), dtype=torch.bool)
        is_again[[int((rows == row).nonzero()[0, 0]) for row in rows.unique()]] = False
        seed = int(np.random.SeedSequence(random_state).generate_state(1)[0])
        drawn = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(seed))
        moved = z + NEAR * (z.abs() + 1e-3) * drawn
        return replace(
            self, flow=self.flow.at(rows), z=torch.where(is_again[:, None], moved, z), t=self.t[rows],
            field=self.field[rows],
        )  # fmt: skip

    def tell(self, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Tables of exponents of each field as one: means and quantiles of what draws give, a part for each series."""
        if len(tables) == 1:
            return tables[0]
        fitted = self.fitted
        assert fitted is not None
        column = next(name for name in tables[0].columns if str(name).startswith("exponent_per_"))
        fields = self.field.unique().tolist()
        parts = []
        for which, table in zip(fields, tables):
            part = table.reset_index()
            part.insert(0, "draw", which % fitted.n_draws)
            if not fitted.is_shared:
                part.insert(0, str(fitted.id_col), [fitted.series_of_field(which)] * len(part))
            parts.append(part)
        every = pd.concat(parts, ignore_index=True)
        keys = ([] if fitted.is_shared else [str(fitted.id_col)]) + ["exponent"]
        attrs: Any = {
            "method": tables[0].attrs["method"],
            "trace_error": _worst([table.attrs["trace_error"] for table in tables]),
            "duration": tables[0].attrs["duration"], "transient": tables[0].attrs["transient"],
        }  # fmt: skip
        if fitted.n_draws == 1:
            every = every.drop(columns="draw")
            every.attrs = attrs
            return every
        grouped = every.groupby(keys, sort=False)
        found = grouped[column].agg(["mean", "std"]).set_axis([column, "sd"], axis=1)
        found["q05"], found["q95"] = (grouped[column].quantile(q) for q in (0.05, 0.95))
        count = grouped.size()
        found["standard_error"] = grouped["standard_error"].agg(lambda x: np.sqrt((x**2).sum())) / count
        found = found.reset_index() if len(keys) > 1 else found
        found.attrs = attrs | {"draws": every.drop(columns="standard_error")}
        return found


def _over(rows: Tensor, n: int) -> Tensor:
    """So many of some rows, over and over where there are fewer, evenly spread where there are more."""
    if len(rows) >= n:
        return rows[torch.linspace(0, len(rows) - 1, n).round().long()]
    return rows.repeat(-(-n // len(rows)))[:n]


def _worst(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return max(known) if known else None


def stand(
    system: Any, starts: Any, t0: float = 0.0, names: Sequence[str] | None = None, solver: Solver | None = None
) -> Standing:
    """Read a system and the states to follow; those of a forecaster are where its series stand."""
    fitted = as_fitted(system, solver)
    if fitted is not None:
        if starts is not None:
            raise ParameterError(
                "The states of a forecaster are those of its series: leave starts= out, and give histories to "
                "fitted_system(forecaster, context=...)."
            )
        return Standing(fitted.flow, fitted.starts, fitted.t0, fitted.field_of_row, fitted)
    if starts is None:
        raise ParameterError("Where to start is not known: give starts=, a state or rows of states.")
    z = read_states(starts)
    flow = as_flow(system, z.shape[1], names, solver)
    t = torch.full((len(z),), t0, dtype=torch.float64)
    if isinstance(flow, FieldFlow) and not flow.is_affine:
        affine = find_affine(flow.rate, t[:1], z[:1])
        flow = flow if affine is None else replace(flow, rate=affine)
    return Standing(flow, z, t, torch.zeros(len(z), dtype=torch.int64))
