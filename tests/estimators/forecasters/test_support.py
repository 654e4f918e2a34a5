"""Positive and bounded channels of forecasters that learn: truths, ends, later data, files, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tests.registries import small
from tsode import JumpODEForecaster, LatentODEForecaster, LatentSDEForecaster, LinearSDEForecaster
from tsode.backtest import backtest
from tsode.conformal import ConformalForecaster
from tsode.errors import DataError, ParameterError, TsodeError, TsodeWarning

pytestmark = pytest.mark.usefixtures("short_epochs")

LEARNED = (JumpODEForecaster, LatentODEForecaster, LatentSDEForecaster, LinearSDEForecaster)
LEVELS = [1e-6, 0.05, 0.5, 0.95, 1.0 - 1e-6]


def panel(n_series=10, seed=0, n=14):
    """Channels "x", lognormal, "share", within 0 and 1, and "y", any: an Ornstein-Uhlenbeck process under each."""
    rng, frames = np.random.default_rng(seed), []
    for k in range(n_series):
        times = np.cumsum(rng.exponential(0.3, n))
        z = np.zeros((n, 3))
        z[0] = rng.normal(size=3)
        for i in range(1, n):
            share = np.exp(times[i - 1] - times[i])
            z[i] = share * z[i - 1] + np.sqrt(1.0 - share**2) * rng.normal(size=3)
        columns = {"x": 3.0 * np.exp(1.2 * z[:, 0]), "share": 1.0 / (1.0 + np.exp(-2.0 * z[:, 1])), "y": z[:, 2]}
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, **columns}))
    frame = pd.concat(frames, ignore_index=True)
    frame.loc[rng.random(len(frame)) < 0.2, "x"] = np.nan
    return frame


SUPPORT = {"x": "positive", "share": (0.0, 1.0)}


def quick(made, **params):
    params = {"max_epochs": 1, "support": SUPPORT} | params
    return small(made, **params)


def inside(frame, names):
    x, share = (frame[[name for name in names if name.startswith(channel)]].to_numpy() for channel in ("x", "share"))
    return bool((x >= 0.0).all() and (share >= 0.0).all() and (share <= 1.0).all())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The latent state is not used")
@pytest.mark.parametrize("made", LEARNED)
def test_no_answer_leaves_the_support(made):
    frame = panel()
    fitted = quick(made).fit(frame)
    assert fitted.transforms_ == {"x": "log", "share": "logit", "y": "identity"}
    answers = [
        fitted.predict(horizon=2.0),
        fitted.predict_quantiles(horizon=2.0, quantiles=LEVELS),
        fitted.predict_interval(horizon=2.0, level=[80, 99.9]),
        fitted.sample(horizon=2.0, n_samples=20, random_state=0),
        fitted.impute(frame, level=99),
    ]
    for answer in answers:
        assert np.isfinite(answer.drop(columns=["unique_id", "ds"]).to_numpy()).all()
        assert inside(answer, answer.columns)
    spread = fitted.predict_spread(horizon=2.0)
    parts = spread["x-sd-aleatoric"] ** 2 + spread["x-sd-epistemic"] ** 2
    np.testing.assert_allclose(parts, spread["x-sd"] ** 2, rtol=1e-9)
    for metric in ("nll", "crps", "mse", "mae"):
        assert np.isfinite(fitted.score(panel(seed=1), metric=metric))


@pytest.mark.slow
def test_forecasts_are_those_of_the_logarithm_pushed_forward():
    frame = panel()[["unique_id", "ds", "x"]].dropna()
    times = {"times": [1.0, 3.0, 9.0]}
    positive = LinearSDEForecaster(max_epochs=2, horizon=1.0, random_state=0, support="positive").fit(frame)
    real = LinearSDEForecaster(max_epochs=2, horizon=1.0, random_state=0).fit(frame.assign(x=np.log(frame["x"])))
    assert positive.transforms_ == {"x": "log"}
    quantiles, normal = (one.predict_quantiles(**times, quantiles=LEVELS) for one in (positive, real))
    names = [name for name in quantiles if name.startswith("x-q")]
    np.testing.assert_allclose(np.log(quantiles[names]), normal[names], rtol=1e-9, atol=1e-9)
    # a lognormal, in closed form
    m, s = real.predict(**times)["x"], real.predict_spread(**times)["x-sd"]
    np.testing.assert_allclose(positive.predict(**times)["x"], np.exp(m + 0.5 * s**2), rtol=1e-9)
    variance = np.expm1(s**2) * np.exp(2.0 * m + s**2)
    np.testing.assert_allclose(positive.predict_spread(**times)["x-sd"] ** 2, variance, rtol=1e-8)
    drawn, plain = (one.sample(**times, n_samples=5, random_state=0) for one in (positive, real))
    np.testing.assert_allclose(np.log(drawn["x"]), plain["x"], rtol=1e-8, atol=1e-8)
    # densities: less the logarithm of the slope of the logarithm, the value's own
    later = panel(seed=1)[["unique_id", "ds", "x"]].dropna().assign(unique_id=lambda f: "new-" + f["unique_id"])
    nll = real.score(later.assign(x=np.log(later["x"]))) - np.log(later["x"]).mean()
    assert positive.score(later) == pytest.approx(nll, rel=1e-9)
    logs = positive.log_likelihood() - real.log_likelihood()
    np.testing.assert_allclose(logs, -np.log(frame["x"]).groupby(frame["unique_id"]).sum(), rtol=1e-8)


@pytest.mark.slow
def test_forecasts_are_in_any_unit_of_the_data():
    frame = panel()
    asked = {"horizon": 1.0, "quantiles": [0.1, 0.9]}
    one = quick(LinearSDEForecaster, support={"x": "positive", "share": (0, 1)}).fit(frame).predict_quantiles(**asked)
    frame = frame.assign(x=1024.0 * frame["x"], share=64.0 * frame["share"])
    other = (
        quick(LinearSDEForecaster, support={"x": "positive", "share": (0, 64)}).fit(frame).predict_quantiles(**asked)
    )
    for channel, factor in (("x", 1024.0), ("share", 64.0)):
        for end in ("0.1", "0.9"):
            np.testing.assert_allclose(other[f"{channel}-q-{end}"], factor * one[f"{channel}-q-{end}"], rtol=1e-7)


@pytest.mark.slow
def test_real_values_change_nothing():
    frame = panel()
    plain, named = quick(LinearSDEForecaster, support="real"), quick(LinearSDEForecaster, support={"x": "real"})
    assert plain.fit(frame).predict_interval(horizon=1.0).equals(named.fit(frame).predict_interval(horizon=1.0))
    assert "support" not in plain.reader_.scaler.to_dict()


def test_zeros_have_a_chance_and_a_place():
    frame = panel().dropna().assign(x=lambda f: np.where(f["x"] < 1.5, 0.0, f["x"]))
    fitted = quick(LinearSDEForecaster, support={"x": "positive"}).fit(frame)
    context = frame[frame["unique_id"] == "s0"]
    low = fitted.predict_quantiles(horizon=[50.0], context=context, quantiles=[0.02])["x-q-0.02"]
    assert (low == 0.0).all()  # a fifth of the values are
    assert np.isfinite(fitted.score(frame.assign(unique_id="n" + frame["unique_id"])))


def test_a_zero_that_comes_later_is_read_as_half_the_least_of_fit():
    frame = panel().dropna()
    fitted = quick(LinearSDEForecaster).fit(frame)
    history = frame[frame["unique_id"] == "s0"].copy()
    answers = []
    for value in (0.0, 0.5 * frame["x"].min()):
        history.iloc[-1, history.columns.get_loc("x")] = value
        answers.append(fitted.predict_interval(horizon=1.0, context=history))
    pd.testing.assert_frame_equal(*answers)


@pytest.mark.slow
def test_a_later_value_outside_of_the_support_is_an_error_by_any_way_in():
    frame = panel().dropna()
    fitted = quick(LinearSDEForecaster).fit(frame)
    bad = frame[frame["unique_id"] == "s0"].copy()
    bad.iloc[3, bad.columns.get_loc("share")] = 1.5
    message = r"1.5 of 'share' of series 's0' at .* lies outside of its support, from 0 to 1"
    with pytest.raises(DataError, match=message):
        fitted.predict(horizon=1.0, context=bad)
    with pytest.raises(DataError, match=message):
        fitted.impute(bad)
    with pytest.raises(DataError, match=message):
        fitted.score(bad, context=frame)
    with pytest.raises(DataError, match=message):
        fitted.update(bad.assign(ds=bad["ds"] + 100.0))
    with pytest.raises(DataError, match=message):
        quick(LinearSDEForecaster).fit(bad)
    with pytest.raises(DataError, match=message):
        quick(LinearSDEForecaster).fit(frame, validation=bad)
    with pytest.raises(DataError, match=message):
        clone(fitted).set_params(warm_start=True).fit(frame).fit(bad)


def test_auto_takes_the_scale_that_helps_and_leaves_the_others():
    rng = np.random.default_rng(0)
    frame = panel(n_series=20)
    frame = frame.assign(
        rain=np.where(rng.random(len(frame)) < 0.6, 0.0, frame["x"].fillna(1.0)), high=50.0 + frame["y"]
    )
    fitted = quick(LinearSDEForecaster, support="auto").fit(frame)
    assert fitted.transforms_["x"] == "log"
    assert fitted.transforms_["share"] == "logit"
    assert {fitted.transforms_[name] for name in ("y", "rain", "high")} == {"identity"}


def test_a_value_that_auto_did_not_expect_is_told_of_and_answered():
    frame = panel(n_series=20)[["unique_id", "ds", "x"]].dropna()
    fitted = quick(LinearSDEForecaster, support="auto").fit(frame)
    later = pd.DataFrame({"unique_id": "new", "ds": [0.0, 0.5], "x": [2.0, -1.0]})
    with pytest.warns(
        TsodeWarning, match=r"-1 of 'x' of series 'new' at 0.5 lies outside .* which support='auto' found"
    ):
        answer = fitted.predict(horizon=1.0, context=later)
    zero = later.assign(x=[2.0, 0.0])
    assert answer.equals(fitted.predict(horizon=1.0, context=zero))
    with pytest.warns(TsodeWarning, match="lies outside"):
        assert np.isfinite(fitted.score(later, metric="crps"))


@pytest.mark.slow
@pytest.mark.parametrize("made", [JumpODEForecaster, LinearSDEForecaster])
def test_files_updates_and_warm_starts_keep_the_scales(made, tmp_path):
    frame, more = panel(), panel(seed=3).assign(ds=lambda f: f["ds"] + 50.0)
    fitted = quick(made, warm_start=True).fit(frame)
    fitted.save(tmp_path / "model.safetensors")
    loaded = made.load(tmp_path / "model.safetensors")
    asked = {"horizon": 1.0, "level": 90}
    assert loaded.predict_interval(**asked).equals(fitted.predict_interval(**asked))
    assert loaded.get_params()["support"] == SUPPORT
    fitted.update(more)
    loaded.update(more)
    assert loaded.predict_interval(**asked).equals(fitted.predict_interval(**asked))
    scaler = fitted.reader_.scaler
    fitted.update(more.assign(ds=more["ds"] + 100.0), refit=True)
    assert fitted.reader_.scaler is scaler
    fitted.fit(more)
    assert fitted.reader_.scaler is scaler
    assert inside(fitted.predict_interval(**asked), ["x-lo-90", "share-hi-90"])


@pytest.mark.parametrize(
    "support", ["positive", "unit", "auto", (0, 100), [-1.5, 3.0], {"x": "unit", "y": (0.0, np.inf)}]
)
def test_the_parameter_is_kept_as_given(support):
    forecaster = LinearSDEForecaster(support=support)
    assert clone(forecaster).get_params()["support"] == support


@pytest.mark.parametrize("support", ["positiv", (1, 0), (0, 1, 2), 3, (-np.inf, 5.0), {"x": "none"}, None])
def test_what_is_no_support_is_refused(support):
    with pytest.raises(TsodeError, match="support"):
        LinearSDEForecaster(support=support).fit(panel())


def test_what_does_not_go_together_is_refused():
    frame = panel()
    with pytest.raises(DataError, match=r"support= names the channel 'z', but the channels are \['x', 'share', 'y'\]"):
        LinearSDEForecaster(support={"z": "positive"}).fit(frame)
    with pytest.raises(ParameterError, match="likelihood='student_t' has no mean"):
        JumpODEForecaster(likelihood="student_t", support={"x": "positive"}).fit(frame)
    system = {"drift": [[-1.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.1]}
    with pytest.raises(ParameterError, match=r"leave out support='positive'"):
        LinearSDEForecaster(system=system, support="positive").fit(frame[["unique_id", "ds", "y"]])


def test_past_covariates_are_read_as_they_are_unless_named():
    frame = panel().assign(y=lambda f: f["y"] - 5.0)
    made = {"past_covariates": "y", "max_epochs": 1}
    fitted = quick(JumpODEForecaster, **made, support="positive").fit(frame)
    assert list(fitted.transforms_) == ["x", "share"]
    assert bool(fitted.reader_.scaler.maps[2].is_identity)
    with pytest.raises(DataError, match=r"'y' of series .* lies outside of its support"):
        quick(JumpODEForecaster, **made, support={"y": "positive"}).fit(frame)


@pytest.mark.slow
def test_one_wide_frame_is_answered_in_kind():
    frame = panel(n_series=1, n=60).drop(columns="unique_id").set_index("ds")
    answer = quick(LinearSDEForecaster).fit(frame).predict_interval(horizon=1.0, level=95)
    assert isinstance(answer, pd.DataFrame)
    assert inside(answer, answer.columns)


def test_scenarios_keep_the_support():
    frame = panel()
    doses = pd.DataFrame({"unique_id": frame["unique_id"].unique(), "ds": 1.0, "amount": 1.0})
    fitted = quick(LinearSDEForecaster).fit(frame, events=doses)
    answer = fitted.what_if({"one": doses, "ten": doses.assign(amount=10.0)}, horizon=1.0, n_samples=20, random_state=0)
    assert inside(answer, ["x", "x-lo-80", "x-hi-80", "share", "share-lo-80", "share-hi-80"])
    assert np.isfinite(answer["x-diff"]).all()


@pytest.mark.slow
def test_conformal_bands_stay_in_the_support():
    frame = panel(n_series=24)[["unique_id", "ds", "x", "share"]]
    narrow = ConformalForecaster(quick(LinearSDEForecaster), random_state=0).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = narrow.predict_interval(horizon=2.0, level=[80, 99])  # too few series for the latter
    assert inside(answer, answer.columns)
    assert (answer["share-hi-99"] == 1.0).any()
    assert np.isinf(answer["x-hi-99"]).any()


def test_a_backtest_scores_in_the_units_of_the_data():
    table = backtest(quick(LinearSDEForecaster), panel(), cutoffs=[2.0], horizon=1.0, level=90)
    of_x = table[table["unique_id"].str.endswith("/x")]
    assert len(of_x)
    assert (of_x["LinearSDEForecaster-lo-90"] > 0.0).all()
    assert of_x["y"].isin(panel()["x"]).all()


def test_components_take_a_support_for_each_channel():
    frame = panel(n_series=2, n=30).dropna()
    fitted = LinearSDEForecaster(components=["ou"], support={"x": "positive"}, random_state=0).fit(frame)
    assert fitted.transforms_["x"] in ("log", "sqrt")
    assert fitted.transforms_["y"] == "identity"
