"""Reader of an automatic choice: it keeps tables as they were given, for each member encodes them in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from tsode.estimators.auto.trials import tables_of
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.panel import Panel

__all__ = ["TellingReader", "ToldPanel"]


@dataclass(frozen=True, eq=False)
class ToldPanel(Panel):
    """Histories with the tables that came with a question.

    Parameters
    ----------
    told : dict of str to table or None
        "events", "static" and "known"; None = as in fit.
    """

    told: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, panel: Panel, told: Mapping[str, Any]) -> Self:
        """A panel with tables."""
        return cls(**{one.name: getattr(panel, one.name) for one in fields(Panel)}, told=told)

    def for_member(self, member: Any) -> Panel:
        """The histories as a member's model takes them."""
        panel = Panel(self.ids, self.times, self.values, list(self.channels), self.layout)
        n_read = len(member.reader_.channels)
        if n_read < len(panel.channels):  # a member without past covariates, which come last
            panel = replace(panel, channels=panel.channels[:n_read], values=[v[:, :n_read] for v in panel.values])
        tables = dict.fromkeys(("events", "static", "known")) | tables_of(member, self.told)
        return member.reader_.with_tables(panel, member._panel, **tables)


@dataclass(frozen=True, eq=False, kw_only=True)
class TellingReader(DataReader):
    """Reader whose panels keep the tables that came with a question."""

    @classmethod
    def of(cls, reader: DataReader) -> Self:
        """The same, telling."""
        return cls(**{one.name: getattr(reader, one.name) for one in fields(DataReader)})

    def with_events(self, panel: Panel, events: Any, history: Panel) -> Panel:
        panel = super().with_events(panel, events, history)
        return replace(panel, told={**panel.told, "events": events}) if isinstance(panel, ToldPanel) else panel

    def with_tables(self, panel: Panel, history: Panel, events: Any, static: Any, known: Any) -> Panel:
        plain = super().with_tables(panel, history, events, static, known)
        return ToldPanel.of(plain, {"events": events, "static": static, "known": known})
