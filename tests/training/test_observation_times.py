"""Likelihood of observation times by quadrature."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from tsode.models.filters.build import build_filter
from tsode.testing import example_batch
from tsode.training.observation_times import times_loss


@pytest.mark.slow
@pytest.mark.parametrize("parts", [{}, {"evolution": "mlp", "jump": "gru"}], ids=["linear", "mlp"])
def test_the_likelihood_of_observation_times_is_that_of_a_quadrature(parts):
    torch.manual_seed(0)
    model = build_filter(2, n_modes=4, n_static=2, n_state=5, n_hidden=8, informative_times=True, **parts).double()
    batch, _ = example_batch(2, torch.float64)
    filtered = model.filter(batch)
    total = count = 0.0
    for row in range(batch.n_series):
        times = filtered.batch.times[row, : int(filtered.batch.lengths[row])].tolist()
        one = batch.select(torch.tensor([row]))

        def rate(t, one=one):
            return model.rate(one, torch.tensor([[t]], dtype=torch.float64)).item()

        for before, after in pairwise(times):
            inside = (before + 1e-9 * (after - before), after)
            total += quad(rate, *inside, epsabs=1e-8, epsrel=1e-7)[0] - np.log(rate(after))
            count += 1
    with torch.no_grad():
        assert float(times_loss(model, filtered)) == pytest.approx(total / count, rel=1e-5)
