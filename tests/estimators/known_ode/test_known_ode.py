"""Forecasts of known equations against closed forms and quadrature; what they may see, files, and messages."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import KnownODEForecaster, compare_models
from tsode.datasets import load_lynx_hare, load_theophylline, load_theophylline_doses
from tsode.errors import DataError, ParameterError, TsodeWarning
from tsode.inference import AdditiveNoise, LogNormal, LogNormalNoise, Normal, Uniform
from tsode.systems import one_compartment_iv, one_compartment_oral

TIMES, LEVELS = [0.5, 1.2, 2.0, 3.5, 6.0], [7.9, 5.3, 4.1, 2.2, 0.4]


def decay_rates(t, z, p):
    return (-p.k * z[:, 0],)


def decay(**changes) -> KnownODEForecaster:
    """y = A exp(-k t) plus noise of known width; A is the series' own."""
    given = {
        "states": ["drug"], "parameters": {"k": LogNormal(log(0.5), 0.5)}, "initial": {"drug": Normal(10.0, 2.0)},
        "observed": {"level": AdditiveNoise("drug", sd=0.5)}, "initial_time": 0.0, "random_state": 0,
    }  # fmt: skip
    return KnownODEForecaster(decay_rates, **given | changes)


def frame(ids=("a",), times=TIMES, levels=LEVELS) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({"unique_id": key, "ds": times, "level": levels}) for key in ids], ignore_index=True)


@pytest.fixture(scope="module")
def one() -> KnownODEForecaster:
    return decay(n_draws=4096).fit(frame())


@pytest.fixture(scope="module")
def three() -> KnownODEForecaster:
    """Three series that share k."""
    levels = [np.array(LEVELS) * factor for factor in (0.8, 1.0, 1.3)]
    data = pd.concat([frame([key], levels=x) for key, x in zip("abc", levels)], ignore_index=True)
    return decay(n_draws=200, inference="laplace").fit(data)


# -- truths ------------------------------------------------------------------------------------------------------------


def test_the_posterior_of_a_decay_is_that_of_quadrature(one):
    table = one.summary()
    assert table.loc["k", "mean"] == pytest.approx(0.4628011608, rel=1e-5)
    assert table.loc["k", "sd"] == pytest.approx(0.0579907995, rel=1e-4)
    assert table.loc["drug_initial", "mean"] == pytest.approx(9.8265125821, rel=1e-5)
    assert table.loc["drug_initial", "sd"] == pytest.approx(0.7121387012, rel=1e-4)
    assert one.log_evidence_ == pytest.approx(-4.572800802802, abs=1e-4)
    truth = [-0.877313179, -0.708949926, -0.574905369, -0.601658489, -0.437631403]
    np.testing.assert_allclose(one.loo()["elpd"], truth, atol=1e-3)


def test_the_forecast_of_a_decay_is_that_of_quadrature_and_its_variances_add_up(one):
    spread = one.predict_spread(times=[8.0]).iloc[0]
    assert one.predict(times=[8.0])["level"].iloc[0] == pytest.approx(0.2620475174, rel=0.03)
    assert spread["level-sd-epistemic"] == pytest.approx(0.1048267182, rel=0.03)
    assert spread["level-sd"] == pytest.approx(0.5108704736, rel=0.03)
    parts = spread["level-sd-epistemic"] ** 2 + spread["level-sd-aleatoric"] ** 2
    assert parts == pytest.approx(spread["level-sd"] ** 2, rel=1e-12)


def test_sampled_paths_have_the_moments_of_the_forecast(one):
    # 4,000 paths: six standard errors of a mean of sd .51 are .05, of the sd .035
    paths = one.sample(times=[8.0], n_samples=4000, random_state=1)["level"]
    assert paths.mean() == pytest.approx(0.262, abs=0.05)
    assert paths.std() == pytest.approx(0.511, abs=0.035)


def test_doses_of_an_event_table_act_as_their_closed_form():
    # an infusion of 30 over 2 from 1 on, a bolus of 50 at 4; volume 10 and clearance 2 are all but known
    rate, volume = 0.2, 10.0
    events = pd.DataFrame({
        "unique_id": "a", "ds": [1.0, 4.0], "amount": [30.0, 50.0], "duration": [2.0, np.nan], "target": "central",
    })  # fmt: skip

    def truth(t):
        run = np.clip(t - 1.0, 0.0, 2.0)
        infused = 15.0 / rate * (1.0 - np.exp(-rate * run)) * np.exp(-rate * np.clip(t - 3.0, 0.0, None))
        return (infused + np.where(t > 4.0, 50.0 * np.exp(-rate * (t - 4.0)), 0.0)) / volume

    system = one_compartment_iv(LogNormal(log(2.0), 1e-4), LogNormal(log(10.0), 1e-4)).with_(
        parameters={"sd": 0.1, "cv": 0.1}
    )
    seen = np.array([1.5, 2.5, 3.5])
    data = pd.DataFrame({"unique_id": "a", "ds": seen, "concentration": truth(seen)})
    model = KnownODEForecaster(system=system, n_draws=64, inference="laplace", random_state=0)
    with pytest.warns(TsodeWarning, match="not identified: clearance"):
        model.fit(data, events=events)
    asked = np.array([4.0, 5.0, 9.0])
    np.testing.assert_allclose(model.predict(times=list(asked))["concentration"], truth(asked), rtol=1e-3)
    other = events.assign(amount=[30.0, 100.0])
    twice = model.what_if({"given": None, "double": other}, times=list(asked), n_samples=50, random_state=0)
    gap = twice[twice["scenario"] == "double"]
    wanted = np.where(asked > 4.0, 5.0 * np.exp(-rate * (asked - 4.0)), 0.0)
    np.testing.assert_allclose(gap["concentration-diff"], wanted, rtol=1e-3)
    assert gap["concentration-diff-lo-80"].iloc[0] == gap["concentration-diff-hi-80"].iloc[0] == 0.0


def test_draws_are_paired_in_scenarios():
    system = one_compartment_iv(LogNormal(log(2.0), 0.5), LogNormal(log(10.0), 0.5)).with_(
        parameters={"sd": 0.1, "cv": None},
        observed={"concentration": AdditiveNoise(lambda t, z, p: z[:, 0] / p.volume, sd="sd")},
    )
    events = pd.DataFrame({"unique_id": "a", "ds": [0.0, 2.0], "amount": 50.0, "target": "central"})
    data = pd.DataFrame({"unique_id": "a", "ds": [0.5, 1.0], "concentration": [4.6, 4.0]})
    model = KnownODEForecaster(system=system, n_draws=256, inference="laplace", random_state=0).fit(data, events=events)
    none = events[:1]
    paired = model.what_if({"one": none, "two": None}, times=[2.5], n_samples=256, random_state=0).iloc[1]
    draws = model.posterior_
    effect = 50.0 / draws["volume"] * np.exp(-0.5 * draws["clearance"] / draws["volume"])
    assert paired["concentration-diff"] == pytest.approx(effect.mean(), rel=1e-6)
    # each of the 256 paths follows a draw of its own: the band is that of the effect, without noise
    assert paired["concentration-diff-lo-80"] == pytest.approx(effect.quantile(0.1), rel=1e-4)
    assert paired["concentration-diff-hi-80"] == pytest.approx(effect.quantile(0.9), rel=1e-4)


def test_a_fixed_seed_gives_the_same_posterior_and_prior_predictive(one):
    again = decay(n_draws=4096).fit(frame())
    pd.testing.assert_frame_equal(one.posterior_, again.posterior_)
    drawn = one.prior_predictive(2000, random_state=0)
    # at 0.5: A exp(-k/2) with A ~ N(10, 2); six standard errors of the mean of 2,000 are .28
    first = drawn.loc[drawn["ds"] == 0.5, "level"]
    k = np.exp(log(0.5) + 0.5 * np.random.default_rng(0).standard_normal(200_000))
    assert first.mean() == pytest.approx(10.0 * np.exp(-k / 2).mean(), abs=0.28)


@pytest.mark.slow
def test_lynx_and_hare_are_those_of_published_reference_draws():
    # posteriordb, hudson_lynx_hare-lotka_volterra: means and sds of 10,000 draws
    reference = {
        "alpha": (0.546864, 0.063055), "beta": (0.027747, 0.004155), "gamma": (0.800095, 0.089370),
        "delta": (0.024086, 0.003528), "hare_initial": (34.0352, 2.9169), "lynx_initial": (5.93590, 0.53055),
        "sigma_hare": (0.248057, 0.043263), "sigma_lynx": (0.251017, 0.043590),
    }  # fmt: skip

    def rates(t, z, p):
        hare, lynx = z.unbind(-1)
        return torch.stack([(p.alpha - p.beta * lynx) * hare, (p.delta * hare - p.gamma) * lynx], -1)

    names = ["hare", "lynx"]
    priors = {"alpha": Normal(1, 0.5, lower=0), "beta": Normal(0.05, 0.05, lower=0)}
    model = KnownODEForecaster(
        rates, states=names,
        parameters=priors | {"gamma": priors["alpha"], "delta": priors["beta"]}
        | {f"sigma_{name}": LogNormal(-1, 1) for name in names},
        initial=dict.fromkeys(names, LogNormal(log(10), 1)),
        observed={name: LogNormalNoise(name, sd=f"sigma_{name}") for name in names}, random_state=0,
    ).fit(load_lynx_hare())  # fmt: skip
    table = model.summary()
    for name, (mean, sd) in reference.items():
        assert table.loc[name, "mean"] == pytest.approx(mean, abs=0.1 * sd)
        assert table.loc[name, "sd"] == pytest.approx(sd, rel=0.1)
    assert model.log_evidence_ == pytest.approx(-146.68, abs=0.15)
    assert model.problems_ == []


@pytest.mark.slow
def test_a_patient_with_a_dose_is_followed_and_asked_what_another_would_do():
    levels, doses = load_theophylline(), load_theophylline_doses()
    one = levels[levels["unique_id"] == 1].rename(columns={"theophylline_mg_l": "concentration"})
    events = doses[doses["unique_id"] == 1].rename(columns={"dose_mg": "amount"}).assign(target="depot")
    system = one_compartment_oral(absorption=1.5, clearance=3.0, volume=30.0, level=5.0)
    model = KnownODEForecaster(system=system, n_draws=200, random_state=0).fit(one, events=events)
    again = pd.concat([events, events.assign(ds=24.0)])
    table = model.what_if({"once": None, "again": again}, times=[12.0, 24.0, 36.0], random_state=0)
    # equations that are linear in the dose: 12 hours after the second it adds what the first had left after 12
    first, second = (table[table["scenario"] == name].set_index("ds") for name in ("once", "again"))
    assert second.loc[36.0, "concentration-diff"] == pytest.approx(first.loc[12.0, "concentration"], rel=1e-6)
    assert second.loc[24.0, "concentration-diff"] == 0.0
    # it fits: the spread of what was seen about the mean given all rows is that of the noise
    path = model.trajectories(one["ds"], n_draws=200)
    volume = model.posterior_["volume"].to_numpy()[path["draw"]]
    fitted = (path["central"] / volume).groupby(path["ds"]).mean().to_numpy()
    assert np.sqrt(np.mean((fitted - one["concentration"].to_numpy())[1:] ** 2)) < 1.0


# -- what forecasts may see --------------------------------------------------------------------------------------------


def test_a_forecast_inside_the_history_sees_nothing_later(three):
    rows = frame(["b"])
    changed = rows.assign(level=np.where(rows["ds"] > 2.5, 99.0, rows["level"]))
    asked = rows[rows["ds"] <= 3.5]
    old, new = (three.predict_quantiles(asked, context=context) for context in (rows, changed))
    pd.testing.assert_frame_equal(old, new)


def test_own_parameters_are_those_of_the_rows_before(three):
    # before any row of a new series its level is what the prior says; after one it follows that
    asked = pd.DataFrame({"unique_id": "new", "ds": [0.5, 0.6]})
    context = pd.DataFrame({"unique_id": "new", "ds": [0.5], "level": [4.0]})
    first, later = three.predict(asked, context=context)["level"]
    k = three.posterior_["k"]
    assert first == pytest.approx(10.0 * np.exp(-k / 2).mean(), abs=0.3)
    # conjugate: A ~ N(10, 2), y = A e^-k/2 + N(0, .5)
    slope = np.exp(-k / 2)
    posterior = (10.0 / 4.0 + 4.0 * slope / 0.25) / (1 / 4.0 + slope**2 / 0.25)
    assert later == pytest.approx((posterior * np.exp(-0.6 * k)).mean(), abs=0.1)


def test_other_series_their_order_and_other_times_change_nothing(three):
    context = pd.concat([frame(["x"]), frame(["y"], times=TIMES[:3], levels=LEVELS[:3])], ignore_index=True)
    asked = pd.DataFrame({"unique_id": ["x", "y", "y"], "ds": [7.0, 3.0, 5.0]})
    both = three.predict(asked, context=context)
    flipped = three.predict(asked[::-1], context=context[::-1])[::-1].reset_index(drop=True)
    alone = three.predict(asked[1:2], context=context[context["unique_id"] == "y"])
    np.testing.assert_allclose(both["level"], flipped["level"], rtol=1e-9)
    np.testing.assert_allclose(alone["level"], both["level"][1:2], rtol=1e-9)


def test_new_rows_weigh_the_draws_as_the_joint_posterior_does():
    # nothing is a series' own: the draws of k by importance weights, against a fit of everything
    shared = {"initial": {"drug": 10.0}, "n_draws": 4096, "inference": "quadrature"}
    model = decay(**shared).fit(frame(times=TIMES[:4], levels=LEVELS[:4]))
    whole = decay(**shared).fit(frame())
    model.update(frame()[4:])
    for a, b in zip(model.predict_spread(times=[8.0]).iloc[0, 2:], whole.predict_spread(times=[8.0]).iloc[0, 2:]):
        assert a == pytest.approx(b, rel=0.03)
    model.update(frame(times=[7.0], levels=[0.3]), refit=True)
    assert model.log_likelihood_.shape == (4096, 6)


def test_new_rows_of_a_series_with_its_own_start_weigh_the_draws_too():
    # 64 draws of k, evenly spread, and own starts by importance: sds within 10 %
    model = decay(n_draws=4096, inference="quadrature").fit(frame(times=TIMES[:4], levels=LEVELS[:4]))
    model.update(frame()[4:])
    mean = model.predict(times=[8.0])["level"][0]
    epistemic = model.predict_spread(times=[8.0])["level-sd-epistemic"][0]
    assert mean == pytest.approx(0.2620475174, abs=0.1 * 0.1048267182)
    assert epistemic == pytest.approx(0.1048267182, rel=0.1)


def test_models_are_compared_by_what_they_expect_of_each_value():
    data = frame()
    right = decay(inference="quadrature", n_draws=64).fit(data)
    still = KnownODEForecaster(
        lambda t, z, p: (0.0 * z[:, 0],), states=["drug"], parameters={"sd": LogNormal(0, 1)},
        initial={"drug": Normal(10.0, 2.0)}, observed={"level": AdditiveNoise("drug", sd="sd")}, initial_time=0.0,
        inference="quadrature", n_draws=64, random_state=0,
    ).fit(data)  # fmt: skip
    table = compare_models({"still": still, "decay": right})
    assert table["model"].tolist() == ["decay", "still"]
    assert table["elpd"][0] == pytest.approx(-3.200458366, abs=5e-3)
    assert table["elpd_diff"][1] < -2.0 * table["se_diff"][1]
    with pytest.raises(ParameterError, match="other values"):
        compare_models({"a": right, "b": decay(inference="quadrature", n_draws=64).fit(data[:4])})


def test_gaps_are_filled_from_both_sides(three):
    rows = frame(["b"]).assign(level=[7.9, np.nan, 4.1, 2.2, 0.4])
    filled = three.impute(rows)
    assert filled["level"].drop(1).tolist() == rows["level"].drop(1).tolist()
    assert filled["level"][1] == pytest.approx(5.6, abs=0.4)
    assert np.isfinite(three.score(frame(["b"]), metric="crps"))


def test_series_that_share_nothing_have_posteriors_of_their_own():
    many = decay(per_series=["k"], n_draws=64, inference="laplace")
    data = pd.concat([frame(["a"]), frame(["b"], levels=[6.1, 4.4, 3.1, 1.7, 0.6])], ignore_index=True)
    both, alone = many.fit(data), decay(per_series=["k"], n_draws=64, inference="laplace").fit(frame())
    pd.testing.assert_frame_equal(
        both.posterior_[["k[a]", "drug_initial[a]"]].set_axis(["k", "drug_initial"], axis=1),
        alone.posterior_[["k", "drug_initial"]], rtol=1e-6,
    )  # fmt: skip
    assert both.log_evidence_.index.tolist() == ["a", "b"]
    ahead = both.predict(times=[8.0])
    assert len(ahead) == 2
    assert ahead["level"].between(0.0, 1.0).all()


# -- files and messages ------------------------------------------------------------------------------------------------


def test_a_file_gives_the_same_numbers_when_the_function_is_given_again(three, tmp_path):
    path = tmp_path / "decay.tsode"
    three.save(path)
    again = KnownODEForecaster.load(path, rates=decay_rates)
    pd.testing.assert_frame_equal(again.predict_quantiles(times=[8.0]), three.predict_quantiles(times=[8.0]))
    pd.testing.assert_frame_equal(again.summary(), three.summary())
    with pytest.raises(ParameterError, match=r"load\(path, rates=\.\.\.\)"):
        KnownODEForecaster.load(path)
    with pytest.raises(ParameterError, match="they give other numbers"):
        KnownODEForecaster.load(path, rates=lambda t, z, p: (-p.k * z[:, 0] * 1.001,))
    with pytest.raises(ParameterError, match="parameters= is another"):
        KnownODEForecaster.load(path, rates=decay_rates, parameters={"k": LogNormal(0, 1)})


def test_datetimes_are_in_the_unit_that_is_said():
    clock = frame().assign(ds=pd.Timestamp("2026-01-01") + pd.to_timedelta(TIMES, unit="h"))
    with pytest.raises(ParameterError, match="pass time_unit='1h'"):
        decay(initial_time=None).fit(clock)
    short = {"n_draws": 64, "inference": "quadrature"}
    model = decay(initial_time=pd.Timestamp("2026-01-01"), time_unit="1h", **short).fit(clock)
    plain = decay(**short).fit(frame())
    pd.testing.assert_frame_equal(model.summary(), plain.summary(), rtol=1e-6)
    ahead = model.predict(times=[pd.Timestamp("2026-01-01 08:00")])["level"][0]
    assert ahead == pytest.approx(plain.predict(times=[8.0])["level"][0], rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {}}, "There is no parameter 'k'"),
        ({"parameters": {"rate": Normal(0, 1)}}, "There is no parameter 'k'"),
        ({"observed": {"level": AdditiveNoise("drugs", sd=0.5)}}, "Did you mean 'drug'"),
        ({"observed": {"level": AdditiveNoise("drug", sd="sigma")}}, "neither a prior nor a value"),
        ({"observed": {"levels": AdditiveNoise("drug", sd=0.5)}}, "levels"),
        ({"initial": {}}, "initial= has nothing for state 'drug'"),
        ({"inference": "nuts"}, "is no engine"),
        ({"initial": {"drug": {"b": 1.0}}}, r"no number for series 'a'"),
        ({"initial_time": 1.0}, "before it starts"),
        ({"system": one_compartment_iv()}, "states= is given too|rates= is given too"),
    ],
)
def test_what_does_not_meet_is_said(changes, message):
    with pytest.raises((ParameterError, DataError, AttributeError), match=message):
        decay(**changes).fit(frame())


def test_a_value_outside_the_support_of_its_noise_names_series_and_time():
    data = frame().assign(level=[7.9, 5.3, -4.1, 2.2, 0.4])
    with pytest.raises(DataError, match=r"'level' of series 'a' is -4\.1 at time 2"):
        decay(observed={"level": LogNormalNoise("drug", sd=0.5)}).fit(data)


def test_a_state_that_is_never_seen_needs_more_than_a_flat_prior():
    two = {
        "states": ["drug", "other"], "observed": {"level": AdditiveNoise("drug", sd=0.5)},
        "initial": {"drug": Normal(10.0, 2.0), "other": Uniform(0.0, 1.0)},
    }  # fmt: skip

    def rates(t, z, p):
        return -p.k * z[:, 0], -z[:, 1]

    with pytest.raises(DataError, match="'other_initial', whose prior is flat"):
        KnownODEForecaster(rates, parameters={"k": LogNormal(log(0.5), 0.5)}, **two).fit(frame())
    known = two | {"initial": {"drug": Normal(10.0, 2.0), "other": Normal(0.0, 1.0)}}
    with pytest.warns(TsodeWarning, match="not identified: other_initial"):
        KnownODEForecaster(
            rates, parameters={"k": LogNormal(log(0.5), 0.5)}, inference="laplace", n_draws=64, random_state=0, **known
        ).fit(frame())


def test_a_question_before_the_start_is_an_error(one):
    with pytest.raises(DataError, match="before it starts"):
        one.predict(times=[-1.0])


def test_an_exception_of_the_rates_is_raised_as_it_is():
    def broken(t, z, p):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        KnownODEForecaster(
            broken, states=["x"], parameters={"k": Normal(0, 1)}, initial={"x": 1.0},
            observed={"level": AdditiveNoise("x", sd=1.0)},
        ).fit(frame())  # fmt: skip


def test_known_numbers_of_series_come_by_id():
    given = {"initial": {"drug": {"a": 8.0, "b": 12.0}}, "inference": "quadrature", "n_draws": 64}
    levels = [[x * exp(-0.5 * t) for t in TIMES] for x in (8.0, 12.0)]
    data = pd.concat([frame([key], levels=x) for key, x in zip("ab", levels)], ignore_index=True)
    model = decay(**given).fit(data)
    assert model.summary().loc["k", "mean"] == pytest.approx(0.5, abs=0.02)
    ratio = model.predict(times=[7.0])["level"]
    assert ratio[1] / ratio[0] == pytest.approx(1.5, rel=1e-6)
    with pytest.raises(ParameterError, match="no number for series 'c'"):
        model.predict(times=[7.0], context=frame(["c"]))


def test_tensors_of_float32_do_not_reach_the_posterior():
    with pytest.raises(ParameterError, match="double precision"):
        decay(dtype="float32").fit(frame())
    assert torch.get_default_dtype() == torch.float32
