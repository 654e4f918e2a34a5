"""Particle filters under the density of a stochastic system, beside the exact Kalman filter."""

from __future__ import annotations

import math
import warnings

import pandas as pd
import pytest
import torch

import tsode
from tsode.assimilation.backward_simulation import Recorder, simulate_back
from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.filters import ExtendedKalman, GuidedFilter, ParticleFilter
from tsode.assimilation.gaussian_smoothing import smooth
from tsode.assimilation.motion import Draws
from tsode.assimilation.particle_report import report_particles
from tsode.inference import AdditiveNoise, HalfNormal, LogNormal, Normal

LEVELS = pd.DataFrame({"ds": [0.0, 1.0, 2.5, 4.0, 5.0, 7.0], "y": [2.1, 1.5, math.nan, 0.8, 1.2, 0.9]})
POINT = torch.tensor([[[-0.3, -0.5]]], dtype=torch.float64)


@pytest.fixture(scope="module")
def density() -> FilteredDensity:
    model = tsode.KnownSDEForecaster(
        lambda t, z, p: (-p.k * (z[:, 0] - 1.0))[:, None],
        states=["level"],
        parameters={"k": LogNormal(0, 1)},
        initial={"level": Normal(1.5, 0.5)},
        observed={"y": AdditiveNoise("level", sd=0.3)},
        process_noise={"level": HalfNormal(1.0)},
        inference="laplace",
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # six values do not tell much
        return model.fit(LEVELS)._density


@pytest.mark.parametrize("filter", [ParticleFilter(100), GuidedFilter(50)], ids=["bootstrap", "guided"])
@torch.no_grad()
def test_evidence_is_the_exact_one_in_the_mean(density, filter):
    own, exact, b = density.with_filter(filter), density.with_filter(ExtendedKalman()), 200
    rows = own.rows(own.space.unpack(POINT.expand(1, b, 2)).values)
    found = own.passed(rows, Draws(torch.arange(b))).log_evidence.sum(dim=(1, 2))
    truth = exact.passed(rows, exact.draws(b)).log_evidence.sum(dim=(1, 2))
    ratio = (found - truth).exp()
    assert density.is_linear
    assert abs(float(ratio.mean()) - 1.0) < 3.0 * float(ratio.std()) / math.sqrt(b)
    assert float(ratio.std()) > 0.03


def test_a_rough_filter_has_the_extended_one_for_a_surrogate(density):
    own = density.with_filter(ParticleFilter(20))
    assert torch.equal(own.surrogate().log_prob(POINT), density.log_prob(POINT))
    assert density.surrogate() is density


@torch.no_grad()
def test_paths_and_report_of_a_run_are_those_of_the_exact_smoother(density):
    recorder = Recorder(ParticleFilter(2000))
    own, exact = density.with_filter(recorder), density.with_filter(ExtendedKalman())
    points = POINT.expand(1, 2, 2)
    rows = own.rows(own.space.unpack(points).values)
    passed = own.passed(rows, own.draws(2), keep=True)
    paths = simulate_back(recorder.steps, recorder.marks, 1000, own.draws(2))[:, 1:]
    kept = exact.passed(rows, exact.draws(2), keep=True)
    for k, law in enumerate(smooth(kept.seen, kept.before)):
        sd = float(law.cov[0, 0, 0].sqrt())
        assert abs(float(paths[0, k].mean()) - float(law.mean[0, 0])) < 0.15 * sd
        assert abs(float(paths[0, k].std()) / sd - 1.0) < 0.1
    report = report_particles(passed.before, passed.seen, passed.log_evidence, rows.seen_at)
    assert (report.trouble == 0).all()
    torch.testing.assert_close(report.log_evidence.nansum(dim=1), passed.log_evidence.sum(dim=(1, 2)))
