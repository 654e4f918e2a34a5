"""Occasions on frames: doses of each, estimates of both levels, occasions to come, and what cannot be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import tsode
from tsode.errors import DataError, ParameterError
from tsode.inference.noise import LogNormalNoise
from tsode.inference.priors import LogNormal

N, N_OCCASIONS, EVERY = 8, 3, 12.0
AFTER = np.array([1.0, 3.0, 6.0, 12.0])  # a dose; the last is when the next is given
IDS = [f"s{k}" for k in range(N)]
KE, OMEGA, OMEGA_OCCASION, SD = 0.2, 0.35, 0.25, 0.05


def rates(t, z, p):
    return (-p.ke * z[:, 0],)


def simulated(n: int = N, n_occasions: int = N_OCCASIONS, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Levels and doses of series whose rate changes with every dose."""
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for key in IDS[:n]:
        own, level = KE * np.exp(OMEGA * generator.standard_normal()), 0.0
        for k in range(n_occasions):
            ke = own * np.exp(OMEGA_OCCASION * generator.standard_normal())
            level += 10.0
            for after in AFTER:
                noise = np.exp(SD * generator.standard_normal())
                y = level * np.exp(-ke * after) * noise
                rows.append({"unique_id": key, "ds": EVERY * k + after, "y": y, "visit": k + 1})
            level *= np.exp(-ke * EVERY)
    return pd.DataFrame(rows), doses(n, n_occasions)


def doses(n: int = N, n_occasions: int = N_OCCASIONS) -> pd.DataFrame:
    visit = np.tile(np.arange(1, n_occasions + 1), n)
    ids = np.repeat(IDS[:n], n_occasions)
    return pd.DataFrame({
        "unique_id": ids, "ds": EVERY * (visit - 1), "target": "c", "amount": 10.0, "visit": visit,
    })  # fmt: skip


def model(**settings: Any) -> tsode.KnownODEForecaster:
    given = {
        "states": ["c"], "parameters": {"ke": LogNormal(-1.5, 0.5), "sd": LogNormal(-3.0, 0.5)}, "initial": {"c": 0.0},
        "observed": {"y": LogNormalNoise("c", sd="sd")}, "random_effects": ["ke"], "occasion": "visit",
        "occasion_effects": ["ke"], "inference": "likelihood", "n_starts": 1, "random_state": 0, "n_draws": 64,
    }  # fmt: skip
    return tsode.KnownODEForecaster(rates, **given | settings)


def slopes(levels: pd.DataFrame) -> pd.Series:
    """How fast logarithms fall on each occasion."""
    logs = levels.assign(y=np.log(levels["y"]))
    return pd.Series({
        at: -np.polyfit(one["ds"], one["y"], 1)[0] for at, one in logs.groupby(["unique_id", "visit"], sort=False)
    })  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> tsode.KnownODEForecaster:
    levels, events = simulated()
    return model().fit(levels, events=events)


@pytest.mark.slow
def test_spreads_of_both_levels_are_those_of_the_analysis_of_variance(fitted):
    # noise is small beside either spread, so that the rate of an occasion is the slope of its logarithms
    levels, _ = simulated()
    logs = np.log(slopes(levels).to_numpy()).reshape(N, N_OCCASIONS)
    within = logs.var(axis=1).sum() / (N * (N_OCCASIONS - 1) / N_OCCASIONS)
    among = logs.mean(axis=1).var() - within / N_OCCASIONS
    table = fitted.estimates()
    for name, truth in (("ke", np.exp(logs.mean())), ("omega_ke", np.sqrt(among)), ("sd", SD),
                        ("omega_occasion_ke", np.sqrt(within))):  # fmt: skip
        assert table.loc[name, "estimate"] == pytest.approx(truth, rel=0.1), name
    for name, truth in (("omega_ke", OMEGA), ("omega_occasion_ke", OMEGA_OCCASION)):
        assert table.loc[name, "lower"] * 0.8 < truth < table.loc[name, "upper"] * 1.25
    assert table.loc["omega_occasion_ke", "rse"] < 40.0
    assert 0.0 < table.loc["omega_occasion_ke", "shrinkage"] < 0.3
    assert not fitted.summary().index.str.startswith("kappa").any()


@pytest.mark.slow
def test_each_occasion_has_the_rate_that_its_levels_fall_at(fitted):
    found = fitted.occasion_parameters()["ke", "mean"]
    assert found.index.names == ["unique_id", "visit"]
    levels, _ = simulated()
    assert found.index.tolist() == slopes(levels).index.tolist()
    assert np.corrcoef(found, slopes(levels))[0, 1] > 0.99
    # a series' own value lies among those of its occasions
    own = fitted.individual_parameters()["ke", "mean"]
    assert np.corrcoef(own, found.groupby("unique_id").mean().loc[own.index])[0, 1] > 0.98


def spread_of_next(model: tsode.KnownODEForecaster, visit: int) -> pd.Series:
    """What is said of a level six hours after a fourth dose, on the logarithm."""
    events = pd.concat([doses(1), doses(1, 4).iloc[3:].assign(visit=visit)])
    asked = pd.DataFrame({"unique_id": IDS[:1], "ds": 3 * EVERY + 6.0})
    drawn = model.sample(asked, events=events, n_samples=128, random_state=0)
    return np.log(drawn["y"])


def test_an_occasion_to_come_is_as_wide_as_occasions_differ(fitted):
    same, new = (spread_of_next(fitted, visit) for visit in (3, 4))
    own = fitted.occasion_parameters().loc[(IDS[0], 3)]
    # without another occasion the rate of the last one is known well
    assert same.std() < 0.12
    # the level falls for six hours at a rate that varies by omega_occasion, and little is left of the dose before
    expected = 6.0 * fitted.individual_parameters().loc[IDS[0], ("ke", "mean")]
    expected *= fitted.estimates().loc["omega_occasion_ke", "estimate"]
    assert new.std() == pytest.approx(expected, rel=0.35)
    assert own["ke", "sd"] < 0.02


@pytest.mark.slow
def test_a_new_series_is_forecast_before_and_after_its_first_rows(fitted):
    events = doses(1, 2).assign(unique_id="new")
    asked = pd.DataFrame({"unique_id": "new", "ds": [9.0, 18.0]})
    seen = pd.DataFrame({"unique_id": "new", "ds": [1.0, 6.0], "y": [8.0, 2.6], "visit": 1})
    before, after = (
        fitted.predict_interval(asked, context=context, events=events, level=90) for context in (seen.iloc[:0], seen)
    )
    width = [(band["y-hi-90"] / band["y-lo-90"]).to_numpy() for band in (before, after)]
    # its rows tell much of their own occasion, and of the next one what series have in common with themselves
    assert width[1][0] < 0.7 * width[0][0]
    assert width[1][1] < width[0][1]
    # nobody has said anything of occasions: there is one
    plain = fitted.predict(asked, context=seen.drop(columns="visit"), events=events.drop(columns="visit"))
    assert np.isfinite(plain["y"]).all()


def test_forecasts_do_not_depend_on_who_is_asked_about_beside(fitted):
    events = pd.concat([doses(2), doses(1, 5).iloc[3:]])
    asked = pd.DataFrame({"unique_id": IDS[:2], "ds": 40.0})
    both = fitted.predict(asked, events=events).set_index("unique_id")
    alone = fitted.predict(asked.iloc[1:], events=doses(2).iloc[3:]).set_index("unique_id")
    pd.testing.assert_frame_equal(both.loc[IDS[1:2]], alone, rtol=1e-9)


def test_a_file_keeps_occasions(fitted, tmp_path):
    fitted.save(tmp_path / "model.tsode")
    again = tsode.KnownODEForecaster.load(tmp_path / "model.tsode", rates=rates)
    pd.testing.assert_frame_equal(fitted.occasion_parameters(), again.occasion_parameters())
    pd.testing.assert_frame_equal(fitted.estimates(), again.estimates())
    pd.testing.assert_series_equal(spread_of_next(fitted, 4), spread_of_next(again, 4))


@pytest.mark.slow
def test_checks_of_populations_draw_occasions_too(fitted):
    found = fitted.goodness_of_fit(n=100)
    assert np.isfinite(found[["CWRES", "NPDE"]].to_numpy()).all()
    # at individual modes of both levels what is left is noise
    assert found["IRES"].std() == pytest.approx(SD, rel=0.3)


@pytest.mark.parametrize("where", ["rows", "events", "known"])
def test_any_table_may_tell_of_occasions(where):
    levels, events = simulated(3)
    point = {"ke": 0.2, "sd": 0.05, "omega_ke": 0.3, "omega_occasion_ke": 0.2, "eta_ke": 0.4, "kappa_ke_1": -0.3,
             "kappa_ke_2": 0.5, "kappa_ke_3": 0.1}  # fmt: skip
    whole = model().evaluate(point, levels, events=events)
    known = events[["unique_id", "ds", "visit"]]
    tables = {"events": events} if where == "events" else {"events": events.drop(columns="visit")}
    if where == "known":
        tables["known"] = known
    rows = levels if where == "rows" else levels.drop(columns="visit")
    found = model().evaluate(point, rows, **tables)
    if where == "rows":  # an occasion begins with its first row then, an hour after its dose
        assert float(found["log_likelihood"].iloc[0]) != pytest.approx(float(whole["log_likelihood"].iloc[0]))
    else:
        pd.testing.assert_frame_equal(found, whole)


@pytest.mark.parametrize(
    ("change", "settings", "error", "says"),
    [
        ({}, {"occasion": "OCC"}, DataError, "occasion='OCC' is no column of the rows, of events= or"),
        ({"visit": 1}, {}, DataError, r"more than one occasion \('visit'\).*'ke' among occasions cannot be told"),
        ({"visit": np.nan}, {}, DataError, r"'visit' is missing in X= for series 's0' at 1\.0"),
        ({"visit": "first"}, {}, DataError, "not numbers: number the occasions"),
        ({}, {"occasion_effects": ["kel"]}, ParameterError, "occasion_effects= names 'kel'"),
        ({}, {"occasion_effects": None}, ParameterError, "occasion= needs occasion_effects= too"),
        ({}, {"occasion": None}, ParameterError, "occasion_effects= needs occasion= too"),
        ({}, {"random_effects": None, "inference": "laplace"}, ParameterError, "act beside random effects"),
    ],
)
def test_occasions_that_cannot_be_are_refused_by_name(change, settings, error, says):
    levels, events = simulated(2)
    with pytest.raises(error, match=says):
        model(**settings).fit(levels.assign(**change), events=events.drop(columns="visit"))


def test_two_occasions_at_one_time_are_refused_by_series_and_time():
    levels, events = simulated(2)
    twice = pd.concat([events, events.iloc[:1].assign(visit=2)])
    with pytest.raises(DataError, match=r"two values for series 's0' at 0\.0"):
        model().fit(levels, events=twice)
