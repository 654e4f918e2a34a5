"""Components: exact in time, whatever the gap."""

import math

import pytest
import torch

from tests.models.structural.components import EVERY, SCALE, dense, make, parameters

GAPS = [1e-9, 1e-6, 1e-4, 3e-3, 0.02, 0.1, 0.7, 5.0, 1e3]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("gap", GAPS)
def test_two_steps_are_one_step_of_their_sum(name: str, gap: float) -> None:
    component = make(name)
    given = parameters(component)
    gaps = torch.tensor([[gap], [0.37 * gap], [1.37 * gap]], dtype=torch.float64)
    matrix, noise = dense(component.steps(gaps, **given))
    joined = matrix[1] @ noise[0] @ matrix[1].mT + noise[1]
    size = noise[2].diagonal(dim1=-2, dim2=-1).clamp(min=1e-300).sqrt()
    of = size[..., None] * size[..., None, :]
    torch.testing.assert_close(matrix[1] @ matrix[0], matrix[2], rtol=1e-11, atol=1e-11 * max(1.0, gap))
    assert float(((joined - noise[2]) / of).abs().max()) < 1e-10


# the drift and the diffusion of each, written down once more
def _drifts(name: str, p: dict[str, float]) -> tuple[list[list[float]], list[list[float]]]:
    if name == "level":
        return [[0.0]], [[p["rate"]]]
    if name == "slope":
        return [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, p["rate"]]]
    if name == "damped_slope":
        return [[0.0, 1.0], [0.0, -p["damping"]]], [[0.0, 0.0], [0.0, p["rate"]]]
    if name in ("ou", "long_ou"):
        return [[-1.0 / p["time"]]], [[2.0 * p["variance"] / p["time"]]]
    if name == "matern":
        rate = 1.0 / p["time"]
        return [[0.0, rate], [-rate, -2.0 * rate]], [[0.0, 0.0], [0.0, 4.0 * p["variance"] * rate]]
    if name == "carma":  # with y and its derivative as the states, turned to what is uncorrelated
        time, rate, angle = p["time"], p["damping_ratio"] / p["time"], math.atan(p["moving_average"])
        g = [math.sqrt(4.0 * rate) * math.sin(angle), math.sqrt(4.0 * rate) * math.cos(angle)]
        drift = [[-g[i] * g[j] / 2.0 + (i != j) * (1 - 2 * i) / time for j in range(2)] for i in range(2)]
        return drift, [[p["variance"] * g[i] * g[j] for j in range(2)] for i in range(2)]
    if name == "cycle":
        turn, decay = 2.0 * math.pi / p["period"], 1.0 / (p["period"] * p["coherence"])
        q = 2.0 * p["variance"] * decay
        return [[-decay, turn], [-turn, -decay]], [[q, 0.0], [0.0, q]]
    raise KeyError(name)


@pytest.mark.parametrize("name", [name for name in EVERY if "season" not in name])
@pytest.mark.parametrize("gap", [1e-4, 0.02, 0.3])
def test_steps_are_those_of_the_stochastic_differential_equation(name: str, gap: float) -> None:
    component = make(name)
    given = {key: value[1:] for key, value in parameters(component).items()}
    matrix, noise = dense(component.steps(torch.tensor([[gap]], dtype=torch.float64), **given))
    drift, diffusion = (
        torch.tensor(x, dtype=torch.float64) for x in _drifts(name, {key: float(value) for key, value in given.items()})
    )
    m = len(drift)
    # Van Loan 1978
    both = torch.zeros(2 * m, 2 * m, dtype=torch.float64)
    both[:m, :m], both[:m, m:], both[m:, m:] = -drift, diffusion, drift.T
    power = torch.linalg.matrix_exp(both * gap)
    wanted = power[m:, m:].T
    torch.testing.assert_close(matrix[0, 0, :m, :m], wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(noise[0, 0, :m, :m], wanted @ power[:m, m:], rtol=1e-7, atol=1e-13)


def test_each_harmonic_of_a_season_turns_as_often_as_it_says() -> None:
    component = make("season")
    given = parameters(component)
    gap = torch.tensor([[0.011]], dtype=torch.float64)
    matrix, noise = dense(component.steps(gap, **given))
    for k in range(1, component.n_harmonics + 1):
        angle = 2.0 * math.pi * k * 0.011 / component.period
        block = matrix[0, 0, 2 * k - 2 : 2 * k, 2 * k - 2 : 2 * k]
        turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        torch.testing.assert_close(block, torch.tensor(turn, dtype=torch.float64))
        wanted = given["size"] * given["drift"] * 0.011 / k**2
        torch.testing.assert_close(noise[0, :, 2 * k - 1, 2 * k - 1], wanted)


@pytest.mark.parametrize("name", EVERY)
def test_stationary_components_stay_as_they_start(name: str) -> None:
    component = make(name)
    if component.role == "trend" or name == "season":
        return  # these wander off
    given = parameters(component)
    matrix, noise = dense(component.steps(torch.tensor([[0.05]], dtype=torch.float64), **given))
    start = component.start(**given)
    m = start.shape[1]
    moved = (matrix @ torch.diag_embed(torch.nn.functional.pad(start, (0, m % 2))) @ matrix.mT + noise)[0]
    torch.testing.assert_close(moved[:, :m, :m], torch.diag_embed(start).expand_as(moved[:, :m, :m]))


@pytest.mark.parametrize("name", EVERY)
def test_steps_differ_smoothly_across_every_switch_of_formula(name: str) -> None:
    component = make(name)
    given = {key: value[:1] for key, value in parameters(component).items()}
    gaps = torch.logspace(-8, 2, 400, dtype=torch.float64)[:, None]
    _, noise = dense(component.steps(gaps, **given))
    variance = noise[:, 0].diagonal(dim1=-2, dim2=-1)[:, : component.n_states]
    assert bool((variance.diff(dim=0) >= -1e-12 * variance[1:]).all())  # noise grows with the gap
    assert bool((torch.linalg.eigvalsh(noise[:, 0]) >= -1e-12 * variance.amax(dim=1)[:, None]).all())


@pytest.mark.parametrize("name", EVERY)
def test_priors_are_positive_and_named_as_the_steps_take_them(name: str) -> None:
    component = make(name)
    assert all(prior.median > 0.0 and prior.log_sd > 0.0 for prior in component.priors(SCALE).values())
    assert component.start(**parameters(component)).shape == (2, component.n_states)
    assert len(component.readout) == component.n_states
