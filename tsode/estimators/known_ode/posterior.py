"""Posterior as a fitted forecaster keeps it: what it was inferred from, draws, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.core.scheduled_events import ScheduledEvents
from tsode.frames.labels import decode_label, encode_label
from tsode.inference.draws import Posterior
from tsode.inference.known_paths import KnownPaths
from tsode.inference.observations import Observations

__all__ = ["KeptPosterior"]

_OF_ANSWER = (
    "nodes", "log_weights", "rhat", "ess_bulk", "ess_tail", "pareto_k", "log_evidence", "log_evidence_se",
    "share_failed",
)  # fmt: skip
_TENSORS = (*_OF_ANSWER, "share_failed_prior", "contraction", "mode_points", "mode_log_prob", "mode_starts")
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
    contraction : Tensor[g p]
        By how much the square of the width has become less than the prior's, in parts of it: 0 where data say nothing.
    mode_points, mode_log_prob, mode_starts : Tensor[g m p], Tensor[g m], Tensor[g m]
        Modes that starts have come to, their log densities, and how many starts.
    gradient_error : float
        Of the gradient at draws, in parts of the largest derivative; NaN where it was not looked at.
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
    contraction: Tensor
    mode_points: Tensor
    mode_log_prob: Tensor
    mode_starts: Tensor
    gradient_error: float = np.nan

    @classmethod
    def of(cls, found: Posterior, data: Observations, seed: int, gradient_error: float = np.nan) -> Self:
        """What is kept of a posterior."""
        same = {name: getattr(found, name) for name in ("names", "engine", "problems", *_OF_ANSWER)}
        low, high = torch.quantile(found.draws.flatten(1, 2), torch.tensor([0.25, 0.75], dtype=torch.float64), dim=1)
        modes = found.modes
        return cls(
            data, seed, share_failed_prior=modes.prior.share_failed,
            contraction=1.0 - ((high - low) / 1.349 / modes.prior.scale).square(), mode_points=modes.point,
            mode_log_prob=modes.log_prob, mode_starts=modes.n_starts, gradient_error=gradient_error, **same,
        )  # fmt: skip

    @classmethod
    def of_nothing(cls, data: Observations, seed: int, log_evidence: Tensor) -> Self:
        """Of a system whose parameters are all known, with the log evidences (g) of its problems."""
        g = len(log_evidence)
        none, flat, one = torch.zeros(g, 0).double(), torch.zeros(g).double(), torch.zeros(g, 1).double()
        return cls(
            data, seed, (), ("known",) * g, ((),) * g, one[..., None][..., :0], one, none, none, none, flat + torch.nan,
            log_evidence, flat, flat, flat, none, one[..., None][..., :0], one, torch.ones(g, 1).long(),
        )  # fmt: skip

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
            "pareto_k": self.pareto_k[:, None].expand(-1, p), "contraction": self.contraction,
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
            "gradient_error": None if np.isnan(self.gradient_error) else self.gradient_error,
        }  # fmt: skip
        tensors = {f"posterior.{name}": getattr(self, name).contiguous().clone() for name in _TENSORS}
        tensors |= {f"fitted.{name}": getattr(self.data, name).clone() for name in ("start", "times", "values")}
        if self.data.events is not None:
            tensors |= {f"fitted.events.{name}": value.clone() for name, value in vars(self.data.events).items()}
        if self.data.known is not None:
            header["known"] = list(self.data.known.names)
            tensors |= {f"fitted.known.{name}": getattr(self.data.known, name).clone() for name in _OF_KNOWN}
        header["static"] = {
            name: [encode_label(x) for x in column.tolist()] for name, column in self.data.static.items()
        }
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
        static = {str(name): _column([decode_label(x) for x in column]) for name, column in header["static"].items()}
        data = Observations(
            ids, rows["start"], rows["times"], rows["values"], ScheduledEvents(**parts), known=known, static=static
        )
        of_draws = {name: tensors[f"posterior.{name}"] for name in _TENSORS}
        g, p = len(of_draws["nodes"]), len(header["names"])
        is_sound = of_draws["nodes"].dim() == 3 and of_draws["nodes"].shape[2] == p and len(ids) >= 1
        if not is_sound or len(header["engine"]) != g or len(header["problems"]) != g:
            raise ValueError("its posterior is not of its parameters")
        return cls(
            data, int(header["seed"]), tuple(map(str, header["names"])), tuple(map(str, header["engine"])),
            tuple(tuple(map(str, texts)) for texts in header["problems"]), **of_draws,
            gradient_error=np.nan if header.get("gradient_error") is None else float(header["gradient_error"]),
        )  # fmt: skip


def _column(values: list[Any]) -> np.ndarray:
    is_of_numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    return np.array(values, dtype=np.float64 if is_of_numbers else object)
