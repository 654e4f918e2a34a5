"""Posterior as a fitted forecaster keeps it: what it was inferred from, draws, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pandas as pd
from torch import Tensor

from tsode.core.scheduled_events import ScheduledEvents
from tsode.frames.labels import decode_label, encode_label
from tsode.inference.draws import Posterior
from tsode.inference.known_paths import KnownPaths
from tsode.inference.observations import Observations

__all__ = ["KeptPosterior"]

_TENSORS = (
    "nodes", "log_weights", "rhat", "ess_bulk", "ess_tail", "pareto_k", "log_evidence", "log_evidence_se",
    "share_failed", "share_failed_prior",
)  # fmt: skip
_OF_KNOWN = ("times", "values", "slopes", "until")
LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True, eq=False)
class KeptPosterior:
    """Posterior of the problems of a fit; see `tsode.inference.draws.Posterior` for what is not said here.

    Parameters
    ----------
    data : Observations
        What it was inferred from.
    seed : int
        Of the random numbers of later inference.
    share_failed_prior : Tensor[g]
        Draws of the prior without a finite density.
    """

    data: Observations
    seed: int
    names: tuple[str, ...]
    engine: tuple[str, ...]
    problems: tuple[tuple[str, ...], ...]
    nodes: Tensor
    log_weights: Tensor
    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor
    pareto_k: Tensor
    log_evidence: Tensor
    log_evidence_se: Tensor
    share_failed: Tensor
    share_failed_prior: Tensor

    @classmethod
    def of(cls, found: Posterior, data: Observations, seed: int) -> Self:
        """What is kept of a posterior."""
        same = {name: getattr(found, name) for name in ("names", "engine", "problems", *_TENSORS[:-1])}
        return cls(data, seed, share_failed_prior=found.modes.prior.share_failed, **same)

    def labels(self) -> list[str]:
        """Names of the coordinates of all problems, with the id of the series where these are the problems."""
        if len(self.nodes) == 1:
            return list(self.names)
        return [f"{name}[{key}]" for key in self.data.ids for name in self.names]

    def table(self, values: Tensor) -> pd.DataFrame:
        """Summary of parameters, whose values at the nodes are (g k p)."""
        weights = self.log_weights.exp()[..., None]
        mean = (weights * values).sum(dim=1)
        sd = (weights * (values - mean[:, None]).square()).sum(dim=1).sqrt()
        order = values.argsort(dim=1)
        share = weights.expand_as(values).gather(1, order).cumsum(dim=1)
        ranked = values.gather(1, order)
        columns: dict[str, Tensor] = {"mean": mean, "sd": sd}
        for level in LEVELS:
            place = (share < level * share[:, -1:]).sum(dim=1, keepdim=True).clamp(max=values.shape[1] - 1)
            columns[f"q{100 * level:02.0f}"] = ranked.gather(1, place)[:, 0]
        p = values.shape[2]
        columns |= {
            "ess_bulk": self.ess_bulk, "ess_tail": self.ess_tail, "rhat": self.rhat,
            "pareto_k": self.pareto_k[:, None].expand(-1, p),
        }  # fmt: skip
        table = pd.DataFrame({name: column.reshape(-1).numpy() for name, column in columns.items()})
        table["engine"] = np.repeat(self.engine, p)
        table.index = pd.Index(self.labels(), name="parameter")
        return table

    def to_file(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Header, and tensors that `from_file` reads."""
        header = {
            "seed": self.seed, "names": list(self.names), "engine": list(self.engine),
            "problems": [list(texts) for texts in self.problems],
            "ids": [encode_label(key) for key in self.data.ids],
        }  # fmt: skip
        tensors = {f"posterior.{name}": getattr(self, name).contiguous().clone() for name in _TENSORS}
        tensors |= {f"fitted.{name}": getattr(self.data, name).clone() for name in ("start", "times", "values")}
        if self.data.events is not None:
            tensors |= {f"fitted.events.{name}": value.clone() for name, value in vars(self.data.events).items()}
        if self.data.known is not None:
            header["known"] = list(self.data.known.names)
            tensors |= {f"fitted.known.{name}": getattr(self.data.known, name).clone() for name in _OF_KNOWN}
        return header, tensors

    @classmethod
    def from_file(cls, header: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Undo `to_file`."""
        ids: list[Hashable] = [decode_label(label) for label in header["ids"]]
        parts = {one.name: tensors[f"fitted.events.{one.name}"] for one in fields(ScheduledEvents)}
        rows = {name: tensors[f"fitted.{name}"] for name in ("start", "times", "values")}
        known = None
        if "known" in header:
            known = KnownPaths(tuple(header["known"]), *(tensors[f"fitted.known.{name}"] for name in _OF_KNOWN))
        data = Observations(ids, **rows, events=ScheduledEvents(**parts), known=known)
        of_draws = {name: tensors[f"posterior.{name}"] for name in _TENSORS}
        g, p = len(of_draws["nodes"]), len(header["names"])
        is_sound = of_draws["nodes"].dim() == 3 and of_draws["nodes"].shape[2] == p and len(ids) >= 1
        if not is_sound or len(header["engine"]) != g or len(header["problems"]) != g:
            raise ValueError("its posterior is not of its parameters")
        return cls(
            data, int(header["seed"]), tuple(map(str, header["names"])), tuple(map(str, header["engine"])),
            tuple(tuple(map(str, texts)) for texts in header["problems"]), **of_draws,
        )  # fmt: skip
