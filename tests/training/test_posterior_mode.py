"""Posterior mode: the search finds it, from parts of the data and without a fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from tests.training.series import ou_series
from tsode.core.series import Series, collate
from tsode.errors import SolverError
from tsode.models.linear.rate_classes import RateClasses
from tsode.models.linear.sde import StableLinearSDE
from tsode.training.posterior_mode import PosteriorMode

SERIES = ou_series(24)


def _model() -> RateClasses:
    torch.manual_seed(0)
    return RateClasses({"frequency": 3}, StableLinearSDE(1, 3))


def _mode(model: RateClasses, series: list[Series] = SERIES, folds: np.ndarray | None = None) -> PosteriorMode:
    return PosteriorMode(model, series, 64, torch.Generator().manual_seed(0), folds)


def _log_posterior(model: RateClasses, middle: torch.Tensor, series: list[Series] = SERIES) -> torch.Tensor:
    spread = torch.cat([sd.flatten() for sd in model.prior()])
    away = (parameters_to_vector(model.parameters()) - middle) / spread
    return model.log_likelihood(collate(series, torch.float64)).sum() - 0.5 * (away * away).sum()


def test_no_parameter_moved_alone_makes_the_posterior_much_larger() -> None:
    model = _model()
    middle = parameters_to_vector(model.parameters()).detach().clone()
    list(_mode(model).stages())
    best = float(_log_posterior(model, middle).detach())
    spread = torch.cat([sd.flatten() for sd in model.prior()])
    found = parameters_to_vector(model.parameters()).detach().clone()
    for k in range(len(found)):
        for step in (-0.2, 0.2):
            moved = found.clone()
            moved[k] += step * spread[k]
            torch.nn.utils.vector_to_parameters(moved, model.parameters())
            assert float(_log_posterior(model, middle).detach()) < best + 0.3


def test_without_a_fold_the_rest_is_more_likely_and_restoring_takes_it_back() -> None:
    model, folds = _model(), np.arange(24) % 4
    middle = parameters_to_vector(model.parameters()).detach().clone()
    mode = _mode(model, folds=folds)
    list(mode.stages())
    found = parameters_to_vector(model.parameters()).detach().clone()
    kept = [row for row, fold in zip(SERIES, folds) if fold != 1]
    before = float(_log_posterior(model, middle, kept).detach())
    mode.without(1)
    assert float(_log_posterior(model, middle, kept).detach()) > before
    mode.restore()
    assert torch.equal(parameters_to_vector(model.parameters()), found)


def test_of_nothing_the_mode_is_the_middle_of_the_prior() -> None:
    model = _model()
    before = parameters_to_vector(model.parameters()).detach().clone()
    assert list(_mode(model, [Series(np.zeros(1), np.zeros((1, 1)))]).stages()) == []
    assert torch.equal(parameters_to_vector(model.parameters()), before)


def test_the_same_seed_finds_the_same_parameters() -> None:
    one, other = _model(), _model()
    for model in (one, other):
        list(_mode(model).stages())
    assert torch.equal(parameters_to_vector(one.parameters()), parameters_to_vector(other.parameters()))


@pytest.mark.slow
def test_a_likelihood_that_is_nowhere_finite_is_an_error() -> None:
    broken = [Series(row.times, np.full_like(row.values, 1e200)) for row in SERIES]
    with pytest.raises(SolverError, match="not finite where the search starts"):
        list(_mode(_model(), broken).stages())


def _turning_series(n: int, seed: int) -> list[Series]:
    """Of one channel; each turns with a frequency of its own between 5 and 15, all as likely."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        times = np.cumsum(rng.gamma(2.0, 0.06, 22))
        wave = 1.4 * np.sin(rng.uniform(5.0, 15.0) * times + rng.uniform(0.0, 6.3))
        made.append(Series(times, (wave + 0.2 * rng.standard_normal(22))[:, None]))
    return made


@pytest.mark.slow
def test_from_classes_laid_too_high_a_likelier_mode_is_found_by_laying_them_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a first search of few series leaves them: at frequencies from 6 to 29, and half of them of no weight."""
    found = []
    for n_times in (0, 3):
        monkeypatch.setattr("tsode.training.posterior_mode.MOST_LAID", n_times)
        torch.manual_seed(0)
        model = RateClasses({"frequency": 5}, StableLinearSDE(1, 3))
        with torch.no_grad():
            model.base.rotation[1, 2] = 13.0
            model.log_spread.fill_(np.log(0.53))
        *_, last = _mode(model, _turning_series(24, 0)).stages()
        found.append(last.loss * last.n_values)
    assert found[1] < found[0] - 20.0


@pytest.mark.parametrize("axes", [{"frequency": 5}, {"damping": 3, "speed": 2}])
def test_classes_laid_anew_have_the_mean_and_spread_of_log_rates_that_their_weights_gave(axes: dict) -> None:
    torch.manual_seed(0)
    model = RateClasses(axes, StableLinearSDE(2, 4))
    with torch.no_grad():
        model.logits.normal_()

    def moments() -> tuple[torch.Tensor, torch.Tensor]:
        """Over classes, of the logarithms of their turning and damping: mean (2) and variance along each axis."""
        system, weight = model.system(), model.logits.softmax(dim=0)
        turning = (system.drift - system.drift.mT)[:, 0, 1].abs().log()
        damping = -system.drift.diagonal(dim1=1, dim2=2).sum(dim=1)
        logs = torch.stack([turning, damping.log()])
        mean = logs @ weight
        return mean, (logs - mean[:, None]).square() @ weight

    before = moments()
    model.lay_anew()
    after = moments()
    torch.testing.assert_close(after[0], before[0])
    if len(axes) == 1:  # axes that go together are laid anew each by itself
        torch.testing.assert_close(after[1], before[1])
    assert bool((model.logits == 0.0).all())
    torch.testing.assert_close(model.lie(), (torch.zeros(len(axes)).double(), torch.ones(len(axes)).double()))


def _long_series(n_series: int, n: int) -> list[Series]:
    """Whose values say which series they are of."""
    times = np.arange(float(n))
    return [Series(times, np.full((n, 1), float(k))) for k in range(n_series)]


def _searched(series: list[Series], n_events: int) -> list[tuple[float, float]]:
    """Series and first time of each piece, in order."""
    mode = PosteriorMode(_model(), series, n_events, torch.Generator().manual_seed(0))
    return [(float(piece.values[0, 0]), float(piece.times[0])) for _, piece in mode._pieces]


def test_pieces_are_of_as_many_series_as_can_be_and_of_all_parts_of_them() -> None:
    found = _searched(_long_series(10, 500), 100)
    assert len(found) == len(set(found)) == 50
    for turn in range(5):
        assert len({which for which, _ in found[10 * turn : 10 * turn + 10]}) == 10
    assert {start for _, start in found[:10]} == {0.0, 100.0, 200.0, 300.0, 400.0}


def test_long_series_are_searched_on_no_more_events_than_their_number_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsode.training.posterior_mode.ENOUGH", 1_500)
    monkeypatch.setattr("tsode.training.posterior_mode.MOST_EVENTS", 2_500)
    assert len(_searched(_long_series(10, 500), 100)) == 15
    assert len(_searched(_long_series(20, 500), 100)) == 20  # one piece of each
    assert len(_searched(_long_series(40, 500), 100)) == 25
    assert len(_searched(_long_series(20, 100), 100)) == 20
