from __future__ import annotations

import math

import pytest
import torch

from tests.assimilation.motions import Channel, Linear, LinearInSteps, kalman, normal_start, rts, run
from tests.assimilation.test_particle import CHANNELS, NOISE, READOUT, SD, TIMES, VALUES, A, B, start_of
from tsode.assimilation.backward_simulation import Recorder, simulate_back
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.motion import Draws

R, N = 40, 100


def paths_of(filter, motion, values=VALUES, r=R, n=N, n_steps=1, lag=10, channels=CHANNELS):
    recorder = Recorder(filter)
    run(recorder, motion, start_of(r), TIMES, values.expand(r, -1, -1), channels, n_steps)
    return simulate_back(recorder.steps, recorder.marks, n, Draws(torch.arange(r)), lag)


def assert_near(paths: torch.Tensor, truth: torch.Tensor, bias: float) -> None:
    """Means of paths (r n ...) over rows are the truth within four of their standard errors, and a bias by `m`."""
    means = paths.mean(dim=1)
    se = means.std(dim=0) / math.sqrt(len(means))
    assert ((means.mean(dim=0) - truth).abs() < 4.0 * se + bias).all()
    assert (se < 0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("filter", [ParticleFilter(400), GuidedFilter(400)])
@pytest.mark.parametrize(("kind", "n_steps"), [(Linear, 1), (LinearInSteps, 3)])
def test_paths_have_the_moments_of_rauch_tung_and_striebel(filter, kind, n_steps):
    paths = paths_of(filter, kind(A, B, NOISE), n_steps=n_steps)[:, 1:]  # without the mark at the start
    eye = torch.eye(2, dtype=torch.float64)
    kept = kalman(Linear(A, B, NOISE), 0 * eye[0], eye, TIMES, VALUES, READOUT, SD**2 * torch.ones(2).double())[1]
    for k, (mean, cov) in enumerate(rts(kept)):
        here = paths[:, k]
        assert_near(here, mean, 0.01)
        apart = here - mean
        assert_near(apart[..., :, None] * apart[..., None, :], cov, 0.01)
    for k in range(len(kept) - 1):  # states that follow each other: Cov = gain times the later covariance
        (mean, _), (later, cov) = rts(kept)[k : k + 2]
        gain = kept[k][4] @ kept[k + 1][0].mT @ torch.linalg.inv(kept[k + 1][2])
        product = (paths[:, k] - mean)[..., :, None] * (paths[:, k + 1] - later)[..., None, :]
        assert_near(product, gain @ cov, 0.01)


PUSHED = torch.tensor([[0.0, 1.0], [-1.0, -0.4]], dtype=torch.float64)
IN_SPEED = torch.tensor([[0.0], [0.7]], dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("lag", [3, None])
def test_where_noise_is_in_the_speed_alone_paths_are_those_of_ancestors(lag):
    motion = LinearInSteps(PUSHED, 0 * B, IN_SPEED)
    values = VALUES[:, :1]
    paths = paths_of(ParticleFilter(600), motion, values, n_steps=4, lag=lag, channels=CHANNELS[:1])[:, 1:]
    eye = torch.eye(2, dtype=torch.float64)
    exact = Linear(PUSHED, 0 * B, IN_SPEED)
    kept = kalman(exact, 0 * eye[0], eye, TIMES, values, READOUT[:1], SD**2 * torch.ones(1).double())[1]
    for k, (mean, _) in enumerate(rts(kept)):
        assert_near(paths[:, k], mean, 0.03)  # steps of the equation, and three marks ahead instead of all


def test_exact_steps_of_noise_in_the_speed_alone_reach_every_state():
    motion = Linear(PUSHED, 0 * B, IN_SPEED)
    values = VALUES[:, :1]
    paths = paths_of(ParticleFilter(600), motion, values, lag=0, channels=CHANNELS[:1])[:, 1:]
    eye = torch.eye(2, dtype=torch.float64)
    kept = kalman(motion, 0 * eye[0], eye, TIMES, values, READOUT[:1], SD**2 * torch.ones(1).double())[1]
    for k, (mean, _) in enumerate(rts(kept)):
        assert_near(paths[:, k], mean, 0.01)


def test_a_row_alone_has_the_paths_that_it_has_among_others():
    motion, filter = LinearInSteps(A, B, NOISE), ParticleFilter(50)
    three = paths_of(filter, motion, r=3, n=10, n_steps=2)
    recorder = Recorder(filter)
    seed = torch.tensor([2])
    run(recorder, motion, start_of(1), TIMES, VALUES[None], CHANNELS, 2, seed=seed)
    torch.testing.assert_close(simulate_back(recorder.steps, recorder.marks, 10, Draws(seed)), three[2:])


def test_a_row_with_impossible_data_has_no_paths_and_harms_no_other():
    law = Channel(lambda z: z[..., 0], law=lambda y, s: torch.where((s - y).abs() < 1.0, 0.0, -math.inf))
    values = torch.tensor([[0.0, 50.0], [0.0, 0.1]], dtype=torch.float64)[..., None]
    recorder = Recorder(ParticleFilter(50))
    start = normal_start(torch.zeros(2, 2).double(), torch.ones(2, 2).double())
    run(recorder, Linear(A, B, NOISE), start, torch.tensor([0.5, 1.0]), values, [law])
    paths = simulate_back(recorder.steps, recorder.marks, 7, Draws(torch.arange(2)))
    assert paths.shape == (2, 3, 7, 2)
    assert paths[0].isnan().all()
    assert paths[1].isfinite().all()


def test_paths_go_through_events_that_have_no_inverse():
    """A reset to zero forgets the state: before it paths are those of the data before, after it they begin at zero."""
    motion, filter, r = Linear(A, B, NOISE), ParticleFilter(400), 30
    recorder, draws = Recorder(filter), Draws(torch.arange(r))
    t, h = torch.zeros(r, dtype=torch.float64), torch.full((r,), 0.5, dtype=torch.float64)
    belief = recorder.mark(recorder.start(start_of(r), motion, t, draws))
    belief = recorder.flow(belief, motion, t, h, draws)
    belief, _ = recorder.observe(belief, CHANNELS[0].seen(torch.full((r,), 1.0).double()), h, draws)
    belief = recorder.mark(belief)
    belief = recorder.change(belief, torch.zeros(r, 2).double(), torch.zeros(r, 2).double())
    belief = recorder.flow(belief, motion, h, h, draws)
    belief, _ = recorder.observe(belief, CHANNELS[0].seen(torch.full((r,), 1.5).double()), 2 * h, draws)
    recorder.mark(belief)
    paths = simulate_back(recorder.steps, recorder.marks, N, draws)
    eye, law = torch.eye(2, dtype=torch.float64), motion.transition(t, torch.zeros(r, 2).double(), h)
    for mark, value, cov in ((1, 1.0, law.phi[0] @ law.phi[0].mT + law.cov[0]), (2, 1.5, law.cov[0])):
        gain = cov @ eye[0] / (cov[0, 0] + SD**2)
        assert_near(paths[:, mark], law.shift[0] + gain * (value - law.shift[0, 0]), 0.01)
