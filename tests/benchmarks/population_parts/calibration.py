"""Calibration of the two-level model: ranks of true typical values, spreads and noise over simulated populations.

Eight series of four values each, a decay whose rate differs among series; effects are integrated out by Laplace's way.
All data sets are problems of one density.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import numbers
from tsode._random import new_generator
from tsode.inference.calibration import calibrate, rank_truth
from tsode.inference.draws import Posterior
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import LogNormalNoise
from tsode.inference.observations import Observations
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.subjects import Subjects
from tsode.inference.priors import LogNormal
from tsode.inference.settings import Settings

__all__ = ["run"]

N_DATA_SETS, AT_ONCE, N_SERIES = 300, 50, 8
TIMES = [0.5, 1.0, 2.0, 4.0]
LEVEL, SHRUNK = 0.01, 0.8
FEW = Settings(n_prior=64, n_starts=4, n_importance=256, n_rounds=4, n_chains=16, n_check=32, n_draws=512)


def population() -> KnownSystem:
    return KnownSystem(
        lambda t, z, p: (-p.k * z[:, 0],),
        ["drug"],
        {"k": LogNormal(np.log(0.5), 0.5), "sd": LogNormal(np.log(0.15), 0.5)},
        {"drug": 10.0},
        {"level": LogNormalNoise("drug", sd="sd")},
        population=Population(RandomEffects.read({"k": LogNormal(np.log(0.3), 0.5)})),
    )


def density(values: Tensor) -> KnownDensity:
    """Joint density of data sets (g s m)."""
    g, s, m = values.shape
    times = numbers(TIMES).expand(g * s, -1)
    data = Observations(range(g * s), times.new_zeros(g * s), times, values.reshape(g * s, m, 1))
    return KnownDensity(population(), data, n_problems=g)


def sample_prior(n: int, generator: torch.Generator) -> Tensor:
    """True coordinates (n p) of what series share."""
    joint = density(torch.ones(1, N_SERIES, len(TIMES), dtype=torch.float64))
    return joint.sample_prior(n, generator)[0][:, Subjects(joint).shared_places]


def simulate(truth: Tensor, generator: torch.Generator) -> MarginalDensity:
    g = len(truth)
    joint = density(torch.ones(g, N_SERIES, len(TIMES), dtype=torch.float64))
    eta = torch.randn(g, 1, N_SERIES, 1, generator=generator, dtype=torch.float64)
    u = Subjects(joint).points(truth[:, None], eta)
    (law,) = joint.predictive(u, joint.data.times).values()
    level = torch.rand(law.is_fine.shape, generator=generator, dtype=torch.float64)
    return MarginalDensity(density(law.family.quantile(law.params, level)[:, 0]), Laplace())


def shrink(posterior: Posterior) -> Posterior:
    mean = posterior.draws.mean(dim=(1, 2), keepdim=True)
    return replace(posterior, draws=mean + SHRUNK * (posterior.draws - mean))


def run(report: Report) -> None:
    n = report.count(N_DATA_SETS)
    started = time.process_time()
    kept: list[Posterior] = []
    found = calibrate(
        sample_prior, simulate, n, 0, "importance", FEW, AT_ONCE, change=lambda one: kept.append(one) or one
    )
    report.note(f"{time.process_time() - started:.1f} CPU-s for {len(found.ranks)} data sets; problems "
                f"{found.problems or 'none'}")  # fmt: skip
    for parameter, chance, lean, spread in zip(found.names, found.chi_square(), found.lean, found.spread):
        report.note(f"  {parameter:<10} chi-square {chance:.3f}   lean {lean:5.2f}   spread {spread:5.2f}")
    report.at_least(
        f"two levels: chance of ranks as uneven, the least of {len(found.names)} parameters",
        1.0 - (1.0 - float(found.chi_square().min())) ** len(found.names), LEVEL,
    )  # fmt: skip
    report.at_most(f"two levels: rejected at {LEVEL:g}", float(found.is_rejected(LEVEL)), 0.0)
    report.at_most("two levels: data sets without an answer", found.n_failed, 0.0)
    # the same posteriors, made too narrow
    generator = new_generator(0)
    truth = sample_prior(n, generator).split(AT_ONCE)
    ranks = torch.cat([rank_truth(some, shrink(one), generator) for some, one in zip(truth, kept)])
    wrong = replace(found, ranks=ranks[(ranks >= 0).all(dim=1)])
    report.at_least(f"two levels: rejected with standard deviations times {SHRUNK}", float(wrong.is_rejected()), 1.0)
