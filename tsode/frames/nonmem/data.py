"""Data of NONMEM's convention as frames of observations, events and covariates, and a tally of all rows and columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.time_sums import add_spans
from tsode.errors import DataError, ParameterError
from tsode.frames.labels import guess_label
from tsode.frames.nonmem.cells import RESERVED, Cells, is_reserved, read_cells
from tsode.frames.nonmem.censoring import find_limits, read_censored
from tsode.frames.nonmem.channels import find_channels
from tsode.frames.nonmem.clock import read_spans, read_times
from tsode.frames.nonmem.covariates import RULES, read_covariates, read_kept
from tsode.frames.nonmem.doses import read_doses
from tsode.frames.nonmem.events import record_events, spread_channels
from tsode.frames.nonmem.order import ANY, count_moves, time_steps
from tsode.frames.nonmem.records import read_records
from tsode.frames.nonmem.tally import make_tally
from tsode.frames.table import ID_COL, TIME_COL

__all__ = ["NonmemData", "read_nonmem"]

AT_EVENT = ("after", "before")


@dataclass(frozen=True, eq=False, repr=False)
class NonmemData:
    """What a data file says, as frames that ``fit`` takes.

    Parameters
    ----------
    rows : DataFrame
        ``unique_id``, ``ds`` and a column a channel; NaN where nothing was seen.
    events : DataFrame or None
        Doses and resets, as in `tsode.EventTable`.
    static : DataFrame or None
        ``unique_id`` and the covariates that do not change within any ID, a row an ID.
    known : DataFrame or None
        ``unique_id``, ``ds`` and the covariates that change.
    known_path : {"last", "linear"}
        How `known` goes on between its times: give it to the forecaster. By the rule "next", too, it is "last", since
        values were moved to where they begin to hold.
    below, above : dict of channel to float
        Limits of quantification, at which censored values stand: give them to the noise of the channel.
    tally : DataFrame
        Columns ``of`` ("rows", "columns" or "amounts"), ``name``, ``count`` and ``use``. Counts of rows add up to the
        lines of the file, or the rows of the frame.
    """

    rows: pd.DataFrame
    events: pd.DataFrame | None
    static: pd.DataFrame | None
    known: pd.DataFrame | None
    known_path: str
    below: dict[Hashable, float]
    above: dict[Hashable, float]
    tally: pd.DataFrame

    def __repr__(self) -> str:
        return f"NonmemData with the tally\n{self.tally.to_string(index=False)}"


def read_nonmem(
    data: Any,
    *,
    states: Sequence[Hashable] | Mapping[int, Hashable] | None = None,
    channels: Hashable | Mapping[Any, Hashable | None] | None = None,
    endpoint: str = "auto",
    columns: Sequence[Hashable] | Mapping[Hashable, Hashable] | None = None,
    covariates: Sequence[Hashable] | None = None,
    keep: Sequence[Hashable] = (),
    known_rule: str = "next",
    at_event: str = "after",
    ignore: str | None = "@",
    missing: Collection[Any] = (),
) -> NonmemData:
    """Frames of observations, events and covariates from a data file of NONMEM's convention.

    Every row is an observation (``EVID`` 0), a dose (1), another event (2), a reset (3) or a reset and a dose (4); see
    `tsode.frames.events_from_nonmem` for what each does. Without EVID a row with an amount is a dose. Every row and
    column is accounted for in ``tally``, and what cannot be read is an error with its place, ID and column.

    Parameters
    ----------
    data : path or DataFrame
        A text file whose cells are parted by commas, blanks or tabs, or a frame of pandas or polars.
    states : list of str, or dict of int to str
        Names of the compartments 1, 2, ... to which doses go, or of some by their numbers. A dose that names none goes
        to the first. Default: their numbers, counted from 0.
    channels : str, or dict of value to str
        Name of the one channel (default "DV"), or of each value of `endpoint`, None for those to be left out. Without
        names several are called ``DV_1``, ``DV_2``, ...
    endpoint : str
        The column that tells channels apart. "auto": DVID, else CMT, if they have several values among observations.
    columns : list of str, or dict of str to str
        Names of all columns in their order, as $INPUT has them, of a file without a header or instead of it; or what
        columns of another name are read as, ``{"CONC": "DV"}``. "DROP" leaves one out.
    covariates : list of str, optional
        Columns that are covariates. Default: all that have no meaning of their own.
    keep : list of str, optional
        Columns that are none, and stand in ``rows`` beside the values, such as an occasion.
    known_rule : {"next", "last", "linear"}
        What holds between two rows, of covariates that change. "next", which is NONMEM's: the value of a row has held
        since the row before. "last": it holds up to the next row. "linear": a straight line. An empty cell says
        nothing. By "next" a value begins to hold 1e-12 of the series' length after the row before, so that what is
        observed then still sees the value of its own row.
    at_event : {"after", "before"}
        Elsewhere in tsode an observation comes before the events of its time. "after": one that stands behind a dose or
        a reset of its time has seen it, as in NONMEM, and is read as later by 1e-12 of the series' length. "before":
        times stay as they are, and nothing is seen of the event. What goes at once into another compartment than the
        observation's CMT is none of these events.
    ignore : {"@"}, str or None
        Lines that are no records: "@", those that begin with a letter or @; another, those that begin with it, such as
        "C"; those with # always. The header is found among them. Rows with an entry in a column C are left out too.
    missing : list
        What else means nothing, such as "NA" or -99; a dot and an empty cell always do. NONMEM reads a zero there.

    Returns
    -------
    NonmemData

    Notes
    -----
    - Times may be negative. With a colon in one of them, or a column DATE (month, day, year), DAT1 (day, month, year),
      DAT2 (year, month, day) or DAT3 (year, day, month), all are hours since the first row of their ID. A clock that a
      reset has set back goes on, as in `tsode.frames.events_from_nonmem`.
    - DUR is how long a dose takes, of which RATE follows. RATE of -1 or -2 asks for a rate or duration that the model
      estimates: the dose comes without one, for ``doses={state: Dosing(duration=...)}``, and a warning says so.
    - ALAG and F, or ALAG1, F1, ALAG2, F2, ... of compartments, are lag and bioavailability of doses. Names in small
      letters are read as those in capitals, but for C, F and those with a number.
    - A value with CENS of 1 (-1) is not above (below) the one in DV, one with BLQ of 1 not above LLOQ. It stands at its
      limit, and ``below`` (``above``) has the limit of the channel.
    - An observation with MDV of 1 or an empty DV, and another event (EVID 2), is a row without a value: a time to be
      told of. Two values of one channel at one time are two rows, see ``duplicates=`` of forecasters.

    Raises
    ------
    DataError
        If the file cannot be read; the message says where and how to mend it.

    References
    ----------
    Beal, Sheiner, Boeckmann and Bauer, *NONMEM Users Guides*, parts IV (NM-TRAN) and VI (PREDPP), chapter V.

    Examples
    --------
    >>> import pandas as pd
    >>> import tsode
    >>> table = {"ID": 1, "TIME": [0, 1, 2], "AMT": [100, ".", "."], "DV": [".", 8.1, 6.7], "WT": 70}
    >>> found = tsode.read_nonmem(pd.DataFrame(table), states=["central"], channels="level")
    >>> found.rows["level"].tolist(), found.events["amount"].tolist(), found.static["WT"].tolist()
    ([8.1, 6.7], [100.0], [70.0])
    """
    _check_choices(known_rule, at_event)
    cells = read_cells(data, columns, ignore, missing)
    taken = _find_covariates(cells, covariates, endpoint, keep)
    ids = _read_ids(cells)
    times, clock = read_times(cells)
    doses = read_doses(cells, states)
    clean = doses.table.assign(ID=pd.Series(ids, dtype=object), TIME=times, II=read_spans(cells, "II"))
    records, clean = read_records(clean, cells.places)
    table = record_events(records, clean, doses.states)
    table = table[table["kind"] != "mark"].reset_index(drop=True)
    times = records["TIME"].to_numpy()

    # what happens to values and where
    is_observed = (records["EVID"] == 0).to_numpy()
    is_said = is_observed & (cells.numbers("MDV", missing=0.0) == 0)
    censored = read_censored(cells, is_said)
    is_seen = is_said & ~np.isnan(censored.values)
    kinds, names = find_channels(cells, is_observed, channels, endpoint)
    kinds[(records["EVID"] == 2).to_numpy()] = next(iter(names), None)  # a time to be told of, whatever the channel
    is_kept = np.isin(records["EVID"], (0, 2)) & np.array([kind in names for kind in kinds])
    _check_dosed(ids, records, is_kept, cells)

    # when
    step = time_steps(ids, times)
    moves = np.zeros(len(times), dtype=np.int64)
    if at_event == "after":
        places = {state: number for number, state in enumerate(doses.states or [], start=1)}
        compartments = [places.get(cell, cell) or ANY for cell in clean["CMT"]]
        observed = [of if kept else None for of, kept in zip(compartments, is_kept)]
        moves = count_moves(ids, times, observed, _changed(table, compartments))
        _check_repeats(table, ids, times, moves, is_kept, cells)
    moved = times + moves * step
    table[TIME_COL] = moved[table.pop("record").to_numpy(dtype=np.int64)]
    seen = pd.DataFrame({ID_COL: ids, TIME_COL: moved, "DV": np.where(is_seen, censored.values, np.nan)})
    seen = seen.assign(**{str(name): read_kept(cells, name) for name in keep})
    rows = spread_channels(seen[is_kept].reset_index(drop=True), kinds[is_kept], names)
    rows = _without_idle(rows, list(names.values()))

    most = pd.Series(moves).groupby(pd.Series(ids, dtype=object), sort=False).transform("max").to_numpy()
    static, known, use = read_covariates(cells, taken, ids, times, known_rule, step * (most + 1), is_kept)
    use |= dict.fromkeys(keep, "kept beside the values")
    of_channel = {name: is_kept & (kinds == kind) for kind, name in names.items()}
    below, above = find_limits(censored, of_channel, is_seen)
    tally = make_tally(cells, records, table, censored, is_seen, is_kept, int((moves * is_kept > 0).sum()), use, clock)
    return NonmemData(
        rows.infer_objects(),
        _brief(table) if len(table) else None,
        static if static is None else static.infer_objects(),
        known if known is None else known.infer_objects(),
        "linear" if known_rule == "linear" else "last",
        below,
        above,
        tally,
    )


def _check_choices(known_rule: str, at_event: str) -> None:
    for name, value, among in (("known_rule", known_rule, RULES), ("at_event", at_event, AT_EVENT)):
        if value not in among:
            raise ParameterError(f"{name}={value!r} is not known: choose one of {', '.join(map(repr, among))}.")


def _read_ids(cells: Cells) -> list[Hashable]:
    """IDs as they are written: whole numbers where all are, else as they stand."""
    column = cells.frame["ID"].tolist()
    if None in column:
        raise DataError(f"There is no ID in {cells.places[column.index(None)]}: fill it in, or drop the row.")
    if all(isinstance(entry, str) for entry in column) and all(_is_plain(entry) for entry in column):
        column = [int(entry) for entry in column]
    ended: set[Hashable] = set()
    for row, (before, key) in enumerate(itertools.pairwise(column), start=1):
        if key == before:
            continue
        ended.add(before)
        if key in ended:
            raise DataError(
                f"ID {key!r} begins again in {cells.places[row]}, after rows of ID {before!r}: NONMEM takes that for "
                "another individual. Sort the table by ID, or give the second one an ID of its own."
            )
    return column


def _is_plain(entry: str) -> bool:
    return entry.lstrip("-").isdigit() and str(int(entry)) == entry


def _changed(table: pd.DataFrame, compartments: Sequence[Hashable]) -> list[Hashable]:
    """Compartment that each record changes at its own time; what runs in from then on, or comes late, changes none."""
    changed: list[Hashable] = [None] * len(compartments)
    for event in table.to_dict("records"):
        kind, is_steady, record = event["kind"], event["steady_state"] > 0, int(event["record"])
        is_late = not np.isnan(event["lag"]) and not is_steady
        if is_late or (kind == "add" and not is_steady and not np.isnan(event["rate"])):
            continue
        is_of_one = kind in ("add", "set", "multiply") and not is_steady and changed[record] is None
        changed[record] = compartments[record] if is_of_one else ANY
    return changed


def _check_repeats(
    table: pd.DataFrame,
    ids: Sequence[Hashable],
    times: np.ndarray,
    moves: np.ndarray,
    is_kept: np.ndarray,
    cells: Cells,
) -> None:
    """Refuse an observation that is moved past what comes later in NONMEM: a repeated or late dose of its own time."""
    rows = np.flatnonzero(is_kept & (moves > 0)).tolist()
    repeated = table[(table["n_more"] > 0) | (table["lag"].notna() & (table["steady_state"] == 0))]
    if not rows or not len(repeated):
        return
    arrivals: set[tuple[Hashable, float]] = set()
    for one in repeated.to_dict("records"):
        is_late = not np.isnan(one["lag"]) and not one["steady_state"]
        first = add_spans(np.array([one[TIME_COL]]), np.array([one["lag"] if is_late else 0.0]))
        every = 0.0 if np.isnan(one["every"]) else one["every"]
        counts = np.arange(0 if is_late else 1, int(one["n_more"]) + 1)
        arrivals |= {(one[ID_COL], float(t)) for t in add_spans(np.repeat(first, len(counts)), np.array(every), counts)}
    for row in rows:
        if (ids[row], float(times[row])) in arrivals:
            raise DataError(
                f"The observation in {cells.where(row)} stands behind a dose or a reset of its time, and before a dose "
                "of that time that is repeated or late: move it by a little, or pass at_event='before'."
            )


def _check_dosed(ids: Sequence[Hashable], records: pd.DataFrame, is_kept: np.ndarray, cells: Cells) -> None:
    seen = {key for key, kept in zip(ids, is_kept) if kept}
    for row, (key, evid) in enumerate(zip(ids, records["EVID"])):
        if key not in seen and evid in (1, 4):
            raise DataError(
                f"ID {key!r} has a dose in {cells.places[row]}, but no observation, so that it is no series: add a row "
                "with EVID=2 when it is to be told of, or drop its rows."
            )


def _without_idle(rows: pd.DataFrame, channels: list[Hashable]) -> pd.DataFrame:
    """The rows without those that say nothing at a time of which there is another."""
    keys = [ID_COL, TIME_COL]
    is_idle = rows[channels].isna().all(axis=1)
    has_other = (~is_idle).groupby([rows[key] for key in keys]).transform("any")
    return rows[~is_idle | ~(has_other | rows.duplicated(keys))].reset_index(drop=True)


def _find_covariates(
    cells: Cells, wanted: Sequence[Hashable] | None, endpoint: str, keep: Sequence[Hashable]
) -> list[Hashable]:
    for argument, names in (("covariates", wanted or ()), ("keep", keep)):
        for name in names:
            if name not in cells or name in RESERVED:
                raise ParameterError(
                    f"{argument}= names {name!r}, which is no column without a meaning of its own."
                    f"{guess_label(name, list(cells.frame.columns))} The columns are {list(cells.frame.columns)}."
                )
    found = [name for name in cells.frame.columns if not is_reserved(name) and name != endpoint]
    return [name for name in (found if wanted is None else wanted) if name not in keep]


def _brief(table: pd.DataFrame) -> pd.DataFrame:
    """The events without the columns that say nothing."""
    idle = [name for name in ("amount", "rate", "duration", "every", "lag") if table[name].isna().all()]
    idle += [name for name in ("n_more", "steady_state") if (table[name] == 0).all()]
    if {"n_more", "lag"} <= set(idle):
        idle.append("priority")  # the order of rows is that of records
    if (table["kind"] == "add").all():
        idle.append("kind")
    if table["target"].isna().all():
        idle.append("target")
    return table.drop(columns=idle).infer_objects()
