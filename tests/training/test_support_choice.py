"""Choice of a scale against series whose law is known."""

from __future__ import annotations

import numpy as np
import pytest

from tsode.core.transforms import Transform
from tsode.training.support_choice import is_better, likeliest, scores_of_scales

SCALES = {"identity": Transform.identity(), "sqrt": Transform.box_cox(0.5), "log": Transform.box_cox(0.0)}


def processes(n_series, n, of, seed=0):
    """Stationary Ornstein-Uhlenbeck processes at random times, mapped by `of`."""
    rng, series = np.random.default_rng(seed), []
    for _ in range(n_series):
        times = np.cumsum(rng.exponential(0.3, n))
        kept = np.exp(-np.diff(times))
        x = [rng.normal()]
        for share in kept:
            x.append(share * x[-1] + np.sqrt(1.0 - share**2) * rng.normal())
        series.append((times, of(np.array(x))))
    return series


@pytest.mark.parametrize(("n_series", "n"), [(200, 4), (30, 20), (1, 400)])
@pytest.mark.parametrize(
    ("truth", "of"),
    [("identity", lambda x: 10.0 + x), ("log", lambda x: np.exp(2.0 + 0.6 * x)), ("sqrt", lambda x: (5.0 + x) ** 2)],
)
def test_the_scale_on_which_a_process_is_normal_is_the_likeliest(n_series, n, truth, of):
    scores = scores_of_scales(processes(n_series, n, of), SCALES, reach=1.0)
    assert likeliest(scores, "identity") == truth
    if truth == "log":
        assert is_better(scores["log"], scores["identity"])
    assert not any(is_better(own, scores["identity"]) for own in scores.values()) or truth != "identity"


def test_units_of_values_and_times_change_nothing():
    series = processes(30, 12, lambda x: np.exp(0.5 * x))
    scores = scores_of_scales(series, SCALES, reach=1.0)
    other = scores_of_scales([(64.0 * t, 1024.0 * v) for t, v in series], SCALES, reach=64.0)
    for name, own in scores.items():
        np.testing.assert_allclose(other[name].nll, own.nll + np.log(1024.0), rtol=1e-9)
        np.testing.assert_allclose(other[name].crps, 1024.0 * own.crps, rtol=1e-6)


def test_too_little_data_say_nothing():
    for series in ([], [(np.empty(0), np.empty(0))], [(np.arange(3.0), np.array([1.0, 2.0, 4.0]))]):
        scores = scores_of_scales(series, SCALES, reach=1.0)
        assert likeliest(scores, "log") == "log"
        assert not is_better(scores["log"], scores["identity"])


def test_a_channel_that_never_moves_says_nothing():
    series = [(np.arange(20.0), np.full(20, 3.0)) for _ in range(20)]
    scores = scores_of_scales(series, SCALES, reach=5.0)
    assert not is_better(scores["log"], scores["identity"])


def test_scales_are_compared_on_the_same_values_where_one_is_met_exactly_on_one_of_them():
    # a constant half of the pairs has no spread on the values themselves, and rounding gives it one on another scale
    rng = np.random.default_rng(0)
    series = [(np.arange(11.0), np.full(11, 0.1) if k % 2 else rng.exponential(size=11)) for k in range(4)]
    scores = scores_of_scales(series, SCALES, 5.0)
    assert len({len(own.nll) for own in scores.values()}) == 1
    for own in scores.values():
        is_better(own, scores["identity"])
