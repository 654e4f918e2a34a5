"""Two compartments whose volumes can be swapped: fifty simulated subjects, twenty starts from priors that are alike.

A start is right if it ends at the best objective with the volumes the right way round, or if what is said of the fit
names the exchange.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import observations
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import ProportionalNoise
from tsode.inference.population.estimate import SAME, maximum_likelihood
from tsode.inference.population.infer import problems_of
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.priors import LogNormal

__all__ = ["run"]

N_SUBJECTS, N_STARTS, N_PRIOR = 50, 20, 64
TIMES = np.array([0.25, 1.0, 2.0, 4.0, 8.0, 24.0])
TRUTH = {"cl": 4.0, "v_centre": 15.0, "q": 6.0, "v_around": 40.0}
DOSE, CV, OMEGA = 500.0, 0.1, 0.25


def simulated(seed: int = 0) -> KnownDensity:
    """A dose at once into the central compartment, by the closed form of two exponentials."""
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(N_SUBJECTS):
        own = {name: x * math.exp(OMEGA * generator.standard_normal() * (name != "q")) for name, x in TRUTH.items()}
        k, out, back = (own[a] / own[b] for a, b in (("cl", "v_centre"), ("q", "v_centre"), ("q", "v_around")))
        total = k + out + back
        half = math.sqrt(total**2 / 4 - k * back)
        fast, slow = total / 2 + half, total / 2 - half
        level = ((fast - back) * np.exp(-fast * TIMES) + (back - slow) * np.exp(-slow * TIMES)) / (fast - slow)
        values.append(DOSE / own["v_centre"] * level * (1.0 + CV * generator.standard_normal(len(TIMES))))

    def rates(t, z, p):
        centre, around = z.unbind(-1)
        flow = p.q * (centre / p.v_centre - around / p.v_around)
        return -p.cl / p.v_centre * centre - flow, flow

    volume = LogNormal(math.log(25.0), 0.7)
    system = KnownSystem(
        rates,
        ["centre", "around"],
        {"cl": LogNormal(math.log(5.0), 0.7), "q": LogNormal(math.log(5.0), 0.7), "v_centre": volume,
         "v_around": volume, "cv": LogNormal(math.log(0.15), 0.5)},
        {"centre": DOSE, "around": 0.0},
        {"level": ProportionalNoise(lambda t, z, p: z[:, 0] / p.v_centre, cv="cv")},
        population=Population(RandomEffects.read(["cl", "v_centre", "v_around"])),
    )  # fmt: skip
    return KnownDensity(system, observations(TIMES, np.array(values)[..., None], ids=range(N_SUBJECTS)))


def run(report: Report) -> None:
    density = MarginalDensity(simulated(), METHODS["focei"]())
    n = report.count(N_STARTS)
    started = time.process_time()
    found = maximum_likelihood(density, torch.Generator().manual_seed(0), n, N_PRIOR)
    seconds = time.process_time() - started
    texts = problems_of(found, density)
    priors = density.joint.space.priors
    places = {name: density.names.index(name) for name in TRUTH}
    values = {name: priors[name].constrain(found.points[:, k])[0] for name, k in places.items()}
    is_best = found.ends < found.ends[0] + SAME
    is_true = values["v_centre"] < values["v_around"]
    is_named = any("swap" in text for text in texts)
    report.note(f"objective {found.objective:.3f}: " + "  ".join(f"{k} {float(x[0]):.3f}" for k, x in values.items())
                + f"   {seconds:.1f} CPU-s for {n} starts")  # fmt: skip
    report.note(f"other ends: {[round(x, 2) for x in found.other_ends()] or 'none'}; said of it: {texts or 'nothing'}")
    report.at_least(f"starts in the true labelling or with the swap named, of {n}",
                    float((is_best & (is_true | is_named)).sum()), float(n))  # fmt: skip
