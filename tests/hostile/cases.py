"""Cases of hostile data, and the judge of what a forecaster makes of them.

`hostile_cases` is a Hypothesis strategy (Hypothesis is needed for it alone); `check_hostile` is the judge.
"""

from __future__ import annotations

import copy
import re
import signal
import time
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from tests.hostile.containers import CONTAINERS, Container
from tests.hostile.defects import DEFECTS, canonical, plain_times
from tests.hostile.questions import QUESTIONS, SENSIBLE, QueryContext
from tests.hostile.times import NO_TIMES, TIMES, Make
from tsode.errors import TsodeError, TsodeWarning

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["HostileCase", "Outcome", "check_hostile", "fits", "hostile_cases", "make_case"]

LEVELS = (80, 95)
COLUMNS = ("wide frame with a time column", "long frame", "long frame, other names", "polars frame", "Arrow table")
VERDICTS = ("forecast", "either", "error")  # what is worse comes later
AT_THE_EDGE = ("year 1678", "float64, tiny", "float64, huge")  # of what 64 bits hold: some questions go beyond
MOST_SECONDS = 30.0  # after which a case hangs, however busy the machine is
FIXES = re.compile(
    r"\b(add|ask|bring|build|call|check|choose|collect|convert|do|drop|encode|fit|flatten|give|join|leave|look|mend|"
    r"must|name|pass|parse|put|rename|replace|reset|round|scale|set|shorten|sort|split|swap|use|write)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class HostileCase:
    """Data for `fit`, a question for `predict`, and what must come of them.

    Parameters
    ----------
    container, times, defect, question : str
        Keys of `CONTAINERS`, of `TIMES` or `NO_TIMES`, of `DEFECTS` and of `QUESTIONS`.
    data : tuple
        Arguments of `fit`.
    arguments : dict
        Parameters of the forecaster.
    asked : dict
        Arguments of `predict`.
    verdict : {"forecast", "error", "either"}
    clean : DataFrame or None
        What the data say (see `canonical`); None where they say nothing.
    ids : list of label
        As the forecaster should call the series.
    channels : list of label
        Likewise.
    rows : list of (place, time), or None
        Of the answer, in order; None: at least one row, none before the series' last.
    make : callable
        Times of ticks.
    """

    container: str
    times: str
    defect: str
    question: str
    data: tuple[Any, ...]
    arguments: dict[str, Any]
    asked: dict[str, Any]
    verdict: str
    clean: pd.DataFrame | None
    ids: list[Hashable]
    channels: list[Hashable]
    rows: list[tuple[int, int]] | None
    make: Make = field(repr=False)

    def __repr__(self) -> str:
        return f"{self.defect} in a {self.container} of {self.times}, asked for {self.question}: {self.verdict}"


@dataclass(frozen=True)
class Outcome:
    """What a forecaster made of a case.

    Parameters
    ----------
    is_forecast : bool
    message : str
        Of the error.
    seconds : float
        CPU time.
    """

    is_forecast: bool
    message: str
    seconds: float


def make_case(container: str, times: str, defect: str, question: str, seed: int) -> HostileCase:
    """Build a case; the same arguments build the same one."""
    rng = np.random.default_rng(seed)
    kind, flaw = CONTAINERS[container], DEFECTS[defect]
    make = {**TIMES, **NO_TIMES}[times]
    frame, ticks = _base_frame(kind, make, rng)
    spoiled = flaw.spoil(frame, rng)
    data = kind.build(spoiled)
    data = (flaw.finish(data[0]), *data[1:])
    of_times = "error" if times in NO_TIMES else "either" if times in AT_THE_EDGE else "forecast"
    verdict = max((of_times, flaw.verdict), key=VERDICTS.index)
    clean = None
    ids: list[Hashable] = [0]
    channels: list[Hashable] = []
    if verdict != "error":
        clean = canonical(spoiled, flaw.arguments.get("target"))
        labels = list(dict.fromkeys(spoiled["unique_id"]))
        ids = list(range(len(labels))) if container == "list of frames" else labels if kind.has_ids else [0]
        names: list[Hashable] = list(clean.columns[2:])
        by_container: dict[str, list[Hashable]] = {"list of Series": ["y"], "NumPy arrays": list(range(len(names)))}
        channels = flaw.labels(by_container.get(container, names))
    known_make = TIMES["float64"] if times in NO_TIMES else make
    known = QueryContext(ids, _last_ticks(clean, frame, ticks, len(ids)), known_make, kind, rng)
    try:
        asked = QUESTIONS[question](known)
    except (OverflowError, pd.errors.OutOfBoundsTimedelta):  # the question itself is out of the range of its kind
        asked = QUESTIONS["nothing"](known)
    worst = max((verdict, asked.verdict), key=VERDICTS.index)
    return HostileCase(
        container, times, defect, question, data, {**kind.arguments, **flaw.arguments}, asked.arguments, worst,
        clean, ids, channels, asked.rows, known_make,
    )  # fmt: skip


def hostile_cases(container: str | None = None, times: str | None = None) -> SearchStrategy[HostileCase]:
    """Cases of every container, kind of times, defect and question, or only of the container and kind given."""
    from hypothesis import strategies as st

    weights = {"forecast": 4, "either": 2, "error": 3}  # of the groups of defects, not of the defects

    def pick(options: dict[str, list[str]]) -> SearchStrategy[str]:
        groups = [name for name, members in options.items() for _ in range(weights[name]) if members]
        return st.sampled_from(groups).flatmap(lambda name: st.sampled_from(options[name]))

    @st.composite
    def cases(draw: Any) -> HostileCase:
        whose = draw(st.sampled_from(list(CONTAINERS))) if container is None else container
        when = times
        if when is None:
            are_times = draw(st.integers(0, 9)) < 9 or not fits(whose, next(iter(NO_TIMES)))
            when = draw(st.sampled_from([name for name in (TIMES if are_times else NO_TIMES) if fits(whose, name)]))
        if not fits(whose, when):
            whose = draw(st.sampled_from([name for name in CONTAINERS if fits(name, when)]))
        by_verdict: dict[str, list[str]] = {"forecast": [], "either": [], "error": []}
        for name, flaw in DEFECTS.items():
            if whose in flaw.containers:
                by_verdict[flaw.verdict].append(name)
        defect = draw(st.one_of(st.just("none"), pick(by_verdict), pick(by_verdict)))
        others = [name for name in QUESTIONS if name not in SENSIBLE]
        question = draw(st.sampled_from(SENSIBLE if draw(st.integers(0, 2)) < 2 else others))
        return make_case(whose, when, defect, question, draw(st.integers(0, 2**31)))

    return cases()


def check_hostile(case: HostileCase, estimator: Any) -> Outcome:
    """Let a forecaster fit and answer a case.

    Parameters
    ----------
    case : HostileCase
    estimator : forecaster
        Not fitted; cloned.

    Returns
    -------
    Outcome

    Raises
    ------
    AssertionError
        If the answer is not what `case` must come to: of another kind, at other times or of other series than asked,
        not finite, with intervals that do not hold the mean, unlike the forecast from the `canonical` data, or none
        where there should be one; if the data are changed; if the error does not say how to mend them; if it hangs.
    Exception
        Any other than a `tsode.errors.TsodeError`, and any warning.
    """
    given = None if case.defect == "a generator" else copy.deepcopy((case.data, case.asked))
    start = time.process_time()
    with _limited(MOST_SECONDS), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "No epoch is as good", TsodeWarning)  # of the one that learners have
        warnings.filterwarnings("ignore", "The history of series", TsodeWarning)  # questions leave what was learned
        warnings.filterwarnings("ignore", "Channel .* fewer than components= have parameters", TsodeWarning)
        if case.defect.startswith("one value of"):
            warnings.filterwarnings("ignore", "The value .* makes up most of the variance", TsodeWarning)
        try:
            fitted = clone(estimator).set_params(**case.arguments).fit(*case.data)
            mean = fitted.predict(**case.asked)
            bands = fitted.predict_interval(**case.asked, level=LEVELS)
        except TsodeError as error:
            message = str(error)
        else:
            message = ""
            assert case.verdict != "error", f"{case!r}, but it is answered."
            _check_answer(case, estimator, fitted, mean, bands)
    if message:
        assert case.verdict != "forecast", f"{case!r}, but it is refused: {message}"
        assert message.rstrip()[-1] in ".?)`", f"The error is no sentence: {message}"
        assert FIXES.search(message), f"The error names no fix: {message}"
    assert given is None or _is_same((case.data, case.asked), given), f"{case!r}: the data or the question are changed."
    return Outcome(not message, message, time.process_time() - start)


def _base_frame(container: Container, make: Make, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """A canonical frame and its ticks: one to four series, two channels, where there can be more than one."""
    parts, ticks = [], []
    for number in range(int(rng.integers(1, 5)) if container.has_ids else 1):
        n = int(rng.integers(4, 12))
        at = np.sort(rng.choice(400, n, replace=False))
        values = rng.normal(size=(n, 2 if container.has_channels else 1)).cumsum(axis=0) + 5.0
        values[rng.random(values.shape) < 0.25] = np.nan
        values[0] = np.where(np.isnan(values[0]), 1.0, values[0])
        part = pd.DataFrame(values, columns=list("ab")[: values.shape[1]])
        part.insert(0, "unique_id", f"s{number}")
        parts.append(part)
        ticks.append(at)
    frame = pd.concat(parts, ignore_index=True)
    frame.insert(1, "ds", make(np.concatenate(ticks)))
    return frame, np.concatenate(ticks)


def _last_ticks(clean: pd.DataFrame | None, frame: pd.DataFrame, ticks: np.ndarray, n: int) -> list[int]:
    """Tick of each series' last observation, as far as the frame has not been spoiled."""
    if clean is None or not len(clean):
        return [int(ticks.max())] * max(n, 1)
    tick_of = dict(zip(plain_times(frame["ds"]), ticks))
    last = clean.groupby("unique_id", sort=True)["ds"].max()
    own = [ticks[(frame["unique_id"] == f"s{place}").to_numpy()] for place in range(n)]
    # a series of which nothing was seen: its last row, which for one that a defect has added is the frame's first
    rows = [int(of_place.max()) if len(of_place) else int(ticks[0]) for of_place in own]
    return [int(tick_of[last[place]]) if place in last.index else rows[place] for place in range(n)]


def fits(container: str, times: str) -> bool:
    """Whether such times can stand in such a container."""
    is_plain = "arrow" not in times and "object" not in times and times not in NO_TIMES
    if container == "NumPy arrays":
        return is_plain and times not in ("Int64", "Float64") and not any(mark in times for mark in ("/", "UTC", "+"))
    if container in ("polars frame", "Arrow table"):
        return is_plain and times not in ("offset +05:45", "year 100 000")
    return True


def _check_answer(case: HostileCase, estimator: Any, fitted: Any, mean: Any, bands: Any) -> None:
    kind = CONTAINERS[case.container]
    asked_by_array = isinstance(case.asked.get("X"), np.ndarray)
    if case.container == "NumPy arrays" and not asked_by_array:  # there is no array of times to answer in
        assert isinstance(mean, pd.DataFrame), f"{case!r}: the answer is a {type(mean).__name__}."
    else:
        assert kind.is_kind(mean), f"{case!r}: the answer is a {type(mean).__name__}."
    names = [
        label
        for name in case.channels
        for label in (name, *(f"{name}-{side}-{level}" for level in LEVELS for side in ("lo", "hi")))
    ]
    if asked_by_array:
        values = pd.DataFrame(bands, columns=pd.Index(names, tupleize_cols=False))
        ids, times = None, case.make(np.array([tick for _, tick in case.rows or []]))
    else:
        answer = kind.read(bands)
        ids, times, values = answer.ids, answer.times, answer.values
    assert list(values.columns) == names, f"{case!r}: the columns are {list(values.columns)}, not {names}."
    numbers = values.to_numpy(dtype=np.float64)
    assert np.isfinite(numbers).all(), f"{case!r}: the answer is not finite."
    by_channel = numbers.reshape(len(numbers), len(case.channels), 1 + 2 * len(LEVELS))
    middle, low, high, lower, higher = np.moveaxis(by_channel, 2, 0)
    ordered = (lower <= low) & (low <= middle) & (middle <= high) & (high <= higher)
    assert ordered.all(), f"{case!r}: intervals do not hold the mean."
    places = _check_rows(case, ids, times)
    _check_same(case, estimator, places, times, by_channel)


def _check_rows(case: HostileCase, ids: list[Hashable] | None, times: pd.Index) -> np.ndarray:
    """Whether these are the series and times asked for; the place of the series of each row."""
    is_list = case.container in ("list of Series", "list of frames")
    rows = case.rows
    order = list(dict.fromkeys(place for place, _ in rows)) if rows is not None else list(range(len(case.ids)))
    if ids is None:
        places = np.zeros(len(times), dtype=np.intp)
    elif is_list:
        places = np.array([order[int(str(place))] for place in ids], dtype=np.intp)
    else:
        place_of = {key: place for place, key in enumerate(case.ids)}
        assert all(key in place_of for key in ids), f"{case!r}: the ids are {ids}, not {case.ids}."
        places = np.array([place_of[key] for key in ids], dtype=np.intp)
    assert len(times), f"{case!r}: the answer has no row."
    if rows is None:
        assert set(places.tolist()) == set(range(len(case.ids))), f"{case!r}: not all series are answered."
        return places
    if is_list:
        rows = sorted(rows, key=lambda row: order.index(row[0]))
    assert places.tolist() == [place for place, _ in rows], f"{case!r}: the series stand in another order."
    wanted = case.make(np.array([tick for _, tick in rows]))
    left, right = plain_times(times).to_numpy(), plain_times(wanted).to_numpy()
    same = np.isclose(left, right, rtol=1e-12, atol=0.0) if left.dtype.kind == "f" else left == right
    assert same.all(), f"{case!r}: the times are {times}, not {wanted}."
    zones = [str(getattr(one.infer_objects().dtype, "tz", None)) for one in (times, wanted)]
    assert zones[0] == zones[1], f"{case!r}: the times are in {zones[0]}, not in {zones[1]}."
    # pandas makes a range of 64-bit integers of an index of evenly spaced ones
    is_plain = isinstance(wanted.dtype, np.dtype) and wanted.dtype.kind in "iu" and case.container in COLUMNS
    if is_plain and "horizon" not in case.asked:
        assert times.dtype == wanted.dtype, f"{case!r}: the times are {times.dtype}, not {wanted.dtype}."
    return places


def _check_same(case: HostileCase, estimator: Any, places: np.ndarray, times: pd.Index, by_channel: np.ndarray) -> None:
    """Whether the forecast is that from the canonical data, asked series by series."""
    assert case.clean is not None
    native = plain_times(times)
    known = set(case.clean["unique_id"])
    asked = {place: np.flatnonzero(places == place) for place in dict.fromkeys(places.tolist()) if place in known}
    reference = clone(estimator).fit(case.clean)
    expected = reference.predict_interval(times={place: native[at] for place, at in asked.items()}, level=LEVELS)
    at = np.concatenate(list(asked.values()))
    wanted = expected.iloc[:, 2:].to_numpy().reshape(len(at), *by_channel.shape[1:])
    scale = np.abs(wanted).max(axis=(0, 2), keepdims=True)
    gap = (np.abs(by_channel[at] - wanted) / np.where(scale > 0, scale, 1.0)).max()
    assert gap <= 1e-7, f"{case!r}: the forecast differs from that of the canonical data, by {gap:.3g} of its size."


def _is_same(left: Any, right: Any) -> bool:
    """Whether two containers of data are equal, types and labels too."""
    if isinstance(left, list | tuple | dict):
        pairs = zip(left.items(), right.items()) if isinstance(left, dict) else zip(left, right)
        return len(left) == len(right) and all(_is_same(*pair) for pair in pairs)
    if isinstance(left, pd.DataFrame | pd.Series):
        check: Any = pd.testing.assert_frame_equal if isinstance(left, pd.DataFrame) else pd.testing.assert_series_equal
        try:
            check(left, right, check_exact=True)
        except AssertionError:
            return False
        return str(left.attrs) == str(right.attrs)
    if isinstance(left, pd.Index | np.ndarray):
        return pd.Series(list(left), dtype=object).equals(pd.Series(list(right), dtype=object))
    return left is right or not hasattr(left, "equals") or bool(left.equals(right))


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise an AssertionError in what takes longer, where the system has timers."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise AssertionError(f"This hangs: it is not done after {seconds:g} s.")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
