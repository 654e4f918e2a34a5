"""Generated frames and questions, whatever is wrong with them: the right forecast, or an error that says what to do."""

from __future__ import annotations

import dataclasses
import warnings
import zlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.hostile.cases import check_hostile, fits, hostile_cases, make_case
from tests.hostile.containers import CONTAINERS
from tests.hostile.defects import DEFECTS
from tests.hostile.questions import QUESTIONS, SENSIBLE
from tests.hostile.tables import CHANGES, IDS, TABLE_TIMES, check_table
from tests.hostile.times import NO_TIMES, TIMES
from tests.registries import small
from tsode import ConstantForecaster, DriftForecaster, JumpODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.errors import DataError

pytestmark = pytest.mark.usefixtures("short_epochs")

# `make test` draws the first few; one in four of a defect's containers; and a twelfth of the tables beside the data
OF_A_CONTAINER, OF_A_TIME = 46, 26
FEW_OF_A_CONTAINER, FEW_OF_A_TIME = 12, 6
a_few_and_all = pytest.mark.parametrize("draw", ["a few", pytest.param("all", marks=pytest.mark.slow)])
a_few_and_the_rest = pytest.mark.parametrize("draw", ["a few", pytest.param("the rest", marks=pytest.mark.slow)])
BASELINES = (LastValueForecaster(), ConstantForecaster(), DriftForecaster())
LEARNERS = {
    "JumpODEForecaster": small(JumpODEForecaster, n_modes=2, n_hidden=4, dtype="float64"),
    "LinearSDEForecaster": small(LinearSDEForecaster, dtype="float64"),
    "LinearSDEForecaster, support found": small(LinearSDEForecaster, dtype="float64", support="auto"),
    "structural": LinearSDEForecaster(components=["level", "ou"], random_state=0),
    "structural, automatic": LinearSDEForecaster(components="auto", support="auto", random_state=0),
    "structural, each series": LinearSDEForecaster(components=["level"], per_series=True, random_state=0),
}
DEFECTS_OF = {
    container: [name for name, defect in DEFECTS.items() if container in defect.containers] for container in CONTAINERS
}
FEW_CONTAINERS_OF = {
    name: defect.containers[k % len(defect.containers) :: 4] for k, (name, defect) in enumerate(DEFECTS.items())
}


def run(n: int, name: str, cases, forecasters) -> Counter[str]:
    """Check `n` cases that `name` chooses, the forecasters in turn; how many came to a forecast and to an error."""
    outcomes: Counter[str] = Counter()

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(cases)
    def check(case):
        outcome = check_hostile(case, forecasters[outcomes.total() % len(forecasters)])
        outcomes["forecast" if outcome.is_forecast else "error"] += 1

    check()
    print(dict(outcomes))  # noqa: T201 (shown by pytest -rP)
    return outcomes


def test_there_are_at_least_two_thousand_cases():
    of_defects = sum(len(names) for names in DEFECTS_OF.values())
    assert OF_A_CONTAINER * len(CONTAINERS) + OF_A_TIME * len(TIMES) + of_defects + len(QUESTIONS) >= 2000


@a_few_and_all
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_forecast_rightly_or_refused_by_name(container, draw):
    n = OF_A_CONTAINER if draw == "all" else FEW_OF_A_CONTAINER
    outcomes = run(n, container, hostile_cases(container=container), BASELINES)
    assert outcomes.total() >= n
    if draw == "all":  # a few may all come to the same
        assert min(outcomes["forecast"], outcomes["error"]) >= 0.25 * n


@a_few_and_all
@pytest.mark.parametrize("times", TIMES)
def test_a_kind_of_times_is_forecast_rightly_or_refused_by_name(times, draw):
    n = OF_A_TIME if draw == "all" else FEW_OF_A_TIME
    outcomes = run(n, times, hostile_cases(times=times), BASELINES)
    assert outcomes.total() >= n
    if draw == "all":
        assert min(outcomes["forecast"], outcomes["error"]) >= 0.15 * n


@a_few_and_the_rest
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_defect_of_a_container_is_read_rightly_or_refused_by_name(container, draw):
    whens = [times for times in TIMES if fits(container, times)]
    for k, defect in enumerate(DEFECTS_OF[container]):
        if (container in FEW_CONTAINERS_OF[defect]) == (draw == "a few"):
            case = make_case(container, whens[(7 * k) % len(whens)], defect, SENSIBLE[k % len(SENSIBLE)], seed=k)
            check_hostile(case, BASELINES[k % len(BASELINES)])


@pytest.mark.slow
def test_every_question_is_answered_rightly_or_refused_by_name():
    for k, question in enumerate(QUESTIONS):
        whose = list(CONTAINERS)[(5 * k) % len(CONTAINERS)]
        whens = [times for times in TIMES if fits(whose, times)]
        check_hostile(make_case(whose, whens[(3 * k) % len(whens)], "none", question, seed=k), BASELINES[k % 3])


@pytest.mark.parametrize("times", NO_TIMES)
def test_what_are_no_times_is_refused_in_every_container(times):
    whose = [container for container in CONTAINERS if fits(container, times)]
    assert whose
    for k, container in enumerate(whose):
        assert not check_hostile(make_case(container, times, "none", "nothing", seed=k), BASELINES[k % 3]).is_forecast


@pytest.mark.slow
@a_few_and_the_rest
@pytest.mark.parametrize("ids", IDS)
def test_a_table_beside_the_data_says_the_same_in_other_words_or_is_refused_by_name(ids, draw):
    place = list(IDS).index(ids)
    kind = list(TABLE_TIMES)[place % len(TABLE_TIMES)]  # of which every other change is among the few
    outcomes: Counter[bool] = Counter()
    for i, times in enumerate(TABLE_TIMES):
        is_few = times == kind
        for k, change in enumerate(CHANGES):
            for j, table in enumerate(("events", "static", "known", "context")):
                # every other one, so that a change of a table meets each kind of ids with two kinds of times or more,
                # and each kind of times with two kinds of ids or more
                is_met = (place + k + j + (0 if is_few else i)) % 2 == 0
                if is_met and is_few == (draw == "a few"):
                    outcomes[check_table(ids, times, table, change, seed=k)] += 1
    assert min(outcomes.values()) >= 0.2 * outcomes.total()


# -- the judge itself --------------------------------------------------------------------------------------------------


class Broken(LastValueForecaster):
    """Its answers are changed by `spoil`, where they are frames."""

    def spoil(self, answer):
        return answer

    def predict(self, X=None, **question):
        return self.spoil(super().predict(X, **question))

    def predict_interval(self, X=None, **question):
        return self.spoil(super().predict_interval(X, **question))


class ForgetsTheKind(Broken):
    def spoil(self, answer):
        return answer.reset_index()


class Unfinished(Broken):
    def spoil(self, answer):
        return answer.assign(a=np.nan)


class Biased(Broken):
    def spoil(self, answer):
        return answer + 1e-3 if isinstance(answer.index, pd.MultiIndex) else answer  # not so the canonical one


class Late(Broken):
    def spoil(self, answer):
        return answer.set_axis(answer.index.set_levels(answer.index.levels[1] + pd.Timedelta("1s"), level=1))


class Unordered(Broken):
    def spoil(self, answer):
        return answer.iloc[::-1]


class Crossed(Broken):
    def spoil(self, answer):
        return answer.assign(**{"a-lo-80": answer["a"] + 1.0}) if "a-lo-80" in answer else answer


class LosesAChannel(Broken):
    def spoil(self, answer):
        return answer.drop(columns="b")


class Overwrites(LastValueForecaster):
    def fit(self, X, y=None, **more):
        super().fit(X, y, **more)
        X.iloc[0, 0] = 99.0
        return self


class Warns(LastValueForecaster):
    def fit(self, X, y=None, **more):
        warnings.warn("something", stacklevel=2)
        return super().fit(X, y, **more)


class Breaks(LastValueForecaster):
    def fit(self, X, y=None, **more):
        return super().fit(X[0], y, **more)


class RefusesAll(LastValueForecaster):
    def fit(self, X, y=None, **more):
        raise DataError("This is not what was meant: give something else.")


class Hangs(LastValueForecaster):
    def fit(self, X, y=None, **more):
        while True:
            pass


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ForgetsTheKind, "the answer is a DataFrame"),
        (Unfinished, "the answer is not finite"),
        (Biased, "the forecast differs from that of the canonical data, by"),
        (Late, "the times are"),
        (Unordered, "the series stand in another order|the times are"),
        (Crossed, "intervals do not hold the mean"),
        (LosesAChannel, "the columns are"),
        (Overwrites, "the data or the question are changed"),
        (Warns, "something"),
        (Breaks, "0"),
        (RefusesAll, "but it is refused: This is not what was meant"),
        (Hangs, "This hangs"),
    ],
)
def test_the_judge_finds_what_it_is_for(broken, message, monkeypatch):
    monkeypatch.setattr("tests.hostile.cases.MOST_SECONDS", 0.2 if broken is Hangs else 30.0)
    case = make_case("MultiIndex frame", "UTC", "none", "an Index of times", seed=3)
    with pytest.raises((AssertionError, UserWarning, KeyError), match=message):
        check_hostile(case, broken())


def test_the_judge_finds_what_should_have_been_refused_and_words_that_do_not_help(monkeypatch):
    case = make_case("MultiIndex frame", "UTC", "none", "an Index of times", seed=3)
    with pytest.raises(AssertionError, match="but it is answered"):
        check_hostile(dataclasses.replace(case, verdict="error"), LastValueForecaster())
    for text in ("nan", "Bad data."):
        monkeypatch.setattr(LastValueForecaster, "fit", lambda *_, text=text: (_ for _ in ()).throw(DataError(text)))
        with pytest.raises(AssertionError, match=r"The error (is no sentence|names no fix)"):
            check_hostile(dataclasses.replace(case, verdict="error"), LastValueForecaster())


# -- learned forecasters -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("JumpODEForecaster", 3),
        ("LinearSDEForecaster", 2),
        ("LinearSDEForecaster, support found", 4),
        ("structural", 2),
        ("structural, automatic", 5),
        ("structural, each series", 4),
    ],
)
def test_learned_forecasters_forecast_rightly_or_refuse_by_name(name, every):
    outcomes: Counter[bool] = Counter()
    for k, container in list(enumerate(CONTAINERS))[::every]:
        whens = [times for times in TIMES if fits(container, times)]
        defects = [defect for defect in DEFECTS_OF[container] if DEFECTS[defect].verdict != "error"]
        case = make_case(container, whens[(5 * k) % len(whens)], defects[(3 * k) % len(defects)], SENSIBLE[k % 8], k)
        outcomes[check_hostile(case, LEARNERS[name]).is_forecast] += 1
    assert outcomes[True] >= 0.6 * outcomes.total()
