"""Bounds on the evidence of a system whose evidence is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.encoders.base import Encoded, Encoder
from tsode.evolutions import DenseLinearFlow
from tsode.models.latent.base import Draws, Inference
from tsode.models.latent.ode import LatentODE
from tsode.models.linear.sde import LinearSDE
from tsode.readouts import Emission
from tsode.training.evidence import elbo, free_kl, gather_evidence, importance_bound

D, C, N_ROWS = 3, 2, 6
DRIFT = torch.tensor([[-0.4, 1.1, 0.0], [-1.3, -0.2, 0.3], [0.0, 0.0, 0.0]], dtype=torch.float64)
READOUT = torch.tensor([[1.2, 0.0, 0.7], [0.3, -0.8, 0.0]], dtype=torch.float64)
OFFSET = torch.tensor([0.2, -0.5], dtype=torch.float64)
NOISE = torch.tensor([0.4, 0.9], dtype=torch.float64)
"""A rotation that is driven by a third coordinate, which stands still; no diffusion."""


class Given(Encoder):
    """An encoder that reads nothing: these tests bring their own posterior."""

    n_channels, n_hidden = C, 1

    def encode(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        zero = batch.values.new_zeros(batch.n_series, 1)
        return Encoded(zero, zero[:, None].expand(-1, batch.n_events, -1), torch.zeros_like(batch.lengths))


def make_model(drift: Tensor = DRIFT, readout: Tensor = READOUT) -> LatentODE:
    flow, emission = DenseLinearFlow(D), Emission(D, readout.shape[0], n_hidden=0)
    model = LatentODE(Given(), flow, emission).double()
    with torch.no_grad():
        flow.drift.copy_(drift)
        emission.location.weight.copy_(readout)
        emission.location.bias.copy_(OFFSET)
        emission.log_scale.copy_(NOISE.log())
    return model


def exact(batch: IrregularBatch, drift: Tensor = DRIFT, readout: Tensor = READOUT) -> Tensor:
    """Log evidence by the Kalman filter."""
    system = LinearSDE(
        drift=drift, diffusion=torch.zeros(D, D), readout=readout, readout_offset=OFFSET, noise=NOISE,
        initial_mean=torch.zeros(D), initial_cov=torch.eye(D),
    )  # fmt: skip
    return system.double().log_likelihood(batch)


@pytest.fixture
def batch() -> IrregularBatch:
    generator = torch.Generator().manual_seed(0)
    times = torch.rand(N_ROWS, 7, generator=generator, dtype=torch.float64).sort(dim=1).values
    values = torch.randn(N_ROWS, 7, C, generator=generator, dtype=torch.float64)
    mask = torch.rand(N_ROWS, 7, C, generator=generator) < 0.6
    mask[:, 0, 0] = True
    return IrregularBatch(times, values, mask, torch.full((N_ROWS,), 7))


def posterior(model: LatentODE, batch: IrregularBatch, mean: Tensor, log_scale: Tensor) -> Inference:
    inference = model.infer(batch)
    return Inference(mean, log_scale, batch.times[:, 0], batch, inference.encoded, inference.status)


def sigma_points(n: int = N_ROWS) -> Draws:
    """Points over which the mean of a quadratic is its expectation under a standard normal, to the last digit."""
    axes = math.sqrt(D) * torch.eye(D, dtype=torch.float64)
    return Draws(torch.cat([axes, -axes])[:, None].expand(-1, n, -1), torch.Generator())


def random_posteriors(n: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (2, N_ROWS, D)
    return [tuple(0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)) for _ in range(n)]


def best_diagonal(model: LatentODE, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
    """Mean and log scale of the independent normal that is nearest in KL to the exact posterior; and its bound.

    The log density of data and start is quadratic in the start, so its gradient and curvature at 0 give all.
    """

    def log_joint(z: Tensor) -> Tensor:
        noise = z[None]
        inference = posterior(model, batch, torch.zeros(N_ROWS, D).double(), torch.zeros(N_ROWS, D).double())
        likelihood = gather_evidence(model, inference, batch, Draws(noise, torch.Generator())).log_likelihood[0]
        return (likelihood - 0.5 * z.square().sum(dim=1)).sum()

    zero = torch.zeros(N_ROWS, D, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(log_joint, zero)
    curvature = torch.autograd.functional.hessian(log_joint, zero)
    precision = -torch.stack([curvature[i, :, i] for i in range(N_ROWS)])
    mean = torch.linalg.solve(precision, slope[..., None])[..., 0]
    return mean, -0.5 * precision.diagonal(dim1=1, dim2=2).log()


def test_the_elbo_never_exceeds_the_log_evidence(batch):
    model, evidence = make_model(), exact(batch)
    for mean, log_scale in [*random_posteriors(50), best_diagonal(model, batch)]:
        inference = posterior(model, batch, mean, log_scale)
        bound = elbo(gather_evidence(model, inference, batch, sigma_points()))
        assert (bound <= evidence + 1e-9).all()


def test_the_elbo_is_the_log_evidence_at_the_exact_posterior(batch):
    # coordinates that neither mix nor share a channel are independent given the data, so the posterior is exact
    drift = torch.diag(torch.tensor([-0.4, 0.6, 0.0], dtype=torch.float64))
    readout = torch.tensor([[1.2, 0.0, 0.0], [0.0, -0.8, 0.0]], dtype=torch.float64)
    model = make_model(drift, readout)
    inference = posterior(model, batch, *best_diagonal(model, batch))
    found = gather_evidence(model, inference, batch, sigma_points())
    want = exact(batch, drift, readout)
    torch.testing.assert_close(elbo(found), want, rtol=0, atol=1e-6)
    # every single path has the same weight, so the importance-weighted bound is exact as well, for any draws
    draws = Draws(torch.randn(5, N_ROWS, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3)), None)
    weighted = importance_bound(gather_evidence(model, inference, batch, draws))
    torch.testing.assert_close(weighted, want, rtol=0, atol=1e-6)


def test_the_gap_of_the_elbo_is_the_divergence_from_the_exact_posterior(batch):
    model = make_model()
    mean, log_scale = best_diagonal(model, batch)
    found = gather_evidence(model, posterior(model, batch, mean, log_scale), batch, sigma_points())
    # KL of the best diagonal normal from a normal of the same mean: half the log of (product of diagonal / determinant)
    shift = log_scale.new_zeros(N_ROWS)
    for row in range(N_ROWS):
        design = []
        for t, seen in zip(batch.times[row], batch.mask[row]):
            design.append((READOUT / NOISE[:, None])[seen] @ torch.linalg.matrix_exp(DRIFT * (t - batch.times[row, 0])))
        precision = torch.cat(design).T @ torch.cat(design) + torch.eye(D, dtype=torch.float64)
        shift[row] = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    torch.testing.assert_close(elbo(found), exact(batch) - shift, rtol=0, atol=1e-6)


def test_the_importance_bound_rises_from_the_elbo_to_the_evidence(batch):
    model, evidence = make_model(), exact(batch)
    mean, log_scale = best_diagonal(model, batch)
    inference = posterior(model, batch, mean + 0.1, log_scale + 0.2)
    draws = model.fresh_draws(40_000, N_ROWS, torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = gather_evidence(model, inference, batch, draws)
        lower = float(elbo(gather_evidence(model, inference, batch, sigma_points())).mean())
    weights = found.log_likelihood + found.log_ratio
    bounds = [float((weights.unflatten(0, (-1, k)).logsumexp(1) - math.log(k)).mean()) for k in (1, 5, 50, 40_000)]
    # six standard errors of the mean of independent draws
    assert abs(bounds[0] - lower) < 6.0 * float(weights.std(dim=0).mean()) / 200.0
    assert bounds == sorted(bounds)
    spread = float((weights - evidence).exp().std(dim=0).max()) / 200.0
    assert abs(bounds[-1] - float(evidence.mean())) < 6.0 * spread
    assert float(importance_bound(found).mean()) == pytest.approx(bounds[-1])


def test_free_bits_leave_a_coordinate_that_tells_little_alone():
    kl = torch.tensor([[0.1, 3.0], [0.3, 1.0]], requires_grad=True)
    total = free_kl(kl, 0.5)
    assert total.item() == pytest.approx(2.5)
    (slope,) = torch.autograd.grad(total, kl)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.5], [0.0, 0.5]]))
    assert free_kl(kl, 0.0).item() == pytest.approx(float(kl.detach().sum(dim=1).mean()))
