"""Segments beside whole series: the same density without gaps, derivatives, and modes that a single shoot misses."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from math import log

import numpy as np
import pytest
import scipy.integrate
import torch

from tests.inference.densities import Decay
from tests.inference.known_examples import (
    decay,
    doses,
    draws,
    lynx_hare,
    lynx_hare_rates,
    numbers,
    observations,
)
from tsode.errors import ParameterError
from tsode.inference.dosing import Dosing
from tsode.inference.evaluation import Evaluator
from tsode.inference.homotopy import Start, _look_around, merit
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, LogNormalNoise
from tsode.inference.observations import Observations
from tsode.inference.priors import LogNormal, Normal
from tsode.inference.problems import find_problems
from tsode.inference.segments import SegmentedDensity
from tsode.inference.settings import Settings
from tsode.inference.streams import Streams
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.surfaces import Trigger

CLOSE = Dopri5(rtol=1e-8, atol=1e-8)


def closed(density: KnownDensity, segmented: SegmentedDensity, u: torch.Tensor) -> torch.Tensor:
    """States at cuts on the way of whole series."""
    asked = segmented.cuts.times.where(segmented.cuts.is_cut, density.data.start[:, None])
    way = density.solve(density.space.unpack(u).values, asked, "before")
    return segmented._by_series(segmented.cuts.scaled(way.states))


def dosed(**others) -> KnownDensity:
    """A drug with a lag, a bioavailability and an infusion that goes on over cuts."""
    given = doses([0.0, 3.0, 4.0], [10.0, 6.0, 5.0])
    given = replace(given, duration=numbers([[0.0, 4.0, 0.0]]))
    system = KnownSystem(
        lambda t, z, p: (-p.k * z[:, 0] / (1.0 + 0.1 * z[:, 0]),),
        ["drug"],
        {"k": LogNormal(log(0.5), 0.3), "lag": LogNormal(log(0.3), 0.3), "share": LogNormal(log(0.8), 0.1)},
        {"drug": 0.5},
        {"level": LogNormalNoise("drug", sd=0.1)},
        doses={"drug": Dosing(lag="lag", bioavailability="share")},
        solver=CLOSE,
        **others,
    )
    times = [0.2, 1.0, 2.0, 3.0, 3.9, 4.1, 5.0, 6.0, 7.5, 9.0]
    return KnownDensity(system, observations(times, [[4.0]] * len(times), events=given))


def two_series() -> KnownDensity:
    """Two series that share their parameters; the second is short, so that it has fewer cuts."""
    plain = lynx_hare(solver=CLOSE)
    times = plain.data.times.repeat(2, 1)
    values = plain.data.values.repeat(2, 1, 1)
    values[1, 4:] = torch.nan
    return KnownDensity(plain.system, Observations(["a", "b"], plain.data.start.repeat(2), times, values))


HALF = Trigger(lambda t, z, p: z[:, 0] - 4.0, direction=-1, reset=lambda t, z, p: 0.8 * z)


@pytest.mark.slow
@pytest.mark.parametrize(
    "density",
    [lynx_hare(solver=CLOSE), two_series(), dosed(), dosed(triggers=[HALF])],
    ids=["plain", "two series", "doses", "triggers"],
)
def test_segments_without_gaps_have_the_density_of_whole_series(density):
    segmented = SegmentedDensity(density, 4)
    assert segmented.n_cuts == 3
    u = draws(density, 3, spread=0.3)
    x = closed(density, segmented, u)
    found = segmented.relaxed(u, x)
    torch.testing.assert_close(found.log_prob, density.log_prob(u), rtol=1e-5, atol=1e-4)
    assert float(found.gaps.abs().max()) < 1e-5
    moved = segmented.relaxed(u, x + 0.1)
    assert float(moved.gaps.abs().max()) > 0.01


@pytest.mark.slow
def test_segments_in_rows_are_those_of_states_that_are_set():
    density = two_series()
    segmented = SegmentedDensity(density, 5)
    u = draws(density, 2, spread=0.3)
    x = closed(density, segmented, u) + 0.1 * torch.randn(1, 2, 2, 4, 2, generator=torch.Generator().manual_seed(0))
    rows = segmented.relaxed(u, x)
    segmented._is_in_rows = False
    one = segmented.relaxed(u, x)
    torch.testing.assert_close(rows.log_prob, one.log_prob, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(rows.gaps, one.gaps, rtol=1e-5, atol=1e-6)


def test_hurried_segments_are_the_same_or_impossible_where_one_takes_many_steps(monkeypatch):
    density = lynx_hare(solver=replace(CLOSE, max_steps=200))
    segmented = SegmentedDensity(density, 4)
    u = draws(density, 3, spread=0.3)
    x = closed(density, segmented, u)
    found, quick = segmented.relaxed(u, x), segmented.hurried().relaxed(u, x)
    assert found.log_prob.isfinite().all()
    assert torch.equal(quick.log_prob, found.log_prob)
    assert torch.equal(quick.gaps, found.gaps)
    monkeypatch.setattr("tsode.inference.segments.MANY_STEPS", 1)  # so that each has a quarter of the steps of all
    fewer = segmented.hurried().relaxed(u, x).log_prob
    assert fewer.isneginf().any()
    assert ((fewer == found.log_prob) | fewer.isneginf()).all()


def test_a_start_at_which_every_move_is_dear_is_climbed_all_the_same(monkeypatch):
    def impossible(self: SegmentedDensity) -> SegmentedDensity:
        chosen = copy(self)
        chosen.relaxed = lambda u, x: self.relaxed(u, x)._replace(log_prob=u.new_full(u.shape[:2], -torch.inf))
        return chosen

    monkeypatch.setattr(SegmentedDensity, "hurried", impossible)
    modes = infer(decay(), "mode", 0, Settings(n_prior=64, n_starts=4, segments=3)).modes
    torch.testing.assert_close(modes.relaxed, modes.log_prob[:, 0], rtol=0.0, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("density", [two_series(), dosed()], ids=["two series", "doses"])
def test_derivatives_of_segments_are_those_of_every_state_by_itself(density):
    segmented = SegmentedDensity(density, 4)
    u = draws(density, 2, spread=0.3)
    x = closed(density, segmented, u) + 0.05
    evaluator = Evaluator(density, Streams(0, torch.arange(1)))
    scale = torch.full((1, u.shape[2]), 0.5, dtype=torch.float64)
    step = Start(torch.full_like(u, 1e-4), torch.full_like(x, 1e-4))
    model = _look_around(evaluator, segmented, Start(u / scale, x), step, scale)
    p, stage = u.shape[2], 0.1

    def total(v: torch.Tensor) -> torch.Tensor:
        return merit(segmented.relaxed(v[..., :p] * scale, v[..., p:].unflatten(-1, x.shape[2:])), stage)

    v = torch.cat([u / scale, x.flatten(2)], dim=-1).requires_grad_()
    (slope,) = torch.autograd.grad(total(v).sum(), v)
    by_model = model.slope - stage**-2 * (model.jacobian.mT @ model.gaps[..., None]).squeeze(-1)
    torch.testing.assert_close(by_model, slope, rtol=2e-3, atol=2e-3 * float(slope.abs().max()))

    shift = 1e-4 * torch.eye(v.shape[2], dtype=torch.float64)
    with torch.no_grad():
        beside = v.detach()[:, :1] + torch.cat([shift, -shift])
        found = segmented.relaxed(beside[..., :p] * scale, beside[..., p:].unflatten(-1, x.shape[2:]))
    up, down = found.gaps.flatten(2)[0].chunk(2)
    torch.testing.assert_close(model.jacobian[0, 0], ((up - down) / 2e-4).mT, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_a_posterior_by_segments_is_that_without_where_both_find_the_mode():
    few = Settings(n_prior=128, n_starts=4)
    plain, cut = (infer(lynx_hare(), "importance", 0, replace(few, segments=k)) for k in (None, "auto"))
    torch.testing.assert_close(cut.modes.point[:, 0], plain.modes.point[:, 0], rtol=0.0, atol=2e-3)
    assert float((cut.log_evidence - plain.log_evidence).abs()) < 0.05
    assert float(((cut.mean - plain.mean) / plain.sd).abs().max()) < 0.1


@pytest.mark.slow
def test_a_decay_with_one_segment_or_none_is_the_same():
    few = Settings(n_prior=64, n_starts=4)
    plain, one, cut = (infer(decay(), "quadrature", 0, replace(few, segments=k)) for k in (None, 1, 3))
    for other in (one, cut):
        torch.testing.assert_close(other.log_evidence, plain.log_evidence, rtol=0.0, atol=1e-5)
        torch.testing.assert_close(other.mean, plain.mean, rtol=0.0, atol=1e-4)


@pytest.mark.slow
def test_starts_end_in_traps_of_ten_periods_without_segments_and_in_none_with():
    times = np.sort(np.random.default_rng(0).uniform(0.0, 100.0, 80))

    def field(t, z):
        return [(0.55 - 0.028 * z[1]) * z[0], (0.024 * z[0] - 0.8) * z[1]]

    path = scipy.integrate.solve_ivp(field, (0, 100), [34.0, 6.0], "DOP853", times, rtol=1e-10, atol=1e-10).y.T
    path = path * np.exp(0.1 * np.random.default_rng(1).standard_normal(path.shape))
    rates = {name: LogNormal(log(middle), 1.0) for name, middle in
             {"alpha": 1.0, "beta": 0.05, "gamma": 1.0, "delta": 0.05}.items()}  # fmt: skip
    system = KnownSystem(
        lynx_hare_rates, ["hare", "lynx"], {**rates, "sd": LogNormal(-2.0, 1.0)},
        {name: LogNormal(3.0, 1.0) for name in ("hare", "lynx")},
        {name: LogNormalNoise(name, sd="sd") for name in ("hare", "lynx")},
    )  # fmt: skip
    density = KnownDensity(system, observations(times, path))
    few = Settings(n_prior=128, n_starts=4)
    found = {k: infer(density, "mode", 0, replace(few, segments=k)).modes for k in (None, "auto")}
    best = found["auto"]
    at = density.space.constrain(best.point)[0, 0]
    assert dict(zip(density.names, at.tolist()))["alpha"] == pytest.approx(0.55, rel=0.1)
    n_true, n_ended = int(best.n_starts[0, 0]), int(best.n_starts.sum())
    assert n_true == n_ended >= 2
    is_trap = (found[None].log_prob[0] - best.log_prob[0, 0]).abs() > 1.0
    assert int(found[None].n_starts[0][is_trap].sum()) >= 2


@pytest.mark.slow
def test_lorenz_equations_are_found_from_eight_units_of_noisy_chaos():
    truth = {"sigma": 10.0, "rho": 28.0, "beta": 8.0 / 3.0, "sd": 1.0}
    generator = np.random.default_rng(0)
    times = np.sort(generator.uniform(0.0, 8.0, 80))

    def field(t, z):
        return [10.0 * (z[1] - z[0]), z[0] * (28.0 - z[2]) - z[1], z[0] * z[1] - 8.0 / 3.0 * z[2]]

    path = scipy.integrate.solve_ivp(field, (0, 8), [-5.0, -6.0, 22.0], "DOP853", times, rtol=1e-11, atol=1e-11).y.T
    path = path + generator.standard_normal(path.shape)

    def rates(t, z, p):
        x, y, w = z.unbind(-1)
        return p.sigma * (y - x), x * (p.rho - w) - y, x * y - p.beta * w

    system = KnownSystem(
        rates, ["x", "y", "w"],
        {"sigma": LogNormal(log(9.0), 0.3), "rho": LogNormal(log(32.0), 0.3), "beta": LogNormal(log(3.0), 0.3),
         "sd": LogNormal(0.0, 1.0)},
        {name: Normal(middle, 10.0) for name, middle in zip("xyw", (0.0, 0.0, 25.0))},
        {name: AdditiveNoise(name, sd="sd") for name in "xyw"}, solver=Dopri5(rtol=1e-8, atol=1e-8),
    )  # fmt: skip
    density = KnownDensity(system, observations(times, path))
    posterior = infer(density, "laplace", 0, Settings(n_prior=64, n_starts=16, segments="auto"))
    values = density.space.constrain(posterior.draws.flatten(1, 2))[0]
    for name, value in truth.items():
        own = values[:, density.names.index(name)]
        assert abs(float(own.mean()) - value) < 4.0 * float(own.std()), name
    assert not [text for text in posterior.problems[0] if text.startswith(("chaos", "no mode"))]


def test_whole_series_that_fall_behind_their_segments_are_a_named_problem():
    found = infer(decay(), "laplace", 0, Settings(n_prior=64, n_starts=4, segments=2))
    modes = found.modes
    assert not [text for text in found.problems[0] if text.startswith("chaos")]
    lost = replace(found, modes=replace(modes, relaxed=modes.log_prob[:, 0] + 50.0))
    (texts,) = find_problems(lost, Settings())
    assert any(text.startswith("chaos: segments with next to no gaps") for text in texts)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "many"])
def test_what_is_no_number_of_segments_is_named(value):
    with pytest.raises(ParameterError, match="no number of segments"):
        Settings(segments=value)


def test_a_density_that_has_no_series_cannot_be_cut():
    with pytest.raises(ParameterError, match="KnownDensity, but this is a Decay"):
        infer(Decay(), settings=Settings(segments=2))
