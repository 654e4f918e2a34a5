"""Cross-fitting: who learns from which series, and who is judged on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.series import ou_series
from tsode.models.filters.build import build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.training.cross_fit import N_FOLDS, cross_fitted
from tsode.training.objective import FilterObjective
from tsode.training.windows import WindowSampler


@pytest.mark.parametrize(("n", "is_few"), [(9, False), (10, True), (399, True), (400, False)])
def test_series_are_cross_fitted_where_they_are_few_but_not_too_few(n: int, is_few: bool) -> None:
    assert (cross_fitted(ou_series(n)) is not None) == is_few


def test_neighbours_are_in_different_folds_and_later_series_change_none() -> None:
    small, large = cross_fitted(ou_series(18)), cross_fitted(ou_series(23))
    assert small is not None
    assert large is not None
    assert np.array_equal(large.folds[:18], small.folds)
    for k in range(0, 16, N_FOLDS):
        assert sorted(small.folds[k : k + N_FOLDS]) == list(range(N_FOLDS))


def test_a_member_learns_nothing_from_its_own_fold() -> None:
    torch.manual_seed(0)
    model = Ensemble([build_filter(1, n_modes=3, n_static=1, n_hidden=4).double() for _ in range(2)])
    sampler = WindowSampler(ou_series(8), 1.0, batch_size=8, min_batches=1, drop=0.0, dtype=torch.float64)
    window = sampler.draw(torch.arange(8), torch.Generator().manual_seed(0))
    folds = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    objective = FilterObjective(folds=folds)

    def slopes(window):
        loss, _, _ = objective(model, window)
        return [torch.cat([g.flatten() for g in torch.autograd.grad(loss, m.parameters(), retain_graph=True)])
                for m in model.members]  # fmt: skip

    before = slopes(window)
    moved = window.targets.values.clone()
    moved[folds == 0] += 1.0
    after = slopes(type(window)(window.context, window.targets.replace(values=moved), window.hidden, window.number))
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert not torch.allclose(after[1], before[1])
