import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsode.errors import ParameterError
from tsode.frames.scaling import ChannelScaler

NAN = np.nan


def test_seen_values_of_all_series_have_mean_0_and_deviation_1():
    series = [np.array([[1.0, NAN], [3.0, 10.0]]), np.array([[NAN, 30.0], [8.0, NAN]])]
    scaled = np.concatenate([ChannelScaler.fit(series).transform(v) for v in series])
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(np.concatenate(series)))
    np.testing.assert_allclose(np.nanmean(scaled, axis=0), 0.0, atol=1e-15)
    np.testing.assert_allclose(np.nanstd(scaled, axis=0), 1.0)


def test_a_robust_scale_is_the_deviation_of_normal_data_and_shrugs_at_outliers():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=(20_000, 1))
    values[:20] = 1e9
    scaler = ChannelScaler.fit([values], "robust")
    # Six standard errors: the median's is 1.25 * 2 / sqrt(n) = .018, that of the quartile range / 1.349 is .023.
    assert abs(scaler.shift[0] - 5.0) < 0.11
    assert abs(scaler.scale[0] - 2.0) < 0.14


def test_a_robust_scale_of_mostly_equal_values_is_their_deviation():
    values = np.array([0.0] * 9 + [10.0])[:, None]
    assert ChannelScaler.fit([values], "robust").scale[0] == values.std()


@pytest.mark.parametrize("method", ["standard", "robust"])
def test_constant_channels_are_shifted_and_unseen_ones_left_alone(method):
    scaler = ChannelScaler.fit([np.column_stack([[0.1] * 10, [NAN] * 10])], method)
    assert (scaler.shift.tolist(), scaler.scale.tolist()) == ([0.1, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("method", ["none", None])
def test_no_scaling_changes_nothing(method):
    values = np.array([[1.0, NAN], [5.0, 7.0]])
    np.testing.assert_array_equal(ChannelScaler.fit([values], method).transform(values), values)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.sampled_from(["standard", "robust", "none"]))
def test_inverse_undoes_transform_also_after_json(column, method):
    values = np.array(column)[:, None]
    scaler = ChannelScaler.fit([values], method)
    back = ChannelScaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_allclose(back.inverse(scaler.transform(values)), values, rtol=1e-12, atol=1e-9)


def test_unknown_methods_are_refused():
    with pytest.raises(ParameterError, match="scale='minmax' is not known: choose 'standard', 'robust' or 'none'"):
        ChannelScaler.fit([np.zeros((1, 1))], "minmax")
