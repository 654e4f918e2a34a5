"""What comes next: simulation and waiting times against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad

from tests.intensities.test_trace import hawkes, random_streams
from tests.registries import small_intensity
from tsode.core.events import StreamBatch
from tsode.errors import ParameterError, SolverError
from tsode.intensities import INTENSITIES, NeuralJump, SelfCorrecting
from tsode.intensities.thinning import simulate
from tsode.intensities.waiting import next_event, waits_until


def fresh(intensity, n: int, span: float, seed: int = 0):
    """Paths on [0, span] from the start of a window."""
    nothing = torch.zeros(n, dtype=torch.float64)
    keys = np.arange(n, dtype=np.uint64) + np.uint64(1_000_000 * (seed + 1))
    return simulate(intensity, intensity.start(n), nothing, nothing + span, keys)


def as_batch(drawn, n: int, span: float) -> StreamBatch:
    cuts = np.searchsorted(drawn.rows, np.arange(1, n))
    times, marks = np.split(drawn.times, cuts), np.split(drawn.marks, cuts)
    return StreamBatch.from_arrays(times, marks, np.zeros(n), np.full(n, span))


def test_the_mean_count_of_a_simulated_hawkes_process_is_its_closed_form():
    mu, alpha, beta, span, n = 0.5, 0.6, 1.4, 10.0, 4000
    counts = np.bincount(fresh(hawkes([mu], [[alpha]], beta), n, span).rows, minlength=n)
    # E lambda' = beta (mu - E lambda) + alpha E lambda from mu on, Hawkes 1971
    c = beta - alpha
    expected = mu * (beta / c * span - alpha / c**2 * (1.0 - math.exp(-c * span)))
    assert abs(counts.mean() - expected) < 6.0 * counts.std() / math.sqrt(n)


@pytest.mark.slow
def test_a_path_on_its_way_to_millions_of_events_is_refused_soon_and_one_within_the_limit_is_not():
    wild = small_intensity("neural_jump", 2).double()
    with torch.no_grad():
        wild.readout.linear.bias.fill_(1e6)
    calls = []
    wild.readout.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(SolverError, match="more than 20000 events"):
        fresh(wild, 10, 10.0)
    assert len(calls) < 3000
    dense = INTENSITIES["poisson"](1).double()
    with torch.no_grad():
        dense.log_mu.fill_(math.log(1500.0))
    assert len(fresh(dense, 1, 1.0).rows) == pytest.approx(1500, abs=200)


@pytest.mark.parametrize("name", INTENSITIES)
def test_time_rescaled_gaps_of_simulated_events_are_exponential(name):
    torch.manual_seed(1)
    intensity = small_intensity(name, 2).double()
    if isinstance(intensity, NeuralJump):
        with torch.no_grad():
            intensity.readout.linear.weight.mul_(4.0)
    batch = as_batch(fresh(intensity, 300, 12.0), 300, 12.0)
    with torch.no_grad():
        trace = intensity.trace(batch)
    # over the whole window, streams set end to end: gaps of a unit Poisson process but for the tails, which are joined
    totals = np.concatenate([row[: n + 1].tolist() for row, n in zip(trace.increments[:, :-1].numpy(), batch.lengths)])
    assert len(totals) > 1000
    stream = []
    carried = 0.0
    for row, n in enumerate(batch.lengths.tolist()):
        gaps = trace.increments[row, :n].tolist()
        if gaps:
            gaps[0] += carried
            carried = 0.0
        stream += gaps
        carried += trace.increments[row, -1].item()
    assert scipy.stats.kstest(stream, "expon").pvalue > 0.001


def test_marks_are_drawn_by_their_share_of_the_rate():
    poisson = INTENSITIES["poisson"](3).double()
    with torch.no_grad():
        poisson.log_mu.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    marks = fresh(poisson, 2000, 5.0).marks
    share = np.bincount(marks, minlength=3) / len(marks)
    assert np.abs(share - [0.2, 0.3, 0.5]).max() < 6.0 * math.sqrt(0.25 / len(marks))


def test_a_simulated_path_does_not_depend_on_the_paths_beside_it():
    torch.manual_seed(0)
    intensity, batch = small_intensity("neural_jump", 2).double(), random_streams(2, [5, 9, 2])
    z, since = intensity.encode_history(batch), batch.end - batch.last
    span, keys = torch.tensor([3.0, 7.0, 5.0], dtype=torch.float64), np.array([7, 8, 9], dtype=np.uint64)
    together = simulate(intensity, z, since, span, keys)
    for row in range(3):
        alone = simulate(intensity, z[row : row + 1], since[row : row + 1], span[row : row + 1], keys[row : row + 1])
        np.testing.assert_allclose(alone.times, together.times[together.rows == row], rtol=1e-9)
        assert (alone.marks == together.marks[together.rows == row]).all()


def test_a_process_that_feeds_on_itself_is_refused():
    nothing = torch.zeros(1, dtype=torch.float64)
    runaway = hawkes([1.0], [[3.0]], 1.0)
    with pytest.raises(SolverError, match="more than one further event"):
        simulate(runaway, runaway.start(1), nothing, nothing + 100.0, np.zeros(1, dtype=np.uint64), most_events=200)


def test_thinning_names_the_flow_it_can_bound():
    from tsode.evolutions import DiagonalFlow

    intensity = NeuralJump(1, DiagonalFlow(3), n_hidden=4)
    with pytest.raises(ParameterError, match="build the intensity on a DecayingFlow"):
        fresh(intensity, 2, 1.0)


@pytest.mark.parametrize("name", INTENSITIES)
def test_waits_turn_the_compensator_round(name):
    torch.manual_seed(0)
    intensity, batch = small_intensity(name, 2).double(), random_streams(2, [6, 3])
    with torch.no_grad():
        z, since = intensity.encode_history(batch), batch.end - batch.last
        targets = torch.tensor([[1e-4, 0.1, 1.0, 7.0]], dtype=torch.float64).expand(2, -1)
        waits = waits_until(intensity, z, since, targets)
        grown = (
            intensity.extrapolate(z, since[:, None] + waits).compensator
            - intensity.extrapolate(z, since[:, None]).compensator
        )
    torch.testing.assert_close(grown, targets, rtol=1e-7, atol=1e-9)


def test_the_next_event_of_a_hawkes_process_is_the_integral_of_its_survival():
    intensity, batch = hawkes([0.2, 0.1], [[0.8, 0.1], [0.3, 0.5]], 1.1), random_streams(2, [8], seed=3)
    with torch.no_grad():
        z, since = intensity.encode_history(batch), torch.tensor([0.4], dtype=torch.float64)
        found = next_event(intensity, z, since, [0.5])

        def extrapolate(t):
            return intensity.extrapolate(z, torch.tensor([[0.4, 0.4 + t]], dtype=torch.float64))

        def survival(t):
            return math.exp(-extrapolate(t).compensator.diff(dim=1).item())

        pieces = [(0.0, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, 150.0)]
        mean = sum(quad(survival, a, b)[0] for a, b in pieces)
        share = sum(quad(lambda t: survival(t) * extrapolate(t).rates[0, 1, 0].item(), a, b)[0] for a, b in pieces)
    assert found.mean.item() == pytest.approx(mean, rel=1e-6)
    assert found.mark_probabilities[0, 0].item() == pytest.approx(share, rel=1e-6)
    assert survival(found.quantiles.item()) == pytest.approx(0.5, rel=1e-8)


def test_the_next_event_of_a_poisson_process_is_exponential():
    poisson = INTENSITIES["poisson"](2).double()
    with torch.no_grad():
        poisson.log_mu.copy_(torch.tensor([1.5, 0.5], dtype=torch.float64).log())
        found = next_event(poisson, poisson.start(1), torch.tensor([3.0], dtype=torch.float64), [0.1, 0.9])
    assert found.mean.item() == pytest.approx(0.5, rel=1e-9)
    torch.testing.assert_close(found.quantiles[0], -torch.tensor([0.9, 0.1], dtype=torch.float64).log() / 2.0)
    torch.testing.assert_close(found.mark_probabilities[0], torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_an_event_that_may_never_come_has_an_infinite_quantile():
    dying = hawkes([1e-300], [[0.5]], 1.0)
    batch = random_streams(1, [3])
    with torch.no_grad():
        waits = waits_until(
            dying, dying.encode_history(batch), batch.end - batch.last, torch.tensor([[50.0]], dtype=torch.float64)
        )
    assert waits.isinf().all()


def test_self_correcting_events_come_evenly():
    intensity = SelfCorrecting(1).double()
    with torch.no_grad():
        intensity.log_mu.zero_()
        intensity.pause.fill_(1.0)
    counts = np.bincount(fresh(intensity, 500, 50.0).rows, minlength=500)
    assert counts.var() < 0.2 * counts.mean()  # a Poisson process has 1
