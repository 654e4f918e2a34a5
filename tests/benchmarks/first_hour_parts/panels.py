"""Tasks of many series: people, patients and stations that are held out, and light curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.benchmarks.first_hour_parts.tables import DATASETS, bundled, folds, read, rekeyed, wide
from tests.benchmarks.first_hour_parts.trials import Question, Trial
from tests.benchmarks.structural_parts.scores import FOLDER

__all__ = [
    "LEADS",
    "glucose",
    "indomethacin",
    "light_curves",
    "pbc",
    "phenobarbital",
    "physionet",
    "theophylline",
    "ushcn",
]

SEED = 1
STEP, LEADS = 5.0, np.array([6, 12, 18, 24])  # minutes between readings of glucose; readings
N_BEFORE, HISTORY, N_CUTOFFS = 24, 12 * 60.0, 30
LABS = ("bili", "albumin", "alk.phos", "ast", "chol", "platelet", "protime")
N_VISITS, PBC_AHEAD = 3, 1826.0  # days
VITALS = ("HR", "MAP", "SysABP", "NIMAP", "Temp", "GCS")
STAY_SEEN, STAY_AHEAD = 24.0, 12.0  # hours
STATIONS = {"TMAX": "tmax_degc", "TMIN": "tmin_degc", "PRCP": "precipitation_mm", "SNOW": "snowfall_mm"}
STATIONS |= {"SNWD": "snow_depth_mm"}
MONTHS = pd.date_range("2000-01-01", periods=6, freq="2MS")
MONTH = pd.Timedelta(days=30)
INFANT_AHEAD = 168.0  # hours
N_STARS, BANDS, GIVEN = 20, "ugriz", 0.6


def _of(table: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return table[table["unique_id"].isin(list(ids))].reset_index(drop=True)


def _from(frame: pd.DataFrame, ids: np.ndarray, n_seen: int, most: float = np.inf) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each series its first rows, and those that follow within so much time; of those that have any."""
    rows = _of(frame, ids)
    number = rows.groupby("unique_id").cumcount()
    last = rows["ds"].where(number == n_seen - 1).groupby(rows["unique_id"]).transform("max")
    is_asked = (number >= n_seen) & (rows["ds"] <= last + most)
    has_some = rows["unique_id"].isin(rows.loc[is_asked, "unique_id"])
    return rows[is_asked].reset_index(drop=True), rows[(number < n_seen) & has_some].reset_index(drop=True)


def glucose() -> list[Trial]:
    """People never seen in fit, 30 to 120 minutes ahead from 30 cutoffs each, shown 12 hours of history.

    People are split 60 to 40. At a cutoff the last two hours and the four leads are all there.
    """
    frame = wide(bundled("cgm_hall_2018"), {"glucose": "glucose_mg_dl"})
    frame["ds"] = frame["ds"].astype(float)
    generator = np.random.default_rng(SEED)
    names = generator.permutation(np.array(sorted(frame["unique_id"].unique()), dtype=object))
    n = round(0.6 * len(names))
    contexts, asked = [], []
    for name in names[n:]:
        rows = frame[frame["unique_id"] == name]
        times = set(rows["ds"])
        around = np.concatenate([-STEP * np.arange(N_BEFORE), STEP * LEADS])
        whole = [time for time in rows["ds"] if time >= HISTORY and all(time + d in times for d in around)]
        for cutoff in np.sort(generator.permutation(np.array(whole))[:N_CUTOFFS]):
            key = f"{name} at {cutoff:g}"
            is_past = (rows["ds"] <= cutoff) & (rows["ds"] > cutoff - HISTORY)
            contexts.append(rows[is_past].assign(unique_id=key))
            asked.append(rows[rows["ds"].isin(cutoff + STEP * LEADS)].assign(unique_id=key))
    question = Question(pd.concat(asked, ignore_index=True), pd.concat(contexts, ignore_index=True))
    return [Trial("glucose", _of(frame, names[:n]), [question], STEP * LEADS[-1], step=STEP)]


def theophylline() -> list[Trial]:
    """Subjects held out by threes, forecast from their first two levels; doses are events, weights are known."""
    frame = wide(bundled("pk_theoph"), {"theophylline_mg_per_L": "theophylline_mg_l"})
    table = pd.read_parquet(DATASETS / "pk_theoph_doses.parquet")
    table["unique_id"] = table["series"].astype(str).to_numpy(dtype=object)
    doses = table[["unique_id", "time", "amount_mg"]].rename(columns={"time": "ds", "amount_mg": "amount"})
    weights = table[["unique_id", "weight_kg"]]
    trials = []
    for out in folds(frame["unique_id"].unique(), 4, SEED):
        kept = np.setdiff1d(frame["unique_id"].unique(), out)
        asked, context = _from(frame, out, 2)
        question = Question(asked, context, _of(doses, out), _of(weights, out))
        train = _of(frame, kept), [question], 24.0
        trials.append(Trial(f"without {', '.join(out)}", *train, events=_of(doses, kept), static=_of(weights, kept)))
    return trials


def indomethacin() -> list[Trial]:
    """Subjects held out by twos, forecast from their first two levels; the injection at hour 0 is not in the data."""
    frame = wide(bundled("pk_indometh"), {"indomethacin_mcg_per_mL": "indomethacin_mg_l"})
    trials = []
    for out in folds(frame["unique_id"].unique(), 3, SEED):
        kept = np.setdiff1d(frame["unique_id"].unique(), out)
        trials.append(Trial(f"without {', '.join(out)}", _of(frame, kept), [Question(*_from(frame, out, 2))], 7.5))
    return trials


def phenobarbital() -> list[Trial]:
    """Infants held out in five folds; each level after the first from those before it, doses in mg, weight, Apgar."""
    frame = wide(read("pk_phenobarb"), {"phenobarbital_mg_per_L": "phenobarbital_mg_l"})
    doses = pd.read_parquet(FOLDER / "pk_phenobarb_doses.parquet")
    doses = doses.rename(columns={"series": "unique_id", "time": "ds", "amount_mg": "amount"})
    infants = pd.read_parquet(FOLDER / "pk_phenobarb_static.parquet").rename(columns={"series": "unique_id"})
    for table in (doses, infants):
        table["unique_id"] = table["unique_id"].astype(str).to_numpy(dtype=object)
    trials = []
    for k, out in enumerate(folds(frame["unique_id"].unique(), 5, SEED)):
        kept = np.setdiff1d(frame["unique_id"].unique(), out)
        parts: list[list[pd.DataFrame]] = [[], [], [], []]
        for name in out:
            for n_seen in range(1, int((frame["unique_id"] == name).sum())):
                key = f"{name} after {n_seen}"
                levels = rekeyed(frame, name, key)
                told = rekeyed(doses, name, key), rekeyed(infants, name, key)
                for part, rows in zip(parts, (levels.iloc[[n_seen]], levels.iloc[:n_seen], *told), strict=True):
                    part.append(rows)
        question = Question(*(pd.concat(part, ignore_index=True) for part in parts))
        told = {"events": _of(doses, kept), "static": _of(infants, kept)}
        trials.append(Trial(f"fold {k}", _of(frame, kept), [question], INFANT_AHEAD, **told))
    return trials


def pbc() -> list[Trial]:
    """Patients held out, 60 to 40: laboratory values of the five years after the third visit; sex, age, treatment."""
    frame = wide(read("pbcseq"), {name: name.replace(".", "_") for name in LABS})
    frame["ds"] = frame["ds"].astype(float)
    table = pd.read_parquet(FOLDER / "pbcseq_static.parquet")
    who = pd.DataFrame({"unique_id": table["series"].astype(str).to_numpy(dtype=object), "age": table["age"]})
    who["sex"] = table["sex"].astype(str).to_numpy(dtype=object)
    who["treatment"] = np.where(table["trt"] == 1, "d-penicillamine", "placebo").astype(object)
    out = np.concatenate(folds(frame["unique_id"].unique(), 5, SEED)[:2])
    kept = np.setdiff1d(frame["unique_id"].unique(), out)
    asked, context = _from(frame, out, N_VISITS, PBC_AHEAD)
    question = Question(asked, context, static=_of(who, context["unique_id"].unique()))
    return [Trial("pbc", _of(frame, kept), [question], PBC_AHEAD, static=_of(who, kept))]


def ushcn() -> list[Trial]:
    """Stations of the USA, sporadic: fitted to 1997 to 1999, the next 30 days from six cutoffs of 2000."""
    long = bundled("ushcn_small")
    tenths = long["channel"].isin(["TMAX", "TMIN", "PRCP"])
    frame = wide(long.assign(value=np.where(tenths, long["value"] / 10.0, long["value"])), STATIONS)
    questions = []
    for month in MONTHS:
        ahead = frame[(frame["ds"] >= month) & (frame["ds"] < month + MONTH)]
        context = frame[frame["ds"] < month]
        ahead = ahead[ahead["unique_id"].isin(context["unique_id"])]
        questions.append(Question(ahead, context[context["unique_id"].isin(ahead["unique_id"])]))
    step, period = pd.Timedelta(days=1), 365.2425
    return [Trial("ushcn", frame[frame["ds"] < MONTHS[0]], questions, MONTH, step=step, period=period)]


def physionet() -> list[Trial]:
    """Stays held out, 60 to 40: six vital signs in hours 24 to 36 from those before; age, sex, unit."""
    long = bundled("physionet2012_small")
    long = long[long["value"] >= 0].assign(time=lambda table: table["minute"] / 60.0)
    frame = wide(long, {name: name for name in VITALS})
    table = pd.read_parquet(DATASETS / "physionet2012_small_static.parquet")
    table = table.where(table >= 0)
    who = pd.DataFrame({"unique_id": table["series"].astype(int).astype(str).to_numpy(dtype=object)})
    who["age"] = table["Age"].astype(float)
    for name, column in {"sex": "Gender", "unit": "ICUType"}.items():
        codes = [None if np.isnan(code) else f"{name} {code:g}" for code in table[column]]
        who[name] = np.array(codes, dtype=object)
    out = np.concatenate(folds(frame["unique_id"].unique(), 5, SEED)[:2])
    kept = np.setdiff1d(frame["unique_id"].unique(), out)
    rows = _of(frame, out)
    ahead = rows[(rows["ds"] > STAY_SEEN) & (rows["ds"] <= STAY_SEEN + STAY_AHEAD)]
    context = rows[(rows["ds"] <= STAY_SEEN) & rows["unique_id"].isin(ahead["unique_id"])]
    ahead = ahead[ahead["unique_id"].isin(context["unique_id"])]
    question = Question(ahead, context, static=_of(who, context["unique_id"].unique()))
    return [Trial("physionet", _of(frame, kept), [question], STAY_AHEAD, static=_of(who, kept), step=1.0)]


def light_curves() -> list[Trial]:
    """Twenty RR Lyrae stars in five bands, one panel: the first 60 % of each star's nights fitted, the rest asked."""
    frame = wide(read("rrlyrae_sdss_s82"), {band: band for band in BANDS})
    names = np.array(sorted(frame["unique_id"].unique()), dtype=object)
    chosen = np.random.default_rng(SEED).permutation(names)[:N_STARS]
    seen, asked = [], []
    for _, star in _of(frame, chosen).groupby("unique_id"):
        nights = np.unique(np.floor(star["ds"]))
        last = nights[round(GIVEN * len(nights)) - 1]
        is_seen = np.floor(star["ds"]) <= last
        seen.append(star[is_seen])
        asked.append(star[~is_seen])
    horizon = max(later["ds"].max() - given["ds"].max() for given, later in zip(seen, asked, strict=True))
    train, ahead = (pd.concat(part, ignore_index=True) for part in (seen, asked))
    return [Trial("rrlyrae", train, [Question(ahead)], float(horizon))]
