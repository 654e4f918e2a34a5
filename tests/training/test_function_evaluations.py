"""Evaluations of vector fields are counted where a solver steps through them."""

from __future__ import annotations

import pytest
import torch

from tests.registries import fitted, small
from tsode.dynamics import DYNAMICS
from tsode.estimators import FORECASTERS
from tsode.evolutions.base import Solved
from tsode.numerics import RK4
from tsode.testing import example_panel
from tsode.training.function_evaluations import EvaluationCounter


def test_rk4_asks_a_field_four_times_a_step_and_a_closed_counter_counts_no_more():
    evolution = Solved(DYNAMICS["mlp"](3), RK4(n_steps=5))
    counter = EvaluationCounter(evolution)
    z, t = torch.zeros(2, 3), torch.zeros(2, dtype=torch.float64)
    evolution.evolve(z, t, t + 1.0)
    assert counter.take() == 20
    assert counter.take() == 0
    counter.close()
    evolution.evolve(z, t, t + 1.0)
    assert counter.take() == 0


@pytest.mark.slow
def test_the_history_of_a_solved_field_has_the_evaluations_of_a_batch():
    made = small(FORECASTERS["JumpODEForecaster"], evolution="mean_reverting", solver="rk4").fit(example_panel())
    assert made.history_["n_evaluations"].iloc[0] >= 4.0
    assert not any(field._forward_hooks for field in made.module_.modules())


@pytest.mark.parametrize("name", ["JumpODEForecaster-float64", "LinearSDEForecaster-float64"])
def test_flows_in_closed_form_have_none(name):
    assert "n_evaluations" not in fitted(name).history_.columns
