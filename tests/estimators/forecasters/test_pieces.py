"""Pieces of a question: bounded, and with the answers of the whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import JumpODEForecaster, LastValueForecaster, LatentODEForecaster, LinearSDEForecaster
from tsode.estimators.forecasters import pieces as module_of_pieces
from tsode.estimators.forecasters.pieces import pieces
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

FRAME = example_panel(8)
SIZES = {"max_epochs": 1, "random_state": 0, "dtype": "float64"}
MAKERS = {
    "jump": lambda: JumpODEForecaster(n_modes=3, n_static=2, n_hidden=8, **SIZES),
    "two passes": lambda: JumpODEForecaster(n_modes=3, n_static=2, n_hidden=8, n_passes=2, **SIZES),
    "latent": lambda: LatentODEForecaster(n_state=4, n_hidden=8, n_samples=4, **SIZES),
    "linear": lambda: LinearSDEForecaster(**SIZES),
    "last value": lambda: LastValueForecaster(),
}


def ask_all(forecaster) -> list[np.ndarray]:
    """Answers between events, after them, and of both ends of series with questions of very different length."""
    last = FRAME["ds"].max()
    uneven = {f"s{k}": last + pd.to_timedelta(np.arange(1, 2 + 40 * (k == 2)), unit="h") for k in range(8)}
    answers = [
        forecaster.predict_quantiles(FRAME[["unique_id", "ds"]]),
        forecaster.predict_interval(times=uneven),
        forecaster.predict_spread(horizon="9h"),
        forecaster.impute(FRAME),
    ]
    scores = [forecaster.score(FRAME.assign(unique_id="new-" + FRAME["unique_id"]), metric="crps")]
    return [answer.iloc[:, 2:].to_numpy() for answer in answers] + [np.array(scores)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_a_question_in_pieces_has_the_answers_of_the_whole(name, monkeypatch):
    forecaster = MAKERS[name]().fit(FRAME)
    whole = ask_all(forecaster)
    monkeypatch.setattr(module_of_pieces, "NUMBERS_AT_ONCE", 60 * forecaster.module_.query_width())
    for one, other in zip(whole, ask_all(forecaster)):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_long_history_is_run_over_in_parts_with_the_answers_of_the_whole(monkeypatch):
    doses = pd.DataFrame({"unique_id": "s1", "ds": FRAME["ds"].min() + pd.to_timedelta([5, 30, 90], unit="h")})
    forecaster = MAKERS["jump"]().fit(FRAME, events=doses.assign(amount=1.0))
    whole = ask_all(forecaster)
    monkeypatch.setattr(module_of_pieces, "STEPS_AT_ONCE", 4)
    for one, other in zip(whole, ask_all(forecaster)):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def cut(forecaster, query, panel):
    return list(pieces(forecaster.reader_, query, panel, forecaster.module_, *forecaster._dtype_and_device))


def test_a_question_that_fits_is_not_cut():
    forecaster = MAKERS["last value"]().fit(FRAME)
    [piece] = cut(forecaster, *forecaster._read_query(None, None, "9h", None, None))
    assert sorted(piece.rows) == list(range(8))


def test_one_long_question_does_not_pad_all_others(monkeypatch):
    forecaster = MAKERS["last value"]().fit(FRAME)
    last = FRAME["ds"].max()
    times = {f"s{k}": [last + pd.Timedelta("1h")] for k in range(8)}
    times["s3"] = last + pd.to_timedelta(np.arange(1, 1001), unit="min")
    width = forecaster.module_.query_width()
    monkeypatch.setattr(module_of_pieces, "NUMBERS_AT_ONCE", 300 * width)
    found = cut(forecaster, *forecaster._read_query(None, times, None, None, None))
    assert sum(piece.query_times.numel() for piece in found) == 1007
    assert max(piece.query_times.numel() for piece in found) <= 300
    assert np.array_equal(np.sort(np.concatenate([piece.at for piece in found])), np.arange(1007))


def test_one_long_history_does_not_pad_all_others(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = [3] * 40 + [500]
    frame = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(41), lengths), "ds": np.concatenate([*map(np.arange, lengths)])}
    )
    forecaster = MAKERS["last value"]().fit(frame.assign(y=rng.normal(size=len(frame))))
    monkeypatch.setattr(module_of_pieces, "NUMBERS_AT_ONCE", 600 * forecaster.module_.event_width)
    found = cut(forecaster, *forecaster._read_query(None, None, 1, None, None))
    assert sum(piece.batch.times.numel() for piece in found) == sum(lengths)


def test_samples_that_do_not_fit_are_drawn_in_blocks_of_whole_paths(monkeypatch):
    forecaster = MAKERS["jump"]().fit(FRAME)
    monkeypatch.setattr(module_of_pieces, "NUMBERS_AT_ONCE", 2000)
    monkeypatch.setattr("tsode.estimators.forecasters.answers.NUMBERS_AT_ONCE", 2000)
    drawn = forecaster.sample(horizon=["1h", "2h"], n_samples=400, random_state=0)
    assert drawn["a"].nunique() == len(drawn) == 8 * 2 * 400
    wanted = forecaster.predict_spread(horizon=["1h", "2h"])
    found = drawn.groupby(["unique_id", "ds"])["a"].std()
    # the relative error of a standard deviation of 400 draws is 3.5 % where they are normal
    np.testing.assert_allclose(found.to_numpy(), wanted.set_index(["unique_id", "ds"]).sort_index()["a-sd"], rtol=0.3)
