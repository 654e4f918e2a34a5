"""Irregular batches: padding, unseen values, last values, events that saw nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.covariates import CovariatePath, Covariates, SeriesCovariates
from tsode.errors import ShapeError

NAN = np.nan


@pytest.fixture
def batch():
    times = [np.array([0.0, 1.0, 4.0]), np.array([2.0]), np.array([])]
    values = [np.array([[1.0, NAN], [NAN, NAN], [3.0, 4.0]]), np.array([[NAN, 5.0]]), np.empty((0, 2))]
    return IrregularBatch.from_arrays(times, values, torch.float64)


def test_padding_repeats_the_last_time_with_nothing_seen(batch):
    assert batch.times.tolist() == [[0.0, 1.0, 4.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]
    assert batch.lengths.tolist() == [3, 1, 0]
    assert batch.is_event.tolist() == [[True, True, True], [True, False, False], [False, False, False]]
    assert not batch.mask[~batch.is_event].any()
    assert (batch.n_series, batch.n_events, batch.n_channels) == (3, 3, 2)


def test_values_that_were_not_seen_are_zero_whatever_came(batch):
    assert batch.values[0].tolist() == [[1.0, 0.0], [0.0, 0.0], [3.0, 4.0]]
    filled = batch.replace(values=torch.where(batch.mask, batch.values, torch.nan))
    assert torch.equal(filled.values, batch.values)
    less = batch.replace(mask=torch.zeros_like(batch.mask))
    assert not less.values.any()


def test_no_gradient_reaches_values_that_were_not_seen(batch):
    values = torch.where(batch.mask, batch.values, torch.nan).requires_grad_()
    (gradient,) = torch.autograd.grad(batch.replace(values=values).values.square().sum(), values)
    assert torch.equal(gradient, 2.0 * batch.values)


def test_times_stay_float64_and_values_take_the_dtype(batch):
    moved = batch.to("cpu", torch.float32)
    assert (moved.times.dtype, moved.values.dtype, moved.mask.dtype) == (torch.float64, torch.float32, torch.bool)
    known = Covariates.stack([SeriesCovariates(np.array([7.0]), CovariatePath.nothing(), np.zeros((0, 2)))])
    told = IrregularBatch.from_arrays([np.array([0.0])], [np.array([[1.0]])], covariates=known)
    assert told.to(dtype=torch.float64).covariates.static.tolist() == [[7.0]]
    assert told.to(dtype=torch.float64).covariates.static.dtype == torch.float64
    assert batch.to("cpu").covariates is None


def test_select_keeps_order_and_width(batch):
    chosen = batch.select(torch.tensor([2, 0]))
    assert chosen.lengths.tolist() == [0, 3]
    assert torch.equal(chosen.values[1], batch.values[0])
    assert chosen.n_events == 3


def test_last_seen_is_what_was_seen_before_each_event(batch):
    last, seen = batch.last_seen()
    assert last.shape == (3, 4, 2)
    assert last[0].tolist() == [[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [3.0, 4.0]]
    assert seen[0].tolist() == [[False, False], [True, False], [True, False], [True, True]]
    assert last[1].tolist() == [[0.0, 0.0], [0.0, 5.0], [0.0, 5.0], [0.0, 5.0]]
    assert not seen[2].any()


def test_compact_leaves_out_events_that_saw_nothing(batch):
    compact = batch.compact()
    assert compact.lengths.tolist() == [2, 1, 0]
    assert compact.times.tolist() == [[0.0, 4.0, 4.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]
    assert compact.values[0, :2].tolist() == [[1.0, 0.0], [3.0, 4.0]]
    assert torch.equal(compact.last_seen()[0][:, -1], batch.last_seen()[0][:, -1])
    again = compact.compact()
    assert torch.equal(again.times, compact.times)
    assert torch.equal(again.mask, compact.mask)


def test_a_batch_without_events_is_a_batch():
    empty = IrregularBatch.from_arrays([np.empty(0)], [np.empty((0, 2))])
    assert empty.n_events == 0
    assert empty.compact().lengths.tolist() == [0]
    assert empty.last_seen()[0].shape == (1, 1, 2)


def test_tensors_that_do_not_agree_are_named(batch):
    with pytest.raises(ShapeError, match=r"`values` has 2 on axis 'n' of \(b n c\), but `times` has 3"):
        batch.replace(values=batch.values[:, :2])
    with pytest.raises(ShapeError, match=r"`lengths` must have 1 axes \(b\), but has shape \(3, 1\)"):
        batch.replace(lengths=batch.lengths[:, None])
