"""Support of a population by its data: fewer series or values than effects, estimates and series that lie far off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from tsode.inference.known_density import KnownDensity
from tsode.inference.population.estimate import Estimate
from tsode.inference.population.residuals import flat_cells, residuals
from tsode.inference.population.subjects import Subjects
from tsode.inference.priors import Prior

__all__ = ["far_from_priors", "few_data", "misfits"]

FAR = 4.0  # standard deviations of a prior
FEW = 3  # values of a series, below which its residuals may be large by chance
MISFIT = 5.0  # times the residuals of the usual series


def few_data(joint: KnownDensity) -> list[str]:
    """Whether there are fewer series, or fewer values of each, than effects."""
    assert joint.system.population is not None
    names = joint.system.population.effects.names
    n, q = len(joint.data.ids), len(names)
    counts = sum(torch.bincount(cells.series, minlength=n) for cells in joint.cells.values())
    most, texts = int(torch.as_tensor(counts).max()), []
    if n == 1:
        texts.append("one series: nothing tells how series differ, so that spreads (omega) are those of their priors")
    elif n <= q:
        texts.append(
            f"few series: {n} for {q} random effects ({', '.join(names)}), whose spreads are hardly known: name fewer"
        )
    if most < q:
        texts.append(
            f"few values: {q} random effects ({', '.join(names)}), and no series has more than {most} "
            f"value{'s' * (most > 1)}, so that effects cannot be told apart and shrink to 0: name fewer"
        )
    return texts


def far_from_priors(estimate: Estimate, names: tuple[str, ...], priors: Mapping[str, Prior]) -> list[str]:
    """Parameters, other than spreads, whose estimate the prior all but excludes: often a slip of units."""
    texts = []
    for name, u in zip(names, estimate.theta.tolist()):
        if abs(u) > FAR and not name.startswith(("omega_", "corr_")):
            value = float(priors[name].constrain(torch.tensor(u, dtype=torch.float64))[0])
            texts.append(
                f"far from its prior: {name} {value:.4g} is {abs(u):.1f} standard deviations of {priors[name]!r} off: "
                "look at the units of doses and values, or give starts nearer to it"
            )
    return texts


def misfits(subjects: Subjects, estimate: Estimate) -> list[str]:
    """Series whose own curve misses their values by far more than those of others do."""
    found = residuals(subjects, estimate.theta, estimate.eta[:, None])
    series, ids = flat_cells(subjects).series, subjects.joint.data.ids
    is_there = np.isfinite(found.iwres)
    count = np.bincount(series[is_there], minlength=len(ids))
    total = np.bincount(series[is_there], found.iwres[is_there] ** 2, minlength=len(ids))
    size = np.sqrt(total / np.maximum(count, 1))
    usual = float(np.median(size[count > 0])) if (count > 0).any() else np.nan
    off = np.flatnonzero((count >= FEW) & (size > MISFIT * usual) & (size > 1.0))
    if not len(off):
        return []
    worst = off[size[off].argmax()]
    more = f" (and {len(off) - 1} more series)" if len(off) > 1 else ""
    return [
        f"misfit: values of series {ids[worst]!r}{more} lie {size[worst]:.3g} standard deviations of the noise off its "
        f"own curve, those of the usual series {usual:.2g}: look at the units of its doses and values"
    ]
