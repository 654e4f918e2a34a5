"""Collapse of ensembles is named with its stop."""

from __future__ import annotations

import math

import torch

from tests.assimilation.ensemble_motions import LinearMotion, normal_seen, normal_start
from tsode.assimilation.ensemble_checks import first_collapse
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.inflation import Inflation
from tsode.assimilation.motion import Draws


def test_a_collapse_is_that_of_all_states_and_of_a_row_alone():
    spread = torch.ones(5, 4, 2, dtype=torch.float64)
    spread[:, 3, 1] = 0.0  # known throughout: no collapse by itself
    spread[3:, 0] = 1e-5
    spread[2:, 1, 0] = 1e-5
    spread[1:, 2] = math.nan
    spread[4, 3, 0] = 1e-5
    assert first_collapse(spread).tolist() == [3, -1, -1, 4]
    assert first_collapse(torch.zeros(3, 1, 2)).tolist() == [-1]


def test_data_of_too_little_noise_collapse_an_ensemble_without_any_at_the_stop_that_is_named():
    still = torch.zeros(1, 1).double()
    one, t, draws = torch.ones(1).double(), torch.zeros(1).double(), Draws(torch.arange(1))
    filter_, motion, spreads = SquareRootEnsemble(10, Inflation()), LinearMotion(still, still[0], still), []
    belief = filter_.start(normal_start(one[:, None], one[:, None]), motion, t, draws)
    for variance in (1.0, 1.0, 1e-10, 1.0):
        belief, _ = filter_.observe(belief, normal_seen(one, one, variance * one), t, draws)
        spreads.append(belief.members.std(dim=1))
        # mean and spread of the prediction, before and after, stand beside the members
        torch.testing.assert_close(belief.told[:, 2:], torch.cat([belief.members.mean(dim=1), spreads[-1]], dim=1))
    assert first_collapse(torch.stack(spreads)).tolist() == [2]
