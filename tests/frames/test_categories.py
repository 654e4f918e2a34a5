"""Categories among the covariates that are known ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import JumpODEForecaster
from tsode.core.covariates import CovariatePath
from tsode.errors import DataError, ParameterError

# asks for times far beyond a history, on purpose
pytestmark = [
    pytest.mark.usefixtures("short_epochs"),
    pytest.mark.filterwarnings("ignore:The history of series:tsode.errors.TsodeWarning"),
]

RNG = np.random.default_rng(0)
ROWS = pd.DataFrame(
    {"unique_id": np.repeat(["a", "b", "c"], 12), "ds": np.tile(np.arange(12.0), 3), "y": RNG.normal(size=36)}
)
SKY = pd.DataFrame(
    {
        "unique_id": np.repeat(["a", "b", "c"], 4),
        "ds": np.tile([0.0, 4.0, 8.0, 40.0], 3),
        "sky": ["sun", "rain", "sun", "rain", "rain", "rain", None, "sun", "sun", "sun", "rain", "sun"],
        "heat": np.arange(12.0),
    }
)


def small(**more) -> JumpODEForecaster:
    return JumpODEForecaster(n_modes=2, n_static=2, n_members=1, max_epochs=1, horizon=3.0, random_state=0, **more)


@pytest.fixture(scope="module")
def fitted() -> JumpODEForecaster:
    return small().fit(ROWS, known=SKY)


def as_ones(table: pd.DataFrame) -> pd.DataFrame:
    ones = {f"sky_{kind}": (table["sky"] == kind).astype(float).where(table["sky"].notna()) for kind in ("rain", "sun")}
    return table.drop(columns="sky").assign(**ones)[["unique_id", "ds", "sky_rain", "sky_sun", "heat"]]


def test_categories_that_hold_are_columns_of_zeros_and_ones():
    by_name = small(known_path="last").fit(ROWS, known=SKY)
    by_hand = small(known_path="last").fit(ROWS, known=as_ones(SKY))
    pd.testing.assert_frame_equal(by_name.predict(horizon=[1.0, 2.5]), by_hand.predict(horizon=[1.0, 2.5]))


def test_a_category_holds_up_to_the_next_row_where_numbers_are_straight_lines(fitted):
    coder, record = fitted.reader_.covariates, fitted._panel.covariates["a"]
    path = coder.series(record, fitted.reader_.timeline, 3.0).path
    of_sky = np.array([label != "heat" for label in coder.known])
    assert coder.known_columns == ["sky", "heat"]
    assert (path.slopes[:, of_sky] == 0.0).all()
    assert (path.slopes[:-1, ~of_sky] != 0.0).all()


@pytest.mark.parametrize("seed", range(3))
def test_each_column_of_a_mixed_path_is_as_in_a_path_of_its_kind(seed):
    rng = np.random.default_rng(seed)
    times, values, holds = (
        np.cumsum(rng.exponential(size=7)),
        rng.normal(size=(7, 4)),
        np.array([True, False, True, False]),
    )
    mixed = CovariatePath.through(times, values, [0.5, 2.0], holds)
    for part, make in ((holds, CovariatePath.last_value), (~holds, CovariatePath.linear)):
        own = make(times, values[:, part], [0.5, 2.0])
        for name in ("values", "slopes", "averages"):
            np.testing.assert_allclose(getattr(mixed, name)[:, part], getattr(own, name), atol=1e-12)


def test_a_missing_category_is_the_one_before_and_order_and_dtype_change_nothing(fitted):
    asked = {"horizon": [1.0, 2.5]}
    want = fitted.predict(**asked)
    filled = SKY.assign(sky=SKY["sky"].fillna("rain"))
    for same in (filled, SKY.sample(frac=1.0, random_state=0), SKY.astype({"sky": "category"}), SKY[::-1]):
        pd.testing.assert_frame_equal(fitted.predict(known=same, **asked), want)
    other = fitted.predict(known=SKY.assign(sky=SKY["sky"].map({"sun": "rain", "rain": "sun"})), **asked)
    assert (other["y"] != want["y"]).all()


def test_a_table_without_ids_and_a_series_of_categories_are_read():
    sky = pd.Series(["sun", "rain"], index=[0.0, 5.0], name="sky")
    one = small(known_path="last").fit(ROWS, known=sky)
    whole = small(known_path="last").fit(ROWS, known=sky.to_frame())
    assert one.predict(horizon=[1.0]).equals(whole.predict(horizon=[1.0]))
    assert one.predict(horizon=[1.0], known=sky.rename("weather")).equals(one.predict(horizon=[1.0], known=sky))


def test_files_keep_categories(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = JumpODEForecaster.load(tmp_path / "m")
    pd.testing.assert_frame_equal(again.predict(horizon=[1.0], known=SKY), fitted.predict(horizon=[1.0], known=SKY))


def test_categories_alone_need_no_later_rows():
    alone = small().fit(ROWS, known=SKY.drop(columns="heat")[SKY["ds"] < 40.0])
    assert np.isfinite(alone.predict(horizon=[100.0])["y"]).all()


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            SKY.assign(sky="hail"),
            r"known= has 'hail' in column 'sky' of series 'a', which fit has not seen.*\['rain', 'sun'\]",
        ),
        (SKY.assign(sky=None), r"known= has no value of 'sky' for series 'a'"),
        (SKY.drop(columns="sky"), r"no column 'sky'"),
        (SKY.assign(heat="x"), r"Column 'heat' holds str"),
    ],
)
def test_categories_that_fit_has_not_seen_are_named(fitted, known, message):
    with pytest.raises(DataError, match=message):
        fitted.predict(horizon=[1.0], known=known)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (SKY.assign(sky=pd.Timestamp("2024")), r"'sky' of known= holds values of datetime.*numbers or categories"),
        (SKY.rename(columns={"unique_id": "patient"}), r"'patient' holds ids of series"),
        (SKY.assign(sky=None), r"known= has no value of 'sky'"),
        (
            SKY.rename(columns={"sky": "variable", "heat": "value"}).dropna(),
            r"tidy table.*channel_col='variable', value_col='value'",
        ),
    ],
)
def test_what_is_no_table_of_categories_is_refused(known, message):
    with pytest.raises(DataError, match=message):
        small().fit(ROWS, known=known)


def test_hints_about_known_name_no_setting_that_it_has_not():
    twice = pd.concat([SKY, SKY[:1].assign(heat=9.0)])
    with pytest.raises(DataError, match=r"2 values of .* drop all but one\.") as caught:
        small().fit(ROWS, known=twice)
    assert "duplicates=" not in str(caught.value)
    with pytest.raises(DataError, match=r"known= has datetimes as times, but the series has numbers: pass numbers\.$"):
        small().fit(ROWS, known=SKY.assign(ds=pd.Timestamp("2024-01-01") + pd.to_timedelta(SKY["ds"], unit="D")))
    with pytest.raises(ParameterError, match=r"horizon='3h' .*: pass horizon=3.0\.$"):
        small().set_params(horizon="3h").fit(ROWS)
