"""Infusions into linear systems: exact means, and the same likelihood, smoother and samples around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from tests.models.filters.test_inputs import fed_batch
from tsode.core.batch import IrregularBatch
from tsode.models.linear.gaussian import LinearGaussianModel
from tsode.models.linear.rate_classes import RateClasses
from tsode.models.linear.sde import StableLinearSDE


def model(n_rates: int) -> StableLinearSDE:
    torch.manual_seed(0)
    return StableLinearSDE(2, 4, n_inputs=3, n_rates=n_rates)


def response(system: StableLinearSDE, batch: IrregularBatch, row: int, time: float, behind: int) -> np.ndarray:
    """What the first `behind` events of a row add to the mean of the channels at `time`: jumps, and held rates."""
    one = system.system()
    a, p, h = (x.detach().numpy() for x in (one.drift, one.input_map, one.readout))
    d, r = len(a), system.n_rates
    whole = np.zeros((d + r, d + r))
    whole[:d, :d], whole[:d, d:] = a, p[:, 3 - r :]
    state, at = np.zeros(d + r), None
    for t, u in zip(batch.times[row, :behind].tolist(), batch.inputs[row].numpy()):
        state = state if at is None else expm(whole * (t - at)) @ state
        state[:d] += p[:, : 3 - r] @ u[: 3 - r]
        state[d:] += u[3 - r :]
        at = t
    return h @ state[:d] if at is None else h @ (expm(whole * (time - at)) @ state)[:d]


def responses(system: StableLinearSDE, batch: IrregularBatch, times: torch.Tensor, side: str) -> torch.Tensor:
    """`response` at each of the times (b m), from the events before them."""
    behind = torch.searchsorted(batch.times.contiguous(), times, right=side == "right").tolist()
    return torch.tensor(
        np.array(
            [[response(system, batch, row, *at) for at in zip(times[row].tolist(), behind[row])] for row in range(5)]
        )
    )


@pytest.mark.parametrize("n_rates", [1, 3])
def test_an_infusion_moves_the_mean_by_the_matrix_exponential_and_no_variance(n_rates):
    system, (batch, queries) = model(n_rates), fed_batch()
    batch = batch.replace(mask=torch.zeros_like(batch.mask))
    told, without = system.forecast(batch, queries), system.forecast(batch.replace(inputs=None), queries)
    moved = (told.mean - without.mean).detach()
    torch.testing.assert_close(moved, responses(system, batch, queries, "left"), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(told.variance, without.variance)


@pytest.mark.parametrize("classes", [False, True])
def test_all_answers_are_those_of_values_less_what_the_infusions_add(classes):
    base, (batch, queries) = model(2), fed_batch()
    system: LinearGaussianModel = base
    if classes:
        system = RateClasses({"speed": 1}, base)
        system.nodes.zero_()
    each = [[response(base, batch, row, t, k) for k, t in enumerate(batch.times[row].tolist())] for row in range(5)]
    values = (batch.values - torch.tensor(np.array(each))) * batch.mask
    less = batch.replace(values=values, inputs=None)
    torch.testing.assert_close(system.log_likelihood(batch), system.log_likelihood(less), rtol=1e-9, atol=1e-9)
    for ask, draw, side in (("forecast", "sample", "left"), ("interpolate", "sample_smoothed", "right")):
        added = responses(base, batch, queries, side)
        told, plain = getattr(system, ask)(batch, queries), getattr(system, ask)(less, queries)
        torch.testing.assert_close(told.mean, plain.mean + added, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(told.variance, plain.variance, rtol=1e-8, atol=1e-9)
        paths = getattr(system, draw)(batch, queries, 4000, torch.Generator().manual_seed(0))
        # six standard errors of a mean of 4000 draws
        error = 6.0 * told.variance.sqrt() / 4000**0.5
        assert ((paths.mean(dim=0) - told.mean).abs() <= error).all()


def test_the_swept_likelihood_of_classes_has_the_gradient_of_the_plain_pass():
    batch, _ = fed_batch()
    classes = RateClasses({"speed": 3}, model(2))
    weights = [p for p in classes.parameters() if p.requires_grad]
    swept = torch.autograd.grad(classes.log_likelihood(batch).sum(), weights, allow_unused=True)
    _, _, passed = classes._passed(batch)
    each = passed.log_likelihood.unflatten(0, (3, -1)) + classes.logits.log_softmax(dim=0)[:, None]
    plain = torch.autograd.grad(each.logsumexp(dim=0).sum(), weights, allow_unused=True)
    for one, other in zip(swept, plain):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)
