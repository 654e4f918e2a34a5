"""Effects of a population beside covariates: what of the differences among series is still to be explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.labels import guess_label
from tsode.plots.axis import plain_text
from tsode.plots.fan import DOTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_effects"]

LARGE_SHRINKAGE = 0.3


def plot_effects(
    model: Any,
    covariates: Sequence[str] | None = None,
    *,
    static: pd.DataFrame | None = None,
    parameters: Sequence[str] | None = None,
) -> Figure:
    """Draw the most probable effects of each series beside covariates, those in the model or others.

    An effect is what is left when covariates of the model have explained their part, in standard deviations among
    series. A cloud that rises or falls (the blue line is that of least squares, with the correlation above) says that a
    covariate explains more; effects that shrink by more than 30 % hide it, which the label says. The series that lie
    farthest out have their ids.

    Parameters
    ----------
    model : fitted KnownODEForecaster with random effects
    covariates : list of str, optional
        All by default.
    static : DataFrame, optional
        Covariates with a row a series, such as ones that the model does not have yet; those of fit by default.
    parameters : list of str, optional
        With effects; all by default.

    Returns
    -------
    Figure
        A row a parameter, a column a covariate.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_effects draws with matplotlib: `pip install matplotlib`.") from error
    table = model.individual_effects()
    shrinkage = table.attrs["shrinkage"]
    if static is not None:
        table = _with_static(table, static, model.id_col, shrinkage)
    known = [name for name in table if name != model.id_col and name not in {f"eta_{x}" for x in shrinkage}]
    names = _chosen(covariates, known, "covariate")
    rows = _chosen(parameters, list(shrinkage), "parameter with an effect")
    if not names:
        raise ParameterError("Fit has read no covariates: give some, static= with a row a series.")
    figure, axes = plt.subplots(
        len(rows), len(names), figsize=(0.5 + 3.2 * len(names), 0.5 + 2.6 * len(rows)), squeeze=False, sharey="row",
        sharex="col", layout="constrained",
    )  # fmt: skip
    labels = table[model.id_col].astype(str).to_numpy()
    for line, parameter in zip(axes, rows):
        effects = table[f"eta_{parameter}"].to_numpy()
        for axis, name in zip(line, names):
            axis.axhline(0.0, color="0.5", linewidth=0.8, linestyle="--")
            _draw_effects(axis, table[name], effects, labels)
            if axis in axes[-1]:
                axis.set_xlabel(plain_text(name))
            axis.spines[["top", "right"]].set_visible(False)
        share = shrinkage[parameter]
        word = f"\nshrinkage {100 * share:.0f} %" if share > LARGE_SHRINKAGE else ""
        line[0].set_ylabel(f"effect on {plain_text(parameter)} (sd){word}")
    return figure


def _with_static(table: pd.DataFrame, static: pd.DataFrame, id_col: Any, effects: Sequence[str]) -> pd.DataFrame:
    if id_col not in static:
        raise DataError(f"static= has no column {id_col!r} of ids.")
    if static[id_col].duplicated().any():
        twice = static.loc[static[id_col].duplicated(), id_col].iloc[0]
        raise DataError(f"static= has series {twice!r} twice: give each a row.")
    missing = [key for key in table[id_col] if key not in set(static[id_col])]
    if missing:
        raise DataError(f"static= has no row of series {missing[0]!r}, which fit has seen.")
    return table[[id_col, *(f"eta_{name}" for name in effects)]].merge(static, on=id_col, how="left")


def _chosen(wanted: Sequence[str] | None, known: list[Any], kind: str) -> list[Any]:
    names = known if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise DataError(f"There is no {kind} {name!r}.{guess_label(name, known)}")
    return names


def _draw_effects(axis: Axes, column: pd.Series, effects: np.ndarray, labels: np.ndarray) -> None:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        x = column.to_numpy(dtype=np.float64)
        is_there = np.isfinite(x)
        if is_there.sum() > 2 and np.ptp(x[is_there]) > 0:
            ends = np.array([x[is_there].min(), x[is_there].max()])
            slope, base = np.polyfit(x[is_there], effects[is_there], 1)
            axis.plot(ends, base + slope * ends, color="C0", linewidth=1.2)
            r = float(np.corrcoef(x[is_there], effects[is_there])[0, 1])
            axis.set_title(f"r = {r:.2f}", fontsize="small", loc="right")
    else:
        text = column.astype(str)
        groups = sorted(text.unique())
        x = text.map({name: k for k, name in enumerate(groups)}).to_numpy(dtype=np.float64)
        for k in range(len(groups)):
            axis.hlines(effects[x == k].mean(), k - 0.25, k + 0.25, color="C0", linewidth=1.6)
        axis.set_xticks(range(len(groups)), [plain_text(name) for name in groups])
        axis.set_xlim(-0.6, len(groups) - 0.4)
    axis.plot(x, effects, **DOTS | {"markerfacecolor": "none", "markersize": 4.5})
    for place in np.argsort(-np.abs(effects), kind="stable")[:3]:
        if abs(effects[place]) > 1.5:
            axis.annotate(
                plain_text(labels[place]), (x[place], effects[place]), xytext=(4, 3), textcoords="offset points",
                fontsize="x-small", color="C3",
            )  # fmt: skip
    axis.margins(x=0.12, y=0.12)
