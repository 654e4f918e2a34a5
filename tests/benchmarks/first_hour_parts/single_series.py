"""Tasks of one series each: carbon dioxide, textbook series, weather, ice ages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.first_hour_parts.tables import bundled, wide
from tests.benchmarks.first_hour_parts.trials import Question, Trial
from tests.benchmarks.structural_parts.classic_series import Classic, classics, seasonal_naive
from tests.benchmarks.structural_parts.scores import crps

__all__ = ["co2", "lr04", "textbook", "thinned", "weather"]

CO2_CUTOFFS = ("1986-01-01", "1991-01-01", "1996-01-01")
CO2_AHEAD = pd.Timedelta(days=1826)
WEATHER = {"temp": "temperature_degf", "humid": "humidity_pct", "wind_speed": "wind_speed_mph"}
STATION = "EWR"
WEATHER_CUTOFFS = np.linspace(3750.0, 8000.0, 30).round()  # hours of 2013
WEATHER_AHEAD, WEATHER_SEEN = pd.Timedelta(hours=48), pd.Timedelta(days=60)
ICE_CUTOFFS, ICE_AHEAD = (-800.0, -600.0, -400.0, -200.0), 200.0


def _ahead(frame: pd.DataFrame, cutoff: Any, ahead: Any) -> pd.DataFrame:
    return frame[(frame["ds"] > cutoff) & (frame["ds"] <= cutoff + ahead)]


def co2() -> list[Trial]:
    """Mauna Loa, weekly: five years ahead from three cutoffs, a fit for each."""
    frame = wide(bundled("mauna_loa_co2"), {"co2_ppm": "co2_ppm"})
    trials = []
    for text in CO2_CUTOFFS:
        cutoff = pd.Timestamp(text)
        question = Question(_ahead(frame, cutoff, CO2_AHEAD))
        train = frame[frame["ds"] <= cutoff]
        trials.append(Trial(text, train, [question], CO2_AHEAD, step=pd.Timedelta(days=7), period=365.2425 / 7))
    return trials


def _one(one: Classic, times: np.ndarray, is_seen: np.ndarray, cut: int) -> Trial:
    frame = pd.DataFrame({"unique_id": one.name, "ds": times, one.name: one.values})
    naive = crps(one.values[cut:], seasonal_naive(one.values[:cut], one.period, len(one.values) - cut))
    return Trial(
        one.name,
        frame.iloc[:cut][is_seen],
        [Question(frame.iloc[cut:])],
        horizon=float(times[-1] - times[:cut][is_seen][-1]),
        step=float(np.median(np.diff(one.times))),
        period=one.period,
        unit=np.array([naive]),
    )


def textbook() -> list[Trial]:
    """Fifteen series, the last fifth asked, a fit for each; CRPS by that of the seasonal naive, told the period."""
    trials = []
    for one in classics():
        cut = int(0.8 * len(one.values))
        trials.append(_one(one, one.times, np.ones(cut, dtype=bool), cut))
    return trials


def thinned() -> list[Trial]:
    """The same with 30 % of the history removed and all times moved, by the seasonal naive of the full series."""
    trials = []
    for one in classics():
        generator = np.random.default_rng(len(one.values))
        cut = int(0.8 * len(one.values))
        step = np.median(np.diff(one.times))
        times = one.times + step * generator.uniform(-0.1, 0.1, len(one.times))
        trials.append(_one(one, times, generator.random(cut) >= 0.3, cut))
    return trials


def weather() -> list[Trial]:
    """Newark, hourly, gaps and a wind of 1,048 mph kept: one fit before the first cutoff, 48 hours ahead from thirty.

    A forecast is made from the last 60 days before its cutoff.
    """
    table = bundled("nyc_weather_2013")
    frame = wide(table[table["series"] == STATION], WEATHER)
    frame["ds"] = frame["ds"].dt.tz_convert("UTC")
    cutoffs = pd.Timestamp("2013-01-01 05:00", tz="UTC") + pd.to_timedelta(WEATHER_CUTOFFS, unit="h")
    questions = [
        Question(
            _ahead(frame, cutoff, WEATHER_AHEAD),
            frame[(frame["ds"] <= cutoff) & (frame["ds"] > cutoff - WEATHER_SEEN)],
        )
        for cutoff in cutoffs
    ]
    train = frame[frame["ds"] <= cutoffs[0]]
    return [Trial("weather", train, questions, WEATHER_AHEAD, step=pd.Timedelta(hours=1), period=24)]


def lr04() -> list[Trial]:
    """A stack of sea-floor records: 200,000 years ahead from four cutoffs, a fit for each. Times are -age in kyr."""
    table = bundled("palaeoclimate")
    table = table[table["series"] == "lr04_benthic_stack"]
    frame = wide(table.assign(time=-table["time"]), {"d18o_permil": "d18o_benthic_permil"})
    return [
        Trial(
            f"{-cutoff:g} kyr",
            frame[frame["ds"] <= cutoff],
            [Question(_ahead(frame, cutoff, ICE_AHEAD))],
            ICE_AHEAD,
            step=2.0,
            period=50,
        )
        for cutoff in ICE_CUTOFFS
    ]
