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


def test_a_likelihood_that_is_nowhere_finite_is_an_error() -> None:
    broken = [Series(row.times, np.full_like(row.values, 1e200)) for row in SERIES]
    with pytest.raises(SolverError, match="not finite where the search starts"):
        list(_mode(_model(), broken).stages())
