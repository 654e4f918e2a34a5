"""Noncompartmental tables, against closed forms and the values that other programs publish of theophylline."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode.datasets import load_theophylline, load_theophylline_doses, load_theophylline_static
from tsode.diagnostics import noncompartmental
from tsode.errors import DataError, ParameterError

DOSE, VOLUME, K, KA = 100.0, 20.0, 0.15, 1.1
CLEARANCE = K * VOLUME


def levels(times, values, key="a"):
    return pd.DataFrame({"unique_id": key, "ds": times, "level": values})


def doses(key="a", **columns):
    return pd.DataFrame({"unique_id": [key], "ds": [0.0], "amount": [DOSE]} | columns)


def oral(t, ka=KA):
    """Closed form of a swallowed dose at 0."""
    t = np.maximum(t, 0.0)
    return DOSE * ka / (VOLUME * (ka - K)) * (np.exp(-K * t) - np.exp(-ka * t))


def theophylline_doses():
    return load_theophylline_doses().rename(columns={"dose_mg": "amount"})


# -- closed forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [[0.5, 1, 3, 7, 12], [0, 1, 2, 20]])
def test_an_injection_is_exact_at_any_times(times):
    times = np.array(times, dtype=float)
    row = noncompartmental(levels(times, DOSE / VOLUME * np.exp(-K * times)), doses(), route="bolus").iloc[0]
    last = np.exp(-K * times[-1])
    truth = {
        "lambda_z": K, "half_life": np.log(2) / K, "r2_adjusted": 1.0, "auc_inf": DOSE / CLEARANCE,
        "auc_last": DOSE / CLEARANCE * (1 - last), "extrapolated": last, "mrt": 1 / K,
        "aumc_inf": DOSE / VOLUME / K**2, "clearance": CLEARANCE, "volume": VOLUME, "dose": DOSE, "c_last":
        DOSE / VOLUME * last, "t_last": times[-1], "n": len(times), "t_max": times[0],
    }  # fmt: skip
    for name, value in truth.items():
        assert row[name] == pytest.approx(value, rel=1e-10), name
    assert row["n_points"] == len(times)  # of a bolus the highest is part of the line
    assert row[["tau", "auc_tau", "c_average"]].isna().all()


def test_a_swallowed_dose_comes_near_its_closed_form_as_its_times_do():
    times = np.concatenate([np.linspace(0, 20, 8001), np.linspace(20, 150, 27)[1:]])
    row = noncompartmental(levels(times, oral(times)), doses()).iloc[0]
    peak = np.log(KA / K) / (KA - K)
    truth = {
        "auc_inf": DOSE / CLEARANCE, "clearance": CLEARANCE, "mrt": 1 / K + 1 / KA, "c_max": oral(peak),
        "aumc_inf": DOSE / CLEARANCE * (1 / K + 1 / KA),
    }  # fmt: skip
    for name, value in truth.items():
        assert row[name] == pytest.approx(value, rel=1e-6), name
    assert row["t_max"] == pytest.approx(peak, abs=20 / 8000)


def test_a_half_life_is_exact_once_absorption_is_over():
    times = np.array([0.0, 2.0, 40.0, 50.0, 60.0])
    row = noncompartmental(levels(times, oral(times)), doses()).iloc[0]
    assert row["half_life"] == pytest.approx(np.log(2) / K, rel=1e-10)
    assert row["n_points"] == 3
    assert row["volume"] == pytest.approx(row["clearance"] / K, rel=1e-10)


def test_straight_lines_are_exact_by_the_linear_method():
    times, values = np.array([0.0, 1.0, 2.0, 4.0, 8.0]), np.array([0.0, 6.0, 5.0, 2.0, 1.0])
    row = noncompartmental(levels(times, values), doses(), method="linear").iloc[0]
    assert row["auc_last"] == 3 + 5.5 + 7 + 6
    assert row["aumc_last"] == 0.5 * 6 + 0.5 * (6 + 10) + 0.5 * 2 * (10 + 8) + 0.5 * 4 * (8 + 8)


def test_an_infusion_has_the_residence_time_of_the_drug_and_not_of_the_bag():
    length = 2.0
    times = np.concatenate([np.linspace(0, length, 4001), np.linspace(length, 60, 30)[1:]])
    during, after = np.minimum(times, length), np.maximum(times - length, 0)
    values = DOSE / length / CLEARANCE * -np.expm1(-K * during) * np.exp(-K * after)
    row = noncompartmental(levels(times, values), doses(duration=[length])).iloc[0]
    for name, value in {"mrt": 1 / K, "clearance": CLEARANCE, "volume": VOLUME, "t_max": length}.items():
        assert row[name] == pytest.approx(value, rel=1e-6), name


def test_doses_in_a_row_have_an_interval_each_and_a_clearance_in_steady_state():
    tau, n = 8.0, 40
    times = np.round(np.arange(0, tau * n + 60.001, 0.02), 9)
    values = sum(oral(times - k * tau) * (times >= k * tau) for k in range(n))
    frame, given = levels(times, values), doses(every=[tau], n_more=[n - 1])
    table = noncompartmental(frame, given, which="all")
    assert table["dose_time"].tolist() == [k * tau for k in range(n)]
    assert table["tau"].tolist()[:-1] == [tau] * (n - 1)
    assert np.isnan(table["tau"].iloc[-1])
    # in the end the area between two doses is that of one dose alone
    assert table["auc_tau"].iloc[-2] == pytest.approx(DOSE / CLEARANCE, rel=1e-5)
    assert table["c_average"].iloc[-2] == pytest.approx(DOSE / CLEARANCE / tau, rel=1e-5)
    assert table["clearance"].iloc[1:].isna().all()
    assert table["mrt"].iloc[1:].isna().all()
    first, last = (noncompartmental(frame, given, which=which).iloc[0] for which in ("first", "last"))
    pd.testing.assert_series_equal(first, table.iloc[0], check_names=False)
    pd.testing.assert_series_equal(last, table.iloc[-1], check_names=False)
    steady = doses(ds=[tau * (n - 1)], every=[tau], steady_state=[1])
    row = noncompartmental(frame[frame["ds"] >= tau * (n - 1)], steady).iloc[0]
    assert row["clearance"] == pytest.approx(CLEARANCE, rel=1e-5)
    assert row["tau"] == tau


def test_an_area_between_doses_goes_on_by_the_terminal_line_where_values_end():
    times = np.array([0.5, 1.0, 2.0, 4.0, 6.0])
    given = doses(every=[8.0], n_more=[1])
    table = noncompartmental(levels(times, 5 * np.exp(-K * times)), given, route="bolus", which="first")
    assert table["auc_tau"].item() == pytest.approx(5 / K * (1 - np.exp(-K * 8)), rel=1e-10)
    assert table["clearance"].item() == pytest.approx(DOSE * K / 5, rel=1e-10)


def test_a_second_injection_is_led_back_to_its_time_past_the_value_before_it():
    times = np.array([0.0, 4.0, 8.0, 9.0, 11.0, 15.0])  # at 8 stands the value before the second one
    values = 5 * np.exp(-K * times) + np.where(times > 8, 5 * np.exp(-K * (times - 8)), 0.0)
    given = doses(every=[8.0], n_more=[1])
    row = noncompartmental(levels(times, values), given, route="bolus").iloc[0]
    assert row["auc_inf"] == pytest.approx(5 * (1 + np.exp(-K * 8)) / K, rel=1e-10)
    assert row["dose_time"] == 8.0


# -- theophylline ------------------------------------------------------------------------------------------------------

# areas, rates and residence times as ncappc prints them, by the same rules (log-linear where values fall, best line)
PUBLISHED = pd.DataFrame(
    [
        [1.12, 10.50, 24.37, 3.28, 147.23475, 1499.1291, 3, 0.9999995, 0.04845700, 14.304378, 214.92363, 31.494388,
         4545.5928, 21.14980],
        [1.92, 8.33, 24.30, 0.90, 88.73128, 716.2787, 4, 0.9957931, 0.10408644, 6.659342, 97.37793, 8.879485,
         1009.4644, 10.36646],
        [1.02, 8.20, 24.17, 1.05, 95.87820, 810.8727, 3, 0.9986499, 0.10244431, 6.766087, 106.12767, 9.657680,
         1158.6516, 10.91753],
        [1.07, 8.60, 24.65, 1.15, 102.63362, 911.7828, 3, 0.9978483, 0.09928702, 6.981247, 114.21620, 10.140927,
         1313.9510, 11.50407],
        [1.00, 11.40, 24.35, 1.57, 118.17935, 1038.8800, 4, 0.9979708, 0.08661888, 8.002264, 136.30473, 13.297688,
         1689.4873, 12.39493],
        [1.15, 6.44, 23.85, 0.92, 71.69701, 618.6659, 7, 0.9978896, 0.08779574, 7.894998, 82.17588, 12.751756,
         987.9420, 12.02229],
        [3.48, 7.09, 24.22, 1.15, 87.96923, 795.6268, 4, 0.9980053, 0.08833650, 7.846668, 100.98763, 12.891086,
         1258.3053, 12.45999],
        [2.02, 7.56, 24.12, 1.25, 86.80656, 756.3620, 6, 0.9887655, 0.08145054, 8.510038, 102.15330, 15.023241,
         1314.9431, 12.87225],
        [0.63, 9.03, 24.43, 1.12, 83.93744, 723.3794, 3, 0.9988873, 0.08245863, 8.405999, 97.52000, 13.927981,
         1219.9213, 12.50945],
        [3.55, 10.21, 23.70, 2.42, 135.57607, 1306.7406, 3, 0.9990174, 0.07495982, 9.246916, 167.86003, 19.232667,
         2502.5540, 14.90858],
        [0.98, 8.00, 24.08, 0.86, 77.89347, 626.6358, 3, 0.9999965, 0.09545856, 7.261237, 86.90262, 10.366943,
         937.9535, 10.79316],
        [3.52, 9.75, 24.15, 1.17, 115.22021, 982.6343, 3, 0.9987936, 0.11025949, 6.286508, 125.83154, 8.432966,
         1335.1376, 10.61052],
    ],
    columns=["t_max", "c_max", "t_last", "c_last", "auc_last", "aumc_last", "n_points", "r2_adjusted", "lambda_z",
             "half_life", "auc_inf", "extrapolated", "aumc_inf", "mrt"],
)  # fmt: skip


def test_theophylline_agrees_with_published_values_of_every_subject():
    table = noncompartmental(load_theophylline(), theophylline_doses())
    assert table["unique_id"].tolist() == list(range(1, 13))
    truth = PUBLISHED.assign(extrapolated=PUBLISHED["extrapolated"] / 100)
    np.testing.assert_allclose(table[truth.columns], truth, rtol=5e-7)


def geometric(x):
    """Mean, and coefficient of variation in per cent, of logarithms."""
    return np.exp(np.log(x).mean()), 100 * np.sqrt(np.expm1(np.log(x).var()))


def test_theophylline_agrees_with_the_published_summary_to_its_digits():
    # PKNCA: geometric means [CV] of areas and peaks, mean [sd] of half-lives and shares, median [range] of times. Its
    # area from 0 to 24 h is that up to the last sample not later than 24 h, which ten of the twelve have at about 12 h.
    whole = noncompartmental(load_theophylline(), theophylline_doses())
    day = noncompartmental(load_theophylline(), theophylline_doses(), until=24)
    assert (day["t_last"] < 12.2).sum() == 10
    assert [round(x, 1) for x in geometric(day["auc_last"])] == [74.6, 24.3]
    assert [round(x, 1) for x in geometric(whole["auc_last"])] == [98.7, 22.5]
    assert [round(geometric(whole["c_max"])[0], 2), round(geometric(whole["c_max"])[1], 1)] == [8.65, 17.0]
    assert [round(whole["half_life"].agg(f), 2) for f in ("mean", "std")] == [8.18, 2.12]
    assert [round(geometric(whole["auc_inf"])[0]), round(geometric(whole["auc_inf"])[1], 1)] == [115, 28.4]
    assert [round(100 * whole["extrapolated"].mean(), 1), round(100 * whole["extrapolated"].std(), 2)] == [13.8, 6.34]
    assert [round(whole["t_max"].agg(f), 3) for f in ("min", "max")] == [0.63, 3.55]
    assert whole["t_max"].median() == pytest.approx(1.135)
    per_kg = whole["clearance"] / load_theophylline_static()["weight_kg"]
    assert [round(geometric(per_kg)[0], 4), round(geometric(per_kg)[1], 1)] == [0.0398, 29.4]


# -- rules -------------------------------------------------------------------------------------------------------------


def test_values_below_the_limit_are_zero_left_out_or_not_used_by_their_place():
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]
    values = [0.1, 0.1, 8.0, 4.0, 0.1, 1.0, 0.5, 0.1]  # the limit is .1
    row = noncompartmental(levels(times, values), doses(), below=0.1).iloc[0]
    plain = noncompartmental(levels([0.0, 1, 2, 3, 6, 8], [0.0, 0, 8, 4, 1, 0.5]), doses()).iloc[0]
    pd.testing.assert_series_equal(row, plain)
    assert row[["t_last", "n"]].tolist() == [8.0, 6.0]


def test_the_best_line_has_the_most_points_that_are_as_good():
    times = np.array([0.0, 1, 2, 4, 6, 8, 10])
    values = np.array([0.0, 9, 8, *4 * np.exp(-0.3 * np.arange(4) * 2)])
    assert noncompartmental(levels(times, values), doses())["n_points"].item() == 4
    bent = noncompartmental(levels(times, values), doses(), n_least=5).iloc[0]
    assert bent["n_points"] == 5  # the highest value is none of them
    assert bent["r2_adjusted"] < 1
    rising = noncompartmental(levels(times, np.arange(7.0)), doses()).iloc[0]
    assert rising[["lambda_z", "half_life", "n_points", "auc_inf", "clearance"]].isna().all()
    assert rising["auc_last"] == np.trapezoid(np.arange(7.0), times)


def test_what_cannot_be_told_is_missing_and_no_error():
    row = noncompartmental(levels([0.0, 1.0], [np.nan, 0.0]), doses()).iloc[0]
    assert row["n"] == 1
    assert row.drop(["unique_id", "dose_time", "dose", "n"]).isna().all()
    late = noncompartmental(levels([0.0, 1.0], [1.0, 2.0]), doses(ds=[5.0])).iloc[0]
    assert late["n"] == 0


def test_without_events_times_count_from_the_first_row():
    times = np.array([3.0, 4.0, 6.0, 9.0])
    row = noncompartmental(levels(times, np.exp(-K * times)), route="bolus").iloc[0]
    assert row["dose_time"] == 3.0
    assert row["auc_inf"] == pytest.approx(np.exp(-K * 3) / K, rel=1e-10)
    assert np.isnan(row["clearance"])


def test_the_kind_of_times_and_of_the_frame_changes_nothing():
    levels_of_all, given = load_theophylline(), theophylline_doses()
    plain = noncompartmental(levels_of_all, given)
    start = pd.Timestamp("2024-03-01 08:00")
    clocked = [frame.assign(ds=start + pd.to_timedelta(frame["ds"], unit="h")) for frame in (levels_of_all, given)]
    clock = noncompartmental(*clocked, time_unit="1h")
    assert (clock["dose_time"] == start).all()
    pd.testing.assert_frame_equal(clock.drop(columns="dose_time"), plain.drop(columns="dose_time"))
    shuffled = levels_of_all.rename(columns={"unique_id": "who", "ds": "when"}).sample(frac=1, random_state=0)
    named = noncompartmental(
        shuffled, given.rename(columns={"unique_id": "who", "ds": "when"}), id_col="who", time_col="when"
    ).sort_values("who", ignore_index=True)
    pd.testing.assert_frame_equal(named.rename(columns={"who": "unique_id"}), plain)
    days = noncompartmental(levels_of_all, given, time_unit=24.0)
    np.testing.assert_allclose(days["half_life"], plain["half_life"] / 24, rtol=1e-12)
    np.testing.assert_allclose(days["volume"], plain["volume"], rtol=1e-12)
    one = levels_of_all[levels_of_all["unique_id"] == 1].set_index("ds")["theophylline_mg_l"]
    single = noncompartmental(one, given[given["unique_id"] == 1].drop(columns="unique_id"))
    assert single["half_life"].item() == plain["half_life"].iloc[0]
    assert "unique_id" not in single


def test_units_stand_behind_the_names_of_columns():
    units = {"value": "mg/L", "time": "h", "amount": "mg"}
    table = noncompartmental(load_theophylline(), theophylline_doses(), units=units)
    assert {"c_max [mg/L]", "auc_last [mg/L*h]", "lambda_z [1/h]", "clearance [mg/(mg/L*h)]", "volume [mg/(mg/L)]",
            "n_points", "extrapolated"} <= set(table.columns)  # fmt: skip


def test_what_cannot_be_read_is_named():
    frame = load_theophylline().assign(other=1.0)
    with pytest.raises(ParameterError, match=r"channel=None is none of the channels \['theophylline_mg_l', 'other'\]"):
        noncompartmental(frame)
    assert len(noncompartmental(frame, theophylline_doses(), channel="theophylline_mg_l")) == 12
    with pytest.raises(DataError, match="Series 7 has no dose among the events: add it"):
        noncompartmental(load_theophylline(), theophylline_doses().query("unique_id != 7"))
    with pytest.raises(DataError, match="Series 1 has no dose among the events into 'gut'"):
        noncompartmental(load_theophylline(), theophylline_doses().assign(target="depot"), target="gut")
    for wrong, message in (
        ({"method": "log"}, "method='log' is not known: choose one of 'log-down', 'linear'"),
        ({"route": "oral"}, "route='oral' is not known"),
        ({"which": "second"}, "which='second' is not known"),
        ({"n_least": 2}, "n_least=2 must be 3 or more"),
        ({"units": {"value": "mg/L", "tim": "h"}}, r"units= names 'tim'. Did you mean 'time'\?"),
    ):
        with pytest.raises(ParameterError, match=message):
            noncompartmental(load_theophylline(), theophylline_doses(), **wrong)
    clock = load_theophylline().assign(ds=pd.Timestamp("2024-01-01"))
    with pytest.raises(ParameterError, match="The times are datetimes: pass time_unit='1h'"):
        noncompartmental(clock.drop_duplicates("unique_id"))
