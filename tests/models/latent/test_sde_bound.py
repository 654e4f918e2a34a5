"""Bound on the evidence of a latent SDE against the evidence itself, by the Kalman filter."""

import pytest
import torch

from tests.models.latent.exact_guide import RATE, guided, log_evidence, posterior, simulate
from tsode.core.batch import IrregularBatch
from tsode.numerics import EulerMaruyama, HeunMaruyama
from tsode.training.evidence import gather_evidence

N_SERIES, N_EVENTS, SPAN = 12, 6, 2.5
BAR = 0.02  # nats a value


def excess(model, batch, evidence, n_samples=1500):
    """Bound less the evidence, in nats a value seen, and its standard error."""
    found = gather_evidence(
        model,
        posterior(model, batch),
        batch,
        model.fresh_draws(n_samples, batch.n_series, torch.Generator().manual_seed(0)),
    )
    assert not found.status.any()
    bound = found.log_likelihood - found.cost - found.kl.sum(dim=1)
    n_values = float(batch.mask.sum()) / batch.n_series
    error = float((bound.var(dim=0).mean() / n_samples / batch.n_series) ** 0.5)
    return float((bound.mean(dim=0) - evidence).mean()) / n_values, error / n_values


@torch.no_grad()
def test_with_the_exact_guide_the_bound_is_the_evidence_at_the_default_step():
    batch = simulate(N_SERIES, N_EVENTS, SPAN)
    gap, error = excess(guided(), batch, log_evidence(batch))
    assert abs(gap) <= BAR
    assert 6 * error <= BAR


@torch.no_grad()
@pytest.mark.parametrize("solver", [EulerMaruyama(max_step=0.5), HeunMaruyama(max_step=0.5)])
def test_steps_as_long_as_the_gaps_cost_no_more_than_the_prior_is_changed_by_them(solver):
    batch = simulate(N_SERIES, N_EVENTS, SPAN)
    gap, error = excess(guided(solver), batch, log_evidence(batch))
    assert -BAR - 6 * error <= gap <= 6 * error


@torch.no_grad()
def test_the_bound_stays_exact_through_doses():
    seen, push = simulate(N_SERIES, N_EVENTS, SPAN), 2.0
    rng = torch.Generator().manual_seed(3)
    # each series is given two doses, at times of their own, and what they add to the state decays with it
    dosed = seen.times[:, :1] + torch.rand(N_SERIES, 2, generator=rng, dtype=torch.float64).sort(dim=1).values * SPAN
    amount = torch.rand(N_SERIES, 2, generator=rng, dtype=torch.float64)
    since = seen.times[:, :, None] - dosed[:, None]
    effect = (push * amount[:, None] * torch.exp(-RATE * since.clamp(min=0)) * (since > 0)).sum(dim=2)
    times, order = torch.cat([seen.times, dosed], dim=1).sort(dim=1)

    def woven(at_seen, at_doses):
        rows = torch.arange(N_SERIES)[:, None]
        return torch.cat([at_seen, at_doses], dim=1)[rows, order][..., None]

    nothing = torch.zeros_like(dosed)
    batch = IrregularBatch(
        times,
        woven(seen.values[..., 0] + effect, nothing),
        woven(torch.ones_like(effect), nothing) > 0,
        torch.full((N_SERIES,), times.shape[1]),
        woven(torch.zeros_like(effect), amount),
    )
    gap, error = excess(guided(push=push), batch, log_evidence(seen))
    assert abs(gap) <= BAR
    assert 6 * error <= BAR
    told_of_none = excess(guided(push=0.0), batch, log_evidence(seen), n_samples=200)[0]
    assert told_of_none < -5 * BAR
