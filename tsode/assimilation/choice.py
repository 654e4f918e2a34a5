"""Choice of a filter: the cheapest whose evidence is that of particles."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import effective_size
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.filters.unscented import UnscentedKalman

__all__ = ["Trial", "choose_filter"]

CANDIDATES: dict[str, Filter[Any]] = {
    "extended": ExtendedKalman(),
    "unscented": UnscentedKalman(),
    "square_root": SquareRootEnsemble(),
    "guided": GuidedFilter(1000),
}
MOST_STATES, MOST_STEPS = 8, 2_000  # for which particles are asked
LEAST_EFFECTIVE = 0.02  # share of the particles, below which their evidence is no measure
MOST_OFF, MOST_SCATTER = 0.05, 0.5  # nats: of a value, and between draws of the parameters


@dataclass(frozen=True)
class Trial:
    """What a filter was found to be worth.

    Parameters
    ----------
    name : str
    off : float
        Mean difference of its log evidence from that of the measure, of a value.
    scatter : float
        Standard deviation of the difference between draws of the parameters, beyond that of the measure itself.
    effective : float
        Least median share of particles that are effective; NaN of other filters.
    cpu_seconds : float
    is_accepted : bool
    """

    name: str
    off: float
    scatter: float
    effective: float
    cpu_seconds: float
    is_accepted: bool


def choose_filter(density: FilteredDensity, u: Tensor) -> tuple[str, list[Trial]]:
    """Name of the cheapest filter that is as good as particles at points ``u`` (g k p), and what was tried.

    Where the equation and what is seen are linear and normal the extended filter is exact, and nothing else is tried.
    Elsewhere guided particles are the measure, at two seeds, if their effective number holds: a filter is accepted
    whose log evidence differs by at most .05 a value, and by no more than half a nat from draw to draw, which is what
    would move a posterior. Without a measure, as with many states or steps, the ensemble is taken unless the extended
    and the unscented filter agree.
    """
    if density.is_exact:
        return "extended", [Trial("extended", 0.0, 0.0, float("nan"), 0.0, True)]
    n_values = max(1, sum(len(cells.values) for cells in density.cells.values()))
    names = list(CANDIDATES)
    span = density.data.times.amax(dim=1) - density.data.start
    is_long = not density.is_linear and bool((span / density.step > MOST_STEPS).any())
    if is_long or len(density.system.states) > MOST_STATES:
        names.remove("guided")
    found: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}
    with torch.no_grad():
        for name in names:
            if name == "guided" and not any(bool(x.isfinite().any()) for x in found.values()):
                names.remove("guided")  # where all others fail, steps do, and particles take as many
                break
            begin = time.process_time()
            found[name], _ = _evidence(density.with_filter(CANDIDATES[name]), u)
            seconds[name] = time.process_time() - begin
        effective = float("nan")
        measure, own = found["unscented"], torch.zeros(())
        if "guided" in names:
            other, effective = _evidence(density.with_filter(CANDIDATES["guided"]).with_seed(density.seed + 1), u)
            if effective > LEAST_EFFECTIVE:
                measure, own = 0.5 * (found["guided"] + other), (found["guided"] - other).var() / 4.0
    trials = []
    for name in names:
        gap = (found[name] - measure).nan_to_num(nan=torch.inf, neginf=torch.inf)
        off = float(gap.mean().abs()) / n_values
        scatter = float((gap.var() - own).clamp(min=0.0).sqrt())
        is_measure = name == "guided"
        is_good = off <= MOST_OFF and scatter <= MOST_SCATTER
        is_good = effective > LEAST_EFFECTIVE if is_measure else is_good
        trials.append(Trial(name, off, scatter, effective if is_measure else float("nan"), seconds[name], is_good))
    accepted = [trial.name for trial in trials if trial.is_accepted]
    return accepted[0] if accepted else "square_root", trials


def _evidence(density: FilteredDensity, u: Tensor) -> tuple[Tensor, float]:
    """Log evidence (k,) at points, and of particles the least over the stops of their median effective share."""
    rows = density.rows(density.space.unpack(u).values)
    passed = density.passed(rows, density.draws(u.shape[1]), keep=isinstance(density.filter, GuidedFilter))
    total = passed.log_evidence.sum(dim=(1, 2)).reshape(u.shape[1], -1).sum(dim=1)
    shares = [effective_size(belief.log_weights).median() / density.filter.n_members for belief in passed.seen]
    return total, float(torch.stack(shares).min()) if shares else float("nan")
