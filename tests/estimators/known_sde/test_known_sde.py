"""Forecasts of equations with noise against Kalman's, against equations without any, and what they may see."""

from __future__ import annotations

import warnings
from math import log

import numpy as np
import pandas as pd
import pytest
import torch

from tests.assimilation.kalman import kalman, transition
from tsode import KnownODEForecaster, KnownSDEForecaster, part
from tsode.assimilation import Inflation, SquareRootEnsemble
from tsode.assimilation.known_motion import KnownMotion
from tsode.datasets import load_lynx_hare
from tsode.errors import DataError, ParameterError, SolverError, TsodeError, TsodeWarning
from tsode.inference import AdditiveNoise, Between, HalfNormal, LogNormal, LogNormalNoise, Normal, PoissonNoise
from tsode.testing import example_panel
from tsode.testing.forecasters import (
    check_batch,
    check_far_ahead,
    check_fit,
    check_future,
    check_impute,
    check_leaves_no_trace,
    check_masked_rows,
    check_predict_changes_nothing,
    check_quantiles,
    check_queries,
    check_score,
    check_values_are_not_read,
)

OF_FORECASTS = (
    check_fit, check_leaves_no_trace, check_predict_changes_nothing, check_batch, check_queries, check_future,
    check_values_are_not_read, check_masked_rows, check_quantiles, check_impute, check_score, check_far_ahead,
)  # fmt: skip


def to_mean(t, z, p):
    return (-p.k * (z[:, 0] - 2.0),)


def level(**changes) -> KnownSDEForecaster:
    """A level that goes back to 2, all of whose parameters are known; it is the state alone that is inferred."""
    given = {
        "states": ["x"], "parameters": {"k": 0.3}, "initial": {"x": Normal(2, 2)},
        "observed": {"y": AdditiveNoise("x", sd=0.2)}, "process_noise": {"x": 0.5}, "initial_time": 0.0,
        "random_state": 0,
    }  # fmt: skip
    return KnownSDEForecaster(to_mean, **given | changes)


def walks(ids=("a", "b"), n=25) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"unique_id": key, "ds": np.sort(rng.uniform(0, 12, n)), "y": 2 + rng.normal(size=n).cumsum() / 3})
        for key in ids
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def by_kalman(rows: pd.DataFrame):
    a, b = np.array([[-0.3]]), np.array([0.6])
    return kalman(
        a, b, np.array([[0.25]]), np.array([2.0]), np.array([[4.0]]), rows["ds"].to_numpy(), rows[["y"]].to_numpy(),
        np.array([[1.0]]), np.array([0.04]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def known() -> KnownSDEForecaster:
    return level().fit(walks())


# -- truths ------------------------------------------------------------------------------------------------------------


def test_forecasts_and_evidence_of_a_linear_equation_are_kalmans(known):
    assert known.filter_ == "extended"
    spread = known.predict_spread(times=[14.0]).set_index("unique_id")
    forecast = known.predict(times=[14.0]).set_index("unique_id")
    for key, rows in walks().groupby("unique_id"):
        evidence, states, _ = by_kalman(rows)
        phi, shift, noise = transition(
            np.array([[-0.3]]), np.array([0.6]), np.array([[0.25]]), 14.0 - rows["ds"].iloc[-1]
        )
        mean, cov = states[-1]
        assert known.log_evidence_[key] == pytest.approx(evidence, abs=1e-10)
        assert forecast.loc[key, "y"] == pytest.approx(float((phi @ mean + shift)[0]), abs=1e-10)
        sd = float((phi @ cov @ phi.T + noise)[0, 0] + 0.04) ** 0.5
        assert spread.loc[key, "y-sd"] == pytest.approx(sd, rel=1e-10)
        assert spread.loc[key, "y-sd-epistemic"] == 0.0


def test_what_is_missing_is_filled_by_the_smoother(known):
    rows = walks()
    gone = rows.assign(y=rows["y"].where(np.arange(len(rows)) % 5 != 2))
    filled = known.impute(gone, level=90)
    for key, of_series in gone.groupby("unique_id"):
        _, _, smoothed = by_kalman(of_series)
        own = filled[filled["unique_id"] == key]
        for place, (mean, cov) in enumerate(smoothed):
            if np.isnan(of_series["y"].iloc[place]):
                assert own["y"].iloc[place] == pytest.approx(float(mean[0]), abs=1e-9)
                half = 1.6448536269514722 * float(cov[0, 0] + 0.04) ** 0.5
                assert own["y-hi-90"].iloc[place] == pytest.approx(float(mean[0]) + half, abs=1e-6)


def test_rows_that_come_later_move_the_state_as_if_fit_had_seen_them():
    rows = walks()
    early, late = rows[rows["ds"] < 9], rows[rows["ds"] >= 9]
    told = level().fit(early).update(late)
    whole = level().fit(rows)
    pd.testing.assert_frame_equal(told.predict(times=[13.0, 20.0]), whole.predict(times=[13.0, 20.0]), rtol=1e-10)
    by_context = level().fit(early).predict(times=[13.0, 20.0], context=rows)
    pd.testing.assert_frame_equal(by_context, whole.predict(times=[13.0, 20.0]), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "filter", ["extended", part("square_root", n_members=12), part("guided", n_particles=20)], ids=str
)
def test_a_stream_of_rows_has_the_forecasts_of_a_run_over_all(filter):
    """Through a bolus, an infusion that runs on across rows, and one that is still to come."""
    rows = walks(("a",), 30)
    events = pd.DataFrame({
        "unique_id": ["a"] * 3, "ds": [6.3, 7.0, 13.0], "kind": ["add"] * 3, "target": ["x"] * 3,
        "amount": [3.0, 4.0, 1.0], "duration": [np.nan, 3.0, np.nan],
    })  # fmt: skip
    streamed = level(filter=filter).fit(rows[:15], events=events)
    streamed.predict(times=[14.0])
    for k in range(15, 30):
        streamed.update(rows[k : k + 1])
        ahead = [rows["ds"].iloc[k] + 0.1, 14.0]
        found = streamed.predict_interval(times=ahead)
        whole = level(filter=filter).fit(rows[:15], events=events).update(rows[15 : k + 1])
        pd.testing.assert_frame_equal(found, whole.predict_interval(times=ahead), rtol=1e-10)
    # rows that come late have the series run over again
    late = pd.DataFrame({"unique_id": ["a"], "ds": [3.0], "y": [9.0]})
    streamed.update(late)
    whole = level(filter=filter).fit(rows[:15], events=events).update(rows[15:]).update(late)
    pd.testing.assert_frame_equal(streamed.predict(times=[14.0]), whole.predict(times=[14.0]), rtol=1e-10)


@pytest.mark.slow
def test_a_row_more_costs_as_many_steps_however_long_the_history_is(monkeypatch):
    steps = []
    usual = KnownMotion.transition
    monkeypatch.setattr(KnownMotion, "transition", lambda self, *given: steps.append(1) or usual(self, *given))
    counts = []
    for n in (20, 200):
        model = level(filter="extended").fit(walks(("a",), n))
        model.predict(times=[14.0])
        model.update(pd.DataFrame({"unique_id": ["a"], "ds": [12.5], "y": [2.0]}))
        steps.clear()
        model.predict(times=[14.0])
        counts.append(len(steps))
    assert counts[0] == counts[1] <= 4


@pytest.mark.slow
def test_many_times_far_ahead_share_their_steps_and_have_the_answers_that_each_has_alone(monkeypatch):
    def bent(t, z, p):
        return (-p.k * torch.sinh(z[:, 0] - 2.0),)

    model = KnownSDEForecaster(
        bent, states=["x"], parameters={"k": 0.3}, initial={"x": Normal(2, 2)}, initial_time=0.0, filter="extended",
        observed={"y": AdditiveNoise("x", sd=0.2)}, process_noise={"x": 0.5}, step=0.25, random_state=0,
    ).fit(walks(("a",)))  # fmt: skip
    steps = []
    usual = KnownMotion.transition
    monkeypatch.setattr(KnownMotion, "transition", lambda self, *given: steps.append(1) or usual(self, *given))
    times = np.linspace(0.5, 30.0, 60).tolist()
    together = model.predict_interval(times=times, level=80).set_index("ds")
    assert len(steps) < 4 * 18 / 0.25  # eighteen units ahead
    for t in (times[3], times[25], times[59]):
        alone = model.predict_interval(times=[t], level=80).set_index("ds")
        np.testing.assert_allclose(alone.select_dtypes("number"), together.loc[[t]].select_dtypes("number"), rtol=1e-12)


def test_sampled_paths_have_the_moments_and_the_memory_of_the_process(known):
    drawn = known.sample(times=[20.0, 21.0], n_samples=6000, random_state=0)
    wide = drawn[drawn["unique_id"] == "a"].pivot(index="sample", columns="ds", values="y")
    spread = known.predict_spread(times=[20.0, 21.0]).set_index(["unique_id", "ds"])["y-sd"]["a"]
    # six standard errors
    np.testing.assert_allclose(wide.std(), spread, rtol=6 / np.sqrt(2 * 6000))
    # the state forgets by exp(-.3) in one unit of time; the noise of values has no memory
    state = spread[20.0] ** 2 - 0.04
    wanted = np.exp(-0.3) * state / (spread[20.0] * spread[21.0])
    assert np.corrcoef(wide.to_numpy().T)[0, 1] == pytest.approx(wanted, abs=6 / np.sqrt(6000))


def test_paths_given_all_rows_have_the_moments_of_the_smoother(known):
    rows = walks()
    times = rows.loc[rows["unique_id"] == "a", "ds"].tolist()[3:6]
    drawn = known.trajectories(times, n_draws=1000)
    own = drawn[drawn["unique_id"] == "a"].groupby("ds")["x"].agg(["mean", "std"])
    _, _, smoothed = by_kalman(rows[rows["unique_id"] == "a"])
    for place, row in zip((3, 4, 5), own.itertuples()):
        mean, sd = float(smoothed[place][0][0]), float(smoothed[place][1][0, 0]) ** 0.5
        assert row.mean == pytest.approx(mean, abs=6 * sd / np.sqrt(1000))
        assert row.std == pytest.approx(sd, rel=6 / np.sqrt(2000))


@pytest.mark.slow
@pytest.mark.parametrize(
    "filter",
    ["unscented", part("square_root", n_members=40), part("ensemble", n_members=300), part("particle", n_particles=300),
     part("guided", n_particles=200)],
    ids=str,
)  # fmt: skip
def test_every_filter_forecasts_and_fills_as_kalmans_does(known, filter):
    other = level(filter=filter).fit(walks())
    band = 8 * 0.7 / np.sqrt(200)
    gone = walks().assign(y=lambda frame: frame["y"].where(np.arange(len(frame)) % 7 != 3))
    for left, right in (
        (other.predict_interval(times=[5.0, 14.0], level=80), known.predict_interval(times=[5.0, 14.0], level=80)),
        (other.impute(gone), known.impute(gone)),
    ):
        np.testing.assert_allclose(left.select_dtypes("number"), right.select_dtypes("number"), atol=band)


def growth(t, z, p):
    return (p.r * z[:, 0] * (1 - z[:, 0] / 10.0) + p.u - 0.3 * z[:, 0],)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The posterior has problems. a mode has no width")
def test_with_next_to_no_noise_events_and_inputs_act_as_on_equations_without_any():
    given = {
        "states": ["x"], "parameters": {"r": LogNormal(log(0.8), 0.05)}, "initial": {"x": 2.0},
        "observed": {"y": AdditiveNoise("x", sd=0.5)}, "inference": "mode", "n_draws": 2, "random_state": 0,
    }  # fmt: skip
    rows = pd.DataFrame({"ds": [0.5, 1.5, 2.5, 4.0, 6.0], "y": [2.5, 6.0, 6.1, 4.0, 6.5]})
    at_once = np.nan
    events = pd.DataFrame({
        "ds": [1.0, 2.0, 3.0, 5.0, 6.5, 7.0, 8.0], "kind": ["add", "add", "multiply", "set", "add", "reset", "add"],
        "target": ["x"] * 7, "amount": [2.0, 3.0, 0.5, 4.0, 6.0, 0.0, 1.0],
        "duration": [at_once, 2.0, at_once, at_once, 3.0, at_once, at_once],
    })  # fmt: skip
    known = pd.DataFrame({"ds": [0.0, 3.0, 3.5, 20.0], "u": [0.5, 1.0, 0.2, 0.2]})
    plain = KnownODEForecaster(growth, **given).fit(rows, events=events, known=known)
    quiet = KnownSDEForecaster(growth, **given, process_noise={"x": 1e-7}, step=0.1, filter="unscented")
    quiet.fit(rows, events=events, known=known)
    times = [6.2, 6.6, 7.5, 7.99, 8.5, 12.0]
    assert quiet.posterior_["r"].iloc[0] == pytest.approx(plain.posterior_["r"].iloc[0], abs=1e-4)
    quiet.module_.draws.copy_(plain.module_.draws)
    wanted = plain.predict(times=times)["y"]
    np.testing.assert_allclose(quiet.predict(times=times)["y"], wanted, rtol=2e-4)
    drawn = quiet.sample(times=times, n_samples=4000, random_state=0).groupby("ds")["y"].mean()
    np.testing.assert_allclose(drawn, wanted, atol=6 * 0.5 / np.sqrt(4000))


@pytest.mark.slow
def test_a_posterior_knows_parameters_and_process_noise_on_real_data():
    def in_logs(t, z, p):
        hare, lynx = z[:, 0].exp(), z[:, 1].exp()
        return p.alpha - p.beta * lynx, p.delta * hare - p.gamma

    model = KnownSDEForecaster(
        in_logs, states=["h", "l"],
        parameters={
            "alpha": LogNormal(-0.6, 0.5), "beta": LogNormal(-3.6, 0.7), "gamma": LogNormal(-0.2, 0.5),
            "delta": LogNormal(-3.6, 0.7), "sigma": HalfNormal(0.3),
        },
        initial={"h": Normal(3.4, 1), "l": Normal(2.5, 1)},
        observed={
            "hare": LogNormalNoise(lambda t, z, p: z[:, 0].exp(), sd="sigma"),
            "lynx": LogNormalNoise(lambda t, z, p: z[:, 1].exp(), sd="sigma"),
        },
        process_noise={"h": HalfNormal(0.3), "l": HalfNormal(0.3)}, inference="laplace", random_state=0, n_draws=64,
        filter="extended",
    ).fit(load_lynx_hare())  # fmt: skip
    table = model.summary()
    assert set(table.index) == {"alpha", "beta", "gamma", "delta", "sigma", "h_noise", "l_noise"}
    # what is known of this data set: a period of ten years, about 2 pi / sqrt(alpha gamma)
    assert 2 * np.pi / np.sqrt(table.loc["alpha", "mean"] * table.loc["gamma", "mean"]) == pytest.approx(9.7, abs=1.0)
    assert 0.05 < table.loc["l_noise", "mean"] < 0.4
    forecast = model.predict_interval(times=[1921, 1930], level=90)
    width = (forecast["hare-hi-90"] / forecast["hare-lo-90"]).tolist()
    assert width[0] < width[1]


# -- what they may see -------------------------------------------------------------------------------------------------


def two_means(t, z, p):
    return p.k * (p.mean_a - z[:, 0]), p.k * (p.mean_b - z[:, 1])


@pytest.fixture(scope="module")
def of_example() -> KnownSDEForecaster:
    return KnownSDEForecaster(
        two_means, states=["a", "b"],
        parameters={"k": LogNormal(-2, 0.7), "mean_a": 10.0, "mean_b": -300.0},
        initial={"a": Normal(10, 5), "b": Normal(-300, 50)},
        observed={"a": AdditiveNoise("a", sd=0.5), "b": AdditiveNoise("b", sd=10.0)},
        process_noise={"a": 2.0, "b": 25.0}, time_unit="1h", inference="laplace", n_draws=64,
        initial_time="2024-02-20", random_state=0, filter="extended",
    ).fit(example_panel())  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the posterior did not expect")  # the contract brings series from elsewhere
@pytest.mark.parametrize("check", OF_FORECASTS, ids=lambda check: check.__name__)
def test_forecasts_keep_the_contract(of_example, check):
    check(of_example)


@pytest.mark.parametrize("filter", [part("square_root", n_members=12), part("guided", n_particles=30)], ids=str)
def test_forecasts_of_filters_that_draw_see_no_neighbour_and_no_other_query(filter):
    rows = walks(("a", "b", "c"), 8)
    model = level(filter=filter).fit(rows)
    together = model.predict(times=[3.0, 7.0, 14.0])
    alone = model.predict(times=[7.0], context=rows[rows["unique_id"] == "b"])
    pd.testing.assert_frame_equal(
        together[(together["unique_id"] == "b") & (together["ds"] == 7.0)].reset_index(drop=True), alone, rtol=1e-9
    )
    longer = pd.concat([rows, pd.DataFrame({"unique_id": ["a"], "ds": [7.5], "y": [9.0]})])
    changed = model.predict(times=[3.0, 7.0], context=longer)
    kept = together[together["ds"] < 14].reset_index(drop=True)
    pd.testing.assert_frame_equal(changed, kept, rtol=1e-9)


# -- files, questions, messages ----------------------------------------------------------------------------------------


def test_a_file_brings_back_the_forecasts_and_refuses_other_noise(tmp_path, known):
    known.save(tmp_path / "level.safetensors")
    again = KnownSDEForecaster.load(tmp_path / "level.safetensors", rates=to_mean)
    pd.testing.assert_frame_equal(again.predict(times=[14.0]), known.predict(times=[14.0]))
    assert again.filter_ == known.filter_
    with pytest.raises(ParameterError, match="process_noise= is another"):
        KnownSDEForecaster.load(tmp_path / "level.safetensors", rates=to_mean, process_noise={"x": 0.6})


def test_what_a_dose_would_do_is_paired(known):
    dose = pd.DataFrame({"unique_id": ["a"], "ds": [13.0], "kind": ["add"], "target": ["x"], "amount": [2.0]})
    table = known.what_if({"none": None, "dose": dose}, times=[12.5, 14.0], random_state=0)
    own = table[(table["unique_id"] == "a") & (table["scenario"] == "dose")]
    assert own["y-diff"].tolist() == pytest.approx([0.0, 2.0 * np.exp(-0.3)], abs=1e-9)
    # the equation is linear: every path is moved by the same
    assert own["y-diff-hi-80"].iloc[1] - own["y-diff-lo-80"].iloc[1] == pytest.approx(0.0, abs=1e-9)


def test_data_of_the_prior_have_its_spread():
    drawn = level().prior_predictive(2000, 0, X=pd.DataFrame({"ds": [0.0, 30.0]}))
    found = drawn.groupby("ds")["y"].std()
    assert found[0.0] == pytest.approx(np.sqrt(4.04), rel=0.1)
    assert found[30.0] == pytest.approx(np.sqrt(0.25 / 0.6 + 0.04), rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process_noise": None}, "process_noise= is missing"),
        ({"filter": "kalmann"}, "'kalmann' is not a known"),
        ({"drifting": ["k"]}, "drifting= names 'k', which is no parameter with a prior"),
        ({"parameters": {"k": LogNormal(0, 1)}, "drifting": ["k"]}, "nothing says how fast"),
        ({"observed": {"y": PoissonNoise(Between(lambda a, b, c, d, p: d[:, 0] - b[:, 0]))}}, "between two times"),
        ({"step": 0.0}, "step"),
        ({"inference": "likelihood"}, "is no engine"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_what_is_wrong(changes, message):
    with pytest.raises(TsodeError, match=message):
        level(**changes).fit(walks(("a",)))


def test_a_value_that_no_state_explains_is_named():
    model = level(observed={"y": PoissonNoise("x")}, initial={"x": -5.0}, process_noise={"x": 1e-9}, filter="extended")
    with pytest.raises(SolverError, match="'a'"):
        model.fit(pd.DataFrame({"unique_id": "a", "ds": [0.5, 1.0], "y": [3.0, 4.0]}))


def test_doses_in_steady_state_are_refused_with_what_to_do(known):
    dose = pd.DataFrame({
        "unique_id": ["a"], "ds": [13.0], "kind": ["add"], "target": ["x"], "amount": [2.0], "every": [1.0],
        "steady_state": [1],
    })  # fmt: skip
    with pytest.raises(DataError, match="write its repeats out"):
        known.predict(times=[14.0], events=dose)


@pytest.mark.slow
def test_the_report_of_a_filter_has_the_likelihoods_of_its_rows_and_names_the_worst():
    rows = walks(("a",))
    rows.loc[12, "y"] += 6.0
    model = level(filter="extended").fit(rows)
    report = model.filter_report()
    assert report["log_likelihood"].sum() == pytest.approx(by_kalman(rows)[0], abs=1e-9)
    # out, and back again
    assert set(report.attrs["worst"]["ds"].iloc[:2]) == set(rows.loc[[12, 13], "ds"])
    particles = level(filter=part("particle", n_particles=200)).fit(rows).filter_report()
    assert particles.loc[12, "n_effective"] < 20 < particles["n_effective"].median()
    assert "outlier" in particles.loc[12, "advice"]
    ensemble = level(filter=part("square_root", n_members=20)).fit(rows).filter_report()
    assert {"spread", "n_failed", "inflation"} <= set(ensemble)
    assert ensemble.attrs["collapsed"] == {}


def test_an_ensemble_that_has_collapsed_is_named_with_its_time():
    quiet = level(
        filter=SquareRootEnsemble(20, inflation=Inflation()), process_noise={"x": 0.0}, parameters={"k": 1e-9},
        observed={"y": AdditiveNoise("x", sd=1e-4)},
    )  # fmt: skip
    model = quiet.fit(pd.DataFrame({"unique_id": "a", "ds": np.arange(1.0, 9.0), "y": 2.0}))
    with pytest.warns(TsodeWarning, match="The ensemble of series 'a' has collapsed at 1.0"):
        report = model.filter_report()
    assert report.attrs["collapsed"] == {"a": 1.0}


def test_values_are_not_left_out_one_by_one(known):
    with pytest.raises(ParameterError, match="judged in their order"):
        known.loo("value")


@pytest.mark.slow
def test_auto_takes_particles_where_moments_mislead():
    """A double well that is seen through its square has two states for each value, which no normal law holds."""
    rng = np.random.default_rng(3)
    x, seen = 1.0, []
    for _ in range(60):
        for _ in range(25):
            x += (x - x**3) * 0.01 + 0.06 * rng.normal()
        seen.append(x**2 + 0.2 * rng.normal())
    model = KnownSDEForecaster(
        lambda t, z, p: (p.a * (z[:, 0] - z[:, 0] ** 3),), states=["x"], parameters={"a": LogNormal(0, 0.5)},
        initial={"x": Normal(0, 1)}, observed={"q": AdditiveNoise(lambda t, z, p: z[:, 0] ** 2, sd=0.2)},
        process_noise={"x": HalfNormal(1.0)}, inference="laplace", random_state=0, n_draws=64,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)
        model.fit(pd.DataFrame({"ds": np.arange(1, 61) * 0.25, "q": seen}))
    assert model.filter_ == "guided"
    table = model.filter_check_.set_index("name")
    assert table.loc["extended", "off"] > 1.0
    assert not torch.tensor(model.predict(times=[15.5])["q"].tolist()).isnan().any()
