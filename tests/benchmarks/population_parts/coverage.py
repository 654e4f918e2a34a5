"""A hundred simulated data sets of one compartment: estimates in their standard errors, and intervals of new subjects.

Thirty subjects have four levels each after a dose at once; clearance and volume vary. Each data set foretells five new
subjects, by their dose alone and after their first two levels, with draws of what is shared by its standard errors.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import numbers
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import ProportionalNoise
from tsode.inference.observations import Observations
from tsode.inference.population.draw_effects import draw_effects
from tsode.inference.population.estimate import Estimate, maximum_likelihood
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.subjects import Subjects
from tsode.inference.priors import LogNormal

__all__ = ["run"]

N_DATA_SETS, N_SUBJECTS, N_NEW = 100, 30, 5
TIMES, N_FIRST = [1.0, 4.0, 10.0, 24.0], 2
TRUTH = {"cl": 2.0, "v": 20.0, "cv": 0.1, "omega_cl": 0.3, "omega_v": 0.2}
N_DRAWS, LEAST, MOST = 399, 20, 380  # a rank among 399 draws is one of 400, all alike: 20 to 379 are 90 %


def population() -> KnownSystem:
    # priors whose middles are not the truth: searches begin there
    middles = {"cl": 3.0, "v": 15.0, "cv": 0.15}
    return KnownSystem(
        lambda t, z, p: (-p.cl / p.v * z[:, 0],),
        ["body"],
        {name: LogNormal(math.log(middle), 0.5) for name, middle in middles.items()},
        {"body": 100.0},
        {"level": ProportionalNoise(lambda t, z, p: z[:, 0] / p.v, cv="cv")},
        population=Population(RandomEffects.read(["cl", "v"])),
    )


def density_of(values: Tensor) -> KnownDensity:
    """Of subjects (n m), seen at the first `m` times."""
    n, m = values.shape
    times = numbers(TIMES[:m]).expand(n, -1)
    return KnownDensity(population(), Observations(range(n), times.new_zeros(n), times, values[..., None]))


def levels(subjects: Subjects, theta: Tensor, eta: Tensor, generator: torch.Generator) -> Tensor:
    """Levels (b n m) at all times, with noise, at shared coordinates (g b p) and effects (g b s q)."""
    times = numbers(TIMES).expand(len(subjects.joint.data.ids), -1)
    (law,) = subjects.joint.predictive(subjects.points(theta, eta), times).values()
    level = torch.rand(law.is_fine.shape, generator=generator, dtype=torch.float64)
    return law.family.quantile(law.params, level).transpose(0, 1).flatten(1, 2)


def simulate(n: int, truth: Tensor, generator: torch.Generator) -> Tensor:
    """True levels (n m)."""
    subjects = Subjects(density_of(torch.ones(n, len(TIMES), dtype=torch.float64)))
    eta = torch.randn(1, 1, n, 2, generator=generator, dtype=torch.float64)
    return levels(subjects, truth.expand(1, 1, -1), eta, generator)[0]


def run(report: Report) -> None:
    n = report.count(N_DATA_SETS)
    started = time.process_time()
    blank = density_of(torch.ones(1, len(TIMES), dtype=torch.float64))
    places = Subjects(blank).shared_places
    truth = blank.space.pack({"eta_cl": 0.0, "eta_v": 0.0, **TRUTH})[0, 0, places]
    away, is_in, is_in_after = [], [], []
    for seed in range(n):
        generator = torch.Generator().manual_seed(seed)
        density = MarginalDensity(density_of(simulate(N_SUBJECTS, truth, generator)), METHODS["focei"]())
        found = maximum_likelihood(density, generator, n_starts=1, n_prior=16)
        away.append((found.theta - truth) / found.covariance.diagonal().sqrt())
        new = simulate(N_NEW, truth, generator)
        is_in.append(_is_in(found, new, 0, generator))
        is_in_after.append(_is_in(found, new, N_FIRST, generator))
    apart = torch.stack(away)
    for name, column in zip(density.names, apart.T):
        report.note(f"  {name:<9} standard scores: mean {float(column.mean()):5.2f}, spread {float(column.std()):.2f}, "
                    f"largest {float(column.abs().max()):.2f}")  # fmt: skip
    report.at_least("data sets with all estimates within 3 standard errors, share",
                    float((apart.abs() <= 3.0).all(dim=1).double().mean()), 0.95)  # fmt: skip
    for what, found_in in (("by dose alone", is_in), (f"after {N_FIRST} levels", is_in_after)):
        report.within(f"90 % intervals of {n * N_NEW} new subjects, {what}: share of levels inside",
                      float(torch.cat(found_in).double().mean()), 0.88, 0.92)  # fmt: skip
    report.note(f"{time.process_time() - started:.1f} CPU-s for {n} data sets")


def _is_in(found: Estimate, new: Tensor, n_seen: int, generator: torch.Generator) -> Tensor:
    """Which of the levels of new subjects that were not seen (n m) lie in their intervals."""
    n = len(new)
    width, axes = torch.linalg.eigh(found.covariance)
    z = torch.randn(N_DRAWS, len(width), generator=generator, dtype=torch.float64)
    theta = (found.theta + (z * width.sqrt()) @ axes.mT).expand(n, -1, -1)
    if n_seen:
        density = MarginalDensity(density_of(new[:, :n_seen]), Laplace())
        eta = draw_effects(density, theta, None, generator)
    else:
        density = MarginalDensity(density_of(new), Laplace())
        eta = torch.randn(n, N_DRAWS, 2, generator=generator, dtype=torch.float64)
    drawn = levels(density.subjects, theta, eta[:, :, None], generator)
    rank = (drawn < new).sum(dim=0)[:, n_seen:]
    return (rank >= LEAST) & (rank < MOST)
