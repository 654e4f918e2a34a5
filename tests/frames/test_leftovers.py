"""What CSV files leave behind in a frame, and numbers that a frame holds and float64 does not."""

from __future__ import annotations

import decimal

import numpy as np
import pandas as pd
import pytest

from tsode import DriftForecaster, JumpODEForecaster, LastValueForecaster
from tsode.errors import DataError, TsodeWarning
from tsode.frames.read import read_panel
from tsode.frames.static import fit_static

FRAME = pd.DataFrame({"ds": np.arange(6.0), "y": np.arange(6.0) ** 2})


def test_row_numbers_that_were_saved_are_no_channel_and_named():
    with pytest.warns(TsodeWarning, match=r"Left out 'Unnamed: 0'"):
        fitted = DriftForecaster().fit(FRAME.assign(**{"Unnamed: 0": range(6)}))
    assert fitted.channels_ == ["y"]
    chosen = DriftForecaster(target=["y", "Unnamed: 0"]).fit(FRAME.assign(**{"Unnamed: 0": range(6)}))
    assert chosen.channels_ == ["y", "Unnamed: 0"]
    empty = FRAME.assign(**{"Unnamed: 2": np.nan})  # of a comma at the end of each line
    with pytest.warns(TsodeWarning, match=r"Left out 'Unnamed: 2'"):
        assert DriftForecaster().fit(empty).channels_ == ["y"]
    assert DriftForecaster().fit(FRAME.rename(columns={"y": "Unnamed: 1"})).channels_ == ["Unnamed: 1"]


def test_row_numbers_are_no_covariate_either():
    small = JumpODEForecaster(n_modes=2, n_static=2, n_members=1, max_epochs=1, random_state=0)
    frame = pd.concat([FRAME.assign(unique_id=key) for key in "ab"])
    static = pd.DataFrame({"Unnamed: 0": [0, 1], "unique_id": ["a", "b"], "age": [3.0, 4.0]})
    known = pd.DataFrame({"Unnamed: 0": [0, 1], "ds": [0.0, 20.0], "rate": [1.0, 2.0]})
    with pytest.warns(TsodeWarning, match=r"Left out 'Unnamed: 0'"):
        fitted = small.fit(frame, static=static, known=known)
    assert [column.name for column in fitted.reader_.covariates.static] == ["age"]
    assert fitted.reader_.covariates.known == ("rate",)


def test_the_second_copy_of_a_column_is_left_out_and_another_second_column_is_named():
    with pytest.warns(TsodeWarning, match=r"Left out 'y.1'"):
        assert DriftForecaster().fit(FRAME.assign(**{"y.1": FRAME["y"]})).channels_ == ["y"]
    with pytest.warns(TsodeWarning, match=r"columns 'y' and 'y.1', which is what pandas calls a second 'y'"):
        assert DriftForecaster().fit(FRAME.assign(**{"y.1": 0.0})).channels_ == ["y", "y.1"]
    assert DriftForecaster().fit(FRAME.assign(**{"v.1": 0.0})).channels_ == ["y", "v.1"]


def test_whole_numbers_that_lose_their_last_digits_are_a_warning():
    for value in (2**60 + 71, np.uint64(2**63 + 71)):
        with pytest.warns(TsodeWarning, match=r"'y' holds whole numbers beyond 2\*\*53.* at row 1"):
            read_panel(FRAME[:2].assign(y=pd.Series([1, value], dtype=type(value) if value != 2**60 + 71 else "int64")))
    read_panel(FRAME[:2].assign(y=[2**53, -(2**53)]))
    read_panel(FRAME[:2].assign(y=[1e300, 1.0]))


def test_times_that_do_not_fit_64_bits_with_a_sign_are_refused():
    for times in ([2**64 - 800, 2**64 - 700], [2**63 - 1, 2**63]):
        with pytest.raises(DataError, match=r"'ds' reaches \d+, beyond the largest whole number"):
            LastValueForecaster().fit(pd.DataFrame({"ds": np.array(times, dtype=np.uint64), "y": [1.0, 2.0]}))
    large = pd.DataFrame({"ds": np.array([2**63 - 3, 2**63 - 2], dtype=np.uint64), "y": [1.0, 2.0]})
    assert int(read_panel(large).times[0][1]) == 2**63 - 2


def test_times_that_were_rounded_are_not_called_duplicates():
    seconds = pd.DataFrame({"ds": np.array([1.7e9, 1.7e9 + 1.0], dtype=np.float32), "y": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"The times are float32, .* rounded to multiples of 128") as caught:
        read_panel(seconds)
    assert "duplicates=" not in str(caught.value)


def test_decimals_are_numbers_in_every_library():
    arrow = pytest.importorskip("pyarrow")
    values = [decimal.Decimal("1.50"), decimal.Decimal("2.25"), None]
    for dtype in (object, pd.ArrowDtype(arrow.decimal128(10, 2)), pd.ArrowDtype(arrow.decimal256(40, 2))):
        column = pd.Series(pd.array(values, dtype=dtype))
        panel = read_panel(FRAME[:3].assign(y=column))
        np.testing.assert_array_equal(panel.values[0][:, 0], [1.5, 2.25, np.nan])
        assert fit_static(pd.DataFrame({"dose": column}))[0].categories is None


def test_a_frame_that_pandas_cannot_hold_is_refused_by_name():
    polars = pytest.importorskip("polars")
    whole = polars.DataFrame({"ds": [0.0, 1.0], "y": [1, 2]}).with_columns(polars.col("y").cast(polars.Int128))
    with pytest.raises(DataError, match=r"cast 'y' \(Int128\) to Float64"):
        DriftForecaster().fit(whole)
    doses = polars.DataFrame({"ds": [0.0], "amount": [1]}).with_columns(polars.col("amount").cast(polars.Int128))
    with pytest.raises(DataError, match=r"cast 'amount' \(Int128\)"):
        JumpODEForecaster().fit(FRAME, events=doses)


def test_datetimes_in_ticks_of_several_lengths_are_joined_exactly():
    at = lambda *days, unit: pd.Series([1.0, 2.0], pd.DatetimeIndex(days).as_unit(unit))  # noqa: E731
    early, late = at("1000-01-01", "1000-01-02", unit="s"), at("2024-01-01", "2024-01-02", unit="ns")
    answers = DriftForecaster().fit([early, late]).predict(horizon="1D")
    assert [answer.index[-1] for answer in answers] == [pd.Timestamp("1000-01-03"), pd.Timestamp("2024-01-03")]
    fitted = DriftForecaster().fit(late).update(early)
    assert fitted._panel.times[0].astype("M8[D]").astype(str).tolist()[:2] == ["1000-01-01", "1000-01-02"]
    fine = at("2024-01-01", "2024-01-02T00:00:00.000000001", unit="ns")
    with pytest.raises(DataError, match=r"too far apart to be held together in 64 bits"):
        DriftForecaster().fit([early, fine])
    with pytest.raises(DataError, match=r"too far apart"):
        DriftForecaster().fit(fine).update(early)
