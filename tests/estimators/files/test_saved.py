"""Model files of the estimators whose rows are arrays or whole series: what comes back, and what is refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier

from tests.registries import small
from tsode import (
    JumpODEForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    PathRegressor,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
)
from tsode.errors import FileFormatError, ParameterError
from tsode.estimators.forecasters.base import BaseForecaster

pytestmark = pytest.mark.usefixtures("short_epochs")


def encoder(made=JumpODEForecaster, **params) -> SeriesEncoder:
    sizes = {"n_members": 1} if made is JumpODEForecaster else {}
    return SeriesEncoder(small(made, **sizes), random_state=0, **params)


def grid(n: int = 20, n_times: int = 6) -> np.ndarray:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, n_times)).cumsum(axis=1)
    X[rng.random(X.shape) < 0.3] = np.nan
    return X


def as_series(X: np.ndarray) -> list[pd.Series]:
    times = pd.date_range("2024-01-01", periods=X.shape[1], tz="Europe/Paris")
    return [pd.Series(row[~np.isnan(row)], index=times[~np.isnan(row)], name="hb") for row in X]


DATA = {
    "array": grid(),
    "frame": pd.DataFrame(grid(), columns=list("abcdef")),
    "list of Series": as_series(grid()),
    "list of frames": [pd.DataFrame({"hr": one, "bp": one**2}) for one in as_series(grid())],
}
LABELS = {
    "str": np.array(["no", "yes"]),
    "int": np.array([7, -1]),
    "bool": np.array([False, True]),
    "float": np.array([1.0, 2.0]),
    "object": np.array(["no", "yes"], dtype=object),
}


def there_and_back(estimator, folder):
    estimator.save(folder / "m")
    return type(estimator).load(folder / "m")


@pytest.mark.parametrize("kind", DATA)
def test_an_encoder_comes_back_to_the_last_bit(kind, tmp_path):
    X = DATA[kind]
    fitted = encoder().fit(X)
    loaded = there_and_back(fitted, tmp_path)
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(loaded.get_feature_names_out(), fitted.get_feature_names_out())
    assert getattr(loaded, "n_features_in_", None) == getattr(fitted, "n_features_in_", None)
    if kind == "frame":
        assert loaded.feature_names_in_.tolist() == list("abcdef")
    assert loaded.forecaster.n_modes == fitted.forecaster.n_modes


@pytest.mark.parametrize("made", [LinearSDEForecaster, LatentODEForecaster])
def test_an_encoder_comes_back_with_any_forecaster(made, tmp_path):
    fitted = encoder(made, pooling="last").fit(grid())
    loaded = there_and_back(fitted, tmp_path)
    assert type(loaded.forecaster_) is made
    assert loaded.pooling == "last"
    np.testing.assert_array_equal(loaded.transform(grid()), fitted.transform(grid()))


@pytest.mark.parametrize(("kind", "labels"), [*(("array", labels) for labels in LABELS), ("list of Series", "str")])
def test_a_classifier_comes_back_to_the_last_bit_with_its_labels(kind, labels, tmp_path):
    X = DATA[kind]
    fitted = SeriesClassifier(encoder(), random_state=0).fit(X, LABELS[labels][np.arange(20) % 2])
    loaded = there_and_back(fitted, tmp_path)
    assert loaded.classes_.dtype == fitted.classes_.dtype
    np.testing.assert_array_equal(loaded.classes_, fitted.classes_)
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize(
    ("kind", "head"), [*((kind, None) for kind in DATA), ("array", Ridge(alpha=3.0)), ("frame", LinearRegression())]
)
def test_a_regressor_comes_back_to_the_last_bit(kind, head, tmp_path):
    X, y = DATA[kind], np.random.default_rng(0).normal(size=(20, 2))
    for target in (y, y[:, 0]):
        fitted = SeriesRegressor(encoder(), head, summaries=head is None, random_state=0).fit(X, target)
        loaded = there_and_back(fitted, tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    if isinstance(head, Ridge):
        assert loaded.head.get_params() == head.get_params()


@pytest.mark.slow
def test_times_of_columns_and_other_heads_come_back(tmp_path):
    X, y = grid(), np.arange(20) % 3
    for times in (pd.date_range("2024-01-01", periods=6), np.arange(6.0) ** 2, [0, 1, 2, 4, 8, 16]):
        fitted = SeriesClassifier(encoder(), RidgeClassifier(alpha=2.0), times=times).fit(X, y)
        loaded = there_and_back(fitted, tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
        np.testing.assert_array_equal(loaded.classes_, fitted.classes_)
        np.testing.assert_array_equal(
            loaded.head_.decision_function(loaded.transform(X)), fitted.head_.decision_function(fitted.transform(X))
        )
        assert list(loaded.times) == list(times)
        np.testing.assert_array_equal(loaded.fit(X, y).classes_, fitted.classes_)


@pytest.mark.parametrize("smoothness", [0.5, 1.5, 2.5])
def test_a_path_regressor_comes_back_to_the_last_bit(smoothness, tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"hour": rng.uniform(0.0, 9.0, 30), "dose": rng.normal(size=30)})
    fitted = PathRegressor(smoothness=smoothness).fit(X, np.sin(X["hour"]) + X["dose"])
    loaded = there_and_back(fitted, tmp_path)
    for left, right in zip(loaded.predict(X, return_std=True), fitted.predict(X, return_std=True)):
        np.testing.assert_array_equal(left, right)
    assert loaded.get_params() == fitted.get_params()
    assert loaded.feature_names_in_.tolist() == ["hour", "dose"]
    assert (loaded.intercept_, loaded.coef_.tolist()) == (fitted.intercept_, fitted.coef_.tolist())
    assert (loaded.length_scale_, loaded.noise_share_) == (fitted.length_scale_, fitted.noise_share_)


def test_a_head_that_is_no_linear_model_is_kept_by_pickle_and_not_by_a_file(tmp_path):
    X, y = grid(), np.arange(20) % 2
    forest = SeriesClassifier(encoder(), RandomForestClassifier(n_estimators=3), random_state=0).fit(X, y)
    with pytest.raises(ParameterError, match=r"head=RandomForestClassifier\(...\) cannot be written.*Ridge.*pickle"):
        forest.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(forest)).predict(X), forest.predict(X))


def test_a_class_of_ones_own_under_a_known_name_is_refused(tmp_path):
    class Ridge(LinearRegression):
        """Not scikit-learn's."""

    fitted = SeriesRegressor(encoder(), Ridge(), random_state=0).fit(grid(), np.arange(20.0))
    with pytest.raises(ParameterError, match=r"head=Ridge\(...\) cannot be written"):
        fitted.save(tmp_path / "m")


def test_a_file_of_another_class_says_how_to_load_it(tmp_path):
    encoder().fit(grid()).save(tmp_path / "m")
    with pytest.raises(FileFormatError, match=r"holds a SeriesEncoder: load it with SeriesEncoder.load\(path\)"):
        SeriesClassifier.load(tmp_path / "m")
    with pytest.raises(FileFormatError, match=r"holds a SeriesEncoder: load it with SeriesEncoder.load\(path\)"):
        BaseForecaster.load(tmp_path / "m")


@pytest.mark.parametrize(
    "damage",
    [
        lambda header, tensors: header.pop("head"),
        lambda header, tensors: header["head"].pop(),
        lambda header, tensors: header["head"][1].update(predict=3),
        lambda header, tensors: header["encoder"]["forecaster"].update({"class": "LogisticRegression"}),
        lambda header, tensors: header["params"].update(head={"estimator": {"class": "Pipeline", "params": {}}}),
        lambda header, tensors: tensors.pop("panel.times"),
    ],
)
def test_a_file_with_a_part_missing_or_changed_is_refused(damage, tmp_path):
    path = tmp_path / "m"
    SeriesClassifier(encoder(), LogisticRegression(), random_state=0).fit(grid(), np.arange(20) % 2).save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["tsode"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    damage(header, tensors)
    save_file(tensors, path, metadata={"tsode": json.dumps(header)})
    with pytest.raises(FileFormatError, match="is damaged"):
        SeriesClassifier.load(path)
