"""Plans of a known system: against brute force, and what they keep."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.control.patients import GIVEN, LEVELS, asked, patient, with_spare
from tsode import EventTable
from tsode.control import ChanceLimit, Doses, ExpectedCost, TargetRange, Tracking, plan, replan
from tsode.errors import DataError, InfeasiblePlanError, ParameterError, UnreadActionError

EVERY_8 = [8.0, 16.0, 24.0, 32.0]
TARGET = TargetRange("concentration", 4.0, 9.0, 0.5, between=(16.0, None))


def drawn(found):
    """Paths (s m) of the concentration under a plan, anew."""
    problem, candidate = found._problem, found._candidate
    return problem.response.paths(torch.from_numpy(candidate.amounts)[None])[0, ..., 0].numpy()


def test_tracking_by_one_dose_is_the_least_squares_solution():
    found = plan(patient(), Tracking({"concentration": 6.0}), actions=Doses([8.0], high=500.0), **asked())
    response = found._problem.response
    base, more = (response.paths(torch.tensor([[a]], dtype=torch.float64))[0, ..., 0] for a in (0.0, 1.0))
    unit, weights = more - base, response.clock.weights
    best = float((unit * (6.0 - base) * weights).sum() / (unit.square() * weights).sum())
    assert found.doses["amount"].item() == pytest.approx(best, rel=1e-6)
    assert found.residual < 1e-6


def test_a_plan_of_available_doses_is_the_best_of_all_combinations():
    doses = Doses(EVERY_8[:3], "central", high=100.0, available=25.0)
    limit = ChanceLimit("concentration", above=11.0, probability=0.1)
    found = plan(patient(), TARGET, actions=doses, constraints=limit, **asked(if_infeasible="closest"))
    problem = found._problem
    grid = np.stack(np.meshgrid(*[np.arange(0.0, 101.0, 25.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    worths = problem.worths(grid)
    best = min(w.score for w in worths if w.excess <= 0.0)
    assert found.score == pytest.approx(best, abs=1e-12)
    assert set(found.doses["amount"]) <= {25.0, 50.0, 75.0, 100.0}


@pytest.mark.slow
@pytest.mark.parametrize("by", ["quantile", "shortfall"])
def test_a_limit_is_kept_as_the_draws_say_and_holds_the_plan_back(by):
    limit = ChanceLimit("concentration", above=10.0, probability=0.1, by=by)
    high = TargetRange("concentration", 8.0, probability=0.01, between=(16.0, None))
    found = plan(patient(), high, actions=Doses(EVERY_8, high=200.0), constraints=limit, **asked())
    share = float((drawn(found).max(axis=1) > 10.0).mean())
    row = found.probabilities.iloc[-1]
    assert row["planned"] == pytest.approx(share)
    assert share <= 0.1
    if by == "quantile":  # as many draws beyond as may be: without the limit it would go higher
        assert share >= 0.08
    else:  # the mean of the worst tenth does not pass
        worst = np.sort(drawn(found).max(axis=1))[-10:]
        assert worst.mean() <= 10.0 + 1e-6


def test_the_probability_of_a_range_is_the_share_of_draws_and_time():
    found = plan(patient(), TARGET, actions=Doses(EVERY_8, high=100.0), **asked())
    clock = found._problem.response.clock
    is_in = clock.times.numpy() >= 16.0
    x, weights = drawn(found)[:, is_in], clock.weights.numpy()[is_in]
    share = (((x >= 4.0) & (x <= 9.0)) * weights).sum(axis=1).mean() / weights.sum()
    row = found.probabilities.iloc[0]
    assert row["planned"] == pytest.approx(share)
    assert row["planned"] > row["without"]
    assert found.status == "kept"


@pytest.mark.slow
def test_doses_whose_times_may_move_are_no_worse_and_stay_within_their_windows():
    actions = {"times": EVERY_8[:2], "target": "central", "high": 100.0, "duration": 2.0}
    cost = Tracking({"concentration": lambda t: 3.0 + 2.0 * torch.sin(t / 5.0)})
    still = plan(patient(), cost, actions=Doses(**actions), **asked())
    moved = plan(patient(), cost, actions=Doses(**actions, shift=3.0), **asked(series=None))
    assert moved.score < still.score - 1e-4
    assert moved.doses["ds"].min() >= 8.0
    assert (np.abs(moved.doses["ds"].to_numpy() - np.array(EVERY_8[:2])) <= 3.0 + 1e-9).all()
    assert moved.residual < 1e-3


def test_no_more_doses_than_allowed_no_two_too_near_and_no_more_than_may_be_given_in_a_day():
    doses = Doses(list(np.arange(9.0, 40.0, 3.0)), high=100.0, n_most=3, apart=6.0, at_most=100.0, within=24.0)
    found = plan(patient(), TARGET, actions=doses, **asked(if_infeasible="closest"))
    when, amounts = found.doses["ds"].to_numpy(), found.doses["amount"].to_numpy()
    assert 1 <= len(when) <= 3
    assert (np.diff(when) >= 6.0).all()
    for start in (0.0, *when):
        given = amounts[(when >= start) & (when < start + 24.0)].sum() + 90.0 * (start == 0.0)
        assert given <= 100.0 + 1e-6
    with pytest.raises(ParameterError, match="no time within the plan"):
        plan(patient(), TARGET, actions=Doses([8.0], apart=9.0), **asked())


def test_events_of_a_plan_are_accepted_by_predict_and_what_if_and_give_its_forecast():
    found = plan(patient(), TARGET, actions=Doses(EVERY_8, high=100.0), **asked(n_draws=200))
    model = patient()
    times = list(found.forecast["ds"])
    mean = model.predict(times=times, events=found.events)["concentration"].to_numpy()
    np.testing.assert_allclose(mean, found.forecast["concentration"], rtol=1e-4)
    answer = model.what_if({"nothing": GIVEN, "plan": found.events}, times=times, n_samples=20, random_state=0)
    assert (answer.loc[answer["scenario"] == "plan", "concentration-diff"].to_numpy()[-1:] > 0.0).all()
    np.testing.assert_allclose(
        found.without["concentration"], model.predict(times=times, events=GIVEN)["concentration"], rtol=1e-4
    )


def test_the_same_seed_gives_the_same_plan_and_a_table_of_events_stands_for_a_frame():
    doses = Doses(EVERY_8, high=100.0)
    first = plan(patient(), TARGET, actions=doses, **asked())
    again = plan(patient(), TARGET, actions=doses, **asked(events=EventTable(GIVEN)))
    pd.testing.assert_frame_equal(first.doses, again.doses)


@pytest.mark.slow
def test_a_plan_is_made_again_after_a_level_and_keeps_what_was_given():
    doses = Doses(EVERY_8, high=100.0, available=10.0)
    first = plan(patient(), TARGET, actions=doses, **asked())
    low = replan(first, pd.DataFrame({"ds": [20.0], "concentration": [1.5]}), random_state=0)
    high = first.replan(pd.DataFrame({"ds": [20.0], "concentration": [8.0]}), random_state=0)
    given = first.events[first.events["ds"] < 20.0]
    for one in (low, high):
        pd.testing.assert_frame_equal(one.events[one.events["ds"] < 20.0], given)
        assert one.doses["ds"].min() >= 20.0
        assert one.forecast["ds"].max() == 40.0
    assert low.doses["amount"].sum() > high.doses["amount"].sum()


def test_a_level_that_was_to_be_expected_changes_little_and_one_that_was_not_moves_the_forecast_to_it():
    doses = Doses(EVERY_8, high=100.0)
    first = plan(patient(), TARGET, actions=doses, **asked())
    at = first.forecast
    expected = float(np.interp(20.0, at["ds"], at["concentration"]))
    same = first.replan(pd.DataFrame({"ds": [20.0], "concentration": [expected]}), random_state=0)
    assert abs(float(same.without["concentration"].iloc[0]) - expected) < 0.25 * expected
    # the dose of hour 16 is known: without it a level this high would mean that nothing is cleared
    assert float(same.without["concentration"].iloc[-1]) < 0.5 * expected


@pytest.mark.slow
def test_what_cannot_be_kept_is_said_with_the_closest_plan():
    doses = Doses(EVERY_8, high=100.0)
    target = TargetRange("concentration", 6.0, 6.5, 0.9)
    with pytest.raises(InfeasiblePlanError, match=r"6 to 6.5: 0\.\d+, asked at least 0.9") as caught:
        plan(patient(), target, actions=doses, **asked())
    closest = caught.value.closest
    assert closest.status == "closest"
    assert not closest.probabilities["is_kept"].item()
    found = plan(patient(), target, actions=doses, **asked(if_infeasible="closest"))
    pd.testing.assert_frame_equal(found.doses, closest.doses)


def test_where_a_limit_cannot_be_kept_the_closest_plan_passes_it_least():
    limit = ChanceLimit("concentration", below=3.0, probability=0.05, between=(16.0, None))
    low = TargetRange("concentration", high=2.0, probability=0.01)  # which would rather give nothing
    found = plan(
        patient(), low, actions=Doses(EVERY_8[:3], high=10.0), constraints=limit, **asked(if_infeasible="closest")
    )
    assert found.status == "closest"
    assert found.doses["amount"].tolist() == pytest.approx([10.0] * 3, rel=1e-4)


@pytest.mark.parametrize(
    ("target", "message"), [("gut", "does not read doses to 'gut'"), ("nowhere", "does not read doses to 'nowhere'")]
)
def test_doses_to_a_state_that_there_is_not_are_refused(target, message):
    with pytest.raises(UnreadActionError, match=message):
        plan(patient(), TARGET, actions=Doses(EVERY_8, target, high=10.0), **asked())


def test_doses_that_change_nothing_are_refused():
    with pytest.raises(UnreadActionError, match="change no channel that is looked at"):
        plan(with_spare(), TARGET, actions=Doses(EVERY_8, "spare", high=10.0), **asked())


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"events": None}, DataError, "pass them as events="),
        ({"times": 8.0}, ParameterError, "beyond the last row"),
        ({"n_draws": 1}, ParameterError, "n_draws=1"),
        ({"if_infeasible": "maybe"}, ParameterError, "if_infeasible='maybe'"),
        ({"constraints": [3]}, ParameterError, "constraints= has 3"),
        ({"actions": Doses([4.0])}, ParameterError, "but the plan begins at"),
        ({"actions": [5.0]}, ParameterError, "actions= takes Doses"),
        ({"series": "b"}, DataError, "series='b'"),
    ],
)
def test_questions_that_cannot_be_read_are_refused(more, error, message):
    with pytest.raises(error, match=message):
        plan(patient(), TARGET, **(asked(actions=Doses(EVERY_8, high=100.0)) | more))


def test_a_channel_that_there_is_not_and_a_cost_of_the_wrong_shape_are_refused():
    with pytest.raises(ParameterError, match=r"channel 'conc', which .* 'concentration'"):
        plan(patient(), TargetRange("conc", 1.0, 2.0), actions=Doses(EVERY_8, high=9.0), **asked())
    with pytest.raises(ValueError, match="give one number for each"):
        plan(patient(), ExpectedCost(lambda paths, t: paths.sum()), actions=Doses(EVERY_8, high=9.0), **asked())


def test_datetimes_are_planned_as_numbers_are():
    start = pd.Timestamp("2024-05-01")
    clock = lambda hours: start + pd.to_timedelta(hours, unit="h")  # noqa: E731
    from tsode import KnownODEForecaster

    model = KnownODEForecaster(system=patient().system, n_draws=200, time_unit="1h", random_state=0)
    given = GIVEN.assign(ds=clock(GIVEN["ds"]))
    model.fit(LEVELS.assign(ds=clock(LEVELS["ds"])), events=given)
    doses = Doses(list(clock(np.array(EVERY_8))), high=100.0, apart="6h", at_most=150.0, within="24h")
    target = TargetRange("concentration", 4.0, 9.0, 0.5, between=(clock(16.0), None))
    found = plan(model, target, actions=doses, events=given, horizon="32h", n_draws=100, random_state=0)
    same = plan(patient(), TARGET, actions=Doses(EVERY_8, high=100.0, apart=6.0, at_most=150.0, within=24.0), **asked())
    assert found.doses["ds"].tolist() == list(clock(same.doses["ds"].to_numpy()))
    np.testing.assert_allclose(found.doses["amount"], same.doses["amount"], rtol=1e-3)
