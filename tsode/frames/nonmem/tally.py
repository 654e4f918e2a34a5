"""Tally of a data file: what became of every row and column, and of the amounts in it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from tsode.frames.events import read_events
from tsode.frames.nonmem.cells import Cells, is_reserved
from tsode.frames.nonmem.censoring import Censored

__all__ = ["make_tally"]

_USES = {
    "ID": "series", "TIME": "time", "DV": "values", "MDV": "which values are none", "EVID": "kind of record",
    "AMT": "amount of doses", "RATE": "rate of infusions", "DUR": "duration of infusions",
    "CMT": "compartment of doses", "ADDL": "additional doses", "II": "interval of doses", "SS": "steady states",
    "DVID": "channel", "CENS": "censored values", "BLQ": "censored values", "LLOQ": "limit of censored values",
    "C": "rows left out",
    "DATE": "date", "DAT1": "date", "DAT2": "date", "DAT3": "date",
}  # fmt: skip


def make_tally(
    cells: Cells, records: pd.DataFrame, events: pd.DataFrame, censored: Censored, is_seen: np.ndarray,
    is_kept: np.ndarray, n_moved: int, use: Mapping[Hashable, str], clock: str,
) -> pd.DataFrame:  # fmt: skip
    """Rows by what they are, columns by their use, amounts by what became of them."""
    entries: list[tuple[str, Hashable, float, str]] = []
    kinds = [_kind(row, *flags) for row, *flags in zip(
        records.to_dict("records"), is_seen, is_kept, censored.is_below | censored.is_above)]  # fmt: skip
    for kind, count in pd.Series(kinds, dtype=object).value_counts(sort=False).items():
        entries.append(("rows", kind, count, _note(str(kind), n_moved)))
    entries += [("rows", f"left out: {reason}", count, "") for reason, count in cells.left_out.items()]
    for name in cells.frame.columns:
        said = use.get(name, _USES.get(str(name), _of_doses(name) if is_reserved(name) else "not used: no covariate"))
        if name == "TIME":
            said = f"time, {clock}"
        if name in cells.renamed.values():
            given = next(label for label, read in cells.renamed.items() if read == name)
            said += f" (given as {given!r})"
        entries.append(("columns", name, int(cells.frame[name].notna().sum()), said))
    entries += [("columns", name, 0, "not used: dropped") for name in cells.dropped]
    is_dose = records["EVID"].isin([1, 4])
    whole = float((records["AMT"].fillna(0.0) * (records["ADDL"] + 1))[is_dose].sum())
    given = 0.0
    if len(events):
        each = read_events(events, None)
        given = float(each["amount"][each["kind"].isin(["add", "reset_add"])].sum())
    entries += [
        ("amounts", "in the table", whole, "AMT times ADDL + 1, of doses"),
        ("amounts", "given", given, "of all events; less where a reset or a steady state cancels additional doses"),
    ]
    return pd.DataFrame(entries, columns=["of", "name", "count", "use"])


def _kind(row: Mapping[Hashable, object], is_seen: bool, is_kept: bool, is_censored: bool) -> str:
    evid = row["EVID"]
    if evid == 2:
        return "other event, a row without a value"
    if evid == 0:
        if not is_kept:
            return "observation left out by channels="
        return ("observation, censored" if is_censored else "observation") if is_seen else "observation without a value"
    if evid in (1, 4):
        kind = "infusion" if row["RATE"] > 0 else "dose"  # type: ignore[operator]
        kind = f"steady-state {kind}" if row["SS"] else kind
        return kind if evid == 1 else f"reset and {kind}"
    return {3: "reset", 5: "replacement", 6: "multiplication"}[evid]  # type: ignore[index]


def _note(kind: str, n_moved: int) -> str:
    if kind == "observation" and n_moved:
        return f"{n_moved} observations stand behind an event of their time, and are read as later by 1e-12"
    return ""


def _of_doses(name: Hashable) -> str:
    if str(name).startswith("ALAG"):
        return "lag of doses"
    return "bioavailability of doses" if str(name).startswith("F") else "not used"
