"""Checks of models: a gradient that is hidden, and a coordinate that the data say nothing about."""

from __future__ import annotations

import pytest
import torch

from tests.inference.known_examples import draws, lynx_hare, lynx_hare_rates, observations
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.model_checks import gradient_error, uninformed
from tsode.inference.noise import AdditiveNoise
from tsode.inference.priors import LogNormal


@pytest.mark.slow
def test_a_right_gradient_passes_and_one_with_a_hidden_parameter_does_not():
    def hiding(t, z, p):
        hare, lynx = z.unbind(-1)
        return torch.stack([(p.alpha - p.beta.detach() * lynx) * hare, (p.delta * hare - p.gamma) * lynx], -1)

    right, wrong = (lynx_hare(rates=rates, n_years=6) for rates in (lynx_hare_rates, hiding))
    u = draws(right, 2, spread=0.3)
    assert gradient_error(right, u).max() < 1e-4
    assert gradient_error(wrong, u).min() > 1e-2


def test_a_start_that_nothing_seen_depends_on_is_named():
    system = KnownSystem(
        lambda t, z, p: (-p.k * z[:, 0], -p.j * z[:, 1]),
        ["seen", "hidden"],
        {"k": LogNormal(0.0, 0.5), "j": LogNormal(0.0, 0.5)},
        {"seen": LogNormal(0.0, 0.5), "hidden": LogNormal(0.0, 0.5)},
        {"x": AdditiveNoise("seen", sd=0.1)},
    )
    density = KnownDensity(system, observations([1.0, 2.0], [[0.5], [0.3]]))
    assert uninformed(density) == [["hidden_initial", "j"]]
