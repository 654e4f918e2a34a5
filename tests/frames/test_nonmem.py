"""Event tables in NONMEM's columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import solve
from tsode.errors import DataError
from tsode.frames import EventTable, events_from_nonmem, observations_from_nonmem, to_nonmem
from tsode.frames.events import read_events

STATES = ["depot", "drug"]


def records(**columns):
    return pd.DataFrame({"ID": 1, "TIME": [0.0]} | columns)


def amounts(events, times, side="after"):
    return solve(lambda t, z: -0.1 * z, {"drug": 0.0}, times, events=events, side=side)["drug"].to_numpy()


TABLE = pd.DataFrame(
    {
        "ID": [1, 1, 1, 1, 2, 2, 2, 2],
        "TIME": [0.0, 6.0, 24.0, 30.0, 0.0, 2.0, 4.0, 8.0],
        "EVID": [1, 2, 4, 1, 1, 3, 5, 6],
        "AMT": [100.0, 0.0, 50.0, 80.0, 60.0, 0.0, 7.0, 0.5],
        "CMT": [1, 1, 2, 2, 2, 1, 1, 2],
        "RATE": [0.0, 0.0, 25.0, 40.0, 0.0, 0.0, 0.0, 0.0],
        "II": [8.0, 0.0, 0.0, 12.0, 12.0, 0.0, 0.0, 0.0],
        "ADDL": [2, 0, 0, 3, 0, 0, 0, 0],
        "SS": [0, 0, 0, 1, 2, 0, 0, 0],
    }
)


def test_records_become_events_of_their_kinds():
    frame = events_from_nonmem(TABLE, states=STATES).frame
    assert frame["kind"].tolist() == ["add", "mark", "reset_add", "add", "add", "reset", "set", "multiply"]
    assert frame["target"].tolist() == ["depot", None, "drug", "drug", "drug", None, "depot", "drug"]
    assert frame["n_more"].tolist() == [2, 0, 0, 3, 0, 0, 0, 0]
    assert events_from_nonmem(TABLE).frame["target"].tolist() == [0, None, 1, 1, 1, None, 0, 1]


def test_a_table_comes_back_as_it_was():
    pd.testing.assert_frame_equal(to_nonmem(events_from_nonmem(TABLE, states=STATES), states=STATES), TABLE)
    pd.testing.assert_frame_equal(to_nonmem(events_from_nonmem(TABLE)), TABLE)


def test_events_come_back_as_they_were():
    events = pd.DataFrame(
        {
            "unique_id": ["b", "a", "a", "a", "a"],
            "ds": [3.0, 12.0, 0.0, 30.0, 40.0],
            "kind": ["add", "multiply", "add", "rate", "rate"],
            "target": ["drug", "depot", "depot", "drug", "drug"],
            "amount": [8.0, 2.0, 10.0, np.nan, np.nan],
            "duration": [4.0, np.nan, np.nan, 2.0, 0.0],
            "rate": [np.nan, np.nan, np.nan, 4.0, 3.0],
            "every": [2.0, np.nan, 12.0, np.nan, np.nan],
            "n_more": [2, 0, 1, 0, 0],
            "steady_state": [1, 0, 0, 0, 1],
        }
    )
    written = to_nonmem(events, states=STATES)
    back = read_events(events_from_nonmem(written, states=STATES), None)
    wanted = read_events(events, None)
    wanted["kind"] = wanted["kind"].where(wanted["duration"] != 2.0, "add")  # NONMEM has one word for both
    columns = ["id", "time", "kind", "target", "amount", "rate", "duration", "steady_state"]
    pd.testing.assert_frame_equal(back[columns], wanted[columns])
    # At 12 the depot is multiplied before the repeat is added, as NONMEM does.
    assert written.query("ID == 'a'")["ADDL"].tolist() == [1, 0, 0, 0]
    turned = events.assign(priority=[0, 1, 0, 0, 0])
    assert to_nonmem(turned, states=STATES).query("ID == 'a' and TIME == 12")["EVID"].tolist() == [1, 6]


def test_without_evid_a_row_with_an_amount_is_a_dose():
    table = pd.DataFrame(
        {"ID": [1, 1, 1], "TIME": [0, 1, 2], "AMT": [100, ".", "."], "DV": [".", 5.5, "."], "MDV": [1, 0, 1]}
    )
    events = events_from_nonmem(table)
    assert len(events.frame) == 1
    assert events.frame["amount"].tolist() == [100.0]
    assert observations_from_nonmem(table).to_dict("list") == {"unique_id": [1], "ds": [1.0], "DV": [5.5]}


def test_an_observation_without_a_value_is_one_not_seen():
    table = pd.DataFrame({"ID": [1, 1], "TIME": [0, 1], "EVID": [0, 0], "DV": [".", 2.0]})
    assert observations_from_nonmem(table)["DV"].isna().tolist() == [True, False]
    assert len(events_from_nonmem(table).expand()) == 0


def test_a_reset_and_a_steady_state_cancel_additional_doses_of_earlier_records():
    for later in ({"EVID": 3, "AMT": 0.0, "SS": 0}, {"EVID": 4, "AMT": 9.0, "SS": 0}, {"EVID": 1, "AMT": 9.0, "SS": 1}):
        table = pd.DataFrame({"ID": 1, "TIME": [0.0, 20.0], "EVID": [1, later["EVID"]], "AMT": [10.0, later["AMT"]],
                              "II": [10.0, 10.0], "ADDL": [5, 0], "SS": [0, later["SS"]]})  # fmt: skip
        assert events_from_nonmem(table).frame["n_more"].tolist() == [1, 0]
    events = pd.DataFrame(
        {"ds": [0.0, 15.0], "kind": ["add", "reset"], "amount": [10.0, np.nan], "every": 10.0, "n_more": [2, 0]}
    )
    written = to_nonmem(events)
    assert written["TIME"].tolist() == [0.0, 10.0, 15.0, 20.0]  # here repeats are rows: the last one stays
    assert written["ADDL"].tolist() == [0, 0, 0, 0]


def test_a_constant_infusion_in_steady_state_ends_at_its_record():
    events = events_from_nonmem(records(EVID=1, AMT=0.0, RATE=5.0, SS=1))
    np.testing.assert_allclose(amounts(events, [0.0, 10.0]), [50.0, 50.0 * np.exp(-1)], rtol=1e-9)


def test_a_reset_with_a_dose_in_steady_state_is_that_dose_alone():
    table = pd.DataFrame({"ID": 0, "TIME": [0.0, 5.0], "EVID": [1, 4], "AMT": [30.0, 100.0]})
    events = events_from_nonmem(table.assign(II=12, SS=[0, 1]))
    np.testing.assert_allclose(amounts(events, [5.0]), [100 / (1 - np.exp(-1.2))], rtol=1e-9)


def test_a_table_of_records_gives_the_closed_form():
    table = pd.DataFrame(
        {
            "ID": [7, 7, 7, 7],
            "TIME": [0.0, 6.0, 12.0, 30.0],
            "EVID": [1, 0, 1, 0],
            "AMT": [100.0, ".", 40.0, "."],
            "RATE": [".", ".", 10.0, "."],
            "II": [12.0, ".", ".", "."],
            "ADDL": [1, ".", ".", "."],
        }
    )
    found = solve(lambda t, z: -0.1 * z, {"drug": 0.0}, table[table["EVID"] == 0], events=events_from_nonmem(table),
                  id_col="ID", time_col="TIME")  # fmt: skip
    infusion = 10 / 0.1 * (1 - np.exp(-0.4)) * np.exp(-0.1 * 14)
    truth = [100 * np.exp(-0.6), 100 * (np.exp(-3) + np.exp(-1.8)) + infusion]
    np.testing.assert_allclose(found["drug"], truth, rtol=1e-9)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"EVID": 1, "AMT": 1, "RATE": -1},
            r"RATE=-1 of ID 1 at TIME 0 \(row 0\) means that the model estimates the rate",
        ),
        ({"EVID": 1, "AMT": 1, "RATE": -2}, "the model estimates the duration"),
        ({"EVID": 1, "AMT": 1, "RATE": -3}, r"RATE=-3 of ID 1 at TIME 0 \(row 0\) must not be negative"),
        ({"EVID": 1, "RATE": 3}, r"An infusion of AMT=0 of ID 1 at TIME 0 \(row 0\) must be one in steady state"),
        ({"EVID": 1, "AMT": 3, "ADDL": 2}, r"ADDL=2 of ID 1 at TIME 0 \(row 0\) needs an interval II"),
        ({"EVID": 1, "AMT": 3, "ADDL": -2, "II": 3}, r"ADDL=-2 of ID 1 at TIME 0 \(row 0\) must not be negative"),
        ({"EVID": 1, "AMT": 3, "SS": 5, "II": 3}, r"SS=5 of ID 1 at TIME 0 \(row 0\) must be 0, 1, 2 or 3"),
        ({"EVID": 9}, "EVID=9 is not known"),
        ({"EVID": 1, "AMT": "."}, r"The dose \(EVID=1\) of ID 1 at TIME 0 \(row 0\) has no AMT: fill it in"),
        ({"EVID": 4}, r"The dose \(EVID=4\) of ID 1 at TIME 0 \(row 0\) has no AMT"),
        ({"EVID": 5}, r"EVID=5 of ID 1 at TIME 0 \(row 0\) needs an AMT"),
        ({"EVID": 1, "AMT": 3, "ADDL": 2.7, "II": 3}, r"ADDL=2.7 of ID 1 at TIME 0 \(row 0\) must be a whole number"),
        ({"EVID": 1, "AMT": 3, "SS": 1}, r"SS=1 of ID 1 at TIME 0 \(row 0\) needs an interval II"),
        (
            {"EVID": 1, "AMT": 0, "RATE": 3, "SS": 1, "ADDL": 3},
            r"ADDL=3 of ID 1 at TIME 0 \(row 0\) must be 0 for an infusion",
        ),
        (
            {"EVID": 1, "AMT": 3, "II": 12},
            r"II=12 of ID 1 at TIME 0 \(row 0\) says no number of doses: give ADDL or SS",
        ),
        (
            {"EVID": 0, "AMT": 3},
            r"EVID=0 of ID 1 at TIME 0 \(row 0\) is no dose, but AMT=3: empty the cell, or set EVID=1",
        ),
        ({"EVID": 2, "RATE": 3}, r"EVID=2 of ID 1 at TIME 0 \(row 0\) is no dose, but RATE=3"),
        ({"EVID": 3, "AMT": 3}, "AMT=3: empty the cell, or set EVID=4"),
        ({"EVID": 1, "AMT": 3, "ALAG": -1}, r"ALAG=-1 of ID 1 at TIME 0 \(row 0\) must not be negative"),
        ({"EVID": 1, "AMT": 3, "F1": -1}, r"F=-1 of ID 1 at TIME 0 \(row 0\) must not be negative"),
        ({"EVID": 1, "AMT": 3, "addl": 2}, "The column 'addl' would not be read: NONMEM's names are in capitals"),
        ({"AMT": 0, "RATE": 3}, "Where rows say the rate of each interval, AMT is that rate times the length"),
        (
            {"EVID": 2, "CMT": -1},
            r"CMT=-1 of ID 1 at TIME 0 \(row 0\): compartments are counted from 1, and cannot be switched off",
        ),
        ({"EVID": 1, "AMT": 3, "CMT": "gut"}, "CMT='gut' is no state: pass states="),
        ({"EVID": 1, "AMT": "much"}, "The column AMT must hold numbers"),
        ({"EVID": 1, "AMT": 3, "TIME": ["."]}, "There is no TIME at row 0"),
    ],
)
def test_records_that_cannot_be_read_are_named(columns, message):
    with pytest.raises(DataError, match=message):
        events_from_nonmem(records(**columns))


def test_what_cannot_be_written_is_named():
    with pytest.raises(DataError, match="CMT=3, but states= names 2 compartments"):
        events_from_nonmem(records(EVID=1, AMT=1, CMT=3), states=STATES)
    with pytest.raises(DataError, match=r"no column 'ID'. Did you mean 'id'\? NONMEM's names are in capitals"):
        events_from_nonmem(pd.DataFrame({"id": [1], "time": [0.0]}))
    with pytest.raises(DataError, match="TIME goes back to 1 in ID 1 at row 1: sort the table; only a reset"):
        events_from_nonmem(records(TIME=[2.0, 1.0], EVID=1, AMT=1))
    with pytest.raises(DataError, match="no column 'DV' to observe"):
        observations_from_nonmem(records(EVID=0))
    dose = pd.DataFrame({"ds": [0.0], "target": ["drug"], "amount": [1.0]})
    with pytest.raises(DataError, match="The target 'drug' is no compartment: pass states="):
        to_nonmem(dose)
    with pytest.raises(DataError, match="turn the times of the events into numbers first"):
        to_nonmem(dose.assign(ds=pd.Timestamp("2024-01-01")), states=STATES)
    with pytest.raises(DataError, match="has an input without end, or a negative one"):
        to_nonmem(pd.DataFrame({"ds": [0.0], "kind": ["rate"], "rate": [3.0]}))


def test_an_event_table_keeps_its_own_names_of_columns():
    events = EventTable(pd.DataFrame({"who": ["x"], "when": [2], "amount": [5.0]}), "who", "when")
    written = to_nonmem(events)
    assert written[["ID", "TIME", "EVID", "AMT", "CMT"]].to_dict("list") == {
        "ID": ["x"],
        "TIME": [2],
        "EVID": [1],
        "AMT": [5.0],
        "CMT": [1],
    }
