"""Past of a channel: against sums written out one query and one value at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.models.direct.model import DirectModel
from tsode.models.direct.past import Past, decayed_sums
from tsode.models.direct.scales import Scales
from tsode.models.direct.signals import SHARES, Signals, n_regressors, n_splits
from tsode.testing import example_batch

SCALES = torch.tensor([0.1, 0.7], dtype=torch.float64)


def read(batch: IrregularBatch) -> Scales:
    """Of a horizon of 1, and no logarithm."""
    return DirectModel(batch.n_channels).scales


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_past_is_that_of_sums_written_out(side):
    batch, queries = example_batch(2)
    past = Past.of(batch, queries, side, SCALES)
    n_checked = 0
    for b, m, c in np.ndindex(*queries.shape, 2):
        when = float(queries[b, m])
        is_past = batch.times[b] < when if side == "left" else batch.times[b] <= when
        seen = (is_past & batch.mask[b, :, c]).nonzero()[:, 0]
        t, x = batch.times[b, seen].numpy(), batch.values[b, seen, c].numpy()
        assert int(past.count[b, m, c]) == len(t)
        if not len(t):
            for part in (past.last, past.level, past.averages, past.ages, past.changes):
                assert not part[b, m, c].any()
            continue
        assert (float(past.last[b, m, c]), float(past.time[b, m, c])) == (x[-1], t[-1])
        assert float(past.before[b, m, c]) == x[max(len(x) - 2, 0) if len(x) > 1 else 0]
        assert float(past.level[b, m, c]) == pytest.approx(x.mean(), rel=1e-12)
        for k, scale in enumerate(SCALES.tolist()):
            weight = np.exp(-(t[-1] - t) / scale)
            assert float(past.averages[b, m, c, k]) == pytest.approx((weight @ x) / weight.sum(), rel=1e-10)
            age = (weight @ (t[-1] - t)) / weight.sum()
            assert float(past.ages[b, m, c, k]) == pytest.approx(age, rel=1e-9, abs=1e-12)
            if len(t) > 1:
                change = (weight[1:] @ np.diff(x) ** 2) / weight[1:].sum()
                assert float(past.changes[b, m, c, k]) == pytest.approx(change, rel=1e-9)
                n_checked += 1
    assert n_checked > 20


def test_decayed_sums_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    gaps, parts = rng.exponential(size=(3, 13)), rng.normal(size=(3, 13, 2))
    found = decayed_sums(*map(torch.from_numpy, (gaps, parts)), SCALES).numpy()
    total = np.zeros((3, 2, 2))
    for k in range(13):
        total = total * np.exp(-gaps[:, k, None, None] / SCALES.numpy()) + parts[:, k, :, None]
        np.testing.assert_allclose(found[:, k], total, rtol=1e-12, atol=1e-14)


def test_averages_stay_exact_over_gaps_that_no_weight_outlives():
    batch, _ = example_batch(1)
    times = torch.tensor([[0.0, 1.0, 1e6, 1e6 + 1.0]], dtype=torch.float64)
    values = torch.tensor([[[3.0], [5.0], [2.0], [8.0]]], dtype=torch.float64)
    batch = type(batch)(times, values, torch.tensor([[[True], [True], [True], [False]]]), torch.tensor([4]))
    past = Past.of(batch, torch.tensor([[1e6 + 0.5, 3e9]], dtype=torch.float64), "left", SCALES)
    assert past.averages[0, :, 0].tolist() == [[2.0, 2.0]] * 2


@pytest.mark.parametrize("n_channels", [1, 3, 9, 49])
def test_widths_are_those_of_what_is_read(n_channels):
    batch, queries = example_batch(n_channels)
    signals = Signals.of(batch, queries, "left", read(batch))
    assert signals.regressors(0).shape[-1] == n_regressors(n_channels, 0, 0)
    assert signals.splits(0).shape[-1] == n_splits(n_channels, 0, 0)
    assert signals.regressors(0).isfinite().all()


def test_doses_fade_at_each_scale_and_those_after_the_last_value_stand_apart():
    times = torch.tensor([[0.0, 1.0, 1.0, 3.0]], dtype=torch.float64)  # a value, a value, a dose at its time, a dose
    seen = torch.tensor([[[True], [True], [False], [False]]])
    inputs = torch.tensor([[[0.0], [0.0], [2.0], [4.0]]], dtype=torch.float64)
    batch = IrregularBatch(times, torch.ones(1, 4, 1, dtype=torch.float64), seen, torch.tensor([4]), inputs)
    asked = torch.tensor([[0.5, 2.0, 3.0, 5.0]], dtype=torch.float64)
    signals = Signals.of(batch, asked, "left", read(batch))
    scales = torch.tensor(SHARES, dtype=torch.float64)
    fading = [torch.zeros(4).double(), 2.0 * (-1.0 / scales).exp(), 2.0 * (-2.0 / scales).exp()]
    fading.append(2.0 * (-4.0 / scales).exp() + 4.0 * (-2.0 / scales).exp())
    torch.testing.assert_close(signals.doses[0], torch.stack(fading))
    torch.testing.assert_close(signals.given[0, :, 0], torch.stack(fading))  # all came after the last value
    # with a value after the first dose, only the second is new to it
    order, times = [0, 2, 1, 3], torch.tensor([[0.0, 1.0, 1.5, 3.0]], dtype=torch.float64)
    batch = IrregularBatch(times, batch.values, seen[:, order], batch.lengths, inputs[:, order])
    signals = Signals.of(batch, asked, "left", read(batch))
    torch.testing.assert_close(signals.doses[0], torch.stack(fading))
    assert signals.given[0, 1, 0].tolist() == pytest.approx([0.0] * 4, abs=1e-12)
    torch.testing.assert_close(signals.given[0, 3, 0], 4.0 * (-2.0 / scales).exp())
