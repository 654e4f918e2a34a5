"""Structural components of several channels together: what one channel tells about another."""

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.errors import ParameterError
from tsode.testing import check_forecaster

CORRELATION = 0.9


def _walks(n: int = 80, seed: int = 0) -> pd.DataFrame:
    """Two noisy Brownian motions of different units, whose steps are correlated."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1.0, n))
    steps = rng.normal(size=(n, 2)) @ np.linalg.cholesky([[1.0, CORRELATION], [CORRELATION, 1.0]]).T
    paths = np.cumsum(steps * np.sqrt(np.diff(times, prepend=0.0))[:, None], axis=0)
    values = [10.0, -1.0] + [2.0, 0.3] * (paths + 0.2 * rng.normal(size=(n, 2)))
    return pd.DataFrame(values, index=times, columns=["a", "b"])


def _stopped(n_last: int = 20) -> pd.DataFrame:
    data = _walks()
    data.iloc[-n_last:, 1] = np.nan
    return data


@pytest.fixture(scope="module")
def joint() -> LinearSDEForecaster:
    return LinearSDEForecaster(components=["level"], channels="joint", random_state=0).fit(_stopped())


@pytest.fixture(scope="module")
def own() -> LinearSDEForecaster:
    return LinearSDEForecaster(components=["level"], random_state=0).fit(_stopped())


@pytest.mark.slow
def test_a_channel_that_stopped_is_forecast_from_the_other(
    joint: LinearSDEForecaster, own: LinearSDEForecaster
) -> None:
    truth, times = _walks()["b"].iloc[-20:], _walks().index[-20:]
    error, own_error = (np.abs(one.predict(times=times)["b"].to_numpy() - truth).mean() for one in (joint, own))
    assert error < 0.6 * own_error
    width, own_width = (
        float(bands["b-hi-90"].iloc[-1] - bands["b-lo-90"].iloc[-1])
        for bands in (one.predict_interval(times=times, level=90) for one in (joint, own))
    )
    assert width < 0.7 * own_width
    bands = joint.predict_interval(times=times, level=90)
    assert ((bands["b-lo-90"] < truth) & (truth < bands["b-hi-90"])).mean() > 0.7


@pytest.mark.slow
def test_a_gap_of_one_channel_is_filled_from_the_other(joint: LinearSDEForecaster, own: LinearSDEForecaster) -> None:
    data = _walks()
    given = data.copy()
    given.iloc[20:40, 1] = np.nan
    filled, own_filled = (one.impute(given, level=90).iloc[20:40] for one in (joint, own))
    width, own_width = (bands["b-hi-90"] - bands["b-lo-90"] for bands in (filled, own_filled))
    assert width.mean() < 0.7 * own_width.mean()
    pd.testing.assert_series_equal(filled["a"], data["a"].iloc[20:40])


def test_summary_has_the_correlation_of_the_innovations_and_each_channel_its_units(joint: LinearSDEForecaster) -> None:
    summary = joint.summary()
    correlation = summary.loc[("b", "correlation", "a")]
    assert correlation["lo-80"] - 0.1 < CORRELATION < correlation["hi-80"] + 0.1
    assert correlation["median"] == pytest.approx(summary.loc[("a", "correlation", "b"), "median"])
    assert summary.loc[("a", "loading", "a"), "median"] == 1.0
    for name, spread in (("a", 2.0), ("b", 0.3)):
        assert summary.loc[(name, "level", "rate"), "median"] == pytest.approx(spread**2, rel=0.6)
        assert summary.loc[(name, "noise", "variance"), "median"] == pytest.approx((0.2 * spread) ** 2, rel=1.0)
    assert joint.components_ == {"a": ["level"], "b": ["level"]}


def test_sampled_channels_move_together(joint: LinearSDEForecaster) -> None:
    drawn = joint.sample(horizon=30.0, n_samples=400, random_state=0)
    assert drawn.columns[-2:].tolist() == ["a", "b"]
    assert np.corrcoef(drawn["a"], drawn["b"])[0, 1] > 0.6


def test_decomposition_adds_up_in_each_channel(joint: LinearSDEForecaster) -> None:
    times = [5.3, 40.0, 120.0]
    parts = joint.decompose(times=times)
    for name in ("a", "b"):
        np.testing.assert_allclose(parts[f"{name}-trend"], parts[f"{name}-fit"], rtol=1e-10)
    np.testing.assert_allclose(parts["b-fit"].iloc[-1], joint.predict(times=times[-1:])["b"], rtol=1e-9)


def test_update_and_a_file_keep_channels_together(joint: LinearSDEForecaster, tmp_path: object) -> None:
    path = f"{tmp_path}/model"
    joint.save(path)
    data = _stopped()
    later = data.index[-1] + np.array([1.0, 2.0])
    news = pd.DataFrame({"a": [data["a"].iloc[-1] + 8.0] * 2, "b": [np.nan] * 2}, index=later)
    back = LinearSDEForecaster.load(path)
    before = back.predict(times=later[-1:] + 1.0)["b"].item()
    assert before == joint.predict(times=later[-1:] + 1.0)["b"].item()
    after = back.update(news).predict(times=later[-1:] + 1.0)["b"].item()
    assert after - before > 0.5  # where the other rose by eight, this one is expected to have risen by about one
    again = joint.predict(times=later[-1:] + 1.0, context=pd.concat([data, news]))["b"].item()
    assert after == pytest.approx(again, rel=1e-9)


@pytest.mark.slow
def test_channels_at_their_own_times_and_on_their_own_scales_are_fitted_together() -> None:
    data = _walks(60)
    data = data.assign(a=data["a"] - 50.0, b=np.exp(0.5 * data["b"]))
    data.iloc[::2, 0] = np.nan
    data.iloc[1::2, 1] = np.nan
    known = pd.DataFrame({"step": [0.0, 1.0]}, index=[-1.0, data.index[30]])
    fitted = LinearSDEForecaster(
        components=["level"], channels="joint", support="auto", known_path="last", random_state=0
    ).fit(data.assign(a=data["a"] + 30.0 * (data.index >= data.index[30])), known=known)
    assert fitted.transforms_["a"] == "identity"
    assert (fitted.predict_quantiles(horizon=5.0, quantiles=[0.01])["b-q-0.01"] > 0.0).all()
    there = data.index[[30]] - 1e-6
    without, with_step = fitted.decompose(times=np.append(there, there + 2e-6))["a-regressors"]
    assert 20.0 < with_step - without < 40.0


def test_a_past_covariate_tells_about_the_channel_that_is_forecast() -> None:
    fitted = LinearSDEForecaster(components=["level"], channels="joint", past_covariates=["a"], random_state=0)
    found = fitted.fit(_stopped()).predict(times=_walks().index[-20:])
    assert found.columns.tolist() == ["b"]
    assert np.abs(found["b"].to_numpy() - _walks()["b"].iloc[-20:]).mean() < 0.6


def test_one_channel_together_is_one_channel_by_itself() -> None:
    data = _walks()["a"]
    joint, own = (
        LinearSDEForecaster(components=["level"], channels=channels, random_state=0).fit(data)
        for channels in ("joint", "own")
    )
    pd.testing.assert_series_equal(joint.predict(horizon=5.0), own.predict(horizon=5.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "components"),
        ({"components": ["level"], "per_series": True}, "per_series"),
        ({"components": ["sharp_season"]}, "sharp_season"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        LinearSDEForecaster(**settings, channels="joint").fit(_walks(20))


@pytest.mark.slow
def test_too_many_states_are_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(30, 101)), index=np.arange(30.0), columns=[f"c{k}" for k in range(101)])
    with pytest.raises(ParameterError, match=r"202 states.*channels='own'"):
        LinearSDEForecaster(components=["slope"], channels="joint").fit(data)


@pytest.mark.slow
def test_forecaster_of_channels_together_keeps_the_contract() -> None:
    check_forecaster(LinearSDEForecaster(components=["level", "ou"], channels="joint", random_state=0))
