"""Contract of forecasters that read events and covariates, and of those that refuse them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from tsode.errors import DataError
from tsode.frames.events import EventTable
from tsode.testing.example_forecasts import TIMES, assert_same, rows_of, seeded_on_example
from tsode.testing.examples import START, example_panel

__all__ = ["check_covariates", "check_events"]


def check_events(estimator: Any) -> None:
    """Events at known times are read, or refused by name; one that is to come changes no forecast before it."""
    events = _events()
    if not getattr(estimator, "reads_events", False):
        try:
            clone(estimator).fit(example_panel(), events=events)
        except DataError:
            return
        raise AssertionError("fit takes events, but reads_events is False.")
    frame = example_panel()
    fitted = clone(seeded_on_example(estimator)).fit(frame, events=events)
    together = fitted.predict_quantiles(times=TIMES, context=frame)
    shuffled = EventTable(events.sample(frac=1.0, random_state=3))
    again = fitted.predict_quantiles(times=TIMES, context=frame, events=shuffled)
    assert_same(fitted, again, together, "the order of rows of events is free, and those of fit are the default")
    alone = fitted.predict_quantiles(times=TIMES, context=frame[frame["unique_id"] == "s2"], events=events)
    assert_same(fitted, alone, rows_of(together, "s2"), "a series alone is forecast as in a batch")
    blank = events.head(3).assign(ds=lambda f: f["ds"] + pd.Timedelta("1h"), kind="add", target="a", amount=0.0)
    padded = fitted.predict_quantiles(times=TIMES, context=frame, events=pd.concat([events, blank]))
    assert_same(fitted, padded, together, "an event that adds nothing changes nothing")
    for when in TIMES[1:3]:
        known = fitted.predict_quantiles(times=[when], context=frame)
        past = fitted.predict_quantiles(times=[when], context=frame, events=events[events["ds"] < when])
        assert_same(fitted, past, known, "events from a time on never change the forecast at it")
    stronger = events.assign(amount=3.0 * events["amount"])
    scenarios = {"base": None, "same": events, "more": stronger}
    few = frame[frame["unique_id"].isin(["s1", "s7"])]  # with events, and without
    answer = fitted.what_if(scenarios, times=TIMES, context=few, random_state=0, n_samples=8)
    for name in ("base", "same", "more"):
        gap = answer[answer["scenario"] == name].filter(like="-diff").abs().to_numpy()
        assert np.isfinite(gap).all(), "what_if gives finite differences."
        assert (gap == 0).all() == (name != "more"), f"the difference of {name!r} from the base is {gap.max():.3g}."
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "model.safetensors")
        loaded = type(fitted).load(Path(folder) / "model.safetensors")
    assert loaded.predict_quantiles(times=TIMES).equals(fitted.predict_quantiles(times=TIMES)), (
        "load changes forecasts."
    )


def check_covariates(estimator: Any) -> None:
    """Covariates are read, or refused by name; they change the forecasts of their own series, at later times only."""
    tables = {"static": _static(), "known": _known()}
    frame = example_panel()
    if not getattr(estimator, "reads_covariates", False):
        for name, table in tables.items():
            try:
                clone(estimator).fit(frame, **{name: table})
            except DataError as error:
                if f"{name}=" in str(error):
                    continue
            raise AssertionError(f"reads_covariates is False, but {name}= is not refused by name.")
        return
    fitted = clone(seeded_on_example(estimator)).fit(frame, **tables)
    together = fitted.predict_quantiles(times=TIMES, context=frame)
    shuffled = {name: table.sample(frac=1.0, random_state=3) for name, table in tables.items()}
    again = fitted.predict_quantiles(times=TIMES, context=frame, **shuffled)
    assert_same(fitted, again, together, "the order of rows of covariates is free, and those of fit are the default")
    alone = fitted.predict_quantiles(times=TIMES, context=rows_of(frame, "s2"))
    assert_same(fitted, alone, rows_of(together, "s2"), "a series alone is forecast as in a batch")
    static, known = _static(), _known()
    static.loc[static["unique_id"] == "s1", "age"] += 30.0
    known.loc[known["unique_id"] == "s1", "u"] += 3.0
    moved = fitted.predict_quantiles(times=TIMES, context=frame, static=static, known=known)
    assert_same(fitted, rows_of(moved, "s2"), rows_of(together, "s2"), "covariates of one series do not change another")
    assert not rows_of(moved, "s1").equals(rows_of(together, "s1")), "covariates change nothing."
    between = _known().assign(ds=lambda f: f["ds"] + pd.Timedelta("30min"))
    between["u"] = (between["u"] + between.groupby("unique_id")["u"].shift(-1)) / 2.0
    finer = pd.concat([_known(), between.dropna()])
    same = fitted.predict_quantiles(times=TIMES, context=frame, known=finer)
    assert_same(fitted, same, together, "a value on the straight line changes nothing")
    for when in TIMES[1:3]:
        expected = fitted.predict_quantiles(times=[when], context=frame)
        later = _known()
        later.loc[later["ds"] > when + pd.Timedelta("1h"), "u"] += 5.0
        past = fitted.predict_quantiles(times=[when], context=frame, known=later)
        assert_same(fitted, past, expected, "covariates after a time never change the forecast at it")
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "model.safetensors")
        loaded = type(fitted).load(Path(folder) / "model.safetensors")
    assert loaded.predict_quantiles(times=TIMES).equals(fitted.predict_quantiles(times=TIMES)), (
        "load changes forecasts."
    )


def _events() -> pd.DataFrame:
    """Doses, infusions and marks in five of the series of `example_panel`."""
    times = START + pd.to_timedelta([3.0, 11.5, 30.25, 47.0, 90.0], unit="h")
    kinds = {"kind": ["add", "add", "mark", "add", "add"], "target": ["a", "a", None, "b", "a"]}
    doses = {"amount": [2.0, 1.0, np.nan, 3.0, 2.0], "duration": [pd.NaT, pd.NaT, pd.NaT, pd.Timedelta("5h"), pd.NaT]}
    one = pd.DataFrame({"ds": times, **kinds, **doses})
    return pd.concat([one.assign(unique_id=f"s{k}") for k in range(5)], ignore_index=True)


def _static() -> pd.DataFrame:
    """A number and a category for each series of `example_panel`, some of them not known."""
    ids = [f"s{k}" for k in range(12)]
    age = [40.0 + 3.0 * k if k != 5 else np.nan for k in range(12)]
    return pd.DataFrame({"unique_id": ids, "age": age, "ward": [["north", "south", None][k % 3] for k in range(12)]})


def _known() -> pd.DataFrame:
    """An hourly covariate of each series of `example_panel`, from before its start to after all of `TIMES`."""
    hours = np.arange(-3.0, 130.0)
    one = pd.DataFrame({"ds": START + pd.to_timedelta(hours, unit="h")})
    return pd.concat(
        [one.assign(unique_id=f"s{k}", u=np.sin(hours / 5.0 + k) + 0.02 * k * hours) for k in range(12)],
        ignore_index=True,
    )
