"""The interface of scikit-learn: pipelines, searches over time and over series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from tests.registries import small
from tsode import ConstantForecaster, DriftForecaster, LastValueForecaster
from tsode.errors import DataError, TsodeWarning
from tsode.estimators import FORECASTERS
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

ALL = list(FORECASTERS.values())


def wide(key: str = "s0") -> pd.DataFrame:
    """One series with NaN, indexed by time."""
    frame = example_panel()
    return frame[frame["unique_id"] == key].set_index("ds")[["a", "b"]]


@pytest.mark.parametrize("made", ALL)
def test_parameters_are_set_and_cloned(made):
    forecaster = small(made).set_params(horizon=2.0, target=["hr"], id_col="patient")
    twin = clone(forecaster)
    assert twin is not forecaster
    assert twin.get_params() == forecaster.get_params()
    assert (twin.horizon, twin.target, twin.id_col) == (2.0, ["hr"], "patient")
    assert type(made()).__name__ in repr(forecaster)
    with pytest.raises(ValueError, match="Invalid parameter 'freq'"):
        forecaster.set_params(freq="D")


def test_missing_values_are_declared_to_scikit_learn():
    tags = get_tags(LastValueForecaster())
    assert tags.input_tags.allow_nan
    assert not tags.target_tags.required


def test_a_search_over_time_scores_the_rows_after_each_cut():
    frame = wide()
    search = GridSearchCV(LastValueForecaster(), {"horizon": ["4h", "16h"]}, cv=TimeSeriesSplit(3), error_score="raise")
    search.fit(frame)
    assert set(search.best_params_) == {"horizon"}
    train, test = next(iter(TimeSeriesSplit(3).split(frame)))
    by_hand = LastValueForecaster(horizon="4h").fit(frame.iloc[train]).score(frame.iloc[test])
    assert search.cv_results_["split0_test_score"][0] == by_hand


def test_a_search_over_series_scores_series_that_fit_has_not_seen():
    frame = example_panel()
    made = FORECASTERS["JumpODEForecaster"]
    search = GridSearchCV(small(made), {"loss": ["crps", "mse"]}, cv=GroupKFold(2), error_score="raise", refit=False)
    search.fit(frame, groups=frame["unique_id"])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_pipeline_of_frames_keeps_times_and_missing_values():
    frame = wide()
    model = make_pipeline(StandardScaler(), small(FORECASTERS["JumpODEForecaster"])).set_output(transform="pandas")
    out = model.fit(frame).predict(pd.DataFrame(index=frame.index[-2:], columns=["a", "b"], dtype=float))
    assert out.index.equals(frame.index[-2:])
    assert list(out.columns) == ["a", "b"]
    assert np.isfinite(out.to_numpy()).all()
    scores = cross_val_score(model, frame, cv=TimeSeriesSplit(2), error_score="raise")
    assert np.isfinite(scores).all()


def test_arrays_come_back_as_arrays_of_the_shape_of_y():
    t, y = np.array([[0.0], [1.0], [2.5]]), np.array([3.0, 5.0, 4.0])
    forecaster = LastValueForecaster().fit(t, y)
    assert forecaster.n_features_in_ == 1
    later = forecaster.predict(np.array([[4.0], [3.0]]))
    assert isinstance(later, np.ndarray)
    assert later.tolist() == [4.0, 4.0]
    assert forecaster.predict_quantiles(np.array([[4.0]]), quantiles=[0.1, 0.9]).shape == (1, 2)
    assert forecaster.predict(times=[4.0]).tolist() == [4.0]
    assert isinstance(forecaster.predict(times=[4.0]), pd.Series), "times that were not given as an array are told"
    both = LastValueForecaster().fit(t, np.stack([y, 2.0 * y], axis=1))
    assert both.predict(np.array([[4.0]])).tolist() == [[4.0, 8.0]]
    assert LastValueForecaster().fit(t[:, 0], y).predict(np.array([4.0])).tolist() == [4.0]
    assert isinstance(forecaster.score(t, y), float)


def test_a_target_may_be_transformed_on_the_way():
    t, y = np.arange(6.0)[:, None], np.exp(np.arange(6.0))
    model = TransformedTargetRegressor(DriftForecaster(), func=np.log, inverse_func=np.exp)
    assert model.fit(t, y).predict(np.array([[7.0]])) == pytest.approx(np.exp([7.0]))


def test_rows_of_an_array_may_come_in_any_order_and_miss_values():
    rng = np.random.default_rng(0)
    t, y = rng.uniform(0, 9, (30, 1)), rng.normal(size=30)
    y[::4] = np.nan
    order = rng.permutation(30)
    at = np.array([[9.5], [4.0], [-1.0]])
    out = ConstantForecaster().fit(t, y).predict(at)
    np.testing.assert_allclose(ConstantForecaster().fit(t[order], y[order]).predict(at), out, rtol=1e-12)
    folds = cross_val_predict(LastValueForecaster(), t, np.nan_to_num(y), cv=3)
    assert folds.shape == (30,)
    assert np.isfinite(folds).all()


def test_more_columns_than_the_time_are_not_read_and_that_is_said():
    X, y = np.array([[0.0, 9.0], [1.0, 9.0]]), np.array([1.0, 2.0])
    with pytest.warns(TsodeWarning, match="X has 2 columns, of which only the first, the times, is read"):
        forecaster = LastValueForecaster().fit(X, y)
    assert forecaster.n_features_in_ == 2
    with pytest.raises(DataError, match="X has 1 features, but LastValueForecaster is expecting 2 features"):
        forecaster.predict(np.array([[3.0]]))


@pytest.mark.parametrize("kind", ["frame without columns", "index", "index.to_frame()"])
def test_a_frame_of_times_and_a_series_of_values_are_one_series(kind):
    values = wide()["a"]
    times = {
        "frame without columns": pd.DataFrame(index=values.index),
        "index": values.index,
        "index.to_frame()": values.index.to_frame(),
    }[kind]
    alone, beside = LastValueForecaster().fit(values), LastValueForecaster().fit(times, values)
    later = [pd.Timestamp("2024-03-05"), pd.Timestamp("2024-03-09")]
    expected = alone.predict(times=later)
    if kind == "index.to_frame()":  # then the times are in a column, and so they are in the answer
        expected = expected.reset_index().set_axis(["ds", "a"], axis=1)
        pd.testing.assert_frame_equal(beside.predict(times=later), expected)
    else:
        pd.testing.assert_series_equal(beside.predict(times=later), expected)
    assert beside.channels_ == ["a"]
    if kind != "index":
        assert np.isfinite(cross_val_score(LastValueForecaster(), times, values, cv=TimeSeriesSplit(3))).all()


def test_a_long_frame_takes_its_values_from_y_alone():
    frame = example_panel(3)
    rows, values = frame.assign(note="text"), frame[["b", "a"]]
    forecaster = LastValueForecaster().fit(rows, values)
    assert forecaster.channels_ == ["b", "a"]
    expected = LastValueForecaster(target=["b", "a"]).fit(frame).predict(horizon="3h")
    pd.testing.assert_frame_equal(forecaster.predict(horizon="3h"), expected)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 1)), np.zeros(2), r"y has 2 rows, but X has 3: they must be aligned row by row"),
        (np.zeros((3, 1, 1)), np.zeros(3), r"shape \(n, 1\) or \(n,\), but has \(3, 1, 1\)"),
        (np.zeros((3, 0)), np.zeros(3), r"shape \(n, 1\) or \(n,\), but has \(3, 0\)"),
        (np.zeros((3, 1)), np.zeros((3, 1, 1)), r"y must have one row for each row of X, but has shape \(3, 1, 1\)"),
        (np.array([["a"], ["b"]]), np.zeros(2), r"first column of an array X holds times.*pass numbers"),
        (np.array([[0.0], [1.0]]), np.array(["a", "b"]), r"'y' holds string values"),
        (np.array([[0.0], [1.0]]), np.array([np.nan, np.nan]), r"All values are NaN"),
        (np.array([[0.0], [1.0]]), np.array([np.inf, 0.0]), r"'y' is infinite at row 0"),
        (np.array([[0.0], [0.0]]), np.array([1.0, 2.0]), r"2 values of 'y' at 0.0.*duplicates='mean'"),
        (pd.Series([1.0]), pd.Series([1.0]), r"With y, X must be a DataFrame.*is a Series"),
        (
            pd.DataFrame(index=[0.0, 1.0, 2.0]),
            pd.Series([1.0, 2.0, 3.0], index=[0.0, 2.0, 1.0]),
            r"X and y have different indexes, at row 1 1.0 and 2.0: sort or reindex",
        ),
    ],
)
def test_values_that_do_not_belong_to_their_times_are_refused(X, y, message):
    with pytest.raises(DataError, match=message):
        LastValueForecaster().fit(X, y)
