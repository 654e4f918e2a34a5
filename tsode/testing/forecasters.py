"""Contract of forecasters, through their public interface alone."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from tsode.errors import NotFittedError
from tsode.testing.crossings import check_crossings
from tsode.testing.example_forecasts import (
    TIMES,
    assert_same,
    fitted_on_example,
    rounding,
    rows_of,
    seeded_on_example,
)
from tsode.testing.examples import START, example_panel
from tsode.testing.far_ahead import check_far_ahead
from tsode.testing.inputs import check_covariates, check_events

__all__ = ["FORECASTER_CHECKS", "check_forecaster"]


def check_forecaster(estimator: Any) -> None:
    """Run all of `FORECASTER_CHECKS`: the contract of the library, on any class with its interface.

    Parameters
    ----------
    estimator : forecaster
        With the default names of columns; cloned, never changed. Give it few epochs: it is fitted about ten times, on
        `example_panel`.

    Raises
    ------
    AssertionError
        That names the check and the promise which does not hold.

    Examples
    --------
    >>> from tsode import DriftForecaster
    >>> check_forecaster(DriftForecaster())
    """
    fitted = fitted_on_example(estimator)
    for check in FORECASTER_CHECKS:
        try:
            check(fitted)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error}") from error


def check_constructor_only_stores(estimator: Any) -> None:
    """A clone has the same parameters and nothing else."""
    fresh = clone(estimator)
    params = fresh.get_params(deep=False)
    assert set(vars(fresh)) == set(params), f"the constructor sets {set(vars(fresh)) ^ set(params)} as well."
    for name, value in params.items():
        again = type(estimator)(**params).get_params(deep=False)[name]
        assert again is value, f"the constructor changes {name}."


def check_unfitted(estimator: Any) -> None:
    """Before fit, a forecast raises NotFittedError."""
    for ask in ("predict", "predict_quantiles", "predict_interval", "sample"):
        try:
            getattr(clone(estimator), ask)(times=TIMES)
        except NotFittedError:
            continue
        raise AssertionError(f"{ask} before fit does not raise NotFittedError.")


def check_fit(estimator: Any) -> None:
    """Fit returns the estimator, leaves parameters and data as they were, and gives the same bits for the same seed."""
    seeded = seeded_on_example(estimator)
    fresh = clone(seeded)
    before = fresh.get_params(deep=False)
    frame = example_panel()
    assert fresh.fit(frame) is fresh, "fit does not return self."
    assert all(fresh.get_params(deep=False)[name] is value for name, value in before.items()), "fit changes parameters."
    assert frame.equals(example_panel()), "fit changes the data."
    for name in ("channels_", "history_", "n_iter_", "horizon_", "last_times_", "n_features_in_", "feature_names_in_"):
        assert hasattr(fresh, name), f"fit does not set {name}."
    assert list(fresh.channels_) == ["a", "b"], f"channels_ is {fresh.channels_}."
    left, right = seeded.predict_quantiles(times=TIMES), fresh.predict_quantiles(times=TIMES)
    assert left.equals(right), "the same seed does not give the same bits."


def check_leaves_no_trace(estimator: Any) -> None:
    """Nothing is printed, and global random states and settings are neither read nor moved."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    # states that no fixed seed leads to
    random.random()
    np.random.rand()  # noqa: NPY002
    torch.rand(1)
    states = _global_state()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            first = clone(seeded_on_example(estimator)).fit(example_panel())
            first.predict(times=TIMES)
            first.sample(times=TIMES, n_samples=3, random_state=0)
        for name, state in _global_state().items():
            assert state == states[name], f"fit, predict or sample moves the global {name}."
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
    assert not out.getvalue(), f"verbose=0 prints {out.getvalue()[:80]!r}."
    assert not err.getvalue(), f"verbose=0 writes {err.getvalue()[:80]!r} to stderr."


def check_predict_changes_nothing(estimator: Any) -> None:
    """Forecasts leave the estimator and their arguments as they were, and come again the same."""
    fitted = fitted_on_example(estimator)
    before = pickle.dumps(vars(fitted))
    rows = _rows()
    context = example_panel()
    first = fitted.predict(rows, context=context)
    fitted.predict_interval(times=TIMES)
    fitted.sample(times=TIMES, n_samples=2, random_state=0)
    fitted.score(example_panel(3, seed=4).assign(unique_id=lambda f: "new " + f["unique_id"]), metric="crps")
    assert pickle.dumps(vars(fitted)) == before, "a forecast changes the estimator."
    assert rows.equals(_rows()), "predict changes the rows asked for."
    assert context.equals(example_panel()), "predict changes the context."
    assert first.equals(fitted.predict(rows, context=context)), "the same question gets another answer."


def check_batch(estimator: Any) -> None:
    """A series alone, in a batch, in a permuted batch and beside a longer one has the same forecast."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    together = _ask(fitted, frame)
    for key in ("s0", "s7"):
        alone = _ask(fitted, frame[frame["unique_id"] == key])
        assert_same(fitted, alone, rows_of(together, key), "a series alone is forecast as in a batch")
    shuffled = _ask(fitted, frame.sample(frac=1.0, random_state=3))
    for key in frame["unique_id"].unique():
        assert_same(fitted, rows_of(shuffled, key), rows_of(together, key), "the order of series and rows is free")
    times = START + pd.to_timedelta(np.arange(70), unit="h")
    long = pd.DataFrame({"unique_id": "long", "ds": times, "a": 11.0, "b": -280.0})
    beside = _ask(fitted, pd.concat([frame, long]))
    assert_same(fitted, rows_of(beside, "s3"), rows_of(together, "s3"), "padding changes nothing")


def check_queries(estimator: Any) -> None:
    """Asking for more times changes no other answer; horizon, times and rows agree."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    together = _ask(fitted, frame)
    more = TIMES.append(pd.date_range(START, periods=30, freq="3h"))
    wider = fitted.predict_quantiles(times=more, context=frame)
    wider = wider[wider["ds"].isin(TIMES)].drop_duplicates(["unique_id", "ds"]).reset_index(drop=True)
    assert_same(fitted, wider, together, "asking for more times changes no other answer")
    rows = pd.DataFrame({"unique_id": "s4", "ds": TIMES[::-1]}, index=[7, 5, 3, 1])
    answer = fitted.predict_quantiles(rows)
    assert answer.index.equals(rows.index), "predict(X) keeps the index of X."
    assert answer["ds"].tolist() == rows["ds"].tolist(), "predict(X) keeps the order of X."
    assert_same(
        fitted, answer[::-1].reset_index(drop=True), rows_of(together, "s4"), "rows and times are the same question"
    )
    lead = pd.Timedelta("7h")
    ahead = fitted.predict(horizon=[lead], context=frame)
    last = frame[frame["unique_id"] == "s4"]["ds"].max()
    at = fitted.predict(times={"s4": [last + lead]}, context=frame)
    assert_same(fitted, rows_of(ahead, "s4"), at, "a horizon counts from the last observation")


def check_future(estimator: Any) -> None:
    """Data at or after a time never change the forecast at it."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    for when in TIMES[1:3]:
        full = fitted.predict_quantiles(times=[when], context=frame)
        cut = fitted.predict_quantiles(times=[when], context=frame[frame["ds"] < when])
        assert_same(fitted, full, cut, "data from a time on never change the forecast at it")


def check_values_are_not_read(estimator: Any) -> None:
    """Value columns of X in predict are not read, whatever they hold."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    bare = fitted.predict(frame[["unique_id", "ds"]])
    for values in (frame, frame.assign(a=1e9, b=np.nan), frame.assign(a="text", b=None, c=0.0)):
        assert fitted.predict(values).equals(bare), "value columns of X in predict are read."


def check_masked_rows(estimator: Any) -> None:
    """A row in which nothing was observed changes no forecast, wherever it stands."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    blank = frame[["unique_id"]].drop_duplicates()
    added = [blank.assign(ds=START + pd.Timedelta(lead)) for lead in ("-9h", "31h 7min", "70h")]
    assert_same(fitted, _ask(fitted, pd.concat([frame, *added])), _ask(fitted, frame), "a row of NaN is a no-op")


def check_time_unit_and_origin(estimator: Any) -> None:
    """Other units and origins of time change nothing but the unit, in fit and in predict, without a calendar.

    A season that was found is given in the new unit.
    """
    seeded, frame = seeded_on_example(estimator), example_panel()
    if getattr(seeded, "calendar", None) is not None:
        seeded = clone(seeded).set_params(calendar=None).fit(frame)
    expected = seeded.predict_quantiles(times=TIMES)
    columns = [c for c in expected.columns if c not in ("unique_id", "ds")]
    changes: dict[str, Callable[[Any], Any]] = {
        "another origin, resolution and time zone": _move_origin,
        "a count of timedeltas": lambda t: t - START,
        "a count of minutes": lambda t: (t - START) / pd.Timedelta("1min"),
    }
    for what, change in changes.items():
        fresh = clone(seeded)
        if hasattr(seeded, "period_"):
            ends = change(pd.DatetimeIndex([START, START + pd.Timedelta(seeded.period_)]))
            fresh.set_params(period=ends[1] - ends[0])
        answer = fresh.fit(frame.assign(ds=change(frame["ds"]))).predict_quantiles(times=change(TIMES))
        asked = change(expected["ds"])
        assert answer["ds"].tolist() == asked.tolist(), f"{what} changes the times of the answer."
        assert_same(seeded, answer[columns], expected[columns], f"{what} changes no forecast")


def check_units_of_values(estimator: Any) -> None:
    """Forecasts are in the data's own units: values times 1024 give forecasts times 1024."""
    if getattr(estimator, "scale", "auto") not in ("auto", "standard"):
        return
    seeded = seeded_on_example(estimator)
    frame = example_panel()
    expected = seeded.predict_quantiles(times=TIMES).set_index(["unique_id", "ds"])
    larger = frame.assign(a=1024.0 * frame["a"], b=1024.0 * frame["b"])
    answer = clone(seeded).fit(larger).predict_quantiles(times=TIMES).set_index(["unique_id", "ds"])
    assert_same(seeded, answer / 1024.0, expected, "a change of unit changes nothing but the unit")


def check_containers(estimator: Any) -> None:
    """A forecast comes in the kind of container that came in."""
    fitted = fitted_on_example(estimator)
    frame = example_panel(3)
    expected = fitted.predict(times=TIMES, context=frame)
    values = expected[["a", "b"]].to_numpy()
    multi = fitted.predict(times=TIMES, context=frame.set_index(["unique_id", "ds"]))
    assert isinstance(multi.index, pd.MultiIndex), "a MultiIndex frame does not come back as one."
    assert_same(fitted, multi.reset_index(), expected, "the kind of container changes no forecast")
    wide = frame[frame["unique_id"] == "s1"].set_index("ds")[["a", "b"]]
    answer = fitted.predict(times=TIMES.tz_localize("Asia/Tokyo"), context=wide.tz_localize("Asia/Tokyo"))
    assert answer.index.equals(TIMES.tz_localize("Asia/Tokyo").rename("ds")), "a wide frame loses its index or zone."
    listed = [part.set_index("ds")[["a", "b"]] for _, part in frame.groupby("unique_id")]
    answers = fitted.predict(times=TIMES, context=listed)
    assert isinstance(answers, list), "a list does not come back as a list."
    assert_same(fitted, pd.DataFrame(np.concatenate(answers)), pd.DataFrame(values), "a list changes no forecast")


def check_quantiles(estimator: Any) -> None:
    """Quantiles increase with their level, and intervals are made of them."""
    fitted = fitted_on_example(estimator)
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]
    quantiles = fitted.predict_quantiles(times=TIMES, quantiles=levels)
    interval = fitted.predict_interval(times=TIMES, level=[80, 95])
    mean = fitted.predict(times=TIMES)
    for name in fitted.channels_:
        table = quantiles[[f"{name}-q-{level:g}" for level in levels]].to_numpy()
        assert np.isfinite(table).all(), "quantiles are finite."
        assert (np.diff(table, axis=1) > 0).all(), "quantiles increase with their level."
        sides = [f"{name}-lo-95", f"{name}-lo-80", f"{name}-hi-80", f"{name}-hi-95"]
        gap = np.abs(interval[sides].to_numpy() - table[:, [0, 1, 3, 4]]).max() / np.abs(table).max()
        assert gap <= rounding(fitted), f"an interval of 80 is the quantiles 0.1 and 0.9: off by {gap:.3g}."
        assert interval[name].equals(mean[name]), "predict_interval gives the mean that predict gives."


def check_samples(estimator: Any) -> None:
    """Samples have their shape, come again with the same seed, and have the forecast's own quantiles."""
    fitted = fitted_on_example(estimator)
    n_samples = 300
    drawn = fitted.sample(times=TIMES, n_samples=n_samples, random_state=1)
    assert len(drawn) == n_samples * len(TIMES) * 12, f"sample gives {len(drawn)} rows."
    assert drawn.equals(fitted.sample(times=TIMES, n_samples=n_samples, random_state=1)), "the same seed draws others."
    other = fitted.sample(times=TIMES, n_samples=n_samples, random_state=2)
    assert not np.allclose(drawn["a"], other["a"]), "another seed draws the same samples."
    bound = fitted.predict_quantiles(times=TIMES, quantiles=[0.2, 0.8])
    joined = drawn.merge(bound, on=["unique_id", "ds"])
    assert len(joined) == len(drawn), "samples stand at the times asked for."
    for name in fitted.channels_:
        for level in (0.2, 0.8):
            below = (joined[name] <= joined[f"{name}-q-{level:g}"]).groupby([joined["unique_id"], joined["ds"]]).mean()
            # six standard errors of a share of independent draws
            error = 6.0 * (level * (1.0 - level) / n_samples) ** 0.5
            worst = float((below - level).abs().max())
            assert worst <= error, f"a share {level} of samples lies below that quantile: off by {worst:.3g}."


def check_impute(estimator: Any) -> None:
    """Impute fills what is missing and keeps what was observed."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    filled = fitted.impute(frame)
    assert filled[["unique_id", "ds"]].equals(frame[["unique_id", "ds"]]), "impute keeps the rows of X."
    for name in fitted.channels_:
        assert np.isfinite(filled[name].to_numpy()).all(), "impute leaves nothing missing."
        seen = frame[name].notna()
        assert filled[name][seen].equals(frame[name][seen]), "impute keeps what was observed, bit for bit."
    bands = fitted.impute(frame, level=80)
    for name in fitted.channels_:
        low, high, seen = bands[f"{name}-lo-80"], bands[f"{name}-hi-80"], frame[name].notna()
        assert bands[name].equals(filled[name]), "asking for intervals changes nothing that impute fills."
        for end in (low, high):
            assert end[seen].equals(frame[name][seen]), "what was observed is both ends of its interval."
        assert (low[~seen] < high[~seen]).all(), "what was not observed has an interval."


def check_score(estimator: Any) -> None:
    """Scores are finite, errors are negated, and the squared error is that of predict."""
    fitted = fitted_on_example(estimator)
    frame = example_panel()
    later = frame[frame["ds"] < START + pd.Timedelta("30h")].assign(ds=lambda f: f["ds"] + pd.Timedelta("70h"))
    for metric in ("nll", "crps", "mae"):
        assert np.isfinite(fitted.score(later, metric=metric)), f"the score {metric!r} is finite."
    error = (fitted.predict(later)[["a", "b"]] - later[["a", "b"]]).to_numpy()
    truth, score = -np.nanmean(error**2), fitted.score(later, metric="mse")
    assert abs(score - truth) <= rounding(fitted) * abs(truth), f"score(mse) is {score}, but predict errs by {truth}."


def check_copies(estimator: Any) -> None:
    """A saved and loaded, or pickled, forecaster gives the same forecasts bit for bit."""
    fitted = fitted_on_example(estimator)
    expected = fitted.predict_interval(times=TIMES)
    samples = fitted.sample(times=TIMES, n_samples=3, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        fitted.save(path)
        loaded = type(fitted).load(path)
        assert [p.name for p in Path(folder).iterdir()] == [path.name], "save leaves other files behind."
    for what, copy in (("load", loaded), ("pickle", pickle.loads(pickle.dumps(fitted)))):
        assert copy.predict_interval(times=TIMES).equals(expected), f"{what} changes forecasts."
        assert copy.sample(times=TIMES, n_samples=3, random_state=0).equals(samples), f"{what} changes samples."
        assert copy.history_.equals(fitted.history_), f"{what} changes history_."
        assert copy.last_times_ == fitted.last_times_, f"{what} changes last_times_."
        assert copy.horizon_ == fitted.horizon_, f"{what} changes horizon_."


FORECASTER_CHECKS: tuple[Callable[[Any], None], ...] = (
    check_constructor_only_stores,
    check_unfitted,
    check_fit,
    check_leaves_no_trace,
    check_predict_changes_nothing,
    check_batch,
    check_queries,
    check_future,
    check_values_are_not_read,
    check_masked_rows,
    check_time_unit_and_origin,
    check_units_of_values,
    check_containers,
    check_quantiles,
    check_samples,
    check_crossings,
    check_impute,
    check_score,
    check_copies,
    check_events,
    check_covariates,
    check_far_ahead,
)
"""Each takes a forecaster: not fitted yet, or fitted on `example_panel()` (which saves the fit)."""


def _ask(fitted: Any, context: pd.DataFrame) -> pd.DataFrame:
    return fitted.predict_quantiles(times=TIMES, context=context)


def _move_origin(times: Any) -> Any:
    later = times + pd.Timedelta("9876 days")
    return (
        (later if isinstance(later, pd.DatetimeIndex) else later.dt).as_unit("ns").map(lambda t: t.tz_localize("UTC"))
    )


def _rows() -> pd.DataFrame:
    return pd.DataFrame({"unique_id": ["s2", "s0", "s2"], "ds": [TIMES[3], TIMES[3], TIMES[0]]}, index=[4, 4, 1])


def _global_state() -> dict[str, Any]:
    return {
        "Python random state": random.getstate(),
        "NumPy random state": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "torch random state": torch.get_rng_state().tolist(),
        "torch default dtype": torch.get_default_dtype(),
        "torch number of threads": torch.get_num_threads(),
        "torch gradient mode": torch.is_grad_enabled(),
    }
