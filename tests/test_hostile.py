"""Generated frames and questions, whatever is wrong with them: the right forecast, or an error that says what to do."""

from __future__ import annotations

import zlib
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.registries import small
from tsode import ConstantForecaster, DriftForecaster, JumpODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.testing.containers import CONTAINERS
from tsode.testing.defects import DEFECTS
from tsode.testing.hostile import check_hostile, fits, hostile_cases, make_case
from tsode.testing.questions import QUESTIONS, SENSIBLE
from tsode.testing.times import NO_TIMES, TIMES

OF_A_CONTAINER, OF_A_TIME = 46, 26
BASELINES = (LastValueForecaster(), ConstantForecaster(), DriftForecaster())
LEARNERS = {
    "JumpODEForecaster": small(JumpODEForecaster, n_modes=2, n_hidden=4, dtype="float64"),
    "LinearSDEForecaster": small(LinearSDEForecaster, dtype="float64"),
}
DEFECTS_OF = {
    container: [name for name, defect in DEFECTS.items() if container in defect.containers] for container in CONTAINERS
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


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_forecast_rightly_or_refused_by_name(container):
    outcomes = run(OF_A_CONTAINER, container, hostile_cases(container=container), BASELINES)
    assert outcomes.total() >= OF_A_CONTAINER
    assert min(outcomes["forecast"], outcomes["error"]) >= 0.3 * OF_A_CONTAINER


@pytest.mark.parametrize("times", TIMES)
def test_a_kind_of_times_is_forecast_rightly_or_refused_by_name(times):
    outcomes = run(OF_A_TIME, times, hostile_cases(times=times), BASELINES)
    assert outcomes.total() >= OF_A_TIME
    assert min(outcomes["forecast"], outcomes["error"]) >= 0.15 * OF_A_TIME


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_defect_of_a_container_is_read_rightly_or_refused_by_name(container):
    whens = [times for times in TIMES if fits(container, times)]
    for k, defect in enumerate(DEFECTS_OF[container]):
        case = make_case(container, whens[(7 * k) % len(whens)], defect, SENSIBLE[k % len(SENSIBLE)], seed=k)
        check_hostile(case, BASELINES[k % len(BASELINES)])


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
@pytest.mark.parametrize(("name", "every"), [("JumpODEForecaster", 3), ("LinearSDEForecaster", 2)])
def test_learned_forecasters_forecast_rightly_or_refuse_by_name(name, every):
    outcomes: Counter[bool] = Counter()
    for k, container in list(enumerate(CONTAINERS))[::every]:
        whens = [times for times in TIMES if fits(container, times)]
        defects = [defect for defect in DEFECTS_OF[container] if DEFECTS[defect].verdict != "error"]
        case = make_case(container, whens[(5 * k) % len(whens)], defects[(3 * k) % len(defects)], SENSIBLE[k % 8], k)
        outcomes[check_hostile(case, LEARNERS[name]).is_forecast] += 1
    assert outcomes[True] >= 0.6 * outcomes.total()
