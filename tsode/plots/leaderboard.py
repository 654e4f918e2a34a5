"""Leaderboard of an automatic choice: scores of its members, what each weighs, and how they fare by lead time."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.estimators import FORECASTERS
from tsode.plots.axis import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_leaderboard"]

COMBINATION = "combination"
FAINT, STRONG = "0.83", "0.25"
MOST_LETTERS = 150  # of a reason why a member has no score
WIDTH = 140  # of a line of reasons


def plot_leaderboard(leaderboard: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the CRPS of the members that were tried, the best on top, and by lead that of those with a weight.

    Bars of members with a weight have a colour, and the weight beside them; those of the others are grey. Baselines are
    hatched. Members without a score are named below, with the reason.

    Parameters
    ----------
    leaderboard : fitted AutoForecaster or DataFrame
        A forecaster, or its ``leaderboard_``.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes
        Of the bars. A second one, to the right, has the CRPS by ranges of leads, of the combination and of members with
        a weight, where there is more than one range.

    Raises
    ------
    DataError
        If there is no leaderboard.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_leaderboard draws with matplotlib: `pip install matplotlib`.") from error
    rows = getattr(leaderboard, "leaderboard_", leaderboard)
    if not {"model", "crps", "weight", "status"} <= set(getattr(rows, "columns", ())):
        raise DataError("There is no leaderboard: pass a fitted AutoForecaster, or its leaderboard_.")
    scored = rows[rows["crps"].notna()].sort_values("crps", kind="stable")
    is_whole = scored["model"] == COMBINATION
    scored = pd.concat([scored[is_whole], scored[~is_whole]], ignore_index=True)
    leads = _leads(scored)
    reasons = _reasons(rows[rows["crps"].isna()])
    small: dict[str, Any] = {"fontsize": "small", "color": "0.35"}
    beside = None
    if ax is None:
        size = (11.0, 1.4 + 0.34 * len(scored) + 0.16 * reasons.count("\n"))
        shares = [1.6, 1.0] if len(leads) > 1 else [1.0]
        figure, axes = plt.subplots(
            1, len(shares), figsize=size, width_ratios=shares, layout="constrained", squeeze=False
        )
        ax, beside = axes[0, 0], axes[0, -1]
        figure.supxlabel(reasons, x=0.01, ha="left", **small)
    else:
        beside = ax.inset_axes((1.2, 0.0, 0.62, 1.0)) if len(leads) > 1 else None
        ax.annotate(
            reasons, (0.0, 0.0), (0, -44), xycoords="axes fraction", textcoords="offset points", va="top", **small
        )
    colours = _colours(scored)
    _draw_bars(ax, scored, colours)
    if len(leads) > 1 and beside is not None:
        _draw_leads(beside, scored, colours, leads)
    return ax


def _draw_bars(ax: Axes, scored: pd.DataFrame, colours: list[Any]) -> None:
    from matplotlib.patches import Patch

    baselines = {name.removesuffix("Forecaster") for name, made in FORECASTERS.items() if made.is_baseline}
    places = np.arange(len(scored))
    bars = ax.barh(places, scored["crps"], height=0.7, color=colours, edgecolor="white", linewidth=0.0)
    for place, bar, name, crps, weight in zip(places, bars, scored["model"], scored["crps"], scored["weight"]):
        if name in baselines:
            bar.set(hatch="////", edgecolor=(1.0, 1.0, 1.0, 0.75))
        is_member = name != COMBINATION and weight > 0.0
        ax.annotate(
            f"{crps:.3g}" + (f"   weight {weight:.0%}" if is_member else ""), (crps, place), (4, 0),
            textcoords="offset points", va="center", fontsize="small",
            fontweight="bold" if is_member or name == COMBINATION else "normal",
        )  # fmt: skip
    ax.set_yticks(places, [plain_text(name) for name in scored["model"]])
    ax.set(ylim=(len(scored) - 0.4, -0.6), xlabel="CRPS (standard deviations of a channel)")
    ax.set_xlim(0.0, 1.35 * float(scored["crps"].max()) or 1.0)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    if scored["model"].isin(baselines).any():
        hatched = Patch(facecolor=FAINT, hatch="////", edgecolor="white", linewidth=0.0, label="baseline")
        ax.legend(handles=[hatched], loc="upper right", frameon=False, fontsize="small")


def _colours(scored: pd.DataFrame) -> list[Any]:
    """One for each member with a weight, dark for the combination, faint for all others."""
    colours: list[Any] = []
    n_members = 0
    for name, weight in zip(scored["model"], scored["weight"]):
        is_member = name != COMBINATION and weight > 0.0
        colours.append(STRONG if name == COMBINATION else f"C{n_members}" if is_member else FAINT)
        n_members += is_member
    return colours


def _leads(scored: pd.DataFrame) -> dict[str, float]:
    """End of each range of leads, by the column of its CRPS."""
    found = [(name, re.fullmatch(r"crps to (\S+) horizon", str(name))) for name in scored.columns]
    return {name: float(match[1]) for name, match in found if match}


def _draw_leads(ax: Axes, scored: pd.DataFrame, colours: list[Any], leads: dict[str, float]) -> None:
    """Lines of the CRPS by ranges of leads, in the middle of each range, in the colours of the bars."""
    ends = np.array(list(leads.values()))
    middle = (ends + np.array([0.0, *ends[:-1]])) / 2.0
    for (_, row), colour in zip(scored.iterrows(), colours):
        is_whole = row["model"] == COMBINATION
        if is_whole or row["weight"] > 0.0:
            values = row[list(leads)].to_numpy(dtype=float)
            ax.plot(
                middle, values, color=colour, marker="o", markersize=4.5 if is_whole else 3.0,
                linewidth=3.5 if is_whole else 1.4, label=plain_text(row["model"]), zorder=2 if is_whole else 3,
            )  # fmt: skip
    for end in ends[:-1]:
        ax.axvline(end, color="0.9", linewidth=0.8, zorder=0)
    ax.set(xlabel="lead (horizons)", ylabel="CRPS", xlim=(0.0, ends[-1]), ylim=(0.0, 1.1 * ax.dataLim.ymax))
    ax.spines[["top", "right"]].set_visible(False)


def _reasons(rows: pd.DataFrame) -> str:
    """Members without a score, those of one reason together."""
    lines = []
    for status, of_status in rows.groupby("status", sort=False):
        reason = textwrap.shorten(str(status), MOST_LETTERS, placeholder=" ...")
        line = f"{', '.join(map(str, of_status['model']))}: {reason}"
        lines.append(plain_text(textwrap.fill(line, WIDTH, subsequent_indent="    ")))
    return "\n".join(["Without a score", *lines]) if lines else ""
