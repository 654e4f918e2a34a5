"""Failures of a fit in words: which part of a density is not finite, for which series, when, at which parameters."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch

from tsode.errors import DataError, TsodeWarning
from tsode.estimators.forecasters.reader import DataReader
from tsode.inference.draws import Posterior
from tsode.inference.failures import Failure, best_draws, find_failures
from tsode.inference.known_density import KnownDensity
from tsode.inference.model_checks import uninformed
from tsode.inference.pareto import tail_shape
from tsode.inference.priors import Uniform

__all__ = [
    "bound_problems",
    "check_informed",
    "explained",
    "gradient_problems",
    "in_native_time",
    "no_start",
    "prior_draws",
    "tail_problems",
]

N_LOOKED_AT = 256  # draws of the prior
NEAR, CUT = 0.01, 0.01  # of the prior's width, and of its largest density, from which a bound is one that it is cut by
NO_VARIANCE = 0.5  # shape of a tail
MOST_OFF = 0.05  # share by which a gradient may be off: solvers of usual tolerance are far below it


def prior_draws(density: KnownDensity, n: int = N_LOOKED_AT) -> torch.Tensor:
    """Draws of the prior that failures are looked for among, always the same."""
    return density.sample_prior(n, torch.Generator().manual_seed(0))


def in_native_time(failures: list[Failure], reader: DataReader) -> list[Failure]:
    """The same with times as in the data."""
    return [
        replace(one, time=reader.timeline.to_native(np.array([one.time]))[0]) if one.time == one.time else one
        for one in failures
    ]


def no_start(found: Posterior, density: KnownDensity, reader: DataReader) -> str:
    """Message of a fit without any point of finite density: what is not finite, and the draws that come nearest."""
    u = prior_draws(density)
    place = next(g for g, draws in enumerate(found.draws) if not bool(draws.isfinite().all()))
    causes = "; ".join(map(str, in_native_time(find_failures(density, u), reader)))
    best = "; ".join(
        f"{', '.join(f'{name} = {x:.4g}' for name, x in point.items())}: {share:.0%} of the values have a likelihood, "
        f"log density {value:.4g} without the others"
        for point, share, value in best_draws(density, u)
    )
    return (
        f"{'; '.join(found.problems[place])} ({causes}). The draws that come nearest: {best}. Look at the priors, or "
        "at prior_predictive(X)."
    )


def explained(found: Posterior, density: KnownDensity, reader: DataReader) -> list[list[str]]:
    """What is behind the failed solves of each problem that has many."""
    is_named = [any(text.startswith("failed solves") for text in texts) for texts in found.problems]
    if not any(is_named):
        return [[] for _ in is_named]
    causes = in_native_time(find_failures(density, prior_draws(density)), reader)
    texts = [f"why solves of the prior failed: {one}" for one in causes[:2]]
    return [texts if named else [] for named in is_named]


def gradient_problems(errors: torch.Tensor) -> list[list[str]]:
    """What is wrong with the gradient of each problem, whose errors are (g)."""
    return [
        [
            f"gradient: {error:.0%} off differences of tight solves; a function hides parameters from autograd "
            "(detach, NumPy) or jumps where nothing marks it: see gradient_check()"
        ]
        if error > MOST_OFF
        else []
        for error in errors.tolist()
    ]


def bound_problems(found: Posterior, density: KnownDensity) -> list[list[str]]:
    """Parameters of each problem whose median lies within 1 % of a bound that their prior is cut off by."""
    space = density.space
    medians = space.constrain(found.draws.flatten(1, 2)).median(dim=1).values
    texts: list[list[str]] = [[] for _ in medians]
    for place, name in enumerate(density.names):
        prior = space.priors[space.parameter_of(name)]
        width = float(np.diff(prior.quantile([0.05, 0.95]))[0])
        inside = torch.from_numpy(np.array(prior.quantile(np.linspace(0.01, 0.99, 99))))
        most = float(prior.log_prob(inside).max())
        for bound in prior.bounds:
            if not np.isfinite(bound):
                continue
            at = torch.tensor([bound + np.sign(float(inside[49]) - bound) * 1e-6 * width], dtype=torch.float64)
            if float(prior.log_prob(at)) < most + np.log(CUT):
                continue  # a law that ends there by itself
            for g, median in enumerate(medians[:, place].tolist()):
                if abs(median - bound) < NEAR * width:
                    texts[g].append(
                        f"at a bound: the median of {name}, {median:.3g}, is within 1 % of {bound:g}, where its prior "
                        f"{prior!r} is cut off"
                    )
    return texts


def tail_problems(found: Posterior, density: KnownDensity) -> list[list[str]]:
    """Parameters of each problem whose draws reach so far out that their mean and sd say nothing.

    Only a prior without a variance can lead to a posterior without one; that it does is seen by the draws' own tails.
    """
    space = density.space
    texts: list[list[str]] = [[] for _ in found.problems]
    priors = [space.priors[space.parameter_of(name)] for name in density.names]
    heavy = [place for place, prior in enumerate(priors) if not prior.has_variance]
    if not heavy:
        return texts
    values = space.constrain(found.draws.flatten(1, 2)).mT  # (g p n)
    for place in heavy:
        shapes, n = tail_shape(torch.stack([values[:, place], -values[:, place]]))
        is_open = torch.tensor([np.isinf(bound) for bound in priors[place].bounds[::-1]])
        for g, shape in enumerate(shapes.where(is_open[:, None], -torch.inf).amax(dim=0).tolist()):
            if shape + 2.0 * (1.0 + shape) / n**0.5 > NO_VARIANCE:
                texts[g].append(
                    f"no variance: draws of {density.names[place]} have a tail of Pareto shape {shape:.2f} (from .5 "
                    f"there is no sd, from 1 no mean), as its prior {priors[place]!r} has: look at quantiles, or take "
                    "a prior with lighter tails"
                )
    return texts


def check_informed(density: KnownDensity) -> None:
    """Raise where the data say nothing of a parameter with a flat prior, and warn of one that nothing reads."""
    names = sorted({name for of_problem in uninformed(density) for name in of_problem})
    names = [name for name in names if density.space.parameter_of(name) not in density.unused]
    flat = [name for name in names if isinstance(density.space.priors[density.space.parameter_of(name)], Uniform)]
    if flat:
        raise DataError(
            f"The data say nothing of {', '.join(map(repr, flat))}, whose prior is flat: nothing that is observed "
            "depends on it. Observe a channel that does (observed=), give it a prior of what is known, or a number."
        )
    if density.unused:
        warnings.warn(
            f"No function reads {', '.join(map(repr, density.unused))}: the posterior will be the prior.",
            TsodeWarning,
            stacklevel=5,
        )
