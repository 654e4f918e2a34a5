"""Infusions as inputs whose rates are held: columns, scales, what cancels, and what a reset ends."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsode.frames.events import read_events
from tsode.frames.inputs import EventEncoder


def rows(**columns) -> pd.DataFrame:
    return read_events(pd.DataFrame(columns), None)


def encoded(events: pd.DataFrame, spans=(10.0, 5.0)) -> tuple[list, list]:
    """Times and inputs of the one series."""
    (found,) = EventEncoder.fit(events, spans=spans).encode(events).values()
    return found.times.tolist(), found.values.tolist()


def test_without_durations_columns_and_numbers_are_those_of_rates_that_are_not_held():
    events = rows(ds=[0.0, 1.0, 2.0, 3.0], amount=[2.0, 4.0, np.nan, 1.0], kind=["add", "add", "mark", "set"])
    held, felt = EventEncoder.fit(events, spans=(10.0, 5.0)), EventEncoder.fit(events)
    assert (held.columns, held.scale, held.n_rates) == (felt.columns, felt.scale, 0)
    np.testing.assert_array_equal(held.encode(events)[0].values, felt.encode(events)[0].values)


def test_rates_come_last_and_what_flows_in_over_an_infusion_or_the_horizon_is_one_in_the_mean():
    events = rows(ds=[0.0, 1.0, 5.0], amount=[4.0, 6.0, 3.0], duration=[2.0, np.nan, 40.0])
    encoder = EventEncoder.fit(events, spans=(10.0, 5.0))
    assert [part for *_, part in encoder.columns] == ["amount", "given", "rate"]
    values = encoder.encode(events)[0].values
    rate = values[values[:, 2] > 0, 2]
    inflow = rate * np.minimum([2.0, 40.0], 10.0) / 5.0  # in model time, whose unit is 5
    np.testing.assert_allclose(inflow.mean(), 1.0)
    np.testing.assert_allclose(rate[1] / rate[0], (3.0 / 40.0) / (4.0 / 2.0))


def test_datetimes_and_numbers_give_the_same_inputs():
    numbers = rows(ds=[0.0, 1.0], amount=[4.0, 6.0], duration=[2.0, np.nan])
    start = pd.Timestamp("2024-01-01")
    hours = read_events(
        pd.DataFrame({"ds": [start, start + pd.Timedelta("1h")], "amount": [4.0, 6.0], "duration": ["2h", None]}), None
    )
    spans = np.timedelta64(10, "h"), np.timedelta64(5, "h")
    by_clock, by_number = (
        EventEncoder.fit(events, spans=how).encode(events)[0]
        for events, how in ((hours, spans), (numbers, (10.0, 5.0)))
    )
    np.testing.assert_allclose(by_clock.values, by_number.values, rtol=1e-12)


def test_two_halves_of_an_infusion_are_the_same_inputs_as_one():
    one = rows(ds=[0.1], amount=[3.0], duration=[0.9])
    encoder = EventEncoder.fit(one, spans=(10.0, 5.0))
    halves = rows(ds=[0.1, 0.4], amount=[1.0, 2.0], duration=[0.3, 0.6])
    whole, parts = encoder.encode(one)[0], encoder.encode(halves)[0]
    np.testing.assert_array_equal(whole.times, parts.times)
    np.testing.assert_allclose(whole.values, parts.values, rtol=1e-12)


def test_overlapping_infusions_add_and_leave_exactly_nothing():
    events = rows(ds=[0.0, 1.0, 1.0], rate=[0.1, 0.2, 0.7], duration=[3.0, 2.0, 0.5], kind="rate")
    times, inputs = encoded(events)
    assert times == [0.0, 1.0, 1.5, 3.0]
    level = np.cumsum(inputs, axis=0)[:, 0]
    np.testing.assert_allclose(level[:3] / level[0], [1.0, 10.0, 3.0], rtol=1e-12)
    assert abs(level[3]) < 1e-15


def test_a_dose_at_the_time_a_rate_changes_is_an_input_of_its_own():
    times, inputs = encoded(rows(ds=[0.0, 2.0], amount=[4.0, 6.0], duration=[2.0, np.nan]))
    assert times == [0.0, 2.0, 2.0]
    assert [sum(np.array(row[:2]) != 0) for row in inputs] == [0, 2, 0]
    assert [row[2] != 0 for row in inputs] == [True, False, True]


def test_a_reset_ends_what_runs_and_one_that_adds_lets_its_own_infusion_run():
    events = rows(
        ds=[0.0, 0.0, 3.0, 5.0, 6.0], kind=["add", "rate", "reset", "reset_add", "add"],
        rate=[np.nan, 2.0, np.nan, np.nan, np.nan],
        amount=[8.0, np.nan, np.nan, 4.0, 2.0], duration=[8.0, np.nan, np.nan, 4.0, 1.0],
    )  # fmt: skip
    encoder = EventEncoder.fit(events, spans=(10.0, 5.0))
    found = encoder.encode(events)[0]
    level = np.cumsum(found.values[:, -encoder.n_rates :], axis=0)
    running = {time: (row != 0).tolist() for time, row in zip(found.times.tolist(), np.round(level, 12))}
    names = [kind for kind, _, part in encoder.columns if part == "rate"]
    by_name = {time: dict(zip(names, on)) for time, on in running.items()}
    assert by_name[0.0] == {"add": True, "rate": True, "reset_add": False}
    assert by_name[3.0] == dict.fromkeys(names, False), "8 h had been wanted, and no end."
    assert by_name[5.0] == {"add": False, "rate": False, "reset_add": True}
    assert by_name[6.0] == {"add": True, "rate": False, "reset_add": True}
    assert by_name[9.0] == dict.fromkeys(names, False)
    assert ("reset_add", None, "given") in encoder.columns, "that it empties the states is told as well."


def test_an_encoder_comes_back_from_its_dict_and_an_old_one_feels_rates_as_they_change():
    events = rows(ds=[0.0, 1.0], amount=[4.0, 6.0], duration=[2.0, np.nan])
    held, felt = EventEncoder.fit(events, spans=(10.0, 5.0)), EventEncoder.fit(events)
    assert EventEncoder.from_dict(held.to_dict()) == held
    assert "holds_rates" not in felt.to_dict()
    assert EventEncoder.from_dict(felt.to_dict()) == felt
    assert felt.n_rates == 0
