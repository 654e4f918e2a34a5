"""Known dynamics through events at known times, against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm

from tsode import solve, solve_schedule
from tsode.errors import DataError, ParameterError, ShapeError, SolverError
from tsode.frames import EventTable, read_schedule
from tsode.numerics import RK4, Dopri5

CL, V, KA = 2.0, 20.0, 1.2
K = CL / V
TIGHT = 1e-9


def one(t, z):
    """One compartment, in amounts."""
    return -K * z


def oral(t, z):
    depot, drug = z.unbind(-1)
    return torch.stack([-KA * depot, KA * depot - K * drug], dim=-1)


def frame(**columns):
    return pd.DataFrame(columns)


def amounts(times, events, side="before", field=one, states=("drug",), **how):
    return solve(field, 0.0, times, events=events, states=states, side=side, **how)["drug"].to_numpy()


def bolus(t, amount, k=K):
    """Amount left of a dose at time 0."""
    return np.where(t >= 0, amount * np.exp(-k * np.maximum(t, 0)), 0.0)


def infused(t, rate, length, k=K):
    """Amount in the compartment of an infusion that begins at time 0."""
    t = np.asarray(t, dtype=float)
    during = rate / k * (1 - np.exp(-k * np.clip(t, 0, length)))
    return during * np.exp(-k * np.maximum(t - length, 0))


def close(found, truth, rtol=TIGHT):
    np.testing.assert_allclose(np.asarray(found), np.asarray(truth), rtol=rtol, atol=0)


def test_doses_into_one_compartment_give_the_published_concentrations():
    doses = frame(ds=[0.0, 12.0, 24.0], amount=[100.0, 100.0, 50.0])
    close(amounts([6.0, 12.0, 30.0], doses) / V, [2.74405818047013, 1.50597105956101, 2.44745887318232])
    close(amounts([12.0], doses, side="after") / V, [6.50597105956101])
    swallowed = frame(ds=[0.0], target=["depot"], amount=[100.0])
    close(amounts([12.0], swallowed, field=oral, states=["depot", "drug"]) / V, [1.64287447921])
    close(amounts([4.0], frame(ds=[0.0], amount=[100.0], duration=[4.0])) / V, [4.12099942455451])
    steady = frame(ds=[0.0], amount=[100.0], every=[12.0], steady_state=[True])
    close(amounts([0.0], steady, side="after") / V, [7.15506380346667])


def test_a_time_at_an_event_sees_the_state_before_it_or_after_all_of_that_time():
    events = frame(
        ds=[2.0, 2.0, 2.0, 2.0],
        kind=["multiply", "add", "set", "add"],
        amount=[3.0, 10.0, 7.0, 5.0],
        priority=[1, 1, 0, 1],
    )
    before = amounts([2.0], events, t0=0.0)
    assert before[0] == 0.0
    assert amounts([2.0], events, t0=0.0, side="after")[0] == 7.0 * 3.0 + 10.0 + 5.0  # priority, then order of rows
    close(amounts([4.0], events, t0=0.0), 36.0 * np.exp(-2 * K))


def test_repeats_are_the_explicit_rows_bit_for_bit():
    short = frame(ds=[1.0, 0.0], amount=[30.0, 100.0], duration=[2.5, np.nan], every=[7.0, 12.0], n_more=[3, 2])
    long = frame(
        ds=[0.0, 1.0, 8.0, 12.0, 15.0, 22.0, 24.0],
        amount=[100.0, 30.0, 30.0, 100.0, 30.0, 30.0, 100.0],
        duration=[np.nan, 2.5, 2.5, np.nan, 2.5, 2.5, np.nan],
    )
    times = np.linspace(0, 40, 57)
    first = amounts(times, short)
    assert (first == amounts(times, long)).all()
    assert (first == amounts(times, EventTable(short).expand())).all()
    truth = sum(bolus(times - s, 100.0) for s in (0, 12, 24)) + sum(infused(times - s, 12, 2.5) for s in (1, 8, 15, 22))
    close(first[1:], truth[1:])


def test_two_compartments_follow_the_matrix_exponential():
    rates = np.array([[-0.5, 0.2], [0.3, -0.2]])
    a = torch.tensor(rates)
    doses = frame(ds=[0.0, 3.0], target=["central", "side"], amount=[100.0, 40.0])
    times = [1.0, 3.0, 10.0]
    found = solve(lambda t, z: z @ a.T, {"central": 1.0, "side": 2.0}, times, events=doses)
    start = np.array([101.0, 2.0])
    at3 = expm(3 * rates) @ start
    truth = [expm(rates) @ start, at3, expm(7 * rates) @ (at3 + [0, 40.0])]
    close(found[["central", "side"]], truth)


def test_infusions_overlap_and_add():
    events = frame(
        ds=[0.0, 2.0, 3.0],
        kind=["add", "rate", "rate"],
        amount=[60.0, np.nan, np.nan],
        duration=[6.0, 4.0, np.nan],
        rate=[np.nan, 5.0, 2.0],
    )
    times = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.5, 30.0])
    truth = infused(times, 10.0, 6.0) + infused(times - 2, 5.0, 4.0) + infused(times - 3, 2.0, np.inf)
    close(amounts(times, events), truth)
    close(amounts(times, events, side="after"), truth)


@pytest.mark.parametrize("length", [1e-9, 1e-20])
def test_an_infusion_however_short_gives_all_of_its_amount(length):
    close(amounts([2.0], frame(ds=[1.0], amount=[3.0], duration=[length])), bolus(1.0, 3.0))


def test_an_input_is_exactly_zero_after_infusions_have_ended():
    events = frame(ds=[0.0, 0.05], amount=[0.1, 0.2], rate=[0.1, 0.2])
    left = amounts([2.0, 50.0], events, field=lambda t, z: 0 * z)
    assert left[0] == left[1]


@pytest.mark.parametrize("length", [5.0, 12.0, 30.0, 36.0], ids=lambda x: f"{x:g}")
def test_an_infusion_in_steady_state_is_the_sum_of_all_before_it_also_longer_than_its_interval(length):
    events = frame(ds=[3.0], amount=[60.0], duration=[length], every=[12.0], steady_state=[1])
    times = np.array([3.0, 4.0, 9.0, 15.0, 20.0, 27.0, 45.0, 70.0])
    truth = sum(infused(times - 3 + 12 * n, 60.0 / length, length) for n in range(300))
    close(amounts(times, events, side="after"), truth)
    more = EventTable(events.assign(n_more=2))
    truth += sum(infused(times - 3 - 12 * n, 60.0 / length, length) for n in (1, 2))
    close(amounts(times, more, side="after"), truth)


def test_a_steady_state_replaces_the_state_or_is_added_to_it():
    peak = 100 / (1 - np.exp(-K * 12))
    base = frame(
        ds=[0.0, 0.0, 2.0], amount=[40.0, 30.0, 100.0], duration=[np.nan, 10.0, np.nan], every=[np.nan, np.nan, 12.0]
    )
    ago = bolus(2.0, 40.0) + infused(2.0, 3.0, 10.0)
    times = [2.0, 5.0]
    replaced = amounts(times, base.assign(steady_state=[0, 0, 1]), side="after")
    close(replaced, [peak, peak * np.exp(-3 * K)])  # what was there is gone, and the infusion has ended
    added = amounts(times, base.assign(steady_state=[0, 0, 2]), side="after")
    close(added, [peak + ago, peak * np.exp(-3 * K) + bolus(5.0, 40.0) + infused(5.0, 3.0, 10.0)])


def test_a_constant_input_in_steady_state_is_where_gain_is_loss_and_goes_on():
    events = frame(ds=[1.0], kind=["rate"], rate=[5.0], steady_state=[1])
    close(amounts([1.0, 20.0], events, side="after"), [5 / K, 5 / K])


def test_resets_empty_all_states_and_end_infusions():
    base = frame(ds=[0.0, 3.0], amount=[60.0, 20.0], duration=[6.0, np.nan], target=["drug", "drug"])
    times = [3.0, 5.0, 8.0]
    for kind, amount in (("reset", 0.0), ("reset_add", 20.0)):
        events = base.assign(kind=["add", kind])
        truth = [infused(3.0, 10.0, 6.0), bolus(2.0, amount), bolus(5.0, amount)]
        close(amounts(times, events), truth)
    late = frame(
        ds=[0.0, 3.0, 4.0],
        kind=["rate", "reset", "add"],
        rate=[10.0, np.nan, np.nan],
        amount=[np.nan, np.nan, 8.0],
        duration=[np.nan, np.nan, 2.0],
    )
    close(amounts([3.0, 7.0], late), [infused(3.0, 10.0, np.inf), infused(3.0, 4.0, 2.0)])


def test_set_and_multiply_change_their_target_alone():
    events = frame(ds=[1.0, 2.0], kind=["set", "multiply"], target=["depot", 1], amount=[50.0, 0.5])
    found = solve(oral, [100.0, 0.0], [1.0, 2.0], events=events, states=["depot", "drug"], t0=0.0, side="after")
    assert found["depot"].iloc[0] == 50.0
    a = np.array([[-KA, 0], [KA, -K]])
    drug = (expm(a) @ [100.0, 0.0])[1]
    close(found["drug"].iloc[0], drug)
    close(found.iloc[1, 2:].astype(float), (expm(a) @ [50.0, drug]) * [1, 0.5])


def test_marks_and_events_after_the_last_time_change_nothing():
    plain = amounts([1.0, 2.0], frame(ds=[0.0], amount=[10.0]))
    later = frame(ds=[0.0, 2.5, 5.0], amount=[10.0, 99.0, np.nan], kind=["add", "add", "reset"])
    assert (amounts([1.0, 2.0], later) == plain).all()
    close(amounts([1.0, 2.0], later.assign(ds=[0.0, 2.0, 5.0])), plain)
    marked = frame(ds=[0.0, 1.5], amount=[10.0, np.nan])
    close(amounts([1.0, 2.0], marked), plain)


def test_events_before_the_first_time_are_in_the_answer_and_the_start_is_the_first_of_both():
    close(amounts([10.0], frame(ds=[-5.0], amount=[10.0])), bolus(15.0, 10.0))
    found = solve(one, [7.0], [4.0, 6.0])
    assert found["state_0"].iloc[0] == 7.0
    close(found["state_0"], bolus(np.array([0.0, 2.0]), 7.0))
    with pytest.raises(DataError, match="Series 0 has an event or an asked time before t0"):
        amounts([10.0], frame(ds=[-5.0], amount=[10.0]), t0=0.0)


def test_no_events_are_a_plain_solution():
    plain = solve(oral, [3.0, 1.0], [0.0, 1.0, 5.0])
    empty = solve(oral, [3.0, 1.0], [0.0, 1.0, 5.0], events=pd.DataFrame({"ds": [], "amount": []}))
    pd.testing.assert_frame_equal(plain, empty)
    close(plain.iloc[:, 2:], [expm(t * np.array([[-KA, 0], [KA, -K]])) @ [3.0, 1.0] for t in (0.0, 1.0, 5.0)])


def test_series_do_not_see_each_other():
    events = frame(
        unique_id=["a", "a", "b", "c", "c"],
        ds=[0.0, 12.0, 5.0, 0.0, 3.0],
        kind=["add", "add", "add", "rate", "reset"],
        amount=[100.0, 100.0, 60.0, np.nan, np.nan],
        duration=[np.nan, np.nan, 3.0, np.nan, np.nan],
        rate=[np.nan, np.nan, np.nan, 4.0, np.nan],
        every=[12.0, np.nan, 6.0, np.nan, np.nan],
        steady_state=[1, 0, 1, 0, 0],
    )
    times = {"a": [1.0, 13.0], "b": [5.0, 6.0, 30.0], "c": [2.0, 3.0, 4.0], "d": [1.0]}
    together = solve(one, 1.0, times, events=events, states=["drug"])
    assert together["unique_id"].tolist() == ["a", "a", "b", "b", "b", "c", "c", "c", "d"]
    for label, asked in times.items():
        alone = solve(one, 1.0, {label: asked}, events=events[events["unique_id"] == label], states=["drug"])
        close(together.loc[together["unique_id"] == label, "drug"], alone["drug"], rtol=1e-13)


def test_which_other_times_are_asked_changes_nothing():
    events = frame(ds=[0.0, 4.0], amount=[100.0, 60.0], duration=[np.nan, 3.0])
    many = amounts([1.0, 2.0, 4.0, 4.5, 9.0, 50.0], events)
    assert (amounts([4.5, 2.0, 9.0], events) == many[[3, 1, 4]]).all()


def test_doubling_the_doses_of_a_linear_system_doubles_its_state():
    events = frame(
        ds=[0.0, 2.0, 5.0],
        target=["depot", "drug", "drug"],
        amount=[100.0, 60.0, 30.0],
        duration=[np.nan, 3.0, np.nan],
        every=[8.0, np.nan, 4.0],
        steady_state=[1, 0, 2],
    )
    times = np.linspace(0, 20, 9)
    # Fixed steps are linear too: nothing but the doses differs.
    how = {"field": oral, "states": ["depot", "drug"], "side": "after", "solver": RK4(max_step=0.25)}
    twice = amounts(times, events.assign(amount=2 * events["amount"]), **how)
    close(twice, 2 * amounts(times, events, **how), rtol=1e-12)


@pytest.mark.slow
def test_the_steady_state_of_saturable_elimination_is_what_many_doses_lead_to():
    def field(t, z):
        return -20.0 * z / (30.0 + z)

    dose = frame(ds=[0.0], amount=[30.0], every=[4.0])
    steady = amounts([0.0, 3.0], dose.assign(steady_state=1), field=field, side="after")
    long = amounts([80.0, 83.0], dose.assign(n_more=20), field=field, side="after")  # forgets at 0.37 a dose
    close(steady, long)
    infusion = frame(ds=[0.0], kind=["rate"], rate=[12.0], steady_state=[1])
    close(amounts([0.0], infusion, field=field, side="after"), [12 * 30 / (20 - 12)])


def test_a_dose_on_top_of_an_own_production_is_in_steady_state_with_it():
    def field(t, z):
        return 3.0 - K * z

    dose = frame(ds=[0.0], amount=[100.0], every=[12.0], steady_state=[1])
    close(amounts([0.0], dose, field=field, side="after"), [30.0 + 100 / (1 - np.exp(-12 * K))])


def test_a_parameter_kept_as_a_state_stays_in_steady_state():
    def field(t, z):
        drug, k = z.unbind(-1)
        return torch.stack([-k * drug, torch.zeros_like(k)], dim=-1)

    dose = frame(ds=[0.0], amount=[100.0], every=[12.0])
    for kind in (1, 2):
        found = solve(field, {"drug": 7.0, "k": K}, [0.0], events=dose.assign(steady_state=kind), side="after")
        assert found["k"].item() == K
        close(found["drug"], [100 / (1 - np.exp(-12 * K)) + 7.0 * (kind == 2)])


@pytest.mark.parametrize(
    "field",
    [lambda t, z: 0 * z, lambda t, z: 0.1 * z, lambda t, z: -10.0 * z / (5.0 + z), lambda t, z: torch.zeros_like(z)],
    ids=["no elimination", "growth", "more than can be eliminated", "no elimination that does not read the state"],
)
def test_where_doses_have_no_steady_state_the_series_is_named(field):
    events = frame(unique_id=["p1", "p7"], ds=[0.0, 0.0], amount=[100.0, 100.0], every=[8.0, 8.0], steady_state=[0, 1])
    with pytest.raises(SolverError, match=r"series 'p7' .*no steady state was found"):
        solve(field, 0.0, [4.0], events=events, states=["drug"])
    endless = frame(ds=[0.0], kind=["rate"], rate=[30.0], steady_state=[1])
    with pytest.raises(SolverError, match="no steady state was found"):
        amounts([1.0], endless, field=field)


def test_a_solve_that_fails_names_its_series():
    times = {"calm": [0.0, 2.0], "wild": [0.0, 2.0]}
    with pytest.raises(SolverError, match=r"The solution of series 'wild' grows without bound at t = 1(\.|, )"):
        solve(lambda t, z: z**2, {"calm": [0.1], "wild": [1.0]}, times, solver=Dopri5())


def test_the_field_is_never_asked_on_the_wrong_side_of_an_event():
    def field(t, z):
        """Elimination switches at time 5, where a mark stands."""
        return -(0.1 + 0.9 * (t >= 5.0).double())[:, None] * z

    start, mark = frame(ds=[0.0], amount=[100.0]), frame(ds=[0.0, 5.0], amount=[100.0, np.nan])
    truth = 100 * np.exp([-0.5, -1.5])
    close(amounts([5.0, 6.0], mark, field=field), truth)
    close(amounts([5.0, 6.0], start, field=field), truth, rtol=1e-7)


def test_a_field_that_reads_the_time_gets_that_of_the_data():
    def field(t, z):
        return torch.cos(t)[:, None] * z

    found = solve(field, [2.0], [1.0, 3.0], t0=-1.0, events=frame(ds=[1.0], kind=["multiply"], amount=[2.0]))
    close(found["state_0"], [2 * np.exp(np.sin(1) - np.sin(-1)), 4 * np.exp(np.sin(3) - np.sin(-1))])


def test_gradients_of_a_concentration_are_those_of_the_closed_form():
    clearance = torch.tensor(CL, dtype=torch.float64, requires_grad=True)
    volume = torch.tensor(V, dtype=torch.float64, requires_grad=True)
    doses = frame(ds=[0.0, 12.0], amount=[100.0, 60.0], duration=[np.nan, 4.0])
    schedule = read_schedule([20.0], doses, states=["drug"])
    solver = Dopri5(rtol=1e-12, atol=1e-14)
    state = solve_schedule(lambda t, z: -clearance / volume * z, [0.0], schedule, solver=solver)
    (state[0, 0] / volume).backward()

    def concentration(cl, v):
        k = cl / v
        dose = 100 * torch.exp(-k * 20)
        infusion = 15 / k * (1 - torch.exp(-k * 4)) * torch.exp(-k * 4)
        return (dose + infusion) / v

    exact = torch.autograd.functional.jacobian(concentration, (clearance.detach(), volume.detach()))
    close([clearance.grad, volume.grad], [float(x) for x in exact])


@pytest.mark.slow
def test_gradients_go_through_a_steady_state_by_amounts_starts_and_parameters():

    dose = frame(ds=[0.0, 4.0], amount=[100.0, 50.0], duration=[np.nan, 30.0], every=[12.0, 12.0], steady_state=[1, 2])
    schedule = read_schedule([0.0, 4.0, 9.0], dose, states=["drug"])

    def state(k, amount, start):
        own = replace(schedule, events=replace(schedule.events, amount=amount))
        field, solver = lambda t, z: -k * z / (1 + 0.001 * z), RK4(max_step=1.0)
        return solve_schedule(field, start, own, solver=solver, side="after")[:, 0]

    k, start = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (K, [2.0]))
    amount = schedule.events.amount.clone().requires_grad_()
    assert torch.autograd.gradcheck(state, (k, amount, start), eps=1e-4, atol=1e-5, rtol=1e-5)


def test_each_series_may_have_parameters_of_its_own():
    rates = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    events = frame(
        unique_id=["a", "b", "c"], ds=[0.0, 1.0, 2.0], amount=[10.0, 10.0, 10.0], every=6.0, steady_state=[0, 0, 1]
    )
    schedule = read_schedule([8.0], events, states=["drug"])
    assert schedule.ids == ["a", "b", "c"]
    found = solve_schedule(lambda t, z: -rates[:, None] * z, [0.0], schedule)[:, 0]
    close(found, [bolus(8.0, 10.0, 0.1), bolus(7.0, 10.0, 0.2), bolus(6.0, 10.0 / (1 - np.exp(-1.8)), 0.3)])


def test_datetimes_give_what_numbers_give():
    numbers = frame(
        ds=[0.0, 4.0, 9.5],
        kind=["add", "add", "rate"],
        amount=[100.0, 60.0, np.nan],
        duration=[np.nan, 3.0, np.nan],
        rate=[np.nan, np.nan, 2.0],
        every=[12.0, np.nan, np.nan],
        steady_state=[1, 0, 0],
    )
    times = np.array([0.0, 4.0, 5.25, 30.0])
    truth = amounts(times, numbers, side="after")
    for tz in (None, "Europe/Zurich"):
        origin = pd.Timestamp("2024-03-30 20:00", tz=tz)
        clock = numbers.assign(
            ds=origin + pd.to_timedelta(numbers["ds"], unit="h"),
            duration=pd.to_timedelta(numbers["duration"], unit="h"),
            every=pd.to_timedelta(numbers["every"], unit="h"),
        )
        asked = origin + pd.to_timedelta(times, unit="h")
        found = solve(one, {"drug": 0.0}, asked, events=clock, time_unit="1h", side="after")
        close(found["drug"], truth, rtol=1e-12)
        assert found["ds"].tolist() == list(asked)
    spans = clock.assign(ds=pd.to_timedelta(numbers["ds"], unit="h"))
    found = solve(one, {"drug": 0.0}, pd.to_timedelta(times, unit="h"), events=spans, time_unit="1h", side="after")
    close(found["drug"], truth, rtol=1e-12)


def test_rows_of_a_frame_are_answered_in_their_order_with_their_index():
    rows = frame(unique_id=["b", "a", "b"], ds=[3, 1, 0], seen=[np.nan, 1.0, 2.0]).set_index(pd.Index([7, 5, 6]))
    events = frame(unique_id=["a", "b"], ds=[0, 0], amount=[10.0, 20.0])
    found = solve(one, {"drug": 0.0}, rows, events=events)
    assert list(found.columns) == ["unique_id", "ds", "drug"]
    assert found.index.tolist() == [7, 5, 6]
    assert found["ds"].dtype == rows["ds"].dtype
    close(found["drug"].iloc[:2], [bolus(3.0, 20.0), bolus(1.0, 10.0)])
    renamed = solve(one, {"drug": 0.0}, rows.rename(columns={"unique_id": "who", "ds": "when"}), id_col="who",
                    time_col="when", events=EventTable(events))  # fmt: skip
    close(renamed["drug"], found["drug"])


def test_starts_may_be_given_by_state_by_series_or_both():
    for z0 in (
        {"a": [1.0, 2.0], "b": [3.0, 4.0]},
        {"b": {"drug": 4.0, "depot": 3.0}, "a": {"depot": 1.0, "drug": 2.0}},
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    ):
        times = {"a": [0.0], "b": [0.0]}
        found = solve(oral, z0, times, states=["depot", "drug"])
        assert found.iloc[:, 2:].to_numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert solve(oral, np.ones((3, 2)), [0.0])["unique_id"].tolist() == [0, 1, 2]


def test_fixed_steps_stop_at_events_too():
    doses = frame(ds=[0.0, 1.3], amount=[100.0, 50.0])
    close(amounts([5.0], doses, solver=RK4(max_step=0.05)), bolus(5.0, 100.0) + bolus(3.7, 50.0), rtol=1e-8)


def test_errors_say_what_to_write():
    dose = frame(ds=[0.0], amount=[1.0])
    with pytest.raises(DataError, match=r"target 'drgu', which is no state. Did you mean 'drug'\?"):
        amounts([1.0], dose.assign(target="drgu"))
    with pytest.raises(DataError, match="target 1, which is no state"):
        amounts([1.0], dose.assign(target=1))
    with pytest.raises(ParameterError, match="time_unit='1h'"):
        amounts(pd.to_datetime(["2024-01-01"]), None)
    with pytest.raises(ParameterError, match="numbers, which have a unit: drop it"):
        amounts([1.0], None, time_unit="1h")
    with pytest.raises(ParameterError, match="time_unit='0h' is no positive duration"):
        amounts(pd.to_datetime(["2024-01-01"]), None, time_unit="0h")
    with pytest.raises(DataError, match="The events has times of the kind float, but times= has datetime"):
        amounts(pd.to_datetime(["2024-01-01"]), dose, time_unit="1h")
    with pytest.raises(DataError, match="both have a time zone or neither"):
        amounts(pd.to_datetime(["2024-01-01"]), dose.assign(ds=pd.Timestamp("2024-01-01", tz="UTC")), time_unit="1h")
    with pytest.raises(DataError, match=r"has series '1' \(str\), which is not asked for. Did you mean 1\? .*astype"):
        amounts({1: [1.0]}, dose.assign(unique_id="1"))
    with pytest.raises(ParameterError, match="side='left' is not known: it is 'before' or 'after'"):
        amounts([1.0], dose, side="left")
    with pytest.raises(ShapeError, match=r"z0 has shape \(3,\), but there are 1 series of 2 states"):
        solve(oral, [1.0, 2.0, 3.0], [1.0], states=["depot", "drug"])
    with pytest.raises(DataError, match="z0= has nothing for series 'b'"):
        solve(one, {"a": [1.0]}, {"a": [1.0], "b": [1.0]})
    with pytest.raises(DataError, match="must name the same states, but only one of them has 'durg'"):
        solve(oral, {"depot": 0.0, "durg": 1.0}, [1.0], states=["depot", "drug"])
    with pytest.raises(ParameterError, match="states='drug' must be a list"):
        amounts([1.0], None, states="drug")
    with pytest.raises(ParameterError, match="time_unit=3 is no positive duration"):
        amounts(pd.to_datetime(["2024-01-01"]), None, time_unit=3)
    with pytest.raises(DataError, match="z0 holds NaN"):
        solve(one, [np.nan], [1.0])
    with pytest.raises(ShapeError, match=r"shape of z, \(1, 2\), but gives shape \(1,\): with"):
        solve(lambda t, z: z[:, 0], [1.0, 2.0], [1.0])
    with pytest.raises(ShapeError, match="but gives a list"):
        solve(lambda t, z: [z], [1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="t0= has no time for series 'b'"):
        amounts({"a": [1.0], "b": [1.0]}, None, t0={"a": 0.0})
    with pytest.raises(DataError, match="t0= is one time for every series, or a dict"):
        amounts([1.0], None, t0=[0.0, 1.0])
    with pytest.raises(ParameterError, match="list of one name or more, each once"):
        amounts([1.0], None, states=["drug", "drug"])


def test_a_constant_input_with_a_duration_of_zero_ends_in_its_steady_state():
    events = frame(ds=[1.0], kind=["rate"], rate=[5.0], duration=[0.0], steady_state=[1])
    close(amounts([1.0, 6.0], events, side="after"), [5 / K, bolus(5.0, 5 / K)])


def test_repeats_are_the_rows_of_decimal_times_at_every_one_of_them():
    every, n = 2.4, 40
    rows = frame(ds=[round(every * k, 1) for k in range(n)], amount=[100.0] * n)
    times = rows["ds"].to_numpy()
    repeated = amounts(times, frame(ds=[0.0], amount=[100.0], every=[every], n_more=[n - 1]))
    assert (repeated == amounts(times, rows)).all()
    close(
        amounts([7.2], frame(ds=[0.0], amount=[100.0], every=[every], n_more=[9])),
        [sum(bolus(7.2, 100) * np.exp(2.4 * K * k) for k in range(3))],
    )
    days = pd.to_timedelta(times * 3_600_000, unit="ms")
    by_clock = solve(one, {"drug": 0.0}, days, time_unit="1h", events=pd.DataFrame(
        {"ds": days[:1], "amount": [100.0], "every": ["144min"], "n_more": [n - 1]}))  # fmt: skip
    close(by_clock["drug"], repeated)


@pytest.mark.parametrize("start", [0.1, 1000.3])
def test_infusions_in_steady_state_that_end_when_another_begins_are_those_of_written_rows(start):
    infusion = frame(ds=[start], amount=[6.0], duration=[0.6], every=[0.2], steady_state=[1])
    times = start + np.array([0.05, 0.3, 0.7])
    truth = sum(infused(times - start + 0.2 * n, 10.0, 0.6) for n in range(2000))
    close(amounts(times, infusion), truth, rtol=1e-8)


def test_the_steady_state_of_the_others_is_found_beside_a_compartment_that_has_none():
    def field(t, z):
        depot, drug, area, _, _ = z.unbind(-1)
        return torch.stack([-KA * depot, KA * depot - K * drug, drug, area, 0.3 * K * drug], dim=-1)

    names = ["depot", "drug", "area", "moment", "urine"]
    peak = 100 / (1 - np.exp(-KA * 12))
    drug = 100 * KA / (KA - K) * (1 / (1 - np.exp(-12 * K)) - 1 / (1 - np.exp(-12 * KA)))
    dose = frame(ds=[0.0], amount=[100.0], every=[12.0])
    for kind in (1, 2):
        found = solve(
            field, [0.0, 0.0, 5.0, 0.0, 2.0], [0.0], events=dose.assign(steady_state=kind), states=names, side="after"
        )
        close(found[["depot", "drug", "area", "urine"]].to_numpy()[0], [peak, drug, 5.0, 2.0], rtol=1e-8)
    rate = frame(ds=[0.0], kind=["rate"], rate=[5.0], target=["drug"], steady_state=[1])
    found = solve(field, [0.0] * 5, [0.0], events=rate, states=names, side="after")
    close(found["drug"], [5 / K])


def test_a_state_that_nothing_reads_at_zero_alone_is_not_left_out():
    def field(t, z):
        drug, effect = z.unbind(-1)
        return torch.stack([-K * drug, drug - effect**2], dim=-1)

    rate = frame(ds=[0.0], kind=["rate"], rate=[5.0], steady_state=[1])
    found = solve(field, {"drug": 0.0, "effect": 1.0}, [0.0], events=rate, side="after")
    close(found.iloc[0, 2:].to_numpy(dtype=float), [5 / K, np.sqrt(5 / K)])
    with pytest.raises(SolverError, match="no steady state was found"):
        solve(field, {"drug": 0.0, "effect": 0.0}, [0.0], events=rate)


def test_what_is_added_with_a_lag_arrives_later_repeats_and_steady_states_too():
    late = frame(ds=[0.5], amount=[10.0], lag=[1.0], every=[1.0], n_more=[1])
    close(amounts([1.5, 2.0, 3.0], late, t0=0.0)[1:], [bolus(0.5, 10.0), bolus(1.5, 10.0) + bolus(0.5, 10.0)])
    start = pd.Timestamp("2024-01-01")
    steady = frame(ds=[start], amount=[10.0], lag=["2h"], every=["12h"], steady_state=[1])
    found = solve(one, {"drug": 0.0}, [start, start + pd.Timedelta("5h")], events=steady, time_unit="1h", side="after")
    close(found["drug"], 10 / (1 - np.exp(-12 * K)) * np.exp([-10 * K, -3 * K]))
    expanded = EventTable(steady.assign(n_more=2))
    close(amounts_of(expanded.expand(), start), amounts_of(expanded, start))


def amounts_of(events, start):
    hours = [start + pd.Timedelta(hours=h) for h in (1, 15, 40)]
    return solve(one, {"drug": 0.0}, hours, events=events, time_unit="1h")["drug"]


def test_a_side_of_each_answer_is_checked():
    events = frame(ds=[0.0, 0.0], amount=[1.0, 2.0])
    found = solve(one, {"drug": 0.0}, [0.0] * 4, events=events, side=["before", 1, "after", 7])
    assert found["drug"].tolist() == [0.0, 1.0, 3.0, 3.0]
    for side, message in (
        ("left", "side='left' is not known"),
        ([1.5], "side=1.5 is not known"),
        ([1, 2], "2 entries"),
    ):
        with pytest.raises(ParameterError, match=message):
            solve(one, {"drug": 0.0}, [0.0], events=events, side=side)


@pytest.mark.slow
def test_the_area_under_a_saturable_elimination_does_not_hide_its_steady_state():
    def field(t, z):
        drug = z[:, 0]
        return torch.stack([-20.0 * drug / (30.0 + drug), drug], dim=-1)

    dose = frame(ds=[0.0], amount=[30.0], every=[4.0])
    steady = solve(
        field, [0.0, 0.0], [0.0, 4.0], events=dose.assign(steady_state=1), states=["drug", "area"], side="after"
    )
    many = solve(field, [0.0, 0.0], [84.0], events=dose.assign(n_more=20), states=["drug", "area"])
    close(steady["drug"][1], many["drug"], rtol=1e-8)
    assert steady["area"][0] == 0.0
    assert steady["area"][1] > 0.0


def test_one_time_without_a_start_is_refused_and_two_are_counted_from_the_first():
    with pytest.raises(ParameterError, match=r"One time is asked for \(40\.0\), .* t0=0\.0"):
        solve(lambda t, z: -z, {"a": 1.0}, [40.0])
    with pytest.raises(ParameterError, match="One time is asked for"):
        solve(lambda t, z: -z, 1.0, pd.to_datetime(["2024-01-02"]), time_unit="1h")
    with pytest.raises(ParameterError, match="One time is asked for"):
        solve(lambda t, z: -z, 1.0, {"a": [1.0], "b": [3.0]})
    found = solve(lambda t, z: -z, {"a": 1.0}, [40.0], t0=0.0)["a"].item()
    assert found == pytest.approx(np.exp(-40.0), rel=1e-3)
    assert solve(lambda t, z: -z, {"a": 1.0}, [40.0, 41.0])["a"].tolist() == pytest.approx([1.0, np.exp(-1.0)])
    assert solve(lambda t, z: -z, {"a": 1.0}, [0.0])["a"].tolist() == [1.0]
