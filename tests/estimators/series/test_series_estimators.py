"""`SeriesEncoder`, `SeriesClassifier` and `SeriesRegressor`: what they read, and what they can tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.series_classes import sawteeth
from tests.registries import small
from tsode import (
    ConstantForecaster,
    JumpODEForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
)
from tsode.core.series import Series
from tsode.errors import DataError, ParameterError, UnknownNameError
from tsode.estimators.series.summaries import SUMMARIES, summarise

pytestmark = pytest.mark.usefixtures("short_epochs")


def waves(n: int, seed: int) -> tuple[list[pd.Series], np.ndarray]:
    """Irregular noisy waves of random phase; the class is the period."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    series = []
    for k in label:
        t = np.sort(rng.uniform(0.0, 8.0, rng.integers(25, 40)))
        wave = np.sin(2.0 * np.pi * (t / (2.0, 3.0)[k] + rng.uniform()))
        series.append(pd.Series(wave + 0.1 * rng.normal(size=len(t)), index=t))
    return series, label


def encoder(**params) -> SeriesEncoder:
    return SeriesEncoder(small(JumpODEForecaster, n_members=1), random_state=0, **params)


def grid(n: int = 24, n_times: int = 8) -> np.ndarray:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, n_times)).cumsum(axis=1)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[3] = np.nan
    return X


def as_series(X: np.ndarray) -> list[pd.Series]:
    return [pd.Series(row[~np.isnan(row)], index=np.flatnonzero(~np.isnan(row)).astype(float)) for row in X]


def test_a_row_is_encoded_alike_alone_and_in_any_company():
    X = grid()
    fitted = encoder().fit(X)
    states = fitted.transform(X)
    assert np.isfinite(states).all()
    np.testing.assert_allclose(np.concatenate([fitted.transform(X[[k]]) for k in range(len(X))]), states, atol=1e-12)
    np.testing.assert_allclose(fitted.transform(X[::-1])[::-1], states, atol=1e-12)
    assert states.shape == (24, len(fitted.get_feature_names_out()))


def test_an_array_with_nan_and_series_without_it_are_the_same_data():
    X = grid()
    by_array, by_series = encoder().fit(X), encoder().fit(as_series(X))
    np.testing.assert_allclose(by_series.transform(as_series(X)), by_array.transform(X), atol=1e-12)
    np.testing.assert_allclose(by_array.transform(as_series(X)), by_array.transform(X), atol=1e-12)
    assert by_array.n_features_in_ == 8
    assert not hasattr(by_series, "n_features_in_")


@pytest.mark.parametrize("kind", ["tuple", "object array", "Series", "column"])
def test_series_come_in_any_container_of_series(kind):
    items = as_series(grid())
    column = pd.Series(items, index=[f"p{k}" for k in range(len(items))])
    array = np.empty(len(items), dtype=object)
    array[:] = items
    boxed = {"tuple": tuple(items), "object array": array, "Series": column, "column": column.to_frame("series")}[kind]
    fitted = encoder().fit(items)
    np.testing.assert_array_equal(fitted.transform(boxed), fitted.transform(items))


def test_columns_may_have_times_of_their_own():
    X = grid(n_times=4)
    times = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-05", "2024-03-01"])
    by_array = encoder().set_params(times=times).fit(X)
    items = [pd.Series(row[~np.isnan(row)], index=times[~np.isnan(row)]) for row in X]
    np.testing.assert_allclose(encoder().fit(items).transform(items), by_array.transform(X), atol=1e-12)
    with pytest.raises(DataError, match="times= holds 4 times, but X has 5 columns"):
        encoder().set_params(times=times).fit(grid(n_times=5))
    with pytest.raises(DataError, match="times= must increase"):
        encoder().set_params(times=times[::-1]).fit(X)


def test_the_state_of_a_linear_model_is_its_filtered_mean_at_the_last_observation():
    items = [item for item in as_series(grid()) if len(item)]
    fitted = SeriesEncoder(LinearSDEForecaster(n_state=3, max_epochs=1), pooling="last", random_state=0).fit(items)
    last = {key: [item.index[-1]] for key, item in enumerate(items)}
    beliefs = fitted.forecaster_.predict_state(times=last, given="present")
    expected = [belief[["state-0", "state-1", "state-2"]].to_numpy()[0] for belief in beliefs]
    np.testing.assert_allclose(fitted.transform(items), expected, atol=1e-12)


def test_frames_of_several_channels_and_other_forecasters_are_encoded():
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(rng.normal(size=(6, 2)), columns=["hr", "bp"], index=np.sort(rng.uniform(0, 9, 6)))
        for _ in range(12)
    ]
    two = SeriesEncoder(small(JumpODEForecaster, n_members=2), random_state=0)
    one = encoder().fit(frames)
    assert two.fit(frames).transform(frames).shape[1] == 2 * one.transform(frames).shape[1]
    with pytest.raises(DataError, match="which an array has no place for"):
        one.transform(np.zeros((2, 4)))
    latent = SeriesEncoder(small(LatentODEForecaster, max_epochs=1), random_state=0)
    assert np.isfinite(latent.fit_transform(frames)).all()


def test_what_keeps_no_state_and_mixed_lists_are_refused():
    with pytest.raises(ParameterError, match="ConstantForecaster keeps no state"):
        SeriesEncoder(ConstantForecaster()).fit(grid())
    with pytest.raises(UnknownNameError, match="'all' is not a known pooling"):
        encoder(pooling="all").fit(grid())
    with pytest.raises(ParameterError, match="forecaster must be a forecaster of tsode"):
        SeriesEncoder(LogisticRegression()).fit(grid())
    with pytest.raises(DataError, match=r"a row of X is a series: pass a list, \[X\]"):
        encoder().fit(pd.Series([1.0, 2.0]))
    long = pd.DataFrame({"unique_id": ["a", "a"], "ds": pd.to_datetime(["2024-01-01", "2024-01-02"]), "y": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"groupby\('unique_id'\)"):
        encoder().fit(long)
    with pytest.raises(DataError, match="row 1 is a list"):
        encoder().fit([pd.Series([1.0, 2.0]), [1.0, 2.0]])


def test_states_come_as_frames_where_that_is_asked():
    items = as_series(grid())
    out = encoder().set_output(transform="pandas").fit_transform(items)
    assert list(out.columns[:2]) == ["state0", "state1"]


def test_summaries_are_those_worked_out_by_hand():
    one = Series(np.array([0.0, 1.0, 3.0]), np.array([[1.0, np.nan], [-1.0, np.nan], [3.0, np.nan]]))
    found = dict(zip(SUMMARIES, summarise([one])[0]))
    assert found["last"] == 3.0
    assert found["mean"] == 1.0
    assert found["deviation"] == pytest.approx(np.sqrt(8.0 / 3.0))
    assert found["slope"] == pytest.approx(np.polyfit(one.times, one.values[:, 0], 1)[0])
    assert found["roughness"] == pytest.approx(np.sqrt((4.0 + 16.0) / 2.0))
    assert found["crossings"] == pytest.approx(1.0 / 3.0)  # 1 is not above the mean of 1
    assert found["count"] == pytest.approx(np.log(4.0))
    np.testing.assert_array_equal(summarise([one])[0, len(SUMMARIES) :], 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "forecaster",
    [small(JumpODEForecaster, n_members=1), small(JumpODEForecaster, n_members=2), LinearSDEForecaster(max_epochs=1)],
    ids=["one filter", "two filters", "linear SDE"],
)
def test_mean_and_deviation_are_those_of_the_states_after_each_observation(forecaster):
    items = [item for item in as_series(grid()) if len(item) > 1]
    fitted = SeriesEncoder(forecaster, random_state=0).fit(items)
    last, mean, deviation = np.split(fitted.transform(items), 3, axis=1)
    alone = clone(fitted).set_params(pooling="last").fit(items)
    for row, item in enumerate(items):
        states = alone.transform([item.iloc[: k + 1] for k in range(len(item))])
        np.testing.assert_allclose(last[row], states[-1], atol=1e-12)
        np.testing.assert_allclose(mean[row], states.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(deviation[row], states.std(axis=0), atol=1e-7)  # a root near 0 doubles rounding
    names = fitted.get_feature_names_out()
    assert [names[k * last.shape[1]] for k in range(3)] == ["state0", "state_mean0", "state_deviation0"]


def test_a_series_without_observations_has_the_start_state_and_no_deviation():
    fitted = encoder().fit(as_series(grid()))
    nothing = pd.Series([], index=pd.Index([], dtype=float), dtype=float)
    for company in ([nothing], [nothing, *as_series(grid())]):
        last, mean, deviation = np.split(fitted.transform(company)[0], 3)
        np.testing.assert_array_equal(mean, last)
        np.testing.assert_array_equal(deviation, 0.0)


@pytest.mark.slow
def test_which_way_time_runs_is_told_by_default_settings_and_not_by_summaries():
    (X, y), (others, truth) = sawteeth(50, seed=7), sawteeth(300, seed=8)
    classifier = SeriesClassifier(random_state=0).fit(X, y)
    assert classifier.score(others, truth) > 0.9
    n_states = len(classifier.encoder_.get_feature_names_out())
    summaries, those = (classifier.transform(some)[:, n_states:] for some in (X, others))
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(summaries, y)
    assert plain.score(those, truth) < 0.6  # a half and 3.5 standard errors of 300


@pytest.mark.slow
def test_probabilities_sum_to_one_and_agree_with_the_class():
    X, y = waves(24, seed=1)
    classifier = SeriesClassifier(encoder(), random_state=0).fit(X, y)
    proba = classifier.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(classifier.classes_[proba.argmax(axis=1)], classifier.predict(X))
    alone = np.concatenate([classifier.predict_proba([one]) for one in X])
    np.testing.assert_allclose(alone, proba, atol=1e-10)
    with pytest.raises(DataError, match=r"y holds 1 class\(es\), \[0\]"):
        classifier.fit(X, 0 * y)


@pytest.mark.slow
def test_labels_that_the_series_do_not_tell_are_not_predicted_with_confidence():
    X, y = waves(40, seed=1)[0], np.random.default_rng(1).integers(0, 2, 240)
    chosen = SeriesClassifier(encoder(), random_state=0).fit(X, y[:40])
    fixed = SeriesClassifier(encoder(), LogisticRegression(max_iter=1000), random_state=0).fit(X, y[:40])
    others = waves(200, seed=2)[0]
    losses = [log_loss(y[40:], classifier.predict_proba(others)) for classifier in (chosen, fixed)]
    assert losses[0] < np.log(2.0) + 0.05
    assert losses[1] > losses[0] + 0.15, "the same head with the penalty it has by default is sure of itself"


def test_a_class_of_one_series_is_learned_too():
    X, _ = waves(20, seed=1)
    assert SeriesClassifier(encoder(), random_state=0).fit(X, np.arange(20) == 3).predict(X)[3]


@pytest.mark.slow
def test_the_regressor_finds_the_mean_and_the_amplitude_of_irregular_waves():
    X, _ = waves(120, seed=2)
    level, size = np.random.default_rng(3).uniform(1.0, 3.0, (2, 120))
    moved = [a + b * one for a, b, one in zip(level, size, X)]
    for target in (level, size):
        regressor = SeriesRegressor(encoder(), random_state=0).fit(moved[:80], target[:80])
        assert regressor.score(moved[80:], target[80:]) > 0.8


@pytest.mark.slow
def test_they_stand_in_pipelines_searches_and_wrappers():
    X, y = waves(24, seed=1)
    groups = np.arange(24) // 2 % 4
    model = make_pipeline(encoder(), StandardScaler(), LogisticRegression())
    assert np.isfinite(cross_val_score(model, X, y, groups=groups, cv=GroupKFold(2), error_score="raise")).all()
    classifier = SeriesClassifier(encoder(), random_state=0)
    search = GridSearchCV(classifier, {"encoder__forecaster__n_modes": [2, 3]}, cv=TimeSeriesSplit(2))
    assert set(search.fit(X, y).best_params_) == {"encoder__forecaster__n_modes"}
    target = np.exp([one.iloc[-1] for one in X])
    logs = TransformedTargetRegressor(SeriesRegressor(encoder(), random_state=0), func=np.log, inverse_func=np.exp)
    assert (logs.fit(X, target).predict(X) > 0.0).all()
    for estimator in (encoder(), classifier, SeriesRegressor()):
        assert type(estimator).__name__ in estimator._repr_html_()


def test_dated_series_are_encoded_with_their_calendar():
    hours = pd.date_range("2024-01-01", periods=72, freq="1h")
    rng = np.random.default_rng(0)
    series = [pd.Series(np.sin(hours.hour / 4.0 + k) + 0.1 * rng.normal(size=72), index=hours) for k in range(6)]
    encoder = SeriesEncoder(JumpODEForecaster(n_modes=2, n_static=1, n_members=1, max_epochs=1), random_state=0)
    states = encoder.fit(series).transform(series)
    assert encoder.forecaster_.calendar_ == ["day"]
    assert np.isfinite(states).all()
    np.testing.assert_allclose(encoder.transform(series[:2]), states[:2], rtol=1e-5, atol=1e-6)
    assert np.isfinite(encoder.transform([series[0].iloc[:0], series[1]])).all()
