"""Profile likelihoods: how far each parameter of a population may be off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import PchipInterpolator

from tsode.errors import ParameterError
from tsode.frames.labels import guess_label
from tsode.plots.axis import plain_text
from tsode.plots.fan import DOTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsode.estimators.known_ode.population_uncertainty import Profiles

__all__ = ["plot_profiles"]

MOST_COLUMNS = 4
HIGHEST = 2.5  # times the rise at the ends of the interval: what lies above says no more


def plot_profiles(profiles: Profiles, parameters: Sequence[str] | None = None) -> Figure:
    """Draw how the objective rises as a parameter is held away from its estimate, with the interval that follows.

    Dots are the points that were fitted, hollow where the other parameters had not come to their best; the dashed line
    is the rise at which the interval ends. A curve that does not come up to it on one side says that the data do not
    bound the parameter there.

    Parameters
    ----------
    profiles : Profiles
        Of `KnownODEForecaster.profile`.
    parameters : list of str, optional
        All by default.

    Returns
    -------
    Figure
        A panel a parameter.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_profiles draws with matplotlib: `pip install matplotlib`.") from error
    intervals, curves = profiles
    known = list(intervals.index)
    names = known if parameters is None else list(parameters)
    for name in names:
        if name not in known:
            raise ParameterError(f"There is no profile of {name!r}.{guess_label(name, known)}")
    n_columns = min(MOST_COLUMNS, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(0.4 + 2.6 * n_columns, 0.4 + 2.3 * n_rows), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    rise = intervals.attrs["rise"]
    highest = rise
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names):
        row = intervals.loc[name]
        curve = curves[(curves["parameter"] == name) & np.isfinite(curves["rise"])].sort_values("value")
        curve = curve.drop_duplicates("value")
        x, y = curve["value"].to_numpy(), curve["rise"].to_numpy()
        if len(x) > 1:
            fine = np.linspace(x[0], x[-1], 200)
            # the root is nearly straight on either side: between points it bends less than the rise does
            root = PchipInterpolator(x, np.sign(x - row["estimate"]) * np.sqrt(y.clip(min=0.0)))
            axis.plot(fine, root(fine) ** 2, color="C0", linewidth=1.4)
        is_done = curve["converged"].to_numpy(dtype=bool)
        axis.plot(x[is_done], y[is_done], **DOTS | {"markersize": 4})
        axis.plot(x[~is_done], y[~is_done], **DOTS | {"markersize": 4, "markerfacecolor": "none"})
        axis.axhline(rise, color="0.4", linestyle="--", linewidth=0.8)
        low, high = axis.get_xlim()
        ends = [end if np.isfinite(end) else edge for end, edge in zip((row["lower"], row["upper"]), (low, high))]
        axis.axvspan(max(ends[0], low), min(ends[1], high), color="C0", alpha=0.12, linewidth=0)
        axis.axvline(row["estimate"], color="C0", linewidth=0.8)
        axis.set_xlim(low, high)
        highest = max(highest, y.max(initial=0.0))
        axis.set_title(plain_text(name), fontsize="medium")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylim(-0.05 * rise, min(1.1 * highest, HIGHEST * rise))  # all panels share it
    for axis in axes[:, 0]:
        axis.set_ylabel("rise of −2 log L")
    axes[0, 0].text(
        0.98, rise, f"{intervals.attrs['level']:g} %", transform=axes[0, 0].get_yaxis_transform(), ha="right",
        va="bottom", fontsize="small", color="0.3",
    )  # fmt: skip
    return figure
