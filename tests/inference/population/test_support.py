"""What data do not support: fewer series or values than effects, and estimates far from their priors."""

from __future__ import annotations

import torch

from tests.inference.population.known_populations import WANG, decays, theophylline
from tsode.inference.population.estimate import Estimate
from tsode.inference.population.support import far_from_priors, few_data
from tsode.inference.priors import LogNormal


def test_enough_series_and_values_are_no_problem_and_fewer_than_effects_are():
    assert few_data(theophylline()) == []
    (one,) = few_data(decays(WANG[:1]))
    assert one.startswith("one series")
    both = few_data(decays([[5.0], [6.0]], effects={"ke": 0.2, "cv": 0.1}, times=(1.0,), cv=LogNormal(-1.0, 0.5)))
    assert [text.split(":")[0] for text in both] == ["few series", "few values"]
    assert "2 random effects (ke, cv), and no series has more than 1 value," in both[1]


def test_only_an_estimate_that_its_prior_all_but_excludes_is_named_and_no_spread():
    priors = {"cl": LogNormal(0.0, 0.5), "omega_cl": LogNormal(-1.0, 0.5), "v": LogNormal(0.0, 0.5)}
    theta = torch.tensor([-6.0, -9.0, 3.0], dtype=torch.float64)
    nothing = torch.zeros(1, 3, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.bool)
    estimate = Estimate(theta, 0.0, 9, nothing, one, one, torch.eye(3), nothing, theta[:1], nothing, one)
    (text,) = far_from_priors(estimate, ("cl", "omega_cl", "v"), priors)
    assert text.startswith("far from its prior: cl 0.04979 is 6.0 standard deviations of LogNormal(0, 0.5) off")
