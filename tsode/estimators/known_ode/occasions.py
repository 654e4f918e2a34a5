"""Occasions of series, as tables tell of them: a column of rows, of events, or of what is known along time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.events import EventTable
from tsode.frames.foreign import to_pandas
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel
from tsode.inference.along_time import occasions_seen
from tsode.inference.effects.occasions import Occasions
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.observations import Observations

__all__ = ["OccasionTables", "check_two_levels", "read_occasions"]

_ALONE = "series without a name"


def read_occasions(occasion: Any, effects: Any) -> Occasions | None:
    """Effects on occasions as users write them."""
    if occasion is None and effects is None:
        return None
    if occasion is None or effects is None:
        given, missing = ("occasion", "occasion_effects") if effects is None else ("occasion_effects", "occasion")
        raise ParameterError(
            f"{given}= needs {missing}= too: occasion= names the column that tells occasions apart, "
            "occasion_effects= the parameters that change from one to the next."
        )
    return Occasions(RandomEffects.read(effects), str(occasion))


def check_two_levels(population: Population, data: Observations) -> None:
    """Raise a DataError where nothing tells the spread among occasions from that among series."""
    if population.occasions is None:
        return
    both = [name for name in population.occasions.effects.names if name in population.effects.names]
    seen = occasions_seen(data, population.occasions.meeting(data.known))
    if both and not bool((seen.sum(dim=1) > 1).any()):
        raise DataError(
            f"No series was seen on more than one occasion ({population.occasions.by!r}), so that the spread of "
            f"{both[0]!r} among occasions cannot be told from that among series: leave out occasion_effects=, or name "
            f"{both[0]!r} there alone."
        )


@dataclass(frozen=True)
class OccasionTables:
    """Reading of occasions from whatever tables have their column, into the table of what is known along time.

    An occasion begins at the first row or event that has it. At one time a row comes before an event.

    Parameters
    ----------
    column, id_col, time_col : label
    """

    column: Hashable
    id_col: Hashable
    time_col: Hashable

    def has(self, table: Any) -> bool:
        """Whether a table has the column."""
        frame = _frame(table)
        return frame is not None and self.column in frame.columns

    def without(self, events: Any) -> Any:
        """A table of events without the column."""
        if not self.has(events):
            return events
        if isinstance(events, EventTable):
            return EventTable(events.frame.drop(columns=self.column), events.id_col, events.time_col)
        return to_pandas(events, "events=").drop(columns=self.column)

    def told(self, rows: Mapping[str, Any], events: Mapping[str, Any], known_ids: Sequence[Hashable]) -> pd.DataFrame:
        """What tables tell, by time: a frame with the columns id, time and occasion.

        Series of which nothing is known, and no table tells more than when it begins, have one occasion.
        """
        parts = [self._read(name, table, 0) for name, table in rows.items()]
        parts += [self._read(name, table, 1) for name, table in events.items()]
        found = [part for part in parts if part is not None and len(part)]
        if not found:
            return pd.DataFrame(columns=["id", "time", "occasion"])
        table = pd.concat(found, ignore_index=True)
        is_told = table["occasion"].notna()
        others = table[~is_told & ~table["id"].isin([*table["id"][is_told], *known_ids])]
        alone = others.groupby("id", sort=False, as_index=False)["time"].min().assign(occasion=0.0)
        table = table[is_told].sort_values(["time", "rank"], kind="stable")
        differ = table.groupby(["id", "time", "rank"], sort=False)["occasion"].nunique() > 1
        if differ.any():
            key, time, _ = differ.index[int(differ.to_numpy().argmax())]
            raise DataError(f"occasion={self.column!r} has two values for series {key!r} at {time}: it is of one.")
        table = table.drop_duplicates(["id", "time"], keep="last")
        both = pd.concat([part for part in (table, alone) if len(part)])
        return both[["id", "time", "occasion"]].reset_index(drop=True)

    def into_known(
        self, told: pd.DataFrame, known: Any, columns: Sequence[Hashable], panel: Panel | None
    ) -> pd.DataFrame | None:
        """A table of what is known along time, with the occasions that were told.

        Rows of each series replace what was known from the first of them on, of occasions and of the rest by itself.

        Parameters
        ----------
        told : DataFrame
        known : table or None
            As it was given.
        columns : sequence of label
            That fit has known.
        panel : Panel or None
            What was known before.
        """
        rest = pd.DataFrame(columns=["id", "time"]) if known is None else self._plain(known, told)
        names = [name for name in columns if name != self.column]
        names = names or [name for name in rest if name not in ("id", "time")]
        if not names:
            return self._named(told) if len(told) else None
        before = pd.DataFrame(columns=["id", "time", "occasion", *names])
        if panel is not None:
            before = self._before(panel, columns)
        parts = []
        for key in dict.fromkeys([*told["id"], *rest["id"]]):
            halves = []
            for table, own in ((told, ["occasion"]), (rest, names)):
                mine, old = (x.loc[x["id"] == key] for x in (table, before))
                old = old.dropna(how="all", subset=own)
                if len(mine):
                    old = old[old["time"] < mine["time"].min()]
                some = [x[["id", "time", *own]] for x in (old, mine) if len(x)]
                halves.append(pd.concat(some) if some else mine.reindex(columns=["id", "time", *own]))
            parts.append(halves[0].merge(halves[1], on=["id", "time"], how="outer") if len(halves[1]) else halves[0])
        return self._named(pd.concat(parts, ignore_index=True)) if parts else None

    def _read(self, name: str, table: Any, rank: int) -> pd.DataFrame | None:
        frame = _frame(table)
        if frame is None:
            return None
        if self.time_col not in frame.columns:
            frame = frame.reset_index()
            if self.time_col not in frame.columns:
                frame = frame.rename(columns={frame.columns[0]: self.time_col})
        ids = frame[self.id_col] if self.id_col in frame.columns else _ALONE
        result = pd.DataFrame({"time": frame[self.time_col], "rank": rank, "id": ids, "occasion": np.nan})
        if self.column not in frame.columns:
            return result
        column = frame[self.column]
        missing = column.isna().to_numpy()
        if missing.any():
            key, time = result.loc[result.index[int(missing.argmax())], ["id", "time"]]
            raise DataError(
                f"occasion={self.column!r} is missing in {name}= for series {key!r} at {time} ({int(missing.sum())} "
                "such rows): fill it in, or leave the column out of this table."
            )
        if column.dtype.kind not in "biuf":
            raise DataError(
                f"occasion={self.column!r} holds {column.dtype} in {name}=, not numbers: number the occasions, "
                f"df[{self.column!r}].astype('category').cat.codes."
            )
        return result.assign(occasion=column.astype(np.float64))

    def _plain(self, known: Any, told: pd.DataFrame) -> pd.DataFrame:
        """A table that was given for `known`, with ids."""
        frame = _frame(known)
        if frame is None or self.time_col not in frame.columns:
            raise DataError(
                f"occasion={self.column!r} cannot be put beside known=, which is no frame with a column "
                f"{self.time_col!r}: make it a column of known= itself."
            )
        frame = frame.rename(columns={self.id_col: "id", self.time_col: "time"})
        return frame if "id" in frame.columns else told[["id"]].drop_duplicates().merge(frame, how="cross")

    def _before(self, panel: Panel, columns: Sequence[Hashable]) -> pd.DataFrame:
        labels = ["occasion" if name == self.column else name for name in columns]
        parts = []
        for key, record in panel.covariates.items():
            if record.times is not None and record.values is not None:
                part = pd.DataFrame(record.values, columns=labels)
                part["time"] = restore_times(record.times, panel.layout.time_dtype)
                part["id"] = pd.Series([key if panel.layout.has_ids else _ALONE] * len(part))
                parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        if (table["id"] == _ALONE).all():
            table = table.drop(columns="id")
        return table.rename(columns={"id": self.id_col, "time": self.time_col, "occasion": self.column})


def _frame(table: Any) -> pd.DataFrame | None:
    """A frame with columns; None where a table is none."""
    table = table.frame if isinstance(table, EventTable) else table
    if table is None or isinstance(table, pd.Series | np.ndarray | list | tuple | Mapping):
        return None
    try:
        return to_pandas(table, "a table")
    except DataError:
        return None
