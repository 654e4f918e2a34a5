"""The bundled data: native long format, physical units, known values, and where the files are found."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest

from tsode import datasets
from tsode.errors import TsodeError

REPO = Path(__file__).resolve().parent.parent

# loader: rows, series, kind of `ds`, and the range that each channel (or all of them) must stay in
SERIES = {
    "load_ushcn": (
        36_670,
        120,
        "datetime64",
        {
            "tmax_degc": (-60, 60),
            "tmin_degc": (-60, 40),
            "precipitation_mm": (0, 400),
            "snowfall_mm": (0, 1500),
            "snow_depth_mm": (0, 4000),
        },
    ),
    "load_cgm": (105_426, 57, "float64", {"glucose_mg_dl": (40, 400)}),
    "load_theophylline": (132, 12, "float64", {"theophylline_mg_l": (0, 20)}),
    "load_indomethacin": (66, 6, "float64", {"indomethacin_mg_l": (0.01, 5)}),
    "load_palaeoclimate": (
        11_194,
        3,
        "float64",
        {
            "co2_ppm": (170, 370),
            "deuterium_permil": (-460, -350),
            "d18o_ice_permil": (-45, -30),
            "d18o_benthic_permil": (2, 6),
            "temperature_anomaly_k": (-12, 6),
        },
    ),
    "load_lynx_hare": (21, 1, "float64", {"hare": (7, 81), "lynx": (4, 60)}),
    "load_mauna_loa_co2": (2_225, 1, "datetime64", {"co2_ppm": (310, 380)}),
    "load_nyc_weather": (
        26_112,
        3,
        "datetime64",
        {
            "temperature_degf": (0, 110),
            "dewpoint_degf": (-20, 90),
            "humidity_pct": (0, 100),
            "wind_direction_deg": (0, 360),
            "wind_speed_mph": (0, 1100),
            "wind_gust_mph": (0, 100),
            "precipitation_in": (0, 3),
            "pressure_hpa": (950, 1060),
            "visibility_mi": (0, 10),
        },
    ),
}
TABLES = {
    "load_physionet2012_static": (400, {"age", "gender", "height_cm", "weight_kg", "icu_type"}),
    "load_physionet2012_outcomes": (
        400,
        {"saps_i", "sofa", "length_of_stay_days", "survival_days", "in_hospital_death"},
    ),
    "load_cgm_static": (57, {"diabetes_type", "age", "hba1c_pct"}),
    "load_theophylline_static": (12, {"weight_kg"}),
    "load_theophylline_doses": (12, {"ds", "dose_mg"}),
}
COMPANIONS = {
    "load_physionet2012_static": "load_physionet2012",
    "load_physionet2012_outcomes": "load_physionet2012",
    "load_cgm_static": "load_cgm",
    "load_theophylline_static": "load_theophylline",
    "load_theophylline_doses": "load_theophylline",
}


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name)()


def assert_native_long(frame: pd.DataFrame) -> None:
    assert list(frame.columns[:2]) == ["unique_id", "ds"]
    assert isinstance(frame.index, pd.RangeIndex)
    assert frame[["unique_id", "ds"]].notna().all(axis=None)
    assert not frame.duplicated(["unique_id", "ds"]).any()
    pd.testing.assert_frame_equal(frame, frame.sort_values(["unique_id", "ds"], ignore_index=True))
    channels = frame.iloc[:, 2:]
    assert (channels.dtypes == "float64").all()
    assert channels.notna().any(axis=1).all(), "a row without any observation"
    assert channels.notna().any(axis=0).all(), "a channel without any observation"


def test_every_loader_is_tested_here():
    loaders = {name for name in datasets.__all__ if name.startswith("load_")}
    assert loaders == {*SERIES, *TABLES, "load_physionet2012", "load_earthquakes"}


@pytest.mark.parametrize("name", SERIES)
def test_series_come_in_the_native_long_format_and_plausible_units(name):
    n_rows, n_series, kind, ranges = SERIES[name]
    frame = load(name)
    assert_native_long(frame)
    assert len(frame) == n_rows
    assert frame["unique_id"].nunique() == n_series
    assert str(frame["ds"].dtype).startswith(kind)
    assert list(frame.columns[2:]) == list(ranges)
    for channel, (low, high) in ranges.items():
        assert frame[channel].dropna().between(low, high).all(), channel


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_one_row_for_each_series_of_their_companion(name):
    n_rows, columns = TABLES[name]
    table = load(name)
    assert len(table) == n_rows
    assert set(table.columns) == {"unique_id", *columns}
    assert table["unique_id"].is_monotonic_increasing
    assert set(table["unique_id"]) == set(load(COMPANIONS[name])["unique_id"])
    assert not (table.select_dtypes("number") < 0).any(axis=None)


def test_a_loaded_frame_is_the_callers_own():
    frame = load("load_theophylline")
    frame["theophylline_mg_l"] = -1.0
    assert (load("load_theophylline")["theophylline_mg_l"] >= 0).all()


def test_ushcn_is_in_degrees_and_millimetres():
    ushcn = load("load_ushcn").set_index(["unique_id", "ds"])
    row = ushcn.loc[("USC00018024", pd.Timestamp("1996-12-13"))]  # GHCN writes 217 tenths of a degree
    assert row["tmax_degc"] == 21.7
    assert ushcn["tmax_degc"].mean() > ushcn["tmin_degc"].mean() + 5
    assert ushcn.index.get_level_values("ds").min() == pd.Timestamp("1996-12-02")
    assert ushcn.index.get_level_values("ds").max() == pd.Timestamp("2000-12-31")


def test_physionet_has_400_stays_of_48_hours_and_37_channels_without_missing_codes():
    stays = load("load_physionet2012")
    assert_native_long(stays)
    assert stays.shape == (30_049, 2 + 37)
    assert stays["unique_id"].nunique() == 400
    assert stays["unique_id"].dtype == "int64"
    assert stays["ds"].between(0, 48).all()
    assert (stays.iloc[:, 2:].min() >= 0).all()  # -1 marks a missing weight in the source
    assert 7 <= stays["pH"].min() <= stays["pH"].max() <= 8
    assert stays["FiO2"].dropna().between(0.2, 1).all()
    assert 36 < stays["Temp"].median() < 38


def test_physionet_duplicates_are_averaged():
    stays = load("load_physionet2012").set_index(["unique_id", "ds"])
    urine = stays.loc[132590, "Urine"]
    assert urine.loc[6.15:6.25].dropna().tolist() == [(240 + 1320) / 2]  # both written at 06:12


def test_physionet_values_are_the_decimals_of_the_source():
    temperature = load("load_physionet2012")["Temp"].dropna()
    single = temperature[temperature == temperature.round(1)]  # all but averages and conversions; not 37.099998
    assert len(single) > 0.99 * len(temperature)


def test_theophylline_matches_the_published_table():
    subject = load("load_theophylline").query("unique_id == 1")
    assert subject["ds"].tolist() == [0, 0.25, 0.57, 1.12, 2.02, 3.82, 5.1, 7.03, 9.05, 12.12, 24.37]
    assert subject["theophylline_mg_l"].tolist() == [0.74, 2.84, 6.57, 10.5, 9.66, 8.58, 8.36, 7.47, 6.89, 5.94, 3.28]
    dose = load("load_theophylline_doses").set_index("unique_id")["dose_mg"]
    weight = load("load_theophylline_static").set_index("unique_id")["weight_kg"]
    assert dose[1] / weight[1] == pytest.approx(4.02)


def test_palaeoclimate_runs_forward_in_time():
    records = load("load_palaeoclimate")
    stack = records.query("unique_id == 'lr04_benthic_stack'")
    assert stack["ds"].iloc[-1] == 0.0
    assert stack["d18o_benthic_permil"].iloc[-1] == 3.23
    warm = records.query("unique_id == 'epica_dome_c' and ds > -10")["temperature_anomaly_k"].mean()
    glacial = records.query("unique_id == 'epica_dome_c' and -30 < ds < -20")["temperature_anomaly_k"].mean()
    assert warm > glacial + 5
    assert records.groupby("unique_id")["d18o_ice_permil"].count().to_dict() == {
        "epica_dome_c": 0,
        "gisp2": 1390,
        "lr04_benthic_stack": 0,
    }


def test_mauna_loa_starts_on_29_march_1958_and_skips_missing_weeks():
    co2 = load("load_mauna_loa_co2")
    assert co2["ds"].iloc[0] == pd.Timestamp("1958-03-29")
    assert co2["co2_ppm"].iloc[0] == 316.1
    steps = co2["ds"].diff().dropna()
    assert (steps % pd.Timedelta(days=7) == pd.Timedelta(0)).all()
    assert len(pd.date_range(co2["ds"].iloc[0], co2["ds"].iloc[-1], freq="7D")) - len(co2) == 59


def test_nyc_weather_is_in_utc():
    weather = load("load_nyc_weather")
    first = weather.iloc[0]
    assert first["ds"] == pd.Timestamp("2013-01-01 01:00", tz="America/New_York")
    assert first["temperature_degf"] == 39.02
    assert str(weather["ds"].dt.tz) == "UTC"


def test_earthquakes_are_streams_of_marked_events_with_their_split():
    events = load("load_earthquakes")
    assert list(events.columns) == ["unique_id", "ds", "mark", "split"]
    assert events.shape == (70_723, 4)
    assert events.groupby("split")["unique_id"].nunique().to_dict() == {"dev": 400, "test": 896, "train": 3000}
    assert set(events["mark"]) == set(range(7))
    by_stream = events.groupby("unique_id")["ds"]
    assert (by_stream.min() == 0.0).all()
    assert by_stream.apply(lambda times: times.is_monotonic_increasing).all()
    assert by_stream.diff().median() == pytest.approx(0.537, abs=1e-3)


def test_files_are_found_in_the_installed_package_first(tmp_path, monkeypatch):
    folders = (tmp_path / "_bundled", tmp_path / "datasets")
    monkeypatch.setattr(datasets, "_FOLDERS", folders)
    for folder in folders[::-1]:
        folder.mkdir()
        (folder / "some.parquet").touch()
        assert datasets.dataset_path("some") == folder / "some.parquet"


def test_a_missing_file_says_how_to_fix_it(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_FOLDERS", (tmp_path / "_bundled", tmp_path / "datasets"))
    with pytest.raises(FileNotFoundError, match="reinstall tsode") as caught:
        datasets.load_ushcn()
    assert isinstance(caught.value, TsodeError)


def test_the_wheel_takes_the_data_along():
    config = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = config["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["datasets"] == "tsode/_bundled"


def test_every_file_is_credited_and_the_bundle_stays_small():
    files = sorted((REPO / "datasets").glob("*.parquet"))
    credits = (REPO / "datasets" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in files if f"`{path.name}`" not in credits] == []
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert not (REPO / "datasets" / "__init__.py").exists()
