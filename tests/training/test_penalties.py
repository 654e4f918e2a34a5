"""Penalties on vector fields: their values where these are known, and what they do to a fit."""

from __future__ import annotations

import math

import pytest
import torch

from tests.registries import small
from tsode import part
from tsode.dynamics import DYNAMICS, MLPDynamics
from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError, UnknownNameError
from tsode.estimators import FORECASTERS
from tsode.evolutions.base import Solved
from tsode.numerics import RK4
from tsode.testing import example_panel
from tsode.training.penalised import Penalised
from tsode.training.penalties import PENALTIES, Contraction, EnergyDrift

JumpODEForecaster, LatentODEForecaster = (FORECASTERS[name] for name in ("JumpODEForecaster", "LatentODEForecaster"))


class Given(Dynamics):
    """A field of one's own."""

    def __init__(self, n_state, rate):
        super().__init__(n_state)
        self.rate = rate

    def drift(self, t, z):
        return self.rate(z)


def states(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.zeros(n, dtype=torch.float64), torch.randn(n, d, dtype=torch.float64, generator=generator)


def pendulum(friction: float = 0.0) -> Given:
    return Given(2, lambda z: torch.stack([z[:, 1], -z[:, 0].sin() - friction * z[:, 1]], dim=1))


def energy_of_pendulum(x, theta):
    return 0.5 * x[:, 1].square() - x[:, 0].cos()


def test_the_logarithmic_norm_of_a_linear_field_is_that_of_its_matrix():
    matrix = torch.tensor([[-1.0, 3.0], [0.0, -2.0]], dtype=torch.float64)
    known = -1.5 + math.hypot(0.5, 1.5)  # larger eigenvalue of [[-1, 1.5], [1.5, -2]]
    t, z = states(7, 2)
    field = Given(2, lambda z: z @ matrix.mT)
    norm = Contraction(2).logarithmic_norm(field, t, z)
    torch.testing.assert_close(norm, torch.full((7,), known, dtype=torch.float64), rtol=1e-12, atol=0.0)
    assert float(Contraction(2, rate=0.5)(field, t, z)) == pytest.approx((known + 0.5) ** 2, rel=1e-12)
    assert float(Contraction(2, rate=-known - 1e-9)(field, t, z)) == 0.0


def test_coordinates_that_stand_still_are_no_part_of_the_logarithmic_norm():
    t, z = states(5, 3)
    field = Given(3, lambda z: torch.stack([-z[:, 0] + 9.0 * z[:, 2], -2.0 * z[:, 1], 0.0 * z[:, 2]], dim=1))
    norm = Contraction(2, n_static=1).logarithmic_norm(field, t, z)
    torch.testing.assert_close(norm, -torch.ones_like(norm), rtol=1e-12, atol=0.0)


def test_a_pendulum_drifts_by_what_friction_takes_and_by_nothing_without():
    t, z = states(50, 2)
    penalty = EnergyDrift(2, energy=energy_of_pendulum)
    assert float(penalty(pendulum(), t, z)) < 1e-30
    q, p = z.unbind(dim=1)
    rate = torch.stack([p, -q.sin() - 0.3 * p], dim=1)
    lost = (0.3 * p.square()).square().sum()
    known = lost / ((q.sin().square() + p.square()) * rate.square().sum(dim=1)).sum()
    torch.testing.assert_close(penalty(pendulum(0.3), t, z), known, rtol=1e-12, atol=0.0)


def test_an_energy_is_learned_that_a_given_motion_keeps():
    torch.manual_seed(0)
    penalty = EnergyDrift(2, width=16).double()
    field = Given(2, lambda z: torch.stack([z[:, 1], -4.0 * z[:, 0]], dim=1))
    optimiser = torch.optim.Adam(penalty.parameters(), lr=0.03)
    t, z = states(200, 2)
    before = penalty(field, t, z).item()
    for _ in range(200):
        optimiser.zero_grad()
        penalty(field, t, z).backward()
        optimiser.step()
    assert before > 0.05
    assert penalty(field, t, z).item() < 0.01 * before


def test_the_energy_of_the_field_itself_may_be_penalised():
    t, z = states(9, 4)
    field = DYNAMICS["port_hamiltonian"](4).double()
    assert EnergyDrift(4, energy="own")(field, t, z).item() > 0.0
    kept = DYNAMICS["hamiltonian"](4).double()
    assert EnergyDrift(4, energy="own")(kept, t, z).item() < 1e-25
    with pytest.raises(ParameterError, match="MLPDynamics has no energy of its own"):
        EnergyDrift(4, energy="own")(MLPDynamics(4).double(), t, z)


# -- what they do to a fit ---------------------------------------------------------------------------------------------


class Flow(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.evolution = Solved(MLPDynamics(2, 16).double(), RK4(n_steps=2))


def fit_flow(spec, truth: Dynamics, noise: float, n_steps: int = 150) -> Dynamics:
    """A perceptron that is shown noisy ends of short flows of `truth`."""
    torch.manual_seed(0)
    t, z = states(40, 2)
    model, ahead = Flow(), t + 0.5
    with torch.no_grad():
        ends = Solved(truth, RK4(n_steps=20)).evolve(z, t, ahead).z
        ends = ends + noise * torch.randn(ends.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def objective(model, batch):
        loss = (model.evolution.evolve(z, t, ahead).z - ends).square().mean()
        return loss, {"forecast": loss}, torch.zeros(40, dtype=torch.int64)

    if spec is not None:
        objective = Penalised(objective, model, [spec])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(n_steps):
        optimiser.zero_grad()
        objective(model, None)[0].backward()
        optimiser.step()
    return model.evolution.dynamics.requires_grad_(False)


@pytest.mark.slow
def test_a_fit_with_a_penalty_contracts_where_one_without_does_not():
    truth = Given(2, lambda z: torch.stack([-0.5 * z[:, 0] + z[:, 1], -z[:, 0] - 0.5 * z[:, 1]], dim=1))
    t, z = states(40, 2)
    free, held = (fit_flow(spec, truth, 0.3) for spec in (None, part("contraction", rate=0.2, weight=10.0)))
    norms = [Contraction(2).logarithmic_norm(field, t, z) for field in (free, held)]
    shares = [float((norm < 0.0).double().mean()) for norm in norms]
    assert shares[0] < 0.5
    assert shares[1] > 0.9
    assert float(norms[1].max()) < 0.1 * float(norms[0].max())


@pytest.mark.slow
def test_a_fit_with_a_penalty_keeps_an_energy_better_than_one_without():
    t, z = states(20, 2)
    z = 0.5 * z
    later, drifts = t + 10.0, []
    for spec in (None, EnergyDrift(2, weight=100.0, energy=energy_of_pendulum)):
        flow = Solved(fit_flow(spec, pendulum(), 0.1), RK4(max_step=0.1))
        with torch.no_grad():
            ends = flow.evolve(z, t, later).z
        drifts.append(float((energy_of_pendulum(ends, None) - energy_of_pendulum(z, None)).square().mean()))
    assert drifts[1] < 0.2 * drifts[0]


# -- in forecasters ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("made", [JumpODEForecaster, LatentODEForecaster])
def test_forecasters_train_with_a_penalty_and_tell_of_it(made, name, tmp_path):
    forecaster = small(made, evolution="mlp", penalties=part(name, weight=0.5), max_epochs=2).fit(example_panel())
    assert (forecaster.history_[f"train_{name}"] > 0.0).all()
    assert not [key for key in forecaster.module_.state_dict() if "penalties" in key]
    forecaster.save(tmp_path / "model")
    assert made.load(tmp_path / "model").penalties == part(name, weight=0.5)


def test_penalties_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ParameterError, match="penalties= are of vector fields"):
        small(JumpODEForecaster, penalties="contraction").fit(example_panel())
    with pytest.raises(UnknownNameError, match="Did you mean 'contraction'"):
        small(JumpODEForecaster, evolution="mlp", penalties=["contractoin"]).fit(example_panel())
    with pytest.raises(UnknownNameError, match="rate"):
        small(JumpODEForecaster, evolution="mlp", penalties=part("contraction", speed=1.0)).fit(example_panel())


@pytest.mark.slow
def test_a_penalty_of_no_weight_changes_no_forecast():
    panel = example_panel()
    plain, other = (
        small(JumpODEForecaster, evolution="gru_ode", dtype="float64", penalties=spec).fit(panel)
        for spec in (None, part("contraction", weight=0.0))
    )
    assert torch.allclose(
        *(torch.tensor(each.predict(horizon="6h").iloc[:, 2:].to_numpy()) for each in (plain, other)), atol=1e-6
    )
