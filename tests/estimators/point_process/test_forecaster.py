"""The point process forecaster over frames: likelihoods, forecasts, files and bad input."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from tsode import PointProcessForecaster
from tsode.core.events import StreamBatch
from tsode.errors import DataError, FileFormatError, NotFittedError, ParameterError, UnknownNameError
from tsode.intensities import INTENSITIES, HawkesExponential
from tsode.intensities.thinning import simulate

SMALL = {"n_hidden": 8, "n_modes": 4, "n_static": 2, "random_state": 0, "device": "cpu"}


def example_events(n: int = 30, seed: int = 0) -> pd.DataFrame:
    """Streams of 2 to 8 events of the marks a and b, b more likely after a long gap."""
    rng = np.random.default_rng(seed)
    parts = []
    for key in range(n):
        gaps = rng.lognormal(0.0, 0.8, int(rng.integers(2, 9)))
        marks = np.where(rng.random(len(gaps)) < gaps / (1.0 + gaps), "b", "a")
        parts.append(pd.DataFrame({"unique_id": f"s{key}", "ds": 3.0 * gaps.cumsum(), "mark": marks}))
    return pd.concat(parts, ignore_index=True)


@functools.cache
def fitted(name: str = "neural_jump", dtype: str = "float64") -> PointProcessForecaster:
    return PointProcessForecaster(name, max_epochs=2, dtype=dtype, **SMALL).fit(example_events())


@functools.cache
def on_dates() -> tuple[PointProcessForecaster, pd.DataFrame]:
    events = example_events()
    events["ds"] = pd.Timestamp("2024-03-30", tz="Europe/Berlin") + pd.to_timedelta(events["ds"], unit="h")
    return PointProcessForecaster(max_epochs=2, dtype="float64", **SMALL).fit(events), events


# -- likelihood --------------------------------------------------------------------------------------------------------


def hawkes_truth() -> HawkesExponential:
    truth = HawkesExponential(1).double().requires_grad_(False)
    truth.log_mu.fill_(math.log(0.5))
    truth.log_alpha.fill_(math.log(0.6))
    truth.log_beta.fill_(math.log(1.4))
    return truth


@functools.cache
def hawkes_fit() -> tuple[PointProcessForecaster, pd.DataFrame, pd.DataFrame]:
    n, truth = 120, hawkes_truth()
    nothing = torch.zeros(n, dtype=torch.float64)
    drawn = simulate(truth, truth.start(n), nothing, nothing + 30.0, np.arange(n, dtype=np.uint64))
    events = pd.DataFrame({"unique_id": drawn.rows, "ds": drawn.times})
    windows = pd.DataFrame({"unique_id": range(n), "start": 0.0, "end": 30.0})
    model = PointProcessForecaster(
        "hawkes", mark_col=None, max_epochs=12, dtype="float64", learning_rate=0.05, random_state=0
    )
    return model.fit(events, windows=windows), events, windows


def test_a_fitted_hawkes_process_has_the_parameters_of_the_simulated_one():
    model, events, windows = hawkes_fit()
    truth, grouped = hawkes_truth(), events.groupby("unique_id")["ds"]
    times = [grouped.get_group(key).to_numpy() for key in windows["unique_id"]]
    marks = [np.zeros(len(t), dtype=np.int64) for t in times]
    batch = StreamBatch.from_arrays(times, marks, windows["start"], windows["end"])
    logs = torch.tensor([0.5, 0.6, 1.4], dtype=torch.float64).log()

    def log_likelihood(given: torch.Tensor) -> torch.Tensor:
        parameters = {"log_mu": given[:1], "log_alpha": given[1:2, None], "log_beta": given[2]}
        return torch.func.functional_call(Total(truth), {f"inner.{k}": v for k, v in parameters.items()}, (batch,))

    information = -torch.autograd.functional.hessian(log_likelihood, logs)
    errors = information.inverse().diagonal().sqrt()
    found = torch.stack([p.detach().reshape(()) for p in model.module_.parameters()]) - math.log(model.time_unit_)
    assert errors.max() < 0.12
    assert ((found - logs).abs() < 4.0 * errors).all()


class Total(torch.nn.Module):
    """Log-likelihood of all streams of a batch."""

    def __init__(self, inner: HawkesExponential) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: StreamBatch) -> torch.Tensor:
        return self.inner.trace(batch).log_likelihood().sum()


def test_the_score_is_in_the_data_s_own_unit_of_time():
    times = [0.7, 1.1, 1.3, 2.9, 4, 4.05, 6.2, 8.8]
    events = pd.DataFrame({"unique_id": 0, "ds": times})
    windows = pd.DataFrame({"unique_id": [0], "start": [0.0], "end": [10.0]})
    model, _, _ = hawkes_fit()
    truth = clone(model).set_params(max_epochs=1).fit(events, windows=windows)
    unit = float(truth.time_unit_)
    with torch.no_grad():
        truth.module_.log_mu.fill_(math.log(0.5 * unit))
        truth.module_.log_alpha.fill_(math.log(0.6 * unit))
        truth.module_.log_beta.fill_(math.log(1.4 * unit))
    assert truth.score(events, windows=windows) == pytest.approx(-10.9247270024069 / 8, abs=1e-9)
    assert truth.residuals(events, windows=windows)["residual"].sum() < 8.34637477021634
    hours = truth.set_params(rate_unit=2.0).score(events, windows=windows)
    assert hours == pytest.approx(-10.9247270024069 / 8 + math.log(2.0), abs=1e-9)


def test_residuals_of_a_well_fitted_process_are_exponential():
    model, events, windows = hawkes_fit()
    assert model.ks_test(events, windows=windows).pvalue > 0.01
    assert len(model.residuals(events, windows=windows)) == len(events)


def test_conventions_are_taken_at_the_call_and_from_the_constructor():
    model, events = fitted(), example_events()
    windows = events.groupby("unique_id")["ds"].agg(end="max").assign(start=0.0, end=lambda w: w["end"] + 1.0)
    windows = windows.reset_index()
    whole = model.log_likelihood(events, windows=windows)
    assert whole["n_events"].sum() == len(events)
    given = model.log_likelihood(events, windows=windows, condition_on_first=True)
    assert given["n_events"].sum() == len(events) - 30
    up_to_last = model.log_likelihood(events, windows=windows, until="last_event")
    assert (up_to_last["log_likelihood"] > whole["log_likelihood"]).all()
    assert model.log_likelihood(events)["n_events"].sum() == len(events) - 30
    with pytest.raises(UnknownNameError, match="last_event"):
        model.score(events, until="last_evnt")


# -- what comes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INTENSITIES)
def test_a_forecast_of_a_stream_depends_on_its_own_past_only(name):
    model, events = fitted(name), example_events()
    one = events[events["unique_id"] == "s7"]
    cut = one["ds"].iloc[-2]
    past = one[one["ds"] <= cut]
    times = [cut + 0.5, cut + 2.0]
    alone = model.predict_intensity(times={"s7": times}, context=past)
    shuffled = pd.concat([past, events[events["unique_id"] != "s7"]]).sample(frac=1.0, random_state=1)
    together = model.predict_intensity(times={"s7": times}, context=shuffled)
    pd.testing.assert_frame_equal(alone, together, rtol=1e-9)
    # at the times up to the next event, that event and later ones change nothing
    before = model.predict_intensity(times={"s7": [cut, one["ds"].iloc[-1]]}, context=one)
    same = model.predict_intensity(times={"s7": [cut, one["ds"].iloc[-1]]}, context=past)
    pd.testing.assert_frame_equal(before, same, rtol=1e-9)
    for ask in (
        lambda context: model.predict_next(context=context),
        lambda context: model.simulate(6.0, n_samples=3, context=context, random_state=4),
        lambda context: model.log_likelihood(context),
        lambda context: model.residuals(context),
    ):
        found = ask(shuffled)
        found = found[found["unique_id"] == "s7"].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, ask(past), rtol=1e-7)


def test_intensity_is_per_rate_unit_of_the_data():
    model, events = on_dates()
    per_hour = model.predict_intensity(horizon="2h")
    assert str(per_hour["ds"].dt.tz) == "Europe/Berlin"
    assert list(per_hour.columns) == ["unique_id", "ds", "a", "b"]
    per_day = clone(model).set_params(rate_unit="1D").fit(events).predict_intensity(horizon="2h")
    np.testing.assert_allclose(per_day[["a", "b"]], 24.0 * per_hour[["a", "b"]], rtol=1e-6)


def test_predict_next_gives_waits_as_durations_and_probabilities_of_marks():
    model, events = on_dates()
    found = model.predict_next(quantiles=(0.25, 0.5, 0.75))
    last = events.groupby("unique_id", sort=False)["ds"].max()
    assert (found["ds"].to_numpy() == last.loc[found["unique_id"]].to_numpy()).all()
    assert (found["wait-q-0.25"] < found["wait-q-0.5"]).all()
    assert (found["wait-q-0.5"] < found["wait-q-0.75"]).all()
    assert found["wait"].dtype.kind == "m"
    np.testing.assert_allclose(found["p-a"] + found["p-b"], 1.0)


def test_silence_since_the_last_event_changes_the_next_one():
    model, events = fitted(), example_events()
    windows = events.groupby("unique_id")["ds"].agg(start="min", end="max").reset_index()
    now = model.predict_next(context=events, windows=windows)
    later = model.predict_next(context=events, windows=windows.assign(end=windows["end"] + 2.0))
    by_id = now.set_index("unique_id").loc[later["unique_id"]]
    assert not np.allclose(by_id["wait"], later["wait"])
    np.testing.assert_allclose(later["ds"].to_numpy(), by_id["ds"].to_numpy() + 2.0)


def test_simulated_events_come_after_the_window_and_by_sample():
    model, events = on_dates()
    found = model.simulate("5h", n_samples=4, random_state=0)
    assert list(found.columns) == ["unique_id", "sample", "ds", "mark"]
    last = events.groupby("unique_id")["ds"].max()
    after = found["ds"] - found["unique_id"].map(last)
    assert after.between(pd.Timedelta(0), pd.Timedelta("5h")).all()
    assert set(found["sample"]) == {0, 1, 2, 3}
    pd.testing.assert_frame_equal(found, model.simulate("5h", n_samples=4, random_state=0))
    few = model.simulate("5h", n_samples=2, random_state=0)
    pd.testing.assert_frame_equal(found[found["sample"] < 2].reset_index(drop=True), few)
    assert found.groupby(["unique_id", "sample"])["ds"].apply(lambda t: t.is_monotonic_increasing).all()


def test_simulated_counts_agree_with_the_probability_of_no_event():
    model, _ = on_dates()
    n = 400
    found = model.simulate("1h", n_samples=n, random_state=0)
    counts = found.drop_duplicates(["unique_id", "sample"]).groupby("unique_id").size()
    nodes, weights = np.polynomial.legendre.leggauss(40)
    leads = list(pd.to_timedelta(0.5 * (nodes + 1.0), unit="h"))
    rates = model.predict_intensity(horizon=leads)
    total = rates.assign(total=rates["a"] + rates["b"]).groupby("unique_id", sort=False)["total"]
    expected = 1.0 - np.exp(-total.agg(lambda r: float(r.to_numpy() @ (0.5 * weights))))
    share = counts.reindex(expected.index, fill_value=0) / n
    assert (np.abs(share - expected) < 6.0 * np.sqrt(0.25 / n)).all()


def test_a_stream_without_events_is_forecast_from_its_window():
    events = example_events()
    windows = events.groupby("unique_id")["ds"].agg(end="max").assign(start=0.0).reset_index()
    windows = pd.concat([windows, pd.DataFrame({"unique_id": ["quiet"], "start": [0.0], "end": [20.0]})])
    model = PointProcessForecaster(max_epochs=1, **SMALL).fit(events, windows=windows)
    assert "quiet" in set(model.predict_next()["unique_id"])
    assert model.predict_intensity(horizon=[1.0, 2.0]).query("unique_id == 'quiet'")["ds"].tolist() == [21.0, 22.0]
    scored = model.log_likelihood(events, windows=windows).set_index("unique_id")
    assert scored.loc["quiet", "n_events"] == 0
    assert scored.loc["quiet", "log_likelihood"] < 0.0


# -- fit ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INTENSITIES)
def test_every_intensity_learns(name):
    model = PointProcessForecaster(name, max_epochs=6, **SMALL).fit(example_events())
    losses = model.history_["valid_loss"]
    assert losses.min() < losses.iloc[0] + 1e-6
    assert np.isfinite(model.score(example_events(seed=1)))


def test_the_same_seed_gives_the_same_numbers_and_row_order_changes_none():
    events = example_events()
    scores = [
        PointProcessForecaster(max_epochs=2, **SMALL).fit(rows).score(events)
        for rows in (events, events.groupby("unique_id", sort=False).sample(frac=1.0, random_state=0))
    ]
    assert scores[0] == scores[1]


def test_one_long_stream_is_learned_in_pieces(monkeypatch):
    monkeypatch.setattr("tsode.estimators.point_process.forecaster.LONGEST_SEGMENT", 20)
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"ds": rng.lognormal(0.0, 0.3, 200).cumsum()})
    model = PointProcessForecaster(mark_col=None, max_epochs=3, **SMALL).fit(events)
    poisson = PointProcessForecaster("poisson", mark_col=None, max_epochs=3, **SMALL).fit(events)
    assert model.score(events) > poisson.score(events)
    assert list(model.predict_intensity(horizon=1.0).columns) == ["unique_id", "ds", "event"]


def test_marks_may_be_any_labels():
    events = example_events().assign(mark=lambda frame: frame["mark"].map({"a": 7, "b": (1, "x")}))
    model = PointProcessForecaster(max_epochs=1, **SMALL).fit(events)
    assert set(model.marks_) == {7, (1, "x")}
    assert set(model.simulate(5.0, n_samples=2, random_state=0)["mark"]) <= {7, (1, "x")}


def test_parameters_are_stored_and_cloned():
    model = PointProcessForecaster("hawkes", learning_rate=0.1, id_col="who")
    assert clone(model).get_params() == model.get_params()


def test_a_file_gives_back_the_same_forecasts(tmp_path):
    model, events = on_dates()
    model.save(tmp_path / "model.tsode")
    loaded = PointProcessForecaster.load(tmp_path / "model.tsode")
    pd.testing.assert_frame_equal(loaded.predict_next(), model.predict_next())
    pd.testing.assert_frame_equal(loaded.predict_intensity(horizon="1h"), model.predict_intensity(horizon="1h"))
    assert loaded.score(events) == model.score(events)
    assert loaded.get_params()["n_hidden"] == 8
    assert loaded.time_unit_ == model.time_unit_


def test_a_file_of_another_class_names_it(tmp_path):
    from tsode import LastValueForecaster

    fitted().save(tmp_path / "model.tsode")
    with pytest.raises(FileFormatError, match="PointProcessForecaster"):
        LastValueForecaster.load(tmp_path / "model.tsode")
    frame = pd.DataFrame({"ds": [0.0, 1.0, 2.0], "x": [1.0, 2.0, 3.0]})
    LastValueForecaster().fit(frame).save(tmp_path / "other.tsode")
    with pytest.raises(FileFormatError, match=r"load it with LastValueForecaster.load"):
        PointProcessForecaster.load(tmp_path / "other.tsode")


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_bad_events_are_named():
    events, model = example_events(), fitted()
    with pytest.raises(DataError, match=r"mark 'c', which did not occur in fit.*Known: 'a', 'b'"):
        model.score(events.assign(mark="c"))
    with pytest.raises(DataError, match="at row 3"):
        model.score(events.assign(ds=events["ds"].where(events.index != 3)))
    with pytest.raises(DataError, match="at row 5: drop such rows"):
        model.score(events.assign(mark=events["mark"].where(events.index != 5)))
    with pytest.raises(DataError, match="no rows"):
        model.score(events.iloc[:0])
    with pytest.raises(DataError, match=r"no column 'mark' of marks.*mark_col=None"):
        model.score(events.drop(columns="mark"))
    with pytest.raises(DataError, match="no event to score"):
        model.score(events.drop_duplicates("unique_id"))
    with pytest.raises(DataError, match="No stream has an event to learn from"):
        PointProcessForecaster().fit(events.drop_duplicates("unique_id"))
    with pytest.raises(DataError, match="datetimes"):
        model.score(events.assign(ds=pd.Timestamp("2024-01-01")))


def test_bad_windows_are_named():
    events, model = example_events(), fitted()
    windows = events.groupby("unique_id")["ds"].agg(start="min", end="max").reset_index()
    with pytest.raises(DataError, match="'start' and 'end'"):
        model.score(events, windows=windows.drop(columns="end"))
    with pytest.raises(DataError, match="no row for stream"):
        model.score(events, windows=windows.iloc[1:])
    with pytest.raises(DataError, match="outside its window"):
        model.score(events, windows=windows.assign(end=windows["end"] - 1e-3))
    with pytest.raises(DataError, match="ends before it starts"):
        model.score(events, windows=windows.assign(end=-1.0))
    model, events = on_dates()
    naive = events.assign(ds=events["ds"].dt.tz_localize(None))
    windows = naive.groupby("unique_id")["ds"].agg(start="min", end="max").reset_index()
    with pytest.raises(DataError, match=r"'start' of windows= has no time zone, but the events have one"):
        model.score(events, windows=windows)
    with pytest.raises(DataError, match="X has no time zone"):
        model.score(naive)


def test_a_window_is_given_once():
    events, model = example_events(), fitted()
    windows = events.groupby("unique_id")["ds"].agg(start="min", end="max").reset_index()
    with pytest.raises(DataError, match="names a stream twice"):
        model.score(events, windows=pd.concat([windows, windows]))


def test_bad_questions_are_named():
    model = fitted()
    with pytest.raises(NotFittedError, match="call fit"):
        PointProcessForecaster().predict_next()
    with pytest.raises(UnknownNameError, match="Did you mean 'hawkes'"):
        PointProcessForecaster("hawks").fit(example_events())
    with pytest.raises(DataError, match="no history of series 's99'"):
        model.predict_intensity(times={"s99": [1.0]})
    with pytest.raises(DataError, match="which was watched from"):
        model.predict_intensity(times=[-5.0])
    with pytest.raises(ParameterError, match="exactly one"):
        model.predict_intensity()
    with pytest.raises(ParameterError, match="must be positive"):
        model.simulate(-1.0)
    with pytest.raises(ParameterError, match="n_samples"):
        model.simulate(1.0, n_samples=0)
    with pytest.raises(ParameterError, match="quantiles"):
        model.predict_next(quantiles=(1.5,))
    with pytest.raises(ParameterError, match="belongs to a context"):
        model.predict_next(windows=pd.DataFrame())
