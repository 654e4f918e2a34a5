"""scikit-learn's own checks, no failure expected, and how many there are: a suite that shrinks does not pass."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from tests.registries import small
from tsode import (
    JumpODEForecaster,
    PathRegressor,
    SeasonalNaiveForecaster,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
)
from tsode.estimators import FORECASTERS

pytestmark = pytest.mark.usefixtures("short_epochs")

N_CHECKS = {PathRegressor: 52, SeriesEncoder: 46, SeriesClassifier: 60, SeriesRegressor: 58}  # scikit-learn 1.9
N_API_CHECKS = 15
GIVEN = {SeasonalNaiveForecaster: {"period": 0.5}}  # the times of scikit-learn's arrays are random numbers


def encoder() -> SeriesEncoder:
    """One that fits in a sixth of a second."""
    forecaster = small(JumpODEForecaster, n_modes=2, n_hidden=4, n_members=1, likelihood="normal", batch_size=32)
    return SeriesEncoder(forecaster, random_state=0)


def estimators() -> list[Any]:
    heads = [made(encoder(), random_state=0) for made in (SeriesClassifier, SeriesRegressor)]
    return [PathRegressor(), encoder(), *heads]


def name_of(check: functools.partial) -> str:
    """With its settings, if it has some."""
    return "-".join([check.func.__name__, *(f"{key}={value}" for key, value in check.keywords.items())])


def checks_of_arrays() -> Iterator[Any]:
    """Each check with its estimator: what a regressor, which holds an encoder, passes too is in `make test-all`."""
    shared = {name_of(check) for _, check in estimator_checks_generator(SeriesRegressor(encoder()))}
    for estimator in estimators():
        for fresh, check in estimator_checks_generator(estimator):
            is_shared = isinstance(estimator, SeriesClassifier | SeriesEncoder) and name_of(check) in shared
            marks = [pytest.mark.slow] if is_shared else []
            yield pytest.param(fresh, check, id=f"{type(estimator).__name__}-{name_of(check)}", marks=marks)


@pytest.mark.parametrize(("estimator", "check"), list(checks_of_arrays()))
def test_estimators_of_arrays_pass_every_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", estimators(), ids=lambda e: type(e).__name__)
def test_every_check_was_asked(estimator):
    assert len(list(estimator_checks_generator(estimator))) == N_CHECKS[type(estimator)]
    tags = get_tags(estimator)
    assert not tags.no_validation
    assert not tags.non_deterministic
    assert not tags._skip_test
    assert tags.input_tags.two_d_array
    assert tags.input_tags.allow_nan == (not isinstance(estimator, PathRegressor))
    if tags.regressor_tags is not None:
        assert not tags.regressor_tags.poor_score
    if tags.classifier_tags is not None:
        assert not tags.classifier_tags.poor_score


# scikit-learn's arrays repeat times (duplicates="mean") and have several columns (of which one is the time)
@pytest.mark.filterwarnings("ignore:X has . columns, of which only the first:tsode.errors.TsodeWarning")
# and are noise, of which a latent path rightly keeps nothing
@pytest.mark.filterwarnings("ignore:The latent state is not used:tsode.errors.TsodeWarning")
@parametrize_with_checks(
    [small(made, duplicates="mean", **GIVEN.get(made, {})) for made in FORECASTERS.values()], legacy=False
)
def test_forecasters_pass_the_checks_of_the_interface(estimator, check):
    check(estimator)


@pytest.mark.parametrize("made", FORECASTERS.values())
def test_every_check_of_the_interface_was_asked(made):
    assert len(list(estimator_checks_generator(small(made), legacy=False))) == N_API_CHECKS
