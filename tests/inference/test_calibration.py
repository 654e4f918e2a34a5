from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.inference.densities import Decay
from tsode.inference.calibration import Calibration, calibrate
from tsode.inference.settings import Settings

SMALL = Settings(n_prior=512, n_starts=8, n_importance=1024, n_draws=1024)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["quadrature", "importance"])
def test_ranks_of_a_right_posterior_are_uniform(engine):
    found = calibrate(Decay.draw, Decay.simulate, 300, 0, engine, SMALL)
    assert found.ranks.shape == (300, 2)
    assert (found.chi_square() > 0.01).all()
    assert not found.is_rejected(0.01)
    assert found.engines == {engine: 300}
    assert found.n_failed == 0


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "sign"), [(0.8, 1.0), (1.25, -1.0)])
def test_a_posterior_of_the_wrong_width_is_rejected(factor, sign):
    def change(posterior):
        mean = posterior.draws.mean(dim=(1, 2), keepdim=True)
        return replace(posterior, draws=mean + factor * (posterior.draws - mean))

    found = calibrate(Decay.draw, Decay.simulate, 300, 0, "importance", SMALL, change=change)
    assert found.is_rejected(0.01)
    assert (found.spread.sign() == sign).all()


def test_a_posterior_that_leans_is_rejected_with_its_sign():
    found = calibrate(
        Decay.draw, Decay.simulate, 300, 0, "importance", SMALL,
        change=lambda posterior: replace(posterior, draws=posterior.draws - 0.4 * posterior.sd[:, None, None]),
    )  # fmt: skip
    assert found.is_rejected(0.01)
    assert (found.lean > 3.0).all()


def test_data_sets_without_an_answer_are_counted():
    class Half(Decay):
        def log_prob(self, u):
            return super().log_prob(u).where((self.values[:, :1] > 7.0), torch.nan)

        def select(self, problems):
            return Half(self.values[problems])

    found = calibrate(Decay.draw, lambda truth, g: Half(Decay.simulate(truth, g).values), 40, 0, "importance", SMALL)
    assert 0 < found.n_failed < 40
    assert len(found.ranks) == 40 - found.n_failed
    assert found.problems["no posterior"] == found.n_failed


def test_uniform_ranks_are_seldom_rejected():
    generator = torch.Generator().manual_seed(0)
    ranks = torch.randint(0, 100, (200, 300, 1), generator=generator)
    rejected = sum(Calibration(("a",), own, 0, {}, {}).is_rejected(0.05) for own in ranks)
    assert rejected <= 10 + 6 * (200 * 0.05 * 0.95) ** 0.5
