"""Exact intensities are fitted by maximum likelihood to all that was seen, whatever names, order and units."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import PointProcessForecaster
from tsode.errors import ParameterError, SolverError, TsodeWarning
from tsode.training.stream_segments import batched, event_nll

EXACT = ("poisson", "hawkes", "self_correcting")
ONE_WINDOW = pd.DataFrame({"unique_id": ["a"], "start": [0.0], "end": [10.0]})


def one_mark(times: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": "a", "ds": times, "mark": "x"})


def rounded_events(n: int = 60, seed: int = 1) -> pd.DataFrame:
    """Events of two marks on whole days, several of them on one."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, 30, n)).astype(float)
    return pd.DataFrame({"unique_id": "a", "ds": day, "mark": rng.choice(["buy", "sell"], n, p=[0.3, 0.7])})


def fit(name: str, events: pd.DataFrame, **more) -> PointProcessForecaster:
    windows = more.pop("windows", None)
    settings = {"n_hidden": 4, "n_modes": 2, "n_static": 1, "max_epochs": 1, "dtype": "float64", "random_state": 0}
    return PointProcessForecaster(name, **{**settings, **more}).fit(events, windows=windows)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_poisson_rate_is_the_number_of_events_over_the_time_watched(early_stopping):
    seven = one_mark([1.0, 1.0, 1.0, 2.0, 5.0, 5.0, 9.0])
    fitted = fit("poisson", seven, windows=ONE_WINDOW, early_stopping=early_stopping)
    assert fitted.predict_intensity(times=[3.0])["x"].item() == pytest.approx(0.7, rel=1e-7)
    four = one_mark([1.0, 3e3, 5e6, 9e9])
    fitted = fit("poisson", four, windows=ONE_WINDOW.assign(end=1e10), early_stopping=early_stopping)
    assert fitted.predict_intensity(times=[3.0])["x"].item() == pytest.approx(4e-10, rel=1e-7)
    rate = fitted.summary().iloc[0]
    assert rate["standard_error"] == pytest.approx(4e-10 / math.sqrt(4), rel=1e-6)  # mu / sqrt(n)


def test_streams_in_which_nothing_happened_count():
    windows = pd.DataFrame({"unique_id": list("abcd"), "start": 0.0, "end": 10.0})
    fitted = fit("poisson", one_mark([1.0, 2.0, 3.0, 4.0, 9.0, 9.5, 9.7, 9.9]), windows=windows)
    assert fitted.predict_intensity(times={"b": [3.0]})["x"].item() == pytest.approx(0.2, rel=1e-7)


def hawkes_log_likelihood(times: np.ndarray, end: float, mu: float, alpha: float, beta: float) -> float:
    """By a double loop over all pairs of events, those of one time apart."""
    rates = [mu + sum(alpha * math.exp(-beta * (t - s)) for s in times if s < t) for t in times]
    grown = mu * end + sum(alpha / beta * (1.0 - math.exp(-beta * (end - s))) for s in times)
    return sum(map(math.log, rates)) - grown


def test_hawkes_estimates_are_the_maximum_and_their_errors_are_of_the_information_there():
    times = np.array([0.5, 0.7, 0.7, 0.9, 2.0, 4.1, 4.1, 4.2, 4.6, 8.0, 8.1, 9.0])
    fitted = fit("hawkes", one_mark(times.tolist()), windows=ONE_WINDOW)
    table = fitted.summary()
    assert table["parameter"].tolist() == ["mu", "alpha", "beta"]
    best = table["estimate"].to_numpy()
    top = hawkes_log_likelihood(times, 10.0, *best)
    assert fitted.score(one_mark(times.tolist()), windows=ONE_WINDOW) * len(times) == pytest.approx(top, abs=1e-9)
    information = np.zeros((3, 3))
    step = 1e-3 * best
    for i, j in itertools.product(range(3), repeat=2):
        ends = [
            a
            * b
            * hawkes_log_likelihood(times, 10.0, *(best + a * step[i] * np.eye(3)[i] + b * step[j] * np.eye(3)[j]))
            for a, b in itertools.product((-1, 1), repeat=2)
        ]
        information[i, j] = -sum(ends) / (4 * step[i] * step[j])
    assert (np.linalg.eigvalsh(information) > 0.0).all()
    for i in range(3):  # no way is up
        slope = hawkes_log_likelihood(times, 10.0, *(best + step * np.eye(3)[i])) - top
        back = hawkes_log_likelihood(times, 10.0, *(best - step * np.eye(3)[i])) - top
        assert abs(slope - back) < 1e-6
        assert max(slope, back) < 0.0
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(table["standard_error"], errors, rtol=1e-3)


def test_a_hawkes_fit_of_many_marks_that_seldom_excite_each_other_ends_at_the_maximum_in_few_steps():
    rng = np.random.default_rng(0)
    marks = rng.choice(list("abcdef"), (8, 40), p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    marks[:, 1::2] = np.where(marks[:, ::2] == "a", "b", marks[:, 1::2])  # b follows a
    times = np.round(rng.exponential(1.0, marks.shape).cumsum(axis=1), 2)
    events = pd.DataFrame({"unique_id": np.repeat(range(8), 40), "ds": times.ravel(), "mark": marks.ravel()})
    fitted = fit("hawkes", events, rate_unit=1.0)
    assert fitted.n_iter_ < 20
    module = fitted.module_
    batches = batched(fitted._segments(fitted._streams, fitted._timeline), 100)
    n_events = sum(part.n_scored for part in fitted._segments(fitted._streams, fitted._timeline))
    sum(-event_nll(module, batch, "window")[0].sum() / n_events for batch in batches).backward()
    assert module.log_beta.grad.abs() < 1e-7
    for log in (module.log_mu, module.log_alpha):
        assert log.grad.abs().max() < 1e-9
        assert (log.grad / log.exp()).max() < 1e-9  # nor from zero upwards


def test_a_rate_that_goes_to_zero_has_no_error_and_a_network_no_table():
    apart = pd.DataFrame({"ds": [1.0, 1.1, 1.3, 5.0, 5.2, 8.0, 8.1], "mark": list("xxyxxyy")})
    table = fit("hawkes", apart).summary().set_index(["parameter", "mark", "source"])
    nothing = table["estimate"] < 1e-6
    assert nothing.any()
    assert table["standard_error"][nothing].isna().all()
    with pytest.raises(ParameterError, match="NeuralJump has no parameters"):
        fit("neural_jump", rounded_events()).summary()


@pytest.mark.parametrize("name", [*EXACT, "neural_jump"])
def test_names_of_marks_and_order_of_rows_change_nothing_where_events_are_simultaneous(name):
    events = rounded_events()
    windows = ONE_WINDOW.assign(end=30.0)
    fitted = fit(name, events, windows=windows)
    renamed = events.assign(mark=events["mark"].map({"buy": "z_buy", "sell": "a_sell"}))
    other = fit(name, renamed.sample(frac=1.0, random_state=1), windows=windows)
    expected = fitted.predict_next().rename(columns={"p-buy": "p-z_buy", "p-sell": "p-a_sell"})
    answer = other.predict_next()[list(expected)]
    np.testing.assert_allclose(answer.iloc[:, 2:].astype(float), expected.iloc[:, 2:].astype(float), rtol=1e-6)
    assert fitted.score(events, windows=windows) == pytest.approx(other.score(renamed, windows=windows), abs=1e-8)


def test_events_of_the_first_time_are_given_together():
    events = pd.DataFrame({"ds": [0.0, 0.0, 1.0, 2.5], "mark": list("abab")})
    fitted = fit("hawkes", pd.concat([events, events.assign(ds=events["ds"] + 7.0)]))
    assert fitted.log_likelihood(events)["n_events"].tolist() == [2]


@pytest.mark.parametrize("name", [*EXACT, "neural_jump"])
def test_the_unit_of_time_changes_nothing(name):
    rng = np.random.default_rng(3)
    seconds = np.round(rng.gamma(2.0, 2000.0, (4, 12)).cumsum(axis=1))
    marks = rng.choice(["x", "y"], 12)
    found = []
    for unit, kind in ((1.0, int), (1.0, float), (60.0, float), (86400.0, float)):
        events = pd.DataFrame({"unique_id": np.repeat(range(4), 12), "ds": (seconds / unit).ravel().astype(kind)})
        found.append(fit(name, events.assign(mark=np.tile(marks, 4))).predict_next()["wait-q-0.5"].to_numpy() * unit)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5)


def test_integer_times_beyond_2_to_the_53_count_as_they_are():
    gaps = np.random.default_rng(0).integers(1, 9, 12).cumsum()
    near, far = (fit("hawkes", one_mark(list(start + gaps))) for start in (0, 2**60))
    assert near.predict_next()["wait"].item() == far.predict_next()["wait"].item()


def test_what_leaves_the_range_of_numbers_names_its_stream():
    fitted = fit(
        "self_correcting", pd.concat([one_mark([1.0, 2.0, 4.0, 5.0, 7.0, 7.5]).assign(unique_id=k) for k in "ab"])
    )
    far = pd.concat([one_mark([1.0, 2.0]), one_mark([0.0, 1e9]).assign(unique_id="wild")])
    for ask in (fitted.predict_next, lambda **given: fitted.predict_intensity(horizon=[1.0], **given)):
        with pytest.raises(SolverError, match="of stream 'wild' is beyond the range of numbers"):
            ask(context=far)
    for ask in (fitted.score, fitted.residuals):
        with pytest.raises(SolverError, match="of stream 'wild'"):
            ask(far)
    with pytest.raises(SolverError, match="intensity of a simulated path"):
        fitted.simulate(1.0, context=far, n_samples=1)


def test_an_interrupted_fit_keeps_the_best_parameters_and_a_callback_may_stop_one():
    def interrupt(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.warns(TsodeWarning, match="fit was interrupted after 2 steps"):
        fitted = fit("self_correcting", rounded_events(), callbacks=[interrupt])
    assert fitted.n_iter_ == 2
    assert np.isfinite(fitted.predict_next()["wait"]).all()
    assert fit("self_correcting", rounded_events(), callbacks=[lambda row: row["epoch"] == 1]).n_iter_ == 1


@pytest.mark.slow
def test_a_network_learns_from_all_events_unless_it_stops_early():
    events = rounded_events()
    seen = {
        early: fit("neural_jump", events, windows=ONE_WINDOW.assign(end=30.0), early_stopping=early).history_
        for early in (True, False)
    }
    assert not seen[True].equals(seen[False])
    whole = fit("neural_jump", events, windows=ONE_WINDOW.assign(end=30.0), early_stopping=False)
    nll = -whole.score(events, windows=ONE_WINDOW.assign(end=30.0)) + math.log(1.0 / whole.time_unit_)
    assert whole.history_["valid_loss"].min() == pytest.approx(nll, abs=1e-9)
    assert torch.isfinite(torch.tensor(nll))
