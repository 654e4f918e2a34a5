"""Neural terms: what they compute, their scale before data, and where a system adds them."""

from __future__ import annotations

import math

import pytest
import torch

from tests.inference.known_examples import lynx_hare, numbers, observations
from tsode.errors import ParameterError
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.noise import AdditiveNoise
from tsode.inference.settings import Settings


def weights(term, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, generator=generator, dtype=torch.float64) for name in term.weights}


def test_a_term_is_its_formula_and_units_of_inputs_and_scale_change_nothing_else():
    z = 3.0 * torch.rand(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    term = NeuralTerm("lost", [3.0, 2.0], 4.0, n_hidden=6)
    p = weights(term, 5)
    slopes, offsets = term._hidden
    by_hand = [
        4.0 / math.sqrt(6) * sum(
            float(p[f"lost_{k}"][r]) * math.tanh(float(z[r] @ slopes[:, k] + offsets[k])) for k in range(6)
        )
        for r in range(5)
    ]  # fmt: skip
    assert term(z, p).tolist() == pytest.approx(by_hand, rel=1e-12)
    other = NeuralTerm("lost", [3000.0, 2000.0], 4000.0, n_hidden=6)
    torch.testing.assert_close(other(1000.0 * z, p), 1000.0 * term(z, p), rtol=1e-12, atol=0.0)


def test_before_data_a_term_is_of_the_size_of_its_scale_and_centred_at_zero():
    term = NeuralTerm("lost", [3.0, 2.0], 4.0, n_hidden=64)
    n = 4000
    found = term(numbers([[3.0, 2.0]]).expand(n, 2), weights(term, n))
    sd = float(found.std())
    assert 0.5 * 4.0 < sd < 4.0  # tanh stays below 1
    assert abs(float(found.mean())) < 6 * sd / n**0.5


@pytest.mark.slow
def test_a_residual_is_added_to_the_rates_of_its_state_alone():
    term = NeuralTerm("more", [50.0, 30.0], 2.0, n_hidden=3)
    plain = lynx_hare()
    density = KnownDensity(plain.system.with_(residual={"lynx": term}), plain.data)
    assert set(density.names) == {*plain.names, *term.weights}
    assert density.unused == ()
    u = density.sample_prior(4, torch.Generator().manual_seed(0))
    u[..., [density.names.index(name) for name in term.weights]] = 0.0
    same = u[..., [density.names.index(name) for name in plain.names]]
    at_zero = density.log_prob(u) - density.space.log_prior(u)
    torch.testing.assert_close(at_zero, plain.log_prob(same) - plain.space.log_prior(same), rtol=1e-6, atol=1e-5)

    def rates(t, z, p):
        slope = plain.system.rates(t, z, p)
        return slope + torch.stack([torch.zeros_like(t), term(z, p)], -1)

    inside = KnownDensity(plain.system.with_(rates=rates, parameters=term.parameters()), plain.data)
    assert inside.names == density.names
    u = 0.3 * density.sample_prior(4, torch.Generator().manual_seed(1))
    torch.testing.assert_close(inside.log_prob(u), density.log_prob(u), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_linear_loss_is_found_again_where_data_have_been():
    # x' = -f(x) with f(x) = x / 2, seen almost without noise
    term = NeuralTerm("lost", [4.0], 2.0, n_hidden=6)
    times = torch.linspace(0.2, 4.0, 12, dtype=torch.float64)
    system = KnownSystem(
        lambda t, z, p: (-term(z, p),),
        ["x"],
        term.parameters(),
        {"x": 4.0},
        {"level": AdditiveNoise("x", sd=0.01)},
    )
    values = 4.0 * torch.exp(-0.5 * times)
    density = KnownDensity(system, observations(times.numpy(), values[:, None].numpy()))
    posterior = infer(density, "laplace", 0, Settings(n_prior=256, n_starts=4, n_draws=256))
    mode = density.space.unpack(posterior.modes.point[:, :1]).values
    x = torch.linspace(0.6, 4.0, 30, dtype=torch.float64)
    found = term(x[:, None], {name: value[0, 0].expand(30) for name, value in mode.items()})
    assert float((found - 0.5 * x).square().mean().sqrt() / (0.5 * x).square().mean().sqrt()) < 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a b"}, "named as a variable"),
        ({"sizes": [1.0, 0.0]}, "must be above 0"),
        ({"scale": -1.0}, "must be above 0"),
        ({"n_hidden": 0}, "at least 1"),
    ],
)
def test_what_makes_no_term_is_named(settings, message):
    with pytest.raises(ParameterError, match=message):
        NeuralTerm(**{"name": "lost", "sizes": [1.0], "scale": 1.0, **settings})


def test_other_inputs_than_there_are_sizes_and_another_state_are_named():
    term = NeuralTerm("lost", [1.0, 2.0], 1.0)
    with pytest.raises(ParameterError, match="sizes for 2 inputs, but is given 3"):
        term(torch.zeros(1, 3, dtype=torch.float64), weights(term, 1))
    plain = lynx_hare().system
    with pytest.raises(ParameterError, match=r"residual= names 'hares'.*Did you mean 'hare'"):
        plain.with_(residual={"hares": term})
