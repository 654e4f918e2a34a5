"""Noncompartmental table: areas, peaks, half-lives and clearances of series after doses, without any model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.diagnostics.areas import area, terminal_line
from tsode.errors import DataError, ParameterError
from tsode.frames.durations import read_duration
from tsode.frames.events import EventTable, read_events
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.table import ID_COL, TIME_COL

__all__ = ["noncompartmental"]

METHODS = ("log-down", "linear")
WHICH = ("last", "first", "all")
ROUTES = ("extravascular", "bolus")

# by the powers of the units of value, time and amount; None where there is no unit
_COLUMNS = {
    "dose": (0, 0, 1), "n": None, "c_max": (1, 0, 0), "t_max": (0, 1, 0), "c_last": (1, 0, 0), "t_last": (0, 1, 0),
    "auc_last": (1, 1, 0), "aumc_last": (1, 2, 0), "lambda_z": (0, -1, 0), "half_life": (0, 1, 0), "n_points": None,
    "r2_adjusted": None, "auc_inf": (1, 1, 0), "extrapolated": None, "aumc_inf": (1, 2, 0), "mrt": (0, 1, 0),
    "tau": (0, 1, 0), "auc_tau": (1, 1, 0), "c_average": (1, 0, 0), "clearance": (-1, -1, 1), "volume": (-1, 0, 1),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Interval:
    """What was seen from a dose to the next one, in times since the dose.

    Parameters
    ----------
    times, values : array[n]
        Sorted; the time of the next dose belongs to it.
    dose : float
        NaN where there is none.
    duration : float
        Of an infusion, else 0.
    tau : float
        Time to the next dose, or the interval of a steady state; infinite where there is none.
    is_first, is_steady : bool
        Whether no dose came before, and whether the dose is one in steady state.
    """

    times: np.ndarray
    values: np.ndarray
    dose: float
    duration: float
    tau: float
    is_first: bool
    is_steady: bool


def noncompartmental(
    frame: Any,
    events: Any = None,
    *,
    channel: Hashable = None,
    target: Hashable = None,
    method: str = "log-down",
    route: str = "extravascular",
    which: str = "last",
    below: float = 0.0,
    until: Any = None,
    n_least: int = 3,
    time_unit: Any = None,
    units: Mapping[str, str] | None = None,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> pd.DataFrame:
    """Noncompartmental table of every series: what its values say by themselves, against which models are checked.

    Parameters
    ----------
    frame : same kinds as in fit
        Values of one channel, or with `channel` of several.
    events : DataFrame or EventTable, optional
        Doses; without them all times count from the first row of a series, and there is no clearance.
    channel : label, optional
    target : label, optional
        Of the events, those into this state alone.
    method : {"log-down", "linear"}
        Between two values a straight line; "log-down": where they fall, one of their logarithms.
    route : {"extravascular", "bolus"}
        Of doses that are no infusions.
    which : {"last", "first", "all"}
        A row for the last dose of a series, its first, or each.
    below : float
        Limit of quantification: values at or below it are 0 before the first one above it in an interval, left out
        between two above it, and not used after the last.
    until : duration, optional
        Later rows than this after a dose are left out.
    n_least : int
        Points that a half-life needs at least.
    time_unit : duration, optional
        Needed where times are a clock's.
    units : dict, optional
        Names of the units of "value", "time" and "amount": written behind the names of columns, ``auc_last [mg/L*h]``.
    id_col, time_col : label

    Returns
    -------
    DataFrame
        A row a dose, NaN where something cannot be told. Times are since the dose.

        - `id_col`, ``dose_time`` (as in the events), ``dose``, ``n``: values used.
        - ``c_max``, ``t_max``: the highest value, the first time of it; ``c_last``, ``t_last``: the last one above the
          limit.
        - ``auc_last``, ``aumc_last``: areas under the curve, and under it times the time, from the dose to ``t_last``.
        - ``lambda_z``, ``half_life``, ``n_points``, ``r2_adjusted``: of the terminal line through logarithms.
        - ``auc_inf``, ``extrapolated``, ``aumc_inf``: with the line from ``c_last`` on; the share that it adds.
        - ``mrt``: mean residence time, less half an infusion; outside of the vessels that of absorption is part of it.
        - ``tau``, ``auc_tau``, ``c_average``: where there is a next dose or a steady state, the time between doses, the
          area over it (beyond the last value by the terminal line), and the mean value.
        - ``clearance``: dose over ``auc_inf`` of a first dose, over ``auc_tau`` of one in steady state, else NaN, since
          areas hold what is left of doses before; ``mrt`` is that of a first dose alone. ``volume`` is clearance over
          ``lambda_z``. Outside of the vessels both are over the share that is absorbed.

    Raises
    ------
    DataError, ParameterError
        If data or events cannot be read, or it is left open which channel is meant.

    Notes
    -----
    The terminal line goes through the last `n_least` values or more, behind the highest one (a bolus: from it on) and
    behind the end of an infusion. Of the numbers of points, those count whose adjusted R2 is within 1e-4 of the best,
    and the largest of these is taken.

    At the time of a dose stands the value that was seen then. Else it is 0 if no dose came before, and the smallest of
    the interval if one did. After a bolus it is what the first two values after it lead back to on a line of
    logarithms, or the first one where they do not fall; but for a value above the limit at the first dose, which it has
    set. What was given at one time is one dose, as long as the longest infusion of them. A reset takes away what came
    before.

    References
    ----------
    Gabrielsson and Weiner, *Pharmacokinetic and Pharmacodynamic Data Analysis*, 5th ed., 2016, section 2.8. The choice
    of points is that of Phoenix and PKNCA.

    Examples
    --------
    >>> from tsode.datasets import load_theophylline, load_theophylline_doses
    >>> doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"})
    >>> noncompartmental(load_theophylline(), doses)[["c_max", "half_life", "clearance"]].iloc[0].round(3).tolist()
    [10.5, 14.304, 1.489]
    """
    for name, value, among in (("method", method, METHODS), ("route", route, ROUTES), ("which", which, WHICH)):
        if value not in among:
            raise ParameterError(f"{name}={value!r} is not known: choose one of {', '.join(map(repr, among))}.")
    if n_least < 3:
        raise ParameterError(f"n_least={n_least!r} must be 3 or more: through two points there is always a line.")
    panel = read_panel(frame, id_col=id_col, time_col=time_col, target=channel)
    place = _place_of(channel, panel)
    unit, longest = _durations(panel, time_unit, until)
    doses = _read_doses(events, panel, target, id_col, time_col)
    entries = []
    for key, times, values in zip(panel.ids, panel.times, panel.values):
        for dose_time, interval in _intervals(times, values[:, place].astype(np.float64), doses.get(key), unit, which):
            found = {id_col: key, "dose_time": restore_times(np.array([dose_time]), panel.layout.time_dtype)[0]}
            entries.append(found | _row(_used(interval, below, longest), method, route, below, n_least))
    table = pd.DataFrame(entries)
    if not panel.layout.has_ids:
        table = table.drop(columns=id_col)
    return table if units is None else table.rename(columns=_with_units(units))


def _row(interval: _Interval, method: str, route: str, below: float, n_least: int) -> dict[str, float]:
    is_bolus = route == "bolus" and interval.duration == 0
    found = dict.fromkeys(_COLUMNS, np.nan)
    found |= {"dose": interval.dose, "n": len(interval.times)}
    if np.isfinite(interval.tau):
        found["tau"] = interval.tau
    is_above = interval.values > below
    if not is_above.any():
        return found
    t, c = interval.times, interval.values
    peak, last = int(np.argmax(c)), int(np.flatnonzero(is_above)[-1])
    found |= {"c_max": c[peak], "t_max": t[peak], "c_last": c[last], "t_last": t[last]}
    first = peak if is_bolus else peak + 1
    is_terminal = is_above & (np.arange(len(t)) >= first) & (t >= interval.duration)
    rate, n_points, r2 = terminal_line(t[is_terminal], c[is_terminal], n_least)
    found |= {"lambda_z": rate, "half_life": np.log(2) / rate, "n_points": n_points, "r2_adjusted": r2}
    t, c = _from_dose(t[: last + 1], c[: last + 1], interval, is_bolus, below)
    auc, aumc = area(t, c, method)
    found |= {"auc_last": auc, "aumc_last": aumc}
    rest = c[-1] / rate
    found |= {"auc_inf": auc + rest, "extrapolated": rest / (auc + rest)}
    found["aumc_inf"] = aumc + rest * (t[-1] + 1 / rate)
    if np.isfinite(interval.tau):
        found["auc_tau"] = _until_tau(t, c, interval.tau, rate, method)
        found["c_average"] = found["auc_tau"] / interval.tau
    if interval.is_steady:
        found["clearance"] = interval.dose / found["auc_tau"]
    elif interval.is_first:
        found["clearance"] = interval.dose / found["auc_inf"]
        found["mrt"] = found["aumc_inf"] / found["auc_inf"] - interval.duration / 2
    found["volume"] = found["clearance"] / rate
    return found


def _from_dose(
    t: np.ndarray, c: np.ndarray, interval: _Interval, is_bolus: bool, below: float
) -> tuple[np.ndarray, np.ndarray]:
    """The values with one at the time of the dose in front."""
    is_there, is_after = t[0] == 0, t > 0
    is_alone = interval.is_first and not interval.is_steady
    if is_there and (not is_bolus or (is_alone and c[0] > below) or not is_after.any()):
        return t, c  # of a bolus: nothing but the dose has set it
    t, c = t[is_after], c[is_after]
    if is_bolus:
        falls = len(t) > 1 and 0 < c[1] < c[0]
        start = c[0] * (c[0] / c[1]) ** (t[0] / (t[1] - t[0])) if falls else c[0]
    else:
        start = 0.0 if is_alone else c.min()
    return np.r_[0.0, t], np.r_[start, c]


def _until_tau(t: np.ndarray, c: np.ndarray, tau: float, rate: float, method: str) -> float:
    """Area up to `tau`: beyond the last value by the terminal line, and no farther where there are more."""
    if t[-1] > tau:
        behind = int(np.searchsorted(t, tau))
        if t[behind] > tau:
            t0, t1, c0, c1 = t[behind - 1], t[behind], c[behind - 1], c[behind]
            share = (tau - t0) / (t1 - t0)
            is_log = method == "log-down" and 0 < c1 < c0
            at = c0 * (c1 / c0) ** share if is_log else c0 + (c1 - c0) * share
            t, c = np.r_[t[:behind], tau], np.r_[c[:behind], at]
        return area(t[: behind + 1], c[: behind + 1], method)[0]
    rest = 0.0 if t[-1] == tau else -np.expm1(-rate * (tau - t[-1])) * c[-1] / rate
    return area(t, c, method)[0] + rest


def _used(interval: _Interval, below: float, longest: float) -> _Interval:
    """The interval by the rule of values that are below the limit, and no longer than `longest`."""
    is_used = ~np.isnan(interval.values) & (interval.times <= longest)
    t, c = interval.times[is_used], interval.values[is_used]
    above = np.flatnonzero(c > below)
    if len(above):
        place = np.arange(len(c))
        c = np.where(place < above[0], 0.0, c)
        kept = (place < above[0]) | (c > below)
        t, c = t[kept], c[kept]
    return _Interval(
        t, c, interval.dose, interval.duration, interval.tau if interval.tau <= longest else np.inf, interval.is_first,
        interval.is_steady,
    )  # fmt: skip


def _intervals(
    times: np.ndarray, values: np.ndarray, doses: pd.DataFrame | None, unit: Any, which: str
) -> list[tuple[Any, _Interval]]:
    """The interval after each dose that is asked for, and when it was given."""
    if doses is None:
        return [(times[0], _Interval((times - times[0]) / unit, values, np.nan, 0.0, np.inf, True, False))]
    starts = doses["time"].to_numpy()
    chosen = {"last": [len(doses) - 1], "first": [0], "all": range(len(doses))}[which]
    found = []
    for k in chosen:
        dose = doses.iloc[k]
        is_own = times >= starts[k]
        tau = dose["every"] / unit if dose["steady_state"] else np.inf
        if k + 1 < len(doses):
            is_own &= times <= starts[k + 1]
            tau = min(tau, (starts[k + 1] - starts[k]) / unit)
        interval = _Interval(
            (times[is_own] - starts[k]) / unit, values[is_own], float(dose["amount"]), float(dose["duration"] / unit),
            float(tau), bool(k == 0 or dose["is_reset"]), bool(dose["steady_state"]),
        )  # fmt: skip
        found.append((starts[k], interval))
    return found


def _read_doses(
    events: Any, panel: Panel, target: Hashable, id_col: Hashable, time_col: Hashable
) -> dict[Hashable, pd.DataFrame]:
    """Doses of each series, those of one time as one."""
    if events is None:
        return {}
    if not isinstance(events, EventTable):
        events = EventTable(events, id_col, time_col)
    rows = read_events(events, panel.ids)
    is_dose = rows["kind"].isin(["add", "reset_add"])
    if target is not None:
        is_dose &= rows["target"] == target
    zero = rows["duration"].iloc[:0].to_numpy().dtype.type(0) if rows["duration"].dtype.kind == "m" else 0.0
    rows = rows.assign(
        duration=rows["duration"].fillna(zero),
        is_reset=(rows["kind"] == "reset_add") | (rows["kind"] == "reset").groupby(rows["id"]).shift(fill_value=False),
    )[is_dose]
    missing = [key for key in panel.ids if key not in set(rows["id"])]
    if missing:
        raise DataError(
            f"Series {missing[0]!r} has no dose among the events{'' if target is None else f' into {target!r}'}: add "
            "it, or leave the series out."
        )
    joined = rows.groupby(["id", "time"], sort=False).agg(
        amount=("amount", "sum"), duration=("duration", "max"), every=("every", "max"),
        steady_state=("steady_state", "max"), is_reset=("is_reset", "any"),
    )  # fmt: skip
    return {key: one.reset_index() for key, one in joined.reset_index().groupby("id", sort=False)}


def _place_of(channel: Hashable, panel: Panel) -> int:
    if channel is None and len(panel.channels) == 1:
        return 0
    if channel not in panel.channels:
        raise ParameterError(
            f"channel={channel!r} is none of the channels {list(panel.channels)}."
            f"{guess_label(channel, list(panel.channels))} Name one."
        )
    return list(panel.channels).index(channel)


def _durations(panel: Panel, time_unit: Any, until: Any) -> tuple[Any, float]:
    """The unit of times, in native time, and how long after a dose rows are used, in this unit."""
    if panel.time_kind in ("datetime", "timedelta"):
        if time_unit is None:
            raise ParameterError(f"The times are {panel.time_kind}s: pass time_unit='1h' or the like.")
        unit: Any = read_duration(time_unit, panel.time_kind, "time_unit")
        longest = np.inf if until is None else read_duration(until, panel.time_kind, "until") / unit
        return unit, float(longest)
    unit = 1.0 if time_unit is None else float(time_unit)
    return unit, np.inf if until is None else float(until) / unit


def _with_units(units: Mapping[str, str]) -> dict[str, str]:
    known: Sequence[str] = ("value", "time", "amount")
    for name in units:
        if name not in known:
            raise ParameterError(f"units= names {name!r}.{guess_label(name, known)} Known: {', '.join(known)}.")
    missing = [name for name in known if name not in units]
    if missing:
        raise ParameterError(f"units= has no {missing[0]!r}: name all of {', '.join(known)}.")
    value, time, amount = (units[name] for name in known)
    written = {
        (0, 0, 1): amount, (1, 0, 0): value, (0, 1, 0): time, (0, -1, 0): f"1/{time}", (1, 1, 0): f"{value}*{time}",
        (1, 2, 0): f"{value}*{time}^2", (-1, -1, 1): f"{amount}/({value}*{time})", (-1, 0, 1): f"{amount}/({value})",
    }  # fmt: skip
    return {name: f"{name} [{written[power]}]" for name, power in _COLUMNS.items() if power is not None}
