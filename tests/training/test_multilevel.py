"""Multilevel training: coarse steps first, the model's own at the end and wherever it is judged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.registries import small
from tsode.dynamics import DYNAMICS
from tsode.errors import ParameterError
from tsode.estimators import FORECASTERS
from tsode.evolutions.base import Solved
from tsode.numerics import RK4, SOLVERS, Dopri5, Euler
from tsode.numerics.integrate import integrate
from tsode.testing import example_panel
from tsode.training.loop import TrainingPlan, train
from tsode.training.multilevel import Levels


class Decay(nn.Module):
    """A field ``-k z`` that learns its rate from where it ends after one unit of time."""

    def __init__(self) -> None:
        super().__init__()
        self.dynamics = DYNAMICS["linear"](1).double()
        self.evolution = Solved(self.dynamics, RK4(max_step=0.125))

    def forward(self) -> torch.Tensor:
        t = torch.zeros(4, dtype=torch.float64)
        return self.evolution.evolve(torch.arange(1.0, 5.0, dtype=torch.float64)[:, None], t, t + 1.0).z


def end_of_decay(model, batch):
    wanted = torch.arange(1.0, 5.0, dtype=torch.float64)[:, None] * 0.5
    loss = (model() - wanted).square().mean()
    return loss, {"forecast": loss}, torch.zeros(4, dtype=torch.int64)


def fit(n_levels: int, n_epochs: int = 9, patience: int | None = None, scores=None):
    torch.manual_seed(0)
    model, solvers = Decay(), []

    def validate(model):
        solvers.append(model.evolution.solver)
        return {"loss": float(end_of_decay(model, None)[0]) if scores is None else next(scores)}

    plan = TrainingPlan(max_epochs=n_epochs, n_levels=n_levels, patience=patience, learning_rate=0.05)
    history = train(model, lambda: [None] * 10, 10, end_of_decay, validate, plan)
    return model, history, solvers


def test_steps_are_halved_from_level_to_level_and_judged_at_the_models_own():
    model, history, solvers = fit(n_levels=3)
    assert [row["level"] for row in history] == [2, 2, 2, 1, 1, 1, 0, 0, 0]
    assert [row["n_evaluations"] for row in history] == [8] * 3 + [16] * 3 + [32] * 3
    assert set(solvers) == {RK4(max_step=0.125)}
    assert model.evolution.solver == RK4(max_step=0.125)


@pytest.mark.slow
def test_levels_reach_the_loss_of_fine_steps_at_less_than_six_tenths_of_the_evaluations():
    (_, coarse, _), (_, fine, _) = fit(n_levels=3, n_epochs=18), fit(n_levels=1, n_epochs=18)
    assert sum(row["n_evaluations"] for row in coarse) <= 0.6 * sum(row["n_evaluations"] for row in fine)
    assert coarse[-1]["valid_loss"] == pytest.approx(fine[-1]["valid_loss"], abs=1e-4)
    assert fine[-1]["valid_loss"] < 1e-3
    assert "level" not in fine[0]


@pytest.mark.slow
def test_a_level_that_gets_no_better_gives_way_to_the_next_before_the_rate_goes_down():
    worse = iter([3.0, 1.0] + [2.0] * 30)
    _, history, _ = fit(n_levels=2, n_epochs=30, patience=3, scores=worse)
    levels = [row["level"] for row in history]
    assert levels[:8] == [1, 1, 1, 1, 0, 0, 0, 0]  # the first epoch is the best, three later ones are not
    rates = [row["learning_rate"] for row in history]
    assert rates[6] == 0.05 > rates[7]


def test_a_model_without_a_solver_has_one_level_and_a_forecaster_says_so():
    levels = Levels(nn.Linear(2, 2), 3, 10, 3)
    assert levels.n_levels == 1
    assert levels.is_finest
    with pytest.raises(ParameterError, match="n_levels=2 is of steps in time"):
        small(FORECASTERS["JumpODEForecaster"], n_levels=2).fit(example_panel())


@pytest.mark.slow
def test_a_forecaster_learns_by_levels_and_ends_with_its_own_solver():
    solver = RK4(max_step=0.25)
    made = small(FORECASTERS["JumpODEForecaster"], evolution="mean_reverting", solver=solver, n_levels=2, max_epochs=3)
    made.fit(example_panel())
    assert made.history_["level"].tolist()[0] == 1
    assert made.history_["level"].tolist()[-1] == 0
    assert made.module_.evolution.solver == solver


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"torchdiffeq"}))
def test_a_coarser_solver_takes_fewer_steps(name):
    cls = SOLVERS[name]
    solver = cls(rtol=1e-10, atol=1e-12) if hasattr(cls, "error_order") else cls(max_step=0.05)
    torch.manual_seed(0)
    field = {
        "blanes_moan": "separable_hamiltonian",
        "exponential_difference": "semilinear",
        "exponential_euler": "gru_ode",
        "leapfrog": "separable_hamiltonian",
    }.get(name, "mlp")
    dynamics = DYNAMICS[field](4).double()
    t = torch.zeros(2, dtype=torch.float64)
    fine, coarse = (
        integrate(dynamics, torch.ones(2, 4, dtype=torch.float64), t, t + 20.0, one).n_steps.max()
        for one in (solver, solver.coarser(4.0))
    )
    assert coarse <= 0.6 * fine  # a quarter, but for the first ones, which adaptive solvers have to find


def test_steps_to_queries_are_coarsened_once():
    model = Solved(DYNAMICS["linear"](1), RK4(n_steps=4), query_step=1.0)
    levels = Levels(model, 3, 9, 3)
    assert model.query_step / model.solver.n_steps == 1.0  # four times the quarter that is the model's own
    levels.close()
    assert model.query_step / model.solver.n_steps == 0.25


def test_counted_steps_and_tolerances_are_coarsened_too():
    assert Euler(n_steps=8).coarser(4.0) == Euler(n_steps=2)
    assert Euler(n_steps=2).coarser(8.0) == Euler(n_steps=1)
    loose = Dopri5(rtol=1e-6, atol=1e-8).coarser(2.0)
    assert loose.rtol == pytest.approx(32e-6)
    assert loose.atol == pytest.approx(32e-8)
