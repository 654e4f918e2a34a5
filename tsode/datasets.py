"""Data sets, small and real, that come with tsode for examples, tests and first steps.

Every ``load_*`` function reads one file from disk (never the network) and returns a new frame in the native long
format: ``unique_id``, ``ds``, then one float column per channel in physical units, with NaN where nothing was observed.
Rows are sorted by ``unique_id`` and ``ds`` and no pair of the two occurs twice. ``load_*_static`` gives one row per
series, ``load_*_doses`` the inputs at known times; event streams have a ``mark`` instead of channels. Provenance,
licences and citations: ``datasets/README.md``.
"""

from __future__ import annotations

__all__ = [
    "DatasetNotFoundError",
    "dataset_path",
    "load_cgm",
    "load_cgm_static",
    "load_earthquakes",
    "load_indomethacin",
    "load_lynx_hare",
    "load_mauna_loa_co2",
    "load_nyc_weather",
    "load_palaeoclimate",
    "load_physionet2012",
    "load_physionet2012_outcomes",
    "load_physionet2012_static",
    "load_theophylline",
    "load_theophylline_doses",
    "load_theophylline_static",
    "load_ushcn",
]

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tsode.errors import TsodeError

_PACKAGE = Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "_bundled", _PACKAGE.parent / "datasets")  # an installed wheel, then a checkout


class DatasetNotFoundError(TsodeError, FileNotFoundError):
    """A bundled data file is missing from this installation of tsode."""


def dataset_path(name: str) -> Path:
    """Find the file of a bundled data set: in the installed package first, then in the checkout around it.

    Parameters
    ----------
    name : str
        File name without ``.parquet``, such as ``"ushcn_small"``.

    Returns
    -------
    Path
        An existing parquet file.

    Raises
    ------
    DatasetNotFoundError
        If neither folder has the file.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.parquet"
        if path.is_file():
            return path
    names = sorted({path.stem for folder in _FOLDERS for path in folder.glob("*.parquet")})
    raise DatasetNotFoundError(
        f"The bundled file '{name}.parquet' is neither in {_FOLDERS[0]} nor in {_FOLDERS[1]} (found there: "
        f"{', '.join(names) or 'nothing'}). If the name is right, the installation is incomplete: reinstall tsode "
        f"(`pip install --force-reinstall --no-deps tsode`), or in a checkout run `git checkout -- datasets`."
    )


def load_ushcn() -> pd.DataFrame:
    """Load sporadic daily weather of 120 US climate stations, December 1996 to December 2000.

    About 5 % of all daily values were kept, at random and for each channel by itself, as in the benchmark of De Brouwer
    et al. (2019): the gaps are man-made and carry no information.

    Returns
    -------
    DataFrame, 36 670 rows
        ``unique_id`` : GHCN station code; ``ds`` : datetime, the (local) day;
        ``tmax_degc``, ``tmin_degc`` : highest and lowest temperature of the day, degrees Celsius;
        ``precipitation_mm``, ``snowfall_mm`` : amounts of the day, mm; ``snow_depth_mm`` : mm.

    Notes
    -----
    Source: NOAA GHCN-Daily 3.25, doi:10.7289/V5D21VHZ (Menne et al., 2012). Licence: US government data, free to use.
    """
    long = _read("ushcn_small")
    long["value"] = long["value"].where(~long["channel"].isin(["TMAX", "TMIN", "PRCP"]), long["value"] / 10)  # tenths
    return _widen(
        long,
        {
            "TMAX": "tmax_degc",
            "TMIN": "tmin_degc",
            "PRCP": "precipitation_mm",
            "SNOW": "snowfall_mm",
            "SNWD": "snow_depth_mm",
        },
    )


def load_physionet2012() -> pd.DataFrame:
    """Load vital signs and laboratory values of 400 stays in intensive care, the first 48 hours.

    The missing-value code of the source (a weight of -1) becomes NaN, and a channel recorded twice in the same minute
    of one stay is averaged (470 values, as published code does; for ``Urine`` a sum would also make sense). Nothing
    else is cleaned: zeros in blood pressures, ``HR``, ``RespRate``, ``Temp`` and ``Weight`` are artefacts of the
    source, and so are temperatures below 5.

    Returns
    -------
    DataFrame, 30 049 rows
        ``unique_id`` : int, the record number; ``ds`` : float, **hours** since admission, 0 to 48; and 37 channels
        under the names of the challenge: ``Albumin`` g/dL; ``ALP``, ``ALT``, ``AST`` IU/L; ``Bilirubin``, ``BUN``,
        ``Cholesterol``, ``Creatinine``, ``Glucose`` mg/dL; ``DiasABP``, ``MAP``, ``SysABP`` (invasive),
        ``NIDiasABP``, ``NIMAP``, ``NISysABP`` (cuff), ``PaCO2``, ``PaO2`` mmHg; ``FiO2`` fraction 0-1; ``GCS`` score
        3-15; ``HCO3``, ``Lactate``, ``Mg`` mmol/L; ``HCT``, ``SaO2`` %; ``HR``, ``RespRate`` per minute; ``K``,
        ``Na`` mEq/L; ``MechVent`` 1 = ventilated (never 0: absence is not recorded); ``pH``; ``Platelets``, ``WBC``
        cells/nL; ``Temp`` degrees Celsius; ``TroponinI``, ``TroponinT`` ug/L; ``Urine`` mL; ``Weight`` kg.

    Notes
    -----
    Source: a random 400 of the 4 000 records of set A, PhysioNet/CinC Challenge 2012 (Silva et al., 2012; Goldberger et
    al., 2000). Licence: Open Data Commons Attribution 1.0.
    """
    long = _read("physionet2012_small")
    long = long[long["value"] >= 0].assign(time=lambda frame: frame["minute"] / 60.0)
    return _widen(long, {name: name for name in sorted(long["channel"].unique(), key=str.lower)})


def load_physionet2012_static() -> pd.DataFrame:
    """Load what was known at admission of the 400 stays of `load_physionet2012`. Code -1 becomes NaN.

    Returns
    -------
    DataFrame, 400 rows
        ``unique_id``; ``age`` years (90 means 90 or older); ``gender`` 0 = female, 1 = male; ``height_cm`` (half of
        them unknown, a few implausible); ``weight_kg`` at admission; ``icu_type`` 1 = coronary, 2 = cardiac surgery
        recovery, 3 = medical, 4 = surgical.
    """
    return _physionet_table(
        {"Age": "age", "Gender": "gender", "Height": "height_cm", "Weight0": "weight_kg", "ICUType": "icu_type"}
    )


def load_physionet2012_outcomes() -> pd.DataFrame:
    """Load the outcomes of the 400 stays of `load_physionet2012`: to predict, never to predict from. -1 becomes NaN.

    Returns
    -------
    DataFrame, 400 rows
        ``unique_id``; ``saps_i``, ``sofa`` severity scores; ``length_of_stay_days``; ``survival_days`` from admission
        to death (NaN: no death recorded); ``in_hospital_death`` 0 or 1.
    """
    names = ("length_of_stay_days", "survival_days", "in_hospital_death")
    return _physionet_table({"SAPS_I": "saps_i", "SOFA": "sofa"} | {name: name for name in names})


def load_cgm() -> pd.DataFrame:
    """Load continuous glucose monitoring of 57 adults: mostly healthy, 14 with prediabetes, 5 with type 2 diabetes.

    A reading every 5 minutes for about a week, with dropouts. Some wore the sensor twice, weeks to 14 months apart,
    which is one long gap here. Readings that the sensor called "Low" are stored as 40 (9 of the 12 values of 40).

    Returns
    -------
    DataFrame, 105 426 rows
        ``unique_id`` : subject; ``ds`` : float, **minutes** since the subject's first reading (calendar time and time
        of day are not known; ``pd.to_timedelta(frame["ds"], unit="min")`` makes timedeltas);
        ``glucose_mg_dl`` : interstitial glucose, mg/dL.

    Notes
    -----
    Source: Hall et al. (2018), PLoS Biology 16(7) e2005143. Licence: CC BY 4.0.
    """
    return _widen(_read("cgm_hall_2018"), {"glucose": "glucose_mg_dl"})


def load_cgm_static() -> pd.DataFrame:
    """Load the subjects of `load_cgm`.

    Returns
    -------
    DataFrame, 57 rows
        ``unique_id``; ``diabetes_type`` "No diabetes", "Prediabetes" or "T2D"; ``age`` years; ``hba1c_pct`` %
        (2 unknown).
    """
    return _by_series(_read("cgm_hall_2018_static"), {"hba1c_%": "hba1c_pct"})


def load_theophylline() -> pd.DataFrame:
    """Load theophylline concentrations of 12 subjects over a day, after one oral dose at hour 0.

    Returns
    -------
    DataFrame, 132 rows
        ``unique_id`` : int, 1 to 12; ``ds`` : float, **hours** since the dose; ``theophylline_mg_l`` : concentration in
        serum, mg/L (not zero at hour 0 for some subjects).

    See Also
    --------
    load_theophylline_doses, load_theophylline_static

    Notes
    -----
    Source: Boeckmann, Sheiner and Beal (1994), through R ``medicaldata::theoph``. Licence: MIT.
    """
    return _widen(_read("pk_theoph"), {"theophylline_mg_per_L": "theophylline_mg_l"})


def load_theophylline_doses() -> pd.DataFrame:
    """Load the doses behind `load_theophylline`, one per subject.

    Returns
    -------
    DataFrame, 12 rows
        ``unique_id``; ``ds`` hours, 0 for all; ``dose_mg`` swallowed, mg (dose per kg in the source, times weight).
    """
    table = _read("pk_theoph_doses")[["series", "time", "amount_mg"]]
    return _by_series(table, {"time": "ds", "amount_mg": "dose_mg"})


def load_theophylline_static() -> pd.DataFrame:
    """Load the body weights of the subjects of `load_theophylline`.

    Returns
    -------
    DataFrame, 12 rows
        ``unique_id``; ``weight_kg``.
    """
    return _by_series(_read("pk_theoph_doses")[["series", "weight_kg"]])


def load_indomethacin() -> pd.DataFrame:
    """Load indomethacin concentrations of 6 subjects over 8 hours, after one intravenous injection at hour 0.

    Returns
    -------
    DataFrame, 66 rows
        ``unique_id`` : int, 1 to 6; ``ds`` : float, **hours** since the injection, 0.25 to 8;
        ``indomethacin_mg_l`` : concentration in plasma, mg/L (= ug/mL). The dose is not part of the data.

    Notes
    -----
    Source: Kwan et al. (1976), through R ``medicaldata::indometh``. Licence: MIT.
    """
    return _widen(_read("pk_indometh"), {"indomethacin_mcg_per_mL": "indomethacin_mg_l"})


def load_palaeoclimate() -> pd.DataFrame:
    """Load records of past climate from ice and sea-floor cores, with sampling from decades to five millennia.

    Returns
    -------
    DataFrame, 11 194 rows
        ``unique_id`` : ``"epica_dome_c"``, ``"gisp2"`` or ``"lr04_benthic_stack"``;
        ``ds`` : float, **thousands of years relative to 1950**: minus the age in kyr BP, so that it runs forward
        (-800 is 800 000 years before 1950); ``co2_ppm`` : CO2 in air, ppm (epica_dome_c);
        ``deuterium_permil`` : deltaD of ice, per mil, and ``temperature_anomaly_k`` derived from it, K above the
        mean of the last millennium (epica_dome_c); ``d18o_ice_permil`` (gisp2); ``d18o_benthic_permil`` : a stack of 57
        sea-floor records, high = cold and icy (lr04_benthic_stack).

    Notes
    -----
    The two isotope ratios are different quantities, so they are two channels. CO2 is the Antarctic composite of several
    cores (Bereiter et al., 2015) on its own gas-age scale, the other Dome C channels (Jouzel et al., 2007) are on the
    EDC3 ice-age scale: leads and lags of up to a few kyr between the two mean nothing. GISP2: Grootes and Stuiver
    (1997). LR04: Lisiecki and Raymo (2005), a smooth average whose steps grow from 1 kyr to 5 kyr back in time.
    All from the NOAA/WDS palaeoclimatology archive: free use with citation.
    """
    long = _read("palaeoclimate")
    long["time"] = -long["time"]
    oxygen = long["channel"] == "d18o_permil"
    long.loc[oxygen & (long["series"] == "gisp2"), "channel"] = "d18o_ice_permil"
    long.loc[oxygen & (long["series"] != "gisp2"), "channel"] = "d18o_benthic_permil"
    same = ("co2_ppm", "deuterium_permil", "d18o_ice_permil", "d18o_benthic_permil")
    return _widen(long, {name: name for name in same} | {"temperature_anomaly_K": "temperature_anomaly_k"})


def load_earthquakes() -> pd.DataFrame:
    """Load 4 296 streams of US earthquakes, 1996 to 2023: marked events, one row each.

    Returns
    -------
    DataFrame, 70 723 rows
        ``unique_id`` : such as ``"train-0"``; ``ds`` : float, time since the first event of the stream (the unit is
        not documented; the rate of events fits hours); ``mark`` : int, class of the magnitude, 0 (small) to 6;
        ``split`` : ``"train"``, ``"dev"`` or ``"test"``, 3 000, 400 and 896 streams, of the benchmark they come from.

    Notes
    -----
    Source: USGS earthquake catalogue as prepared by EasyTPP (Xue et al., 2024). Licence: US government data.
    """
    events = _read("events_earthquake").rename(columns={"series": "unique_id", "time": "ds"})
    events = events.sort_values(["unique_id", "ds", "mark"], kind="stable", ignore_index=True)
    return events[["unique_id", "ds", "mark", "split"]].astype({"mark": "int64"})


def load_mauna_loa_co2() -> pd.DataFrame:
    """Load weekly CO2 in the air at Mauna Loa, March 1958 to December 2001. The 59 missing weeks are absent rows.

    Returns
    -------
    DataFrame, 2 225 rows
        ``unique_id`` : ``"mauna_loa"``; ``ds`` : datetime, the week's Saturday; ``co2_ppm`` : ppm by volume.

    Notes
    -----
    Source: Keeling and Whorf (2004), Carbon Dioxide Information Analysis Center, as in statsmodels. Licence:
    public domain.
    """
    return _widen(_read("mauna_loa_co2"), {"co2_ppm": "co2_ppm"})


def load_lynx_hare() -> pd.DataFrame:
    """Load the pelts of snowshoe hares and Canadian lynxes that the Hudson's Bay Company bought, 1900 to 1920.

    Returns
    -------
    DataFrame, 21 rows
        ``unique_id`` : ``"hudson_bay"``; ``ds`` : float, the year; ``hare``, ``lynx`` : thousands of pelts.

    Notes
    -----
    Pelts stand for the numbers of animals: what was trapped, brought in and bought. Source: Hewitt (1921), as in
    posteriordb ``hudson_lynx_hare``. Licence: historical facts.
    """
    return _widen(_read("lynx_hare"), {"hare": "hare", "lynx": "lynx"})


def load_nyc_weather() -> pd.DataFrame:
    """Load hourly weather of the three airports of New York City in 2013, with real dropouts.

    Returns
    -------
    DataFrame, 26 112 rows
        ``unique_id`` : ``"EWR"``, ``"JFK"`` or ``"LGA"``; ``ds`` : datetime in UTC (New York is 5 hours behind, 4 in
        summer); ``temperature_degf``, ``dewpoint_degf`` : degrees Fahrenheit; ``humidity_pct`` : %;
        ``wind_direction_deg`` : degrees, ``wind_speed_mph``, ``wind_gust_mph`` : miles per hour;
        ``precipitation_in`` : inches; ``pressure_hpa`` : hPa at sea level; ``visibility_mi`` : miles, at most 10.

    Notes
    -----
    As in the source, one wind speed is impossible (1 048 mph, EWR, 12 February). Gusts are reported in gusty hours
    only. The direction wraps at 360.
    Source: NOAA ASOS stations through R ``nycflights13``. Licence: CC0.
    """
    return _widen(
        _read("nyc_weather_2013"),
        {
            "temp": "temperature_degf",
            "dewp": "dewpoint_degf",
            "humid": "humidity_pct",
            "wind_dir": "wind_direction_deg",
            "wind_speed": "wind_speed_mph",
            "wind_gust": "wind_gust_mph",
            "precip": "precipitation_in",
            "pressure": "pressure_hpa",
            "visib": "visibility_mi",
        },
    )


def _read(name: str) -> pd.DataFrame:
    return pd.read_parquet(dataset_path(name))


def _widen(long: pd.DataFrame, channels: Mapping[str, str]) -> pd.DataFrame:
    """Turn rows of (series, time, channel, value) into the native format; duplicates are averaged."""
    value = long.groupby(["series", "time", "channel"], observed=True)["value"].mean()
    wide = value.unstack("channel").sort_index().reset_index().rename(columns={"series": "unique_id", "time": "ds"})
    wide.columns.name = None
    wide = wide[["unique_id", "ds", *channels]].rename(columns=dict(channels))
    numbers = dict.fromkeys(channels.values(), "float64")
    if pd.api.types.is_numeric_dtype(wide["ds"]):
        numbers["ds"] = "float64"
    return _by_series(wide.astype(numbers))


def _by_series(table: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Rename columns, make integer ids plain int64, and sort by series."""
    table = table.rename(columns={"series": "unique_id"} | dict(names or {}))
    if pd.api.types.is_integer_dtype(table["unique_id"]):
        table = table.astype({"unique_id": "int64"})
    return table.sort_values("unique_id", kind="stable", ignore_index=True)


def _physionet_table(names: Mapping[str, str]) -> pd.DataFrame:
    table = _read("physionet2012_small_static")[["series", *names]].astype(dict.fromkeys(names, "float64"))
    return _by_series(table.mask(table < 0), names)
