"""What scikit-learn is used for, on forecasters and on estimators whose rows are arrays or whole series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

from tests.registries import small
from tsode import (
    EventTable,
    JumpODEForecaster,
    LastValueForecaster,
    LinearSDEForecaster,
    PathRegressor,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
)
from tsode.datasets import load_theophylline, load_theophylline_doses
from tsode.errors import DataError
from tsode.estimators import FORECASTERS
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")


def encoder(**params) -> SeriesEncoder:
    return SeriesEncoder(small(JumpODEForecaster, n_members=1, batch_size=4), random_state=0, **params)


def classifier() -> SeriesClassifier:
    return SeriesClassifier(encoder(), random_state=0)


def steps(n: int = 24) -> tuple[list[pd.Series], np.ndarray]:
    """Irregular noisy series; those of class 1 end higher than they began."""
    rng, label, series = np.random.default_rng(0), np.arange(n) % 2, []
    for k in label:
        t = np.sort(rng.uniform(0.0, 4.0, rng.integers(6, 12)))
        series.append(pd.Series(2.0 * k * (t > 2.0) + 0.1 * rng.normal(size=len(t)), index=t))
    return series, label


def path(n: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    """One path with a column that matters and one that does not."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"hour": np.sort(rng.uniform(0.0, 9.0, n)), "dose": rng.normal(size=n), "lot": rng.normal(size=n)})
    return X, (np.sin(X["hour"]) + 2.0 * X["dose"] + 0.1 * rng.normal(size=n)).to_numpy()


def wide() -> pd.DataFrame:
    frame = example_panel()
    return frame[frame["unique_id"] == "s0"].set_index("ds")[["a", "b"]]


# -- what is shown, what comes out ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The latent state is not used")
@pytest.mark.parametrize("made", FORECASTERS.values())
def test_a_page_shows_a_forecaster_and_whether_it_is_fitted(made):
    forecaster = small(made)
    before = estimator_html_repr(forecaster)
    after = estimator_html_repr(forecaster.fit(wide()))
    assert made.__name__ in before
    assert "<span>Not fitted</span>" in before
    assert "<span>Fitted</span>" in after


@pytest.mark.parametrize("kind", ["path", "encoder", "classifier", "regressor"])
def test_a_page_shows_an_estimator_of_arrays_with_its_parts(kind):
    X, y = steps()
    data = path() if kind == "path" else (X, y)
    parts = {"classifier": classifier(), "regressor": SeriesRegressor(encoder()), "path": PathRegressor()}
    estimator = parts.get(kind, encoder())
    assert "<span>Not fitted</span>" in estimator_html_repr(estimator)
    page = estimator_html_repr(estimator.fit(*data))
    assert "<span>Fitted</span>" in page
    assert kind == "path" or "JumpODEForecaster" in page


@pytest.mark.parametrize("estimator", [encoder(), classifier(), SeriesRegressor(encoder(), random_state=0)])
def test_vectors_come_as_the_kind_of_frame_that_is_asked_for(estimator):
    X, y = steps()
    plain = clone(estimator).fit(X, y)
    vectors, names = plain.transform(X), plain.get_feature_names_out()
    assert isinstance(vectors, np.ndarray)
    assert len(set(names)) == vectors.shape[1]
    by_name = pd.Series(X, index=[f"p{k}" for k in range(len(X))])
    frame = plain.set_output(transform="pandas").transform(by_name)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(vectors, index=by_name.index, columns=names))
    pd.testing.assert_index_equal(plain.transform(by_name.to_frame("series")).index, by_name.index)
    pd.testing.assert_index_equal(plain.transform(X).index, pd.RangeIndex(len(X)))
    np.testing.assert_array_equal(plain.set_output(transform="default").transform(X), vectors)


@pytest.mark.slow
@pytest.mark.parametrize("summaries", [True, False])
def test_a_head_is_the_same_where_all_transformers_are_set_to_give_frames(summaries):
    X, y = steps()
    plain = classifier().set_params(summaries=summaries).fit(X, y)
    with sklearn.config_context(transform_output="pandas"):
        framed = clone(plain).fit(X, y)
        np.testing.assert_array_equal(framed.predict_proba(X), plain.predict_proba(X))
        assert framed.transform(X).columns.tolist() == framed.get_feature_names_out().tolist()


def test_vectors_come_as_a_polars_frame():
    polars = pytest.importorskip("polars", reason="polars is an optional container and is not installed")
    X, _ = steps()
    plain = encoder().fit(X)
    table = plain.set_output(transform="polars").transform(X)
    assert isinstance(table, polars.DataFrame)
    assert table.columns == list(plain.get_feature_names_out())
    np.testing.assert_array_equal(table.to_numpy(), plain.set_output(transform="default").transform(X))


def test_features_carry_the_names_of_their_channels():
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame(rng.normal(size=(6, 2)), columns=["hr", "bp"]) for _ in range(12)]
    fitted = classifier().fit(frames, np.arange(12) % 2)
    found = pd.DataFrame(fitted.transform(frames), columns=fitted.get_feature_names_out())
    assert found.shape[1] == fitted.head_[-1].coef_.shape[1]
    for name in ("hr", "bp"):  # features are in scaled units, so that only correlations can be told beforehand
        for feature, column in {
            "mean": [one[name].mean() for one in frames],
            "last": [one[name].iloc[-1] for one in frames],
            "at_0": [one[name].iloc[0] for one in frames],
            "at_15": [one[name].iloc[-1] for one in frames],
        }.items():
            assert np.corrcoef(found[f"{name}_{feature}"], column)[0, 1] == pytest.approx(1.0)


# -- forecasters ---------------------------------------------------------------------------------------------------


def test_a_forecaster_behind_a_scaler_forecasts_in_its_units():
    frame = wide()
    scaler = StandardScaler().set_output(transform="pandas")
    model = make_pipeline(scaler, LastValueForecaster()).fit(frame)
    asked = frame.iloc[-3:] + 7.0
    scaled = clone(scaler).fit_transform(frame)
    pd.testing.assert_frame_equal(model.predict(asked), LastValueForecaster().fit(scaled).predict(asked))
    assert model.score(frame) == LastValueForecaster().fit(scaled).score(scaled)


@pytest.mark.filterwarnings("ignore:No epoch is as good as the model was before training")
def test_a_grid_search_over_time_on_a_wide_frame_is_refitted_to_all_of_it():
    frame = wide()
    search = GridSearchCV(small(JumpODEForecaster), {"loss": ["crps", "mse"]}, cv=TimeSeriesSplit(2)).fit(frame)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.last_times_ == LastValueForecaster().fit(frame).last_times_
    assert np.isfinite(search.predict(frame.iloc[-2:])).all(axis=None)


def test_a_grid_search_over_series_never_scores_a_series_that_fit_has_seen():
    frame = example_panel()
    folds = GroupKFold(2)
    search = GridSearchCV(LastValueForecaster(), {"horizon": ["2h", "8h"]}, cv=folds).fit(
        frame, groups=frame["unique_id"]
    )
    train, test = next(folds.split(frame, groups=frame["unique_id"]))
    assert not set(frame["unique_id"].iloc[train]) & set(frame["unique_id"].iloc[test])
    by_hand = LastValueForecaster(horizon="2h").fit(frame.iloc[train]).score(frame.iloc[test])
    assert search.cv_results_["split0_test_score"][0] == by_hand


def test_routed_events_reach_every_fit_whole():
    frame = example_panel(3)
    # as many rows as the panel: a plain frame of this length would be cut to the rows of each fold
    events = EventTable(frame[["unique_id", "ds"]].assign(kind="mark", amount=1.0))
    seen: list[int] = []

    class Watched(LastValueForecaster):
        reads_events = True

        def fit(self, X, y=None, *, events=None, validation=None):
            seen.append(len(events.frame))
            return super().fit(X, y)

        def score(self, X, y=None, *, events=None):
            seen.append(len(events.frame))
            return super().score(X, y)

    with sklearn.config_context(enable_metadata_routing=True):
        forecaster = Watched().set_fit_request(events=True).set_score_request(events=True)
        cross_val_score(forecaster, frame, cv=KFold(2), params={"events": events}, error_score="raise")
        GridSearchCV(forecaster, {"horizon": ["2h"]}, cv=KFold(2)).fit(frame, events=events)
        make_pipeline("passthrough", forecaster).fit(frame, events=events)
    assert seen == [len(frame)] * (2 * 2 + 2 * 2 + 1 + 1)  # fits and scores, the refit, and the pipeline


@pytest.mark.slow
def test_a_pipeline_of_routed_events_is_fitted_scored_and_searched():
    levels = load_theophylline()
    doses = EventTable(load_theophylline_doses().rename(columns={"dose_mg": "amount"}))
    plain = LinearSDEForecaster(n_state=2, max_epochs=1, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        forecaster = clone(plain).set_fit_request(events=True).set_score_request(events=True)
        model = make_pipeline("passthrough", forecaster).fit(levels, events=doses)
        score = model.score(levels, events=doses)
        grid = {"linearsdeforecaster__n_state": [2]}
        search = GridSearchCV(model, grid, cv=KFold(2), error_score="raise").fit(levels, events=doses)
    assert score == plain.fit(levels, events=doses).score(levels, events=doses)
    train, test = next(KFold(2).split(levels))
    by_hand = clone(plain).fit(levels.iloc[train], events=doses).score(levels.iloc[test], events=doses)
    assert search.cv_results_["split0_test_score"][0] == by_hand


@pytest.mark.parametrize("metric", ["nll", "mse"])
@pytest.mark.parametrize("form", ["wide", "long", "shuffled", "list"])
def test_rows_are_scored_by_their_weights(form, metric):
    long = example_panel(4)
    forms = {"wide": wide(), "long": long, "shuffled": long.sample(frac=1.0, random_state=0)}
    forms["list"] = [one.set_index("ds")["a"] for _, one in long.groupby("unique_id")]
    X = forms[form]
    forecaster = LastValueForecaster().fit(X)
    n_rows = sum(map(len, X)) if form == "list" else len(X)
    kept = np.random.default_rng(0).random(n_rows) < 0.5
    if form == "list":
        parts = np.split(kept, np.cumsum([len(one) for one in X])[:-1])
        some = [one.where(part) for one, part in zip(X, parts)]
    else:
        some = X.copy()
        some.loc[~kept, ["a", "b"]] = np.nan
    weighted = forecaster.score(X, sample_weight=3.0 * kept, metric=metric)
    assert weighted == pytest.approx(forecaster.score(some, metric=metric), rel=1e-12)
    for weight in (np.ones(n_rows - 1), -np.ones(n_rows), np.full(n_rows, np.nan)):
        with pytest.raises(DataError, match=f"at least 0 for each of the {n_rows} rows"):
            forecaster.score(X, sample_weight=weight)


# -- a row is a series ---------------------------------------------------------------------------------------------


def test_series_are_cross_validated_by_the_people_they_come_from():
    X, y = steps()
    person = np.arange(24) // 4
    model = make_pipeline(encoder(), StandardScaler(), LogisticRegression())
    scores = cross_val_score(model, X, y, groups=person, cv=GroupKFold(3), error_score="raise")
    train, test = next(GroupKFold(3).split(X, y, person))
    by_hand = clone(model).fit([X[k] for k in train], y[train]).score([X[k] for k in test], y[test])
    assert scores[0] == by_hand
    assert scores.mean() > 0.9


@pytest.mark.slow
def test_every_series_is_predicted_by_a_model_that_has_not_seen_it():
    X, y = steps()
    proba = cross_val_predict(classifier(), X, np.where(y, "up", "flat"), cv=3, method="predict_proba")
    assert proba.shape == (24, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    assert ((proba[:, 1] > 0.5) == y).mean() > 0.9


@pytest.mark.slow
def test_a_classifier_of_series_is_calibrated():
    X, y = steps()
    calibrated = CalibratedClassifierCV(classifier(), cv=2, ensemble=False).fit(X, y)
    proba = calibrated.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    assert ((proba[:, 1] > 0.5) == y).mean() > 0.9


def test_series_and_plain_columns_stand_side_by_side():
    X, y = steps()
    order = np.random.default_rng(0).permutation(24)
    frame = pd.DataFrame({"glucose": X, "age": order.astype(float)})
    target = 2 * y + (order % 2)  # the series tells one half of the class, the column the other
    frame["group"] = np.where(order % 2, 1.0, -1.0)
    sides = make_column_transformer((encoder(), ["glucose"]), (StandardScaler(), ["age", "group"]))
    model = make_pipeline(sides.set_output(transform="pandas"), StandardScaler(), LogisticRegression())
    model.fit(frame, target)
    assert model.score(frame, target) == 1.0
    names = sides.fit(frame).get_feature_names_out()
    assert names[0] == "seriesencoder__state0"
    assert names[-1] == "standardscaler__group"


def test_several_numbers_are_regressed_at_once_as_one_by_one():
    X, _ = steps()
    both = np.array([[one.iloc[-1], one.max()] for one in X])
    together = SeriesRegressor(encoder(), random_state=0).fit(X, both)
    assert together.predict(X).shape == (24, 2)
    # one penalty serves both, so that they are compared where it is given
    heads = [sklearn.linear_model.Ridge(alpha=1.0)] * 3
    ridge = [SeriesRegressor(encoder(), head, random_state=0) for head in heads]
    joint = ridge[0].fit(X, both).predict(X)
    for k in range(2):
        np.testing.assert_allclose(ridge[1 + k].fit(X, both[:, k]).predict(X), joint[:, k], rtol=1e-8)


# -- a row is an observation ---------------------------------------------------------------------------------------


def test_a_target_that_is_positive_is_regressed_by_its_logarithm():
    X, y = path()
    logs = TransformedTargetRegressor(PathRegressor(), func=np.log, inverse_func=np.exp).fit(X, np.exp(y))
    np.testing.assert_allclose(logs.predict(X), np.exp(PathRegressor().fit(X, y).predict(X)), rtol=1e-8)


def test_a_random_search_tries_what_was_drawn_and_keeps_the_best():
    X, y = path()
    drawn = {"alpha": [1e-3, 1.0, 1e6], "smoothness": [0.5, 1.5, 2.5]}
    search = RandomizedSearchCV(PathRegressor(), drawn, n_iter=5, cv=TimeSeriesSplit(2), random_state=0).fit(X, y)
    tried = search.cv_results_["params"]
    assert len(tried) == 5
    assert search.best_params_ == tried[int(np.argmax(search.cv_results_["mean_test_score"]))]
    assert search.best_params_["alpha"] < 1e6, "a penalty that forbids the dose to matter lost"


def test_what_a_path_depends_on_is_found_by_permutation():
    X, y = path()
    regressor = PathRegressor().fit(X[::2], y[::2])
    found = permutation_importance(regressor, X[1::2], y[1::2], n_repeats=3, random_state=0)
    importance = pd.Series(found.importances_mean, index=X.columns)
    assert importance["dose"] > 0.5
    assert importance["hour"] > 0.1
    assert abs(importance["lot"]) < 0.05
