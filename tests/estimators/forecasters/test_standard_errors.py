"""Standard errors of observations given in a column: they weigh values, and are never forecast."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.backtest import backtest
from tsode.errors import DataError, ParameterError

COMPONENTS = ["level", "ou"]


def _walk(n: int = 90, seed: int = 1) -> pd.DataFrame:
    """A smooth path seen with errors from .05 to 3, which are told."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1.0, n))
    errors = np.where(rng.random(n) < 0.5, 0.05, 3.0)
    return pd.DataFrame({"ds": times, "y": 5.0 + 2.0 * np.sin(times / 8.0) + errors * rng.standard_normal(n),
                         "y_se": errors})  # fmt: skip


FRAME = _walk()


def _forecaster(**settings: object) -> LinearSDEForecaster:
    return LinearSDEForecaster(components=COMPONENTS, noise_col="y_se", random_state=0, horizon=3.0, **settings)


@pytest.fixture(scope="module")
def fitted() -> LinearSDEForecaster:
    return _forecaster().fit(FRAME)


def test_only_targets_are_forecast(fitted: LinearSDEForecaster) -> None:
    assert fitted.channels_ == ["y"]
    assert fitted.predict(horizon=[1.0, 2.0]).columns.tolist() == ["ds", "y"]


def test_what_was_smoothed_is_nearer_to_the_truth_than_without_the_errors(fitted: LinearSDEForecaster) -> None:
    truth = 5.0 + 2.0 * np.sin(FRAME["ds"] / 8.0)
    plain = LinearSDEForecaster(components=COMPONENTS, random_state=0, horizon=3.0).fit(FRAME[["ds", "y"]])
    misses = [np.sqrt(np.mean((one.decompose()["y-fit"] - truth) ** 2)) for one in (fitted, plain)]
    assert misses[0] < 0.6 * misses[1]


def test_a_value_of_huge_error_changes_nothing_and_one_of_none_is_gone_through() -> None:
    frame = FRAME.copy()
    frame.loc[40, ["y", "y_se"]] = [1e4, 1e9]
    without = FRAME.drop(index=40)
    found = [_forecaster().fit(one).predict_interval(horizon=[1.0, 3.0]) for one in (frame, without)]
    np.testing.assert_allclose(found[0].iloc[:, 1:], found[1].iloc[:, 1:], rtol=1e-3)
    sharp = FRAME.assign(y_se=np.where(FRAME.index == 60, 1e-9, 3.0))
    model = _forecaster().fit(sharp)
    fit = model.decompose(level=90)
    width = (fit["y-fit-hi-90"] - fit["y-fit-lo-90"]).to_numpy()
    assert width[60] < 0.7 * np.median(width)


def test_units_of_the_values_change_nothing(fitted: LinearSDEForecaster) -> None:
    other = _forecaster().fit(FRAME.assign(y=FRAME["y"] * 1e3, y_se=FRAME["y_se"] * 1e3))
    one, thousand = (each.predict_interval(horizon=[0.5, 3.0]).iloc[:, 1:] for each in (fitted, other))
    np.testing.assert_allclose(thousand, 1e3 * one, rtol=1e-4)


def test_errors_of_a_context_count_in_its_forecast(fitted: LinearSDEForecaster) -> None:
    last = FRAME.tail(3).index
    vague, sharp = FRAME.copy(), FRAME.copy()
    for frame, error in ((vague, 50.0), (sharp, 0.01)):
        frame.loc[last, "y"] += 4.0
        frame.loc[last, "y_se"] = error
    moved = [fitted.predict(context=frame, horizon=[0.1])["y"].iloc[0] for frame in (vague, sharp)]
    assert moved[1] - moved[0] > 1.0


def test_an_update_is_a_whole_history(fitted: LinearSDEForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    part = LinearSDEForecaster.load(tmp_path / "m.safetensors").with_history(FRAME.head(60))
    part.update(FRAME.iloc[60:])
    pd.testing.assert_frame_equal(part.predict_interval(horizon=[1.0]), fitted.predict_interval(horizon=[1.0]))


@pytest.mark.slow
def test_each_of_two_targets_has_its_own_errors() -> None:
    other = _walk(seed=4)
    frame = FRAME.assign(x=other["y"], x_se=other["y_se"])
    settings = {"components": COMPONENTS, "random_state": 0, "horizon": 3.0}
    both = LinearSDEForecaster(noise_col={"y": "y_se", "x": "x_se"}, **settings).fit(frame)
    assert both.channels_ == ["y", "x"]
    found = both.predict(horizon=[2.0]).iloc[0]
    for name, rtol in (("y", 1e-9), ("x", 5e-3)):  # the second draws other random numbers by then
        alone = LinearSDEForecaster(noise_col=f"{name}_se", **settings).fit(frame[["ds", name, f"{name}_se"]])
        np.testing.assert_allclose(found[name], alone.predict(horizon=[2.0])[name].iloc[0], rtol=rtol)


@pytest.mark.slow
def test_series_with_parameters_of_their_own_and_doubted_values_read_errors() -> None:
    panel = pd.concat([_walk(40, seed).assign(unique_id=f"s{seed}") for seed in range(3)])
    model = _forecaster(per_series=True, robust=True).fit(panel)
    whole = model.predict(horizon=[1.0]).set_index("unique_id")["y"]
    vague = panel.assign(y_se=panel["y_se"] * 30.0)
    other = model.predict(context=vague, horizon=[1.0]).set_index("unique_id")["y"]
    assert np.isfinite(whole).all()
    assert (whole - other).abs().max() > 0.05


def test_backtests_keep_the_column_beside_a_named_target() -> None:
    rows = backtest(_forecaster(target="y"), FRAME, cutoffs=[60.0, 70.0], horizon=5.0)
    assert rows["unique_id"].nunique() == 1  # the errors are no channel of their own
    assert rows["LinearSDEForecaster"].notna().all()


@pytest.mark.parametrize(
    ("settings", "frame", "error", "message"),
    [
        ({"noise_col": "se"}, FRAME, DataError, r"noise_col names 'se', but the columns are \['y', 'y_se'\]"),
        ({"noise_col": "y_se"}, FRAME.assign(y_se=-FRAME["y_se"]), DataError, "standard error .* is below zero"),
        ({"noise_col": {"z": "y_se"}}, FRAME, ParameterError, "names the target 'z', but the targets are"),
        ({"noise_col": "y_se"}, FRAME.assign(w=1.0 * FRAME["y"]), ParameterError, "whose standard errors"),
        ({"noise_col": "y_se", "components": None}, FRAME, ParameterError, "is of components="),
        ({"noise_col": "y_se", "components": ["sharp_season"]}, FRAME, ParameterError, "reads no standard errors"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    settings: dict, frame: pd.DataFrame, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        LinearSDEForecaster(**{"components": COMPONENTS, **settings}).fit(frame)
