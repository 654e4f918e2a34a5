"""Scales of positive and bounded channels: what they are, what they do at the ends, and what lies outside."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tsode.core.transforms import Transform
from tsode.errors import DataError, TsodeWarning
from tsode.frames.read import read_panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.supports import Supports, SupportScaler, check_supports, fit_support_scaler

INF, NAN = np.inf, np.nan
LOG, ROOT, LOGIT, REAL = Transform.box_cox(0.0), Transform.box_cox(0.5), Transform.logit(), Transform.identity()


def panel_of(*series, channels="abcd"):
    frames = [
        pd.DataFrame(np.atleast_2d(values), columns=list(channels[: np.atleast_2d(values).shape[1]])).assign(
            unique_id=f"s{k}", ds=np.arange(float(len(np.atleast_2d(values))))
        )
        for k, values in enumerate(series)
    ]
    return read_panel(pd.concat(frames), id_col="unique_id", time_col="ds", target=None, duplicates="error")


def supports_of(*ends, guessed=False):
    low, high = np.array(ends, dtype=float).T
    return Supports(low, high, np.full(len(low), guessed))


def example():
    values = np.exp(np.random.default_rng(0).normal(size=(40, 4)))
    values = np.stack([values[:, 0], values[:, 1] - 3.0, 10.0 + 90.0 / (1.0 + values[:, 2]), values[:, 3]], axis=1)
    values[3, 0] = NAN
    supports = supports_of((0.0, INF), (-3.0, INF), (10.0, 100.0), (-INF, INF))
    return values, *fit_support_scaler(
        panel_of(values[:20], values[20:]), "standard", supports, [LOG, ROOT, LOGIT, REAL]
    )


def test_what_is_scaled_is_the_image_of_what_lies_within_the_support():
    values, scaler, mapped = example()
    share = (values[:, 2] - 10.0) / 90.0
    images = [
        np.log(values[:, 0]),
        2.0 * (np.sqrt(values[:, 1] + 3.0) - 1.0),
        np.log(share / (1.0 - share)),
        values[:, 3],
    ]
    for c, image in enumerate(images):
        np.testing.assert_allclose(np.concatenate(mapped.values)[:, c], image, rtol=1e-12, atol=1e-13)
        centred = (image - np.nanmean(image)) / np.nanstd(image)
        np.testing.assert_allclose(scaler.transform(values)[:, c], centred, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(scaler.inverse(scaler.transform(values)), values, rtol=1e-12)


def test_no_number_is_taken_out_of_the_supports():
    _, scaler, _ = example()
    back = scaler.inverse(np.array([[-1e9], [-50.0], [50.0]]) * np.ones(4))
    assert (back >= scaler.supports.low).all()
    assert (back <= scaler.supports.high).all()
    assert back[0, :3].tolist() == [0.0, -3.0, 10.0]
    assert back[2, 2] == 100.0


def test_a_value_at_an_end_that_training_did_not_reach_is_read_half_as_far_from_it():
    values, scaler, _ = example()
    least = np.nanmin(values[:, 0])
    share = (values[:, 2] - 10.0) / 90.0
    nearest = min(share.min(), 1.0 - share.max())
    asked = np.array([[0.0, -3.0, 10.0, 0.0], [-7.0, -9.0, 100.0, 0.0]])
    wanted = np.array(
        [[0.5 * least, -3.0, 10.0 + 45.0 * nearest, 0.0], [0.5 * least, -3.0, 100.0 - 45.0 * nearest, 0.0]]
    )
    np.testing.assert_allclose(scaler.transform(asked), scaler.transform(wanted), rtol=1e-12)


def test_slopes_are_those_of_the_transform():
    values, scaler, _ = example()
    step = 1e-6
    numeric = np.log((scaler.transform(values + step) - scaler.transform(values - step)) / (2.0 * step))
    np.testing.assert_allclose(scaler.log_slopes([values[:20], values[20:]]),
                               [np.nansum(numeric[:20]), np.nansum(numeric[20:])], rtol=1e-6)  # fmt: skip


def test_slopes_of_a_plain_scaler_are_those_of_its_scale():
    scaler = ChannelScaler(np.array([1.0, 2.0]), np.array([4.0, 0.5]))
    values = np.array([[1.0, NAN], [2.0, 3.0]])
    np.testing.assert_allclose(scaler.log_slopes([values]), [-2.0 * np.log(4.0) - np.log(0.5)])


def test_a_scaler_comes_back_bit_for_bit():
    values, scaler, _ = example()
    back = SupportScaler.from_dict(json.loads(json.dumps(scaler.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(back.transform(values), scaler.transform(values))
    np.testing.assert_array_equal(back.inverse(values), scaler.inverse(values))
    plain = ChannelScaler(np.zeros(2), np.ones(2))
    assert type(SupportScaler.from_dict(plain.to_dict())) is ChannelScaler


def test_a_value_outside_of_a_support_is_named_with_its_series_and_time():
    panel = panel_of([[1.0], [2.0]], [[3.0], [-0.25], [5.0]])
    with pytest.raises(
        DataError, match=r"-0.25 of 'a' of series 's1' at 1.0 lies outside of its support, from 0 to inf"
    ):
        check_supports(panel, supports_of((0.0, INF)))
    with pytest.warns(TsodeWarning, match="support='auto' found in fit. It is read as if it stood at the end"):
        check_supports(panel, supports_of((0.0, INF), guessed=True))
    check_supports(panel, supports_of((-INF, INF)))


def test_values_at_the_ends_lie_within():
    check_supports(panel_of([[0.0], [1.0], [NAN]]), supports_of((0.0, 1.0)))
