"""Likelihoods and compensators of intensities against closed forms, naive loops and quadrature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from tests.registries import small_intensity
from tsode.core.events import StreamBatch
from tsode.errors import TsodeWarning
from tsode.evolutions.decay import DecayingFlow
from tsode.intensities import INTENSITIES, HawkesExponential, NeuralJump, SelfCorrecting
from tsode.intensities.base import Intensity
from tsode.intensities.compensated import Compensated
from tsode.testing import check_intensity

TIMES = np.array([0.7, 1.1, 1.3, 2.9, 4.0, 4.05, 6.2, 8.8])


def one_stream(times: np.ndarray, marks: np.ndarray | None = None, end: float = 10.0) -> StreamBatch:
    marks = np.zeros(len(times), dtype=np.int64) if marks is None else marks
    return StreamBatch.from_arrays([times], [marks], [0.0], [end])


def hawkes(mu: list[float], alpha: list[list[float]], beta: float) -> HawkesExponential:
    made = HawkesExponential(len(mu)).double()
    with torch.no_grad():
        made.log_mu.copy_(torch.tensor(mu, dtype=torch.float64).log())
        made.log_alpha.copy_(torch.tensor(alpha, dtype=torch.float64).log())
        made.log_beta.fill_(math.log(beta))
    return made


def random_streams(n_marks: int, lengths: list[int], seed: int = 0) -> StreamBatch:
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.uniform(0.5, 9.5, n)) for n in lengths]
    marks = [rng.integers(0, n_marks, n) for n in lengths]
    return StreamBatch.from_arrays(times, marks, np.zeros(len(lengths)), np.full(len(lengths), 10.0))


def naive(intensity: Intensity, batch: StreamBatch, total) -> tuple[float, float]:
    """Log-likelihood and compensator of the first stream by quadrature of ``total(t, mark or None)``."""
    n = int(batch.lengths[0])
    times, marks = batch.times[0, :n].numpy(), batch.marks[0, :n].numpy()
    edges = np.concatenate([[0.0], times, [10.0]])
    compensator = sum(quad(lambda t: total(t, None), a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(edges))
    return sum(math.log(total(t, k)) for t, k in zip(times, marks)) - compensator, compensator


def test_hawkes_agrees_with_known_values():
    trace = hawkes([0.5], [[0.6]], 1.4).trace(one_stream(TIMES))
    assert trace.log_likelihood().item() == pytest.approx(-10.9247270024069, abs=1e-8)
    assert trace.increments.sum().item() == pytest.approx(8.34637477021634, abs=1e-8)


def test_hawkes_agrees_with_a_double_loop_and_quadrature():
    mu, alpha, beta = [0.3, 0.5], [[0.4, 0.2], [0.1, 0.7]], 1.3
    intensity, batch = hawkes(mu, alpha, beta), random_streams(2, [12])
    times, marks = batch.times[0].numpy(), batch.marks[0].numpy()

    def total(t, mark):
        rates = [
            mu[k] + sum(alpha[k][m] * math.exp(-beta * (t - s)) for s, m in zip(times, marks) if s < t)
            for k in range(2)
        ]
        return sum(rates) if mark is None else rates[mark]

    log_likelihood, compensator = naive(intensity, batch, total)
    trace = intensity.trace(batch)
    assert trace.log_likelihood().item() == pytest.approx(log_likelihood, abs=1e-8)
    assert trace.increments.sum().item() == pytest.approx(compensator, abs=1e-8)


def test_self_correcting_agrees_with_quadrature():
    intensity, batch = SelfCorrecting(2).double(), random_streams(2, [10], seed=1)
    with torch.no_grad():
        intensity.nu.copy_(torch.tensor([0.1, -0.3]))
        intensity.log_mu.copy_(torch.tensor([0.4, 0.7], dtype=torch.float64).log())
        intensity.pause.copy_(torch.tensor([[0.5, 0.2], [-0.1, 0.6]]))
    nu, mu = intensity.nu.tolist(), intensity.log_mu.exp().tolist()
    alpha = intensity.pause.detach().numpy() * np.array(mu)[:, None]
    times, marks = batch.times[0].numpy(), batch.marks[0].numpy()

    def total(t, mark):
        rates = [math.exp(nu[k] + mu[k] * t - alpha[k, marks[times < t]].sum()) for k in range(2)]
        return sum(rates) if mark is None else rates[mark]

    log_likelihood, compensator = naive(intensity, batch, total)
    trace = intensity.trace(batch)
    assert trace.log_likelihood().item() == pytest.approx(log_likelihood, abs=1e-8)
    assert trace.increments.sum().item() == pytest.approx(compensator, abs=1e-8)


@pytest.mark.parametrize("name", INTENSITIES)
def test_a_compensator_is_the_integral_of_the_rates(name):
    torch.manual_seed(0)
    intensity, batch = small_intensity(name, 3).double(), random_streams(3, [6])
    with torch.no_grad():
        if isinstance(intensity, NeuralJump):  # as sharp as a fitted one: rates change several fold within a gap
            intensity.readout.linear.weight.mul_(8.0)
        z = intensity.encode_history(batch)
        for low, high in ((0.0, 0.01), (0.0, 0.7), (0.3, 5.0), (0.0, 40.0)):
            ends = intensity.extrapolate(z, torch.tensor([[low, high]], dtype=torch.float64)).compensator[0]
            edges = np.unique(np.concatenate([[low], np.geomspace(max(low, 1e-3), high, 12), [high]]))
            nodes, weights = np.polynomial.legendre.leggauss(40)
            at = np.concatenate([a + (b - a) * 0.5 * (nodes + 1.0) for a, b in itertools.pairwise(edges)])
            measure = np.concatenate([(b - a) * 0.5 * weights for a, b in itertools.pairwise(edges)])
            total = intensity.extrapolate(z, torch.from_numpy(at)[None]).total[0]
            fine = float(total @ torch.from_numpy(measure))
            tolerance = 1e-6 if name == "neural_jump" else 1e-10
            assert (ends[1] - ends[0]).item() == pytest.approx(fine, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_integral_of_rates_that_change_fast_takes_the_nodes_that_it_needs(dtype):
    torch.manual_seed(0)
    intensity = small_intensity("neural_jump", 3).to(dtype)
    with torch.no_grad():
        for part in (*intensity.rho.parameters(), *intensity.readout.parameters()):
            part.mul_(20.0)
        z, wait = intensity.states(random_streams(3, [12]))[0], 5.0
        grown = intensity.extrapolate(z, torch.full((len(z), 1), wait, dtype=torch.float64)).compensator[:, 0]
        x, w = np.polynomial.legendre.leggauss(40)
        edges = wait * np.append(0.0, np.geomspace(1e-5, 1.0, 60))
        at = torch.from_numpy((edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (x + 1.0)).reshape(1, -1))
        fine = intensity.rates(z, at.expand(len(z), -1)).sum(dim=-1).double()
        fine = fine @ torch.from_numpy((np.diff(edges)[:, None] * 0.5 * w).reshape(-1))
    plain = intensity.extrapolate(z, torch.full((len(z), 1), wait, dtype=torch.float64)).compensator[:, 0]
    scale = fine.clamp(min=1.0)
    assert ((plain.detach() - fine).abs() / scale).max() > 2e-5  # as it learns
    assert ((grown - fine).abs() / scale).max() < (1e-6 if dtype == torch.float64 else 8e-6)


def test_an_integral_that_no_number_of_nodes_gives_is_a_warning_that_says_how_far_it_is_off():
    class Switch(torch.nn.Module):
        def forward(self, z):
            return (z > 0.3).to(z.dtype)

    flow, start = Compensated(DecayingFlow(1, rates=(1.0, 1.0)), Switch()), torch.ones(1, 1, dtype=torch.float64)
    with torch.no_grad(), pytest.warns(TsodeWarning, match=r"known to 0.00\d of itself only, .* 1024 nodes"):
        cost = flow.evolve(start, torch.zeros(1).double(), torch.full((1,), 3.0).double()).cost
    assert cost.item() == pytest.approx(-math.log(0.3), abs=0.01)


@pytest.mark.parametrize("name", INTENSITIES)
def test_intensities_keep_the_contract(name):
    torch.manual_seed(0)
    check_intensity(small_intensity(name, 3))


@pytest.mark.parametrize("name", INTENSITIES)
def test_what_stands_after_the_last_event_of_a_short_stream_adds_nothing(name):
    torch.manual_seed(0)
    trace = small_intensity(name, 3).double().trace(random_streams(3, [7, 0, 3, 11]))
    assert trace.increments[2, 3:-1].eq(0.0).all()


@pytest.mark.parametrize("name", INTENSITIES)
def test_the_conventions_differ_by_what_they_leave_out(name):
    torch.manual_seed(0)
    intensity, batch = small_intensity(name, 2).double(), random_streams(2, [5, 1, 0])
    trace = intensity.trace(batch)
    tail, first = trace.increments[:, -1], trace.log_rate[:, 0] - trace.increments[:, 0]
    whole = trace.log_likelihood()
    torch.testing.assert_close(trace.log_likelihood(until="last_event"), whole + tail)
    has_event = batch.lengths > 0
    torch.testing.assert_close(trace.log_likelihood(1)[has_event], (whole - first)[has_event])
    assert trace.log_likelihood(1)[2] == 0.0
    assert trace.is_scored(1).sum(dim=1).tolist() == [4, 0, 0]


def test_a_first_guess_is_the_rate_of_events_where_nothing_else_is_known():
    batch = random_streams(2, [8, 12])
    poisson = INTENSITIES["poisson"](2).double()
    poisson.initialise(batch)
    expected = (torch.bincount(batch.marks[batch.is_event], minlength=2) + 0.5) / 20.0
    torch.testing.assert_close(poisson.log_mu.exp().detach(), expected.double())


def test_a_solved_field_carries_its_compensator_too():
    from tsode.dynamics import MeanReverting
    from tsode.evolutions.base import Solved
    from tsode.numerics import RK4

    class Rate(torch.nn.Module):
        def forward(self, z):
            return z.exp()

    z0, rate = torch.tensor([[0.5, -1.0]], dtype=torch.float64), 1.0
    flow = Compensated(Solved(MeanReverting(2).double(), RK4(n_steps=16), query_step=0.1), Rate(), finest=0.5)
    span = torch.tensor([1.7], dtype=torch.float64)
    evolved = flow.evolve(z0, torch.zeros(1, dtype=torch.float64), span)
    truth = sum(quad(lambda t, start=s: math.exp(start * math.exp(-rate * t)), 0.0, 1.7)[0] for s in z0[0].tolist())
    assert evolved.cost.item() == pytest.approx(truth, abs=1e-6)
    torch.testing.assert_close(evolved.z, z0 * math.exp(-1.7), rtol=1e-6, atol=0.0)
