"""Decomposition of a series into the parts of its structures, earlier and later data used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.models.structural.component import Component
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.structure import REGRESSORS

__all__ = ["FIT", "decompose", "part_names"]

FIT = "fit"
ORDER = ("trend", "season", "cycle", REGRESSORS, "rest")


def part_names(fit: ChannelFit) -> list[str]:
    """Parts of a channel: the trend, each season and cycle by name, and the rest; those that some member has."""
    found = {part_of(component): component.role for member in fit.members for component in member.structure.components}
    if fit.changes:
        found["trend"] = "trend"
    if any(member.structure.n_regressors > 2 * len(fit.changes) for member in fit.members):
        found[REGRESSORS] = REGRESSORS
    return sorted(found, key=lambda name: (ORDER.index(found[name]), name))


def part_of(component: Component) -> str:
    """The part that a component belongs to: seasons and cycles are parts of their own."""
    return component.name if component.role in ("season", "cycle") else component.role


def decompose(
    model: StructuralModel, batch: IrregularBatch, c: int, row: int, query_times: Tensor
) -> dict[str, Tensor]:
    """Parts of one channel of one series at its query times (q), and their sum, the fit without observation noise.

    Returns
    -------
    dict of name to Tensor[q 3d]
        Parameters of a `NormalMixture` over the draws of the parameters, on the scale of the transformed values. The
        constant that was subtracted before the fit is in the trend, or in the rest where there is no trend. Means of
        the parts add up to that of the fit; its spread is that of the sum, from the joint law.
    """
    fit = model.fit_of(batch, c, row)
    names = part_names(fit)
    log_weights = model.log_weights_at(batch, c, row, query_times)
    home = "trend" if "trend" in names else names[-1]
    readout = fit.parts(query_times.new_zeros(1, 1)).readout
    chosen = [readout * _is_in(fit, partial(_belongs, name)) for name in names]
    means, variances = model.smoothed(fit, batch, c, row, query_times, torch.stack([readout, *chosen]))
    at = query_times.expand(batch.n_series, -1)
    regressed, changed = model.regressed(fit, batch, at)[row], model.changed(fit, at)[row]

    def of(name: str, mean: Tensor, variance: Tensor) -> Tensor:
        if name in (FIT, REGRESSORS):
            mean = mean + regressed
        if name in (FIT, "trend"):
            mean = mean + changed
        location = fit.spread * mean + (fit.shift if name in (FIT, home) else 0.0)
        log_scale = 0.5 * variance.clamp(min=1e-300).log() + log(fit.spread)
        return torch.cat([location, log_scale, log_weights], dim=-1)

    return {name: of(name, mean, variance) for name, mean, variance in zip([FIT, *names], means, variances)}


def _belongs(name: str, component: Component) -> bool:
    return part_of(component) == name


def _is_in(fit: ChannelFit, belongs: Callable[[Component], bool]) -> Tensor:
    """1 for the states of the components that belong, of each draw: Tensor[d m]."""
    rows = []
    for member in fit.members:
        marks = torch.zeros(fit.n_states, dtype=torch.float64)
        for component in member.structure.components:
            if belongs(component):
                marks[member.structure.places[component.name]] = 1.0
        rows.append(marks.expand(len(member.z), -1))
    return torch.cat(rows)
