"""Loaded models own their memory: what becomes of the file afterwards changes no answer."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pandas as pd
import pytest

from tests.registries import small
from tsode import (
    JumpODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    PathRegressor,
    PointProcessForecaster,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
)
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

FRAME = example_panel(6)
IDS = FRAME["unique_id"].unique()
KNOWN = pd.DataFrame({"ds": pd.date_range(FRAME["ds"].min(), FRAME["ds"].max() + pd.Timedelta("9D"), 40)})
TABLES = {
    "events": FRAME.groupby("unique_id").nth(2)[["unique_id", "ds"]].assign(kind="add", target="a", amount=2.0),
    "static": pd.DataFrame({"unique_id": IDS, "age": np.arange(6.0), "ward": list("ababab")}),
    "known": KNOWN.assign(price=np.sin(np.arange(40.0))),
}
ROWS, LABELS = np.random.default_rng(0).normal(size=(12, 6)), np.arange(12) % 2
ENCODER = SeriesEncoder(small(JumpODEForecaster, n_members=1), random_state=0)
STREAMS = FRAME[["unique_id", "ds"]].assign(mark=np.where(FRAME["a"] > 0.0, "x", "y"))
COLUMNS = np.column_stack([np.arange(9.0), np.cos(np.arange(9.0))])

CASES = {
    "baseline": lambda: LastValueForecaster().fit(FRAME),
    "jumps": lambda: small(JumpODEForecaster).fit(FRAME, **TABLES),
    "latent": lambda: small(LatentODEForecaster).fit(FRAME),
    "linear": lambda: small(LinearSDEForecaster).fit(FRAME),
    "events": lambda: PointProcessForecaster(max_epochs=1, n_hidden=4, n_modes=3, random_state=0).fit(STREAMS),
    "path": lambda: PathRegressor().fit(COLUMNS, np.sin(np.arange(9.0))),
    "encoder": lambda: ENCODER.fit(ROWS),
    "classifier": lambda: SeriesClassifier(ENCODER, random_state=0).fit(ROWS, LABELS),
    "regressor": lambda: SeriesRegressor(ENCODER, random_state=0).fit(ROWS, ROWS[:, 0]),
}


def answer(model):
    if isinstance(model, PathRegressor):
        return np.concatenate(model.predict(COLUMNS + 0.3, return_std=True))
    if isinstance(model, SeriesEncoder):
        return model.transform(ROWS)
    if isinstance(model, SeriesClassifier | SeriesRegressor):
        return model.predict(ROWS)
    if isinstance(model, PointProcessForecaster):
        return model.predict_next().select_dtypes("float").to_numpy()
    channels = ["a", "b"]
    past = model.predict(times=FRAME["ds"].sort_values().iloc[[60, 90]])[channels]
    return np.concatenate([model.predict()[channels].to_numpy(), past.to_numpy()])


@pytest.mark.parametrize("name", CASES)
def test_a_file_overwritten_and_cut_off_in_place_changes_no_answer_of_what_was_loaded(name, tmp_path):
    path = tmp_path / "model"
    fitted = CASES[name]()
    fitted.save(path)
    loaded = type(fitted).load(path)
    again = pickle.loads(pickle.dumps(loaded))
    with open(path, "r+b") as file:
        file.write(b"\xff" * os.path.getsize(path))
    changed = answer(loaded)
    os.truncate(path, 0)
    np.testing.assert_array_equal(answer(loaded), changed)
    np.testing.assert_array_equal(answer(again), changed)
    np.testing.assert_allclose(changed, answer(fitted), rtol=1e-5, atol=1e-6)
    loaded.save(path)  # over the ruins
    np.testing.assert_array_equal(answer(type(fitted).load(path)), changed)
