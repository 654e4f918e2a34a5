"""Labels that can be exchanged: ends of a search that are equally good are told apart, and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.inference.known_examples import observations
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import LogNormalNoise
from tsode.inference.population.estimate import Estimate, maximum_likelihood
from tsode.inference.population.infer import problems_of
from tsode.inference.population.labels import equal_ends
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.priors import LogNormal, Normal

TIMES = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]


def two_decays(n: int = 6) -> KnownDensity:
    """A population of sums of two decays, whose equations and priors do not say which of them is the faster."""
    generator = np.random.default_rng(3)
    effects = np.exp(0.25 * generator.standard_normal((n, 4)))
    a, k, b, q = (typical * of for typical, of in zip((6.0, 2.0, 2.0, 0.2), effects.T))
    t = np.array(TIMES)
    levels = a[:, None] * np.exp(-np.outer(k, t)) + b[:, None] * np.exp(-np.outer(q, t))
    levels *= np.exp(0.05 * generator.standard_normal(levels.shape))
    system = KnownSystem(
        lambda t, z, p: (0.0 * z[:, 0],), ["still"],
        {"a": LogNormal(1.2, 0.8), "k": LogNormal(-0.5, 1.0), "b": LogNormal(1.2, 0.8), "q": LogNormal(-0.5, 1.0)},
        {"still": 0.0},
        {"level": LogNormalNoise(lambda t, z, p: p.a * (-p.k * t).exp() + p.b * (-p.q * t).exp(), sd=0.05)},
        population=Population(RandomEffects.read({"k": 0.25, "q": 0.25})),
    )  # fmt: skip
    return KnownDensity(system, observations(TIMES, levels[..., None], ids=range(n)))


def test_compartments_that_can_be_exchanged_are_reported_with_their_names():
    density = MarginalDensity(two_decays(), METHODS["fo"]())
    values = {"a": 6.0, "k": 2.0, "b": 2.0, "q": 0.2}
    other = {"a": 2.0, "k": 0.2, "b": 6.0, "q": 2.0}
    zero = dict.fromkeys(["eta_k", "eta_q"], 0.0)
    space = density.joint.space
    start = torch.cat([space.pack({**zero, **x})[0][..., density.shared_places] for x in (values, other)])
    found = maximum_likelihood(density, torch.Generator().manual_seed(0), start=start)
    assert abs(float(found.ends[1] - found.ends[0])) < 0.01
    texts = problems_of(found, density)
    (swapped,) = [text for text in texts if text.startswith("labels can be swapped: 1 start came")]
    assert "(a<->b, k<->q)" in swapped
    assert not any("several ends" in text for text in texts)


NAMES = ("cl", "omega_cl", "omega_q", "q", "v")
PRIORS = {"cl": LogNormal(0.0, 1.0), "q": LogNormal(0.0, 1.0), "v": Normal(0.0, 2.0),
          "omega_cl": LogNormal(-1.0, 1.0), "omega_q": LogNormal(-1.0, 1.0)}  # fmt: skip


def ends(*points: dict[str, float], objectives=None, is_done=None) -> Estimate:
    """An estimate whose starts have come to these points, with standard errors of .05 in all coordinates."""
    u = torch.tensor(
        [[float(PRIORS[name].unconstrain(torch.tensor(x[name]).double())) for name in NAMES] for x in points],
        dtype=torch.float64,
    )  # fmt: skip
    n, p = u.shape
    done = torch.ones(n, dtype=torch.bool) if is_done is None else torch.tensor(is_done)
    objective = torch.zeros(n, dtype=torch.float64) if objectives is None else torch.tensor(objectives).double()
    eye = torch.eye(p, dtype=torch.float64)
    some = torch.ones(2, dtype=torch.bool)
    return Estimate(u[0], 0.0, 9, torch.zeros(2, 2), some, some, 400.0 * eye, torch.zeros(2, p), objective, u, done)


BEST = {"cl": 1.0, "q": 3.0, "v": -1.0, "omega_cl": 0.2, "omega_q": 0.4}
SWAPPED = {"cl": 3.0, "q": 1.0, "v": -1.0, "omega_cl": 0.4, "omega_q": 0.2}


def test_one_end_is_another_by_exchange_only_if_spreads_go_with_their_parameters():
    (end,) = equal_ends(ends(BEST, SWAPPED, SWAPPED), NAMES, PRIORS)
    assert end.swapped == (("cl", "q"),)
    assert end.n_starts == 2
    assert end.differs["cl"] == pytest.approx((1.0, 3.0))
    (end,) = equal_ends(ends(BEST, {**SWAPPED, "omega_q": 0.3}), NAMES, PRIORS)
    assert end.swapped == ()
    assert "omega_q 0.4 or 0.3" in str(end)


def test_a_ridge_is_named_by_the_parameters_that_differ():
    (end,) = equal_ends(ends(BEST, {**BEST, "v": 1.5}), NAMES, PRIORS)
    assert end.swapped == ()
    assert list(end.differs) == ["v"]
    assert str(end).startswith("not one point: 1 start came to the best objective elsewhere (v -1 or 1.5)")


def test_ends_that_are_worse_or_unfinished_or_the_same_are_no_other_labels():
    near = {**BEST, "v": -1.001}
    assert equal_ends(ends(BEST, near, SWAPPED, objectives=[0.0, 0.001, 3.0]), NAMES, PRIORS) == []
    assert equal_ends(ends(BEST, SWAPPED, is_done=[True, False]), NAMES, PRIORS) == []
