"""Data files of NONMEM's convention, against the bundled data, closed forms, and records worked through by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import tsode
from tests.frames.test_nonmem_rules import draw_table, is_cut, oral, rule
from tsode import KnownODEForecaster, read_nonmem, solve
from tsode.datasets import load_theophylline, load_theophylline_doses, load_theophylline_static
from tsode.errors import DataError, ParameterError, TsodeWarning
from tsode.frames.events import read_events
from tsode.inference import AdditiveNoise, LogNormal
from tsode.numerics import Dopri5
from tsode.systems import one_compartment_oral

K = 0.1


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_text(text)
    return path


def decay(t, z):
    return -K * z


def counts(found, of="rows"):
    tally = found.tally[found.tally["of"] == of]
    return dict(zip(tally["name"], tally["count"]))


def uses(found):
    tally = found.tally[found.tally["of"] == "columns"]
    return dict(zip(tally["name"], tally["use"]))


# -- the bundled data --------------------------------------------------------------------------------------------------


def theophylline_lines():
    doses = load_theophylline_doses().set_index("unique_id")["dose_mg"]
    weights = load_theophylline_static().set_index("unique_id")["weight_kg"]
    for key, levels in load_theophylline().groupby("unique_id"):
        yield f"{key},0,{float(doses[key])!r},1,1,.,{float(weights[key])!r}"
        for time, value in zip(levels["ds"], levels["theophylline_mg_l"]):
            yield f"{key},{time!r},.,2,0,{value!r},{float(weights[key])!r}"


def test_theophylline_as_a_file_gives_the_bundled_frames_and_the_same_log_density(tmp_path):
    path = write(tmp_path, "\n".join(["ID,TIME,AMT,CMT,EVID,CONC,WT", *theophylline_lines()]))
    found = read_nonmem(path, states=["depot", "central"], channels="concentration", columns={"CONC": "DV"})
    levels = load_theophylline().rename(columns={"theophylline_mg_l": "concentration"})
    doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"}).assign(target="depot")
    pd.testing.assert_frame_equal(found.rows, levels)
    pd.testing.assert_frame_equal(found.events, doses[["unique_id", "ds", "target", "amount"]], check_dtype=False)
    pd.testing.assert_frame_equal(found.static, load_theophylline_static().rename(columns={"weight_kg": "WT"}))
    assert found.known is None
    assert (found.below, found.above) == ({}, {})
    model = KnownODEForecaster(system=one_compartment_oral(absorption=1.5, clearance=3, volume=30, level=5))
    point = {"absorption": 1.4, "clearance": 2.8, "volume": 32.0, "sd": 0.5, "cv": 0.1}
    ours, theirs = (
        model.evaluate(point, X, events=events) for X, events in ((found.rows, found.events), (levels, doses))
    )
    assert ours["log_density"].item() == theirs["log_density"].item()
    assert counts(found) == {"dose": 12, "observation": 132, "left out: is the header": 1}
    assert counts(found, "amounts")["given"] == pytest.approx(doses["amount"].sum(), rel=1e-12)


def test_without_compartments_observations_behind_a_dose_move_by_less_than_any_solve_can_tell(tmp_path):
    lines = [",".join(line.split(",")[:3] + line.split(",")[4:6]) for line in theophylline_lines()]
    found = read_nonmem(write(tmp_path, "\n".join(["ID,TIME,AMT,EVID,DV", *lines])), channels="concentration")
    levels = load_theophylline().rename(columns={"theophylline_mg_l": "concentration"})
    moved = found.rows["ds"] - levels["ds"]
    assert (moved[levels["ds"] > 0] == 0).all()
    assert moved[levels["ds"] == 0].between(1e-11, 1e-10).all()
    model = KnownODEForecaster(system=one_compartment_oral(absorption=1.5, clearance=3, volume=30, level=5))
    point = {"absorption": 1.4, "clearance": 2.8, "volume": 32.0, "sd": 0.5, "cv": 0.1}
    doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"})
    ours, theirs = (model.evaluate(point, X, events=doses)["log_density"].item() for X in (found.rows, levels))
    assert ours == pytest.approx(theirs, rel=1e-9)


# -- doses -------------------------------------------------------------------------------------------------------------


def test_a_steady_state_infusion_gives_the_closed_form(tmp_path):
    path = write(
        tmp_path, "ID TIME EVID AMT RATE DUR II SS DV\n7 0 1 100 . 4 12 1 .\n7 0 0 . . . . . 5\n7 4 0 . . . . . 6\n"
    )
    found = read_nonmem(path, states=["drug"])
    rate, trough = 25.0, (1 - np.exp(-K * 4)) * np.exp(-K * 8) / (1 - np.exp(-K * 12))
    truth = rate / K * np.array([trough, trough * np.exp(-K * 4) + 1 - np.exp(-K * 4)])
    states = solve(decay, {"drug": 0.0}, found.rows, events=found.events)
    np.testing.assert_allclose(states["drug"], truth, rtol=1e-8)  # the first stands behind the dose, as in the file
    assert counts(found)["steady-state infusion"] == 1
    before = read_nonmem(path, states=["drug"], at_event="before")
    assert before.rows["ds"].tolist() == [0.0, 4.0]
    assert solve(decay, {"drug": 0.0}, before.rows, events=before.events)["drug"].iloc[0] == 0.0


def test_additional_doses_are_given_at_their_times(tmp_path):
    path = write(tmp_path, "ID,TIME,AMT,ADDL,II,DV\n1,0,100,3,12,\n1,40,,,,2.5\n")
    found = read_nonmem(path, states=["drug"])
    assert read_events(found.events, None)["time"].tolist() == [0.0, 12.0, 24.0, 36.0]
    assert counts(found, "amounts") == {"in the table": 400.0, "given": 400.0}
    state = solve(decay, {"drug": 0.0}, found.rows, events=found.events)["drug"].item()
    assert state == pytest.approx(100 * np.exp(-K * (40 - 12 * np.arange(4))).sum(), rel=1e-8)


def test_resets_empty_the_states_and_start_the_clock_again(tmp_path):
    rows = ["1,0,1,100,.", "1,5,0,.,1", "1,0,4,50,.", "1,5,0,.,2", "1,9,3,0,.", "1,9,0,.,3"]
    found = read_nonmem(write(tmp_path, "\n".join(["ID,TIME,EVID,AMT,DV", *rows])), states=["drug"])
    state = solve(decay, {"drug": 0.0}, found.rows, events=found.events)["drug"]
    np.testing.assert_allclose(state, [100 * np.exp(-0.5), 50 * np.exp(-0.5), 0.0], atol=1e-8)
    assert found.rows["DV"].tolist() == [1.0, 2.0, 3.0]
    assert counts(found) == {
        "dose": 1, "observation": 3, "reset and dose": 1, "reset": 1, "left out: is the header": 1
    }  # fmt: skip


def test_the_order_of_records_of_one_time_is_kept():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 0, 0, 0, 0, 9], "EVID": [0, 1, 0, 1, 0, 0], "AMT": [0, 100, 0, 40, 0, 0],
                          "DV": 1.0})  # fmt: skip
    found = read_nonmem(table, states=["drug"])
    state = solve(decay, {"drug": 0.0}, found.rows, events=found.events, t0=0.0)["drug"]
    np.testing.assert_allclose(state, [0.0, 100.0, 140.0, 140 * np.exp(-0.9)], rtol=1e-8)
    assert "3 observations stand behind" not in str(found.tally["use"].tolist())
    assert "2 observations stand behind" in str(found.tally["use"].tolist())


def test_what_runs_in_from_a_time_is_not_seen_at_that_time_and_moves_nothing():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 0, 4], "AMT": [8, ".", "."], "RATE": [2, ".", "."], "DV": [".", 0, 1]})
    assert read_nonmem(table).rows["ds"].tolist() == [0.0, 4.0]


def test_an_observation_before_a_repeated_dose_of_its_time_is_named():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 12, 12], "EVID": [1, 1, 0], "AMT": [100, 10, 0], "II": [12, 0, 0],
                          "ADDL": [1, 0, 0], "DV": 1.0})  # fmt: skip
    with pytest.raises(
        DataError, match=r"row 2 \(ID 1\) stands behind a dose or a reset of its time, and before a dose"
    ):
        read_nonmem(table)
    assert read_nonmem(table, at_event="before").rows["ds"].tolist() == [12.0]


def test_rates_and_durations_of_the_model_are_left_to_it_with_a_warning():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 3], "AMT": [100, 0], "RATE": [-2, 0], "DV": [".", 1]})
    with pytest.warns(TsodeWarning, match=r"1 doses have a RATE of -2, the first in row 0 \(ID 1\). Their duration is"):
        found = read_nonmem(table)
    assert found.events.columns.tolist() == ["unique_id", "ds", "amount"]


def test_compartments_are_named_by_their_numbers():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 1, 2], "AMT": [1, 2, 0], "CMT": [2, 3, 3], "DV": [".", ".", 1]})
    assert read_nonmem(table, states={2: "central", 3: "fat"}).events["target"].tolist() == ["central", "fat"]
    assert read_nonmem(table).events["target"].tolist() == [1, 2]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["dose", "infusion", "duration", "steady", "observation", "other"]),
            st.floats(0.001, 1e6), st.integers(0, 40), st.integers(0, 5),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_the_amount_that_is_given_is_that_of_the_table(records):
    rows, total = [], 0.0
    for kind, amount, more, gap in records:
        time = (rows[-1]["TIME"] if rows else -20.0) + gap + 0.5  # each later than the one before
        row = {"ID": "x", "TIME": time, "EVID": 0, "AMT": 0.0, "RATE": 0.0, "DUR": 0.0, "II": 0.0, "ADDL": 0, "SS": 0}
        if kind == "other":
            row["EVID"] = 2
        elif kind != "observation":
            # a steady state would cancel what is still to come
            more = 0 if any(one[0] == "steady" for one in records) else more
            row |= {"EVID": 1, "AMT": amount, "ADDL": more, "II": 7.0 if more else 0.0}
            row |= {"infusion": {"RATE": amount / 3}, "duration": {"DUR": 2.5}, "steady": {"SS": 1, "II": 7.0}}.get(
                kind, {}
            )
            total += amount * (more + 1)
        rows.append(row)
    rows.append({**rows[-1], "TIME": rows[-1]["TIME"] + 1, "EVID": 0, "AMT": 0.0, "RATE": 0.0, "DUR": 0.0, "II": 0.0,
                 "ADDL": 0, "SS": 0})  # fmt: skip
    found = read_nonmem(pd.DataFrame(rows).assign(DV=1.0))
    assert sum(counts(found).values()) == len(rows)
    given_amount = 0.0
    if found.events is not None:
        each = read_events(found.events, None)
        given_amount = each["amount"][each["kind"] == "add"].sum()
    assert given_amount == pytest.approx(total, rel=1e-12)
    assert counts(found, "amounts")["given"] == given_amount
    assert counts(found, "amounts")["in the table"] == pytest.approx(total, rel=1e-12)


def test_generated_tables_with_many_records_of_one_time_are_read_by_the_rules():
    rng, tables = np.random.default_rng(5), {}
    while len(tables) < 60:
        table = draw_table(rng, len(tables)).assign(DV=1.0)
        table["TIME"] = table["TIME"] // 8 * 8.0
        table["CMT"] = table["CMT"].where(table["EVID"].isin([1, 4]), 0)  # observations look at all states here
        if not is_cut(table):
            tables[len(tables)] = table
    found = read_nonmem(pd.concat(tables.values(), ignore_index=True))
    seen = found.rows[found.rows["DV"].notna()]
    states = solve(oral, np.zeros(2), seen, events=found.events, t0=0.0)[["state_0", "state_1"]]
    truth = np.stack([rule(table, row) for table in tables.values() for row in np.flatnonzero(table["EVID"] == 0)])
    assert (seen["ds"] != seen["ds"].round(6)).sum() > 10  # that were moved
    np.testing.assert_allclose(states, truth, rtol=1e-8, atol=1e-8)


# -- files -------------------------------------------------------------------------------------------------------------

ROWS = "1,0,100,.\n1,2,.,8.5\n"


@pytest.mark.parametrize(
    ("text", "options", "left_out"),
    [
        ("ID,TIME,AMT,DV\n" + ROWS, {}, {"is the header": 1}),
        ("# made by hand\n#ID,TIME,AMT,DV\n" + ROWS, {}, {"begins with #": 1, "is the header": 1}),
        ("TABLE NO. 1\n@ID,TIME,AMT,DV\n\n" + ROWS, {},
         {"begins with a letter, @ or #": 1, "is the header": 1, "is blank": 1}),
        ("C,ID,TIME,AMT,DV\nC,1,0,5,.\n.,1,0,100,.\n.,1,2,.,8.5\n", {},
         {"is the header": 1, "begins with a letter, @ or #": 1}),
        ("ID,TIME,AMT,DV\nC 1,0,5,.\n" + ROWS, {"ignore": "C"}, {"is the header": 1, "begins with C": 1}),
        (ROWS + "FIN\n9,9,9,9\n", {"columns": ["ID", "TIME", "AMT", "DV"]}, {"comes after FIN": 2}),
        ("ID,TIME,AMT,DV\n1,0,100,\n1,2,,8.5\n", {}, {"is the header": 1}),
        ("id\ttime\tamt\tdv\n1\t0\t100\t.\n1\t2\t.\t8.5\n", {}, {"is the header": 1}),
        ("ID TIME  AMT DV\n  1 0 1D2 .\n  1 2 . +85-1\n", {}, {"is the header": 1}),
        ("ID,TIME,AMT,DV,X\n1,0,100,-99,a\n1,2,NA,8.5,b\n", {"missing": [-99, "NA"], "columns": {"X": "DROP"}},
         {"is the header": 1}),
        ('"ID","TIME","AMT","DV"\n1, 0, 100, .\n1, 2, ., 8.5,,\n', {}, {"is the header": 1}),
    ],
)  # fmt: skip
def test_files_are_read_however_they_are_written(tmp_path, text, options, left_out):
    found = read_nonmem(write(tmp_path, text), **options)
    assert found.rows.to_dict("list") == {"unique_id": [1], "ds": [2.0], "DV": [8.5]}
    assert found.events.to_dict("list") == {"unique_id": [1], "ds": [0.0], "amount": [100.0]}
    assert counts(found) == {"dose": 1, "observation": 1} | {f"left out: {why}": n for why, n in left_out.items()}
    assert sum(counts(found).values()) == len(text.splitlines())


def test_small_letters_are_read_as_capitals_but_for_those_that_may_mean_something_else():
    found = read_nonmem(pd.DataFrame({"id": [1, 1], "time": [0, 1], "amt": [9.0, 0], "dv": [0, 1.0], "f": 0, "c": 2}))
    assert found.events["amount"].tolist() == [9.0]
    assert found.static.to_dict("list") == {"unique_id": [1], "f": [0.0], "c": [2.0]}
    assert uses(found)["AMT"] == "amount of doses (given as 'amt')"
    half = read_nonmem(pd.DataFrame({"ID": [1, 1], "TIME": [0, 1], "AMT": [9.0, 0], "DV": [0, 1.0], "F1": 0.5}))
    assert half.events["amount"].tolist() == [4.5]


def test_every_column_has_a_use(tmp_path):
    text = "ID,TIME,AMT,DV,WT,CRCL,EMPTY,CALL,NOTE\n1,0,9,.,70,90,.,.,a\n1,2,.,8.5,70,80,.,.,b\n"
    found = read_nonmem(write(tmp_path, text), columns={"NOTE": "DROP"})
    assert uses(found) == {
        "ID": "series", "TIME": "time, as they stand", "AMT": "amount of doses", "DV": "values",
        "WT": "static: constant in every ID", "CRCL": "known: changes along time, by the rule 'next'",
        "EMPTY": "not used: empty", "CALL": "not used", "NOTE": "not used: dropped",
    }  # fmt: skip
    assert repr(found).splitlines()[2].split()[:3] == ["rows", "dose", "1.0"]
    few = read_nonmem(write(tmp_path, text), columns={"NOTE": "DROP"}, covariates=["WT"])
    assert uses(few)["CRCL"] == "not used: no covariate"
    assert few.known is None


def test_frames_of_other_libraries_and_dtypes_are_read_as_those_of_pandas(tmp_path):
    polars = pytest.importorskip("polars")
    table = {"ID": [1, 1], "TIME": [0.0, 1.0], "EVID": [1, 0], "AMT": [9.0, None], "DV": [None, 3.0], "SEX": ["f", "f"]}
    plain = read_nonmem(pd.DataFrame(table))
    for other in (polars.DataFrame(table), pd.DataFrame(table).convert_dtypes()):
        found = read_nonmem(other)
        for name in ("rows", "events", "static", "tally"):
            pd.testing.assert_frame_equal(getattr(found, name), getattr(plain, name), check_dtype=False)
    new = read_nonmem(pd.DataFrame(table).drop(columns="DV"), channels="level")  # a patient of whom nothing was seen
    assert new.rows["level"].isna().tolist() == [True]


def test_ids_stay_as_they_are_written(tmp_path):
    path = write(tmp_path, "TIME,ID,DV\n0,007,1\n1,007,2\n0,008,3\n")
    assert read_nonmem(path).rows["unique_id"].tolist() == ["007", "007", "008"]
    path = write(tmp_path, "TIME,ID,DV\n0,-7,1\n0,8,3\n")
    assert read_nonmem(path).rows["unique_id"].tolist() == [-7, 8]


# the first is the example of the manual's page on DATE
@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("ID DATE TIME DV\n1 10-1-86 9:15 1\n1 10-1-86 14:40 1\n1 10-2-86 8:30 1\n2 10-12 8 1\n2 10-14 10 1\n",
         [0.0, 5 + 25 / 60, 23.25, 0.0, 50.0]),
        ("ID TIME DV\n1 8:00 1\n1 14:45 1\n1 14.75 1\n", [0.0, 6.75, 6.75]),
        ("ID DAT1 TIME DV\n1 31/12/1999 22:00:00 1\n1 1/1/00 1:30:36 1\n", [0.0, 3.51]),
        ("ID DAT2 TIME DV\n1 2024-02-28 0 1\n1 2024-03-01 0 1\n", [0.0, 48.0]),
        ("ID DAT3 TIME DV\n1 51.28.2 0 1\n1 51.1.3 0 1\n", [0.0, 24.0]),
        ("ID DATE TIME DV\n1 -1 12:00 1\n1 2 6:00 1\n", [0.0, 66.0]),
        ("ID TIME DV\n1 -2.5 1\n1 0 1\n1 1 1\n", [-2.5, 0.0, 1.0]),
    ],
)  # fmt: skip
def test_dates_and_clock_times_are_hours_since_the_first_row_of_an_id(tmp_path, text, times):
    np.testing.assert_allclose(read_nonmem(write(tmp_path, text)).rows["ds"], times, rtol=1e-9)


def test_intervals_may_be_clock_times(tmp_path):
    path = write(tmp_path, "ID,TIME,AMT,II,ADDL,DV\n1,0,5,7:30,1,.\n1,9,.,.,.,1\n")
    assert read_events(read_nonmem(path).events, None)["time"].tolist() == [0.0, 7.5]


# -- channels and censored values --------------------------------------------------------------------------------------


def test_channels_are_told_by_dvid_and_named():
    table = pd.DataFrame({"ID": 1, "TIME": [1.0, 1.0, 2.0, 3.0], "DVID": [1, 2, 1, 3], "DV": [5.0, 60.0, 7.0, 9.0],
                          "MDV": [0, 0, 1, 0]})  # fmt: skip
    found = read_nonmem(table, channels={1: "level", 2: "effect", 3: None})
    wide = {"unique_id": 1, "ds": [1.0, 2.0], "level": [5.0, np.nan], "effect": [60.0, np.nan]}
    pd.testing.assert_frame_equal(found.rows, pd.DataFrame(wide))
    assert counts(found) == {
        "observation": 2, "observation without a value": 1, "observation left out by channels=": 1
    }  # fmt: skip
    assert read_nonmem(table).rows.columns.tolist() == ["unique_id", "ds", "DV_1", "DV_2", "DV_3"]
    with pytest.raises(DataError, match=r"DVID is 3 in row 3 \(ID 1\), of which channels= says nothing"):
        read_nonmem(table, channels={1: "level", 2: "effect"})
    with pytest.raises(DataError, match="Observations have the DVID 1, 2, 3, but channels='level' names one channel"):
        read_nonmem(table, channels="level")


@pytest.mark.parametrize(
    "columns",
    [{"CENS": [0, 1, 0], "DV": [3.0, 0.5, 2.0]}, {"BLQ": [0, 1, 0], "DV": [3.0, ".", 2.0], "LLOQ": [".", 0.5, "."]}],
)
def test_censored_values_stand_at_their_limit(columns):
    found = read_nonmem(pd.DataFrame({"ID": 1, "TIME": [0, 1, 2]} | columns), channels="level")
    assert found.rows["level"].tolist() == [3.0, 0.5, 2.0]
    assert (found.below, found.above) == ({"level": 0.5}, {})
    assert counts(found) == {"observation": 2, "observation, censored": 1}
    model = KnownODEForecaster(
        lambda t, z, p: 0 * z, states=["z"], initial={"z": 1.0}, parameters={"sd": LogNormal(0, 1)},
        observed={"level": AdditiveNoise("z", sd="sd", below=found.below["level"])},
    )  # fmt: skip
    truth = norm.logpdf([3.0, 2.0], 1.0).sum() + norm.logcdf(0.5, 1.0)
    assert model.evaluate({"sd": 1.0}, found.rows)["log_likelihood"].item() == pytest.approx(truth, rel=1e-12)


def test_rows_without_a_value_are_times_to_be_told_of_unless_there_is_a_value():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 1, 1, 2, 2], "EVID": [2, 0, 0, 2, 2], "DV": [0, 5.0, 6.0, 0, 0],
                          "MDV": [1, 1, 0, 1, 1]})  # fmt: skip
    found = read_nonmem(table)
    pd.testing.assert_frame_equal(
        found.rows, pd.DataFrame({"unique_id": 1, "ds": [0.0, 1.0, 2.0], "DV": [np.nan, 6.0, np.nan]})
    )
    assert found.events is None
    assert sum(counts(found).values()) == 5


def test_several_limits_are_one_with_a_warning_that_counts():
    table = pd.DataFrame({"ID": 1, "TIME": [0, 1, 2, 3], "CENS": [1, 1, 0, -1], "DV": [0.5, 0.2, 0.4, 90.0]})
    with pytest.warns(
        TsodeWarning, match="2 limits of quantification, of which 0.5 stands: 1 values that were measured"
    ):
        found = read_nonmem(table)
    assert (found.below, found.above) == ({"DV": 0.5}, {"DV": 90.0})


# -- covariates --------------------------------------------------------------------------------------------------------

CHANGING = pd.DataFrame({
    "ID": 1, "TIME": [0.0, 2.0, 5.0, 9.0], "AMT": [100.0, 0, 0, 0], "DV": [np.nan, 1.1, 0.8, 0.2],
    "WT": [70.0, 80.0, np.nan, 60.0], "SEX": "f",
})  # fmt: skip


def likelihood(found):
    model = KnownODEForecaster(
        lambda t, z, p: -K * (p.WT / 70)[:, None] * z, states=["drug"], initial={"drug": 0.0},
        parameters={"sd": LogNormal(0, 1)}, solver=Dopri5(rtol=1e-10, atol=1e-12),
        observed={"DV": AdditiveNoise(lambda t, z, p: z[:, 0] / p.WT, sd="sd")}, known_path=found.known_path,
    )  # fmt: skip
    return model.evaluate({"sd": 0.5}, found.rows, events=found.events, known=found.known)["log_likelihood"].item()


@pytest.mark.parametrize(
    ("rule", "during", "at"),
    [
        ("next", [80, 60, 60], [80, 60, 60]),  # an empty cell says nothing: the row after it does
        ("last", [70, 80, 80], [80, 80, 60]),
        ("linear", [75, 80 - 20 / 7 * 1.5, 80 - 20 / 7 * 5], [80, 80 - 20 / 7 * 3, 60]),
    ],
)
def test_covariates_that_change_give_the_likelihood_of_their_rule(rule, during, at):
    found = read_nonmem(CHANGING, states=["drug"], known_rule=rule)
    assert found.static.to_dict("list") == {"unique_id": [1], "SEX": ["f"]}
    drug = 100 * np.exp(-K * np.cumsum(np.array(during) / 70 * [2, 3, 4]))  # the rate is linear in WT: its mean counts
    truth = norm.logpdf([1.1, 0.8, 0.2], drug / at, 0.5).sum()
    assert likelihood(found) == pytest.approx(truth, rel=1e-9)


def test_a_row_without_an_observation_changes_no_likelihood():
    table = pd.concat([CHANGING, CHANGING.iloc[2:3].assign(TIME=3.5, DV=np.nan, EVID=2)]).sort_values("TIME")
    more = read_nonmem(table.assign(EVID=table["EVID"].fillna((table["AMT"] > 0).astype(float))), states=["drug"])
    assert likelihood(more) == pytest.approx(likelihood(read_nonmem(CHANGING, states=["drug"])), rel=1e-12)
    assert counts(more)["other event, a row without a value"] == 1


def test_of_two_values_at_one_time_that_of_the_interval_counts():
    table = CHANGING.assign(WT=[70.0, 80.0, 90.0, 60.0], EVID=[1, 0, 0, 0])
    extra = table.iloc[1:2].assign(WT=99.0, EVID=1, AMT=0.0)  # as files have it where an occasion begins with a dose
    for known_rule, where in (("next", 1.5), ("last", 0.5)):
        both = pd.concat([table, extra]).set_axis([0, 1, 2, 3, where]).sort_index()
        plain, more = (
            read_nonmem(one, states=["drug"], known_rule=known_rule, at_event="before") for one in (table, both)
        )
        pd.testing.assert_frame_equal(plain.known, more.known)


def test_columns_that_are_kept_stand_beside_the_values():
    table = CHANGING.assign(OCC=["1", "1", "2", "2"], ARM=["a", "a", None, "b"])
    found = read_nonmem(table, states=["drug"], keep=["OCC", "ARM"])
    assert found.rows["OCC"].tolist() == [1.0, 2.0, 2.0]
    assert found.rows["ARM"].fillna("none").tolist() == ["a", "none", "b"]
    assert found.rows["DV"].tolist() == [1.1, 0.8, 0.2]
    assert found.known.columns.tolist() == ["unique_id", "ds", "WT"]
    assert uses(found)["OCC"] == "kept beside the values"
    assert likelihood(found) == likelihood(read_nonmem(CHANGING, states=["drug"]))
    with pytest.raises(ParameterError, match=r"keep= names 'OC', which is no column .* Did you mean 'OCC'"):
        read_nonmem(table, keep=["OC"])


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"AMT": [1, "much"]}, r"AMT is 'much' in row 1 \(ID 'p7'\), which is no finite number: mend the cell"),
        ({"DV": [1, np.inf]}, r"DV is inf in row 1 \(ID 'p7'\)"),
        ({"WT": [1, "1_0"], "ZZ": 1}, None),
        (
            {"RATE": [5, 0], "AMT": [0, 0], "EVID": [1, 0]},
            r"An infusion of AMT=0 of ID 'p7' at TIME 0 \(row 0\) must be",
        ),
        (
            {"DUR": [5, 0], "AMT": [0, 0], "EVID": [1, 0]},
            r"DUR is 5 in row 0 \(ID 'p7'\), but must be positive, and of a",
        ),
        ({"DUR": [5, 0], "RATE": [3, 0], "AMT": [5, 0]}, r"RATE is 3 in row 0 \(ID 'p7'\), but AMT / DUR is 1"),
        ({"CMT": [3, 1], "AMT": [5, 0]}, r"CMT is 3 in row 0 \(ID 'p7'\), a dose for a compartment that there is not"),
        (
            {"CMT": ["gut", 1], "AMT": [5, 0]},
            r"CMT is 'gut' in row 0 \(ID 'p7'\), a dose for a compartment that there is",
        ),
        ({"EVID": [1, 1], "AMT": [5, 3]}, r"ID 'p7' has a dose in row 0, but no observation, so that it is no series"),
        ({"EVID": [101, 0]}, r"EVID is 101 in row 0 \(ID 'p7'\): NONMEM's are 0 to 4"),
        ({"TIME": [".", 1]}, r"There is no TIME in row 0 \(ID 'p7'\)"),
        ({"TIME": ["8h", 1]}, r"TIME is '8h' in row 0 \(ID 'p7'\)"),
        ({"TIME": ["8:70", 1]}, r"TIME is '8:70' in row 0 \(ID 'p7'\), which has too many minutes"),
        ({"TIME": ["9:00", "8:00"]}, r"TIME goes back to -1 in ID 'p7' at row 1: sort the table"),
        (
            {"DATE": ["31/12/99", 1]},
            r"DATE is '31/12/99' in row 0 \(ID 'p7'\), which is no date: DATE is month, day, year",
        ),
        ({"ID": [None, "p7"]}, "There is no ID in row 0"),
        ({"CENS": [2, 0]}, r"CENS is 2 in row 0 \(ID 'p7'\), but must be one of"),
        ({"BLQ": [1, 0]}, r"BLQ is 1 in row 0 \(ID 'p7'\), but there is no limit: add it in a column LLOQ"),
        (
            {"TIME": [3, 3], "WT": [70, 80]},
            r"WT has two values at TIME 3: 70, and 80 of the observation in row 1 \(ID 'p7'\)",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place_and_id(columns, message):
    table = pd.DataFrame({"ID": "p7", "TIME": [0, 1], "DV": [0.0, 1.0]} | columns)
    if message is None:
        with pytest.raises(DataError, match="WT changes along time, and is '1_0'"):
            read_nonmem(table)
        return
    with pytest.raises(DataError, match=message):
        read_nonmem(table, states=["depot", "central"])


def test_ids_that_begin_again_and_covariates_of_which_an_id_has_none_are_named():
    table = pd.DataFrame({"ID": [1, 1, 2, 2, 1], "TIME": [0, 1, 0, 1, 2], "DV": 1.0, "WT": [1, 2, None, None, 3]})
    with pytest.raises(DataError, match="ID 1 begins again in row 4, after rows of ID 2"):
        read_nonmem(table)
    with pytest.raises(DataError, match="WT changes along time, but ID 2 has no value of it"):
        read_nonmem(table[:4])


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(DataError, match=r"Line 1 has the cells \['1', '0', '100', '.'\]..., but there was no header"):
        read_nonmem(write(tmp_path, ROWS))
    with pytest.raises(DataError, match="Line 3 has 3 cells, but there are 4 columns"):
        read_nonmem(write(tmp_path, "ID,TIME,AMT,DV\n1,0,5,.\n1,2,3\n"))
    with pytest.raises(DataError, match="There is no record: all lines were left out"):
        read_nonmem(write(tmp_path, "ID,TIME,DV\np1,0,5\n"))
    with pytest.raises(DataError, match=r"AMT is 'x' in line 3 \(ID '1'\)"):
        read_nonmem(write(tmp_path, "ID,TIME,AMT,DV\n1,0,5,.\n1,2,x,1\n"))
    with pytest.raises(DataError, match=r"There is no column 'TIME'\. Did you mean 'TIM'"):
        read_nonmem(pd.DataFrame({"ID": [1], "TIM": [1], "DV": [1]}))
    with pytest.raises(DataError, match="names 2 columns, but there are 3"):
        read_nonmem(pd.DataFrame({"ID": [1], "TIME": [1], "DV": [1]}), columns=["ID", "TIME"])
    with pytest.raises(ParameterError, match="known_rule='step' is not known: choose one of 'next', 'last', 'linear'"):
        read_nonmem(pd.DataFrame({"ID": [1], "TIME": [1], "DV": [1]}), known_rule="step")
    assert tsode.read_nonmem is read_nonmem
