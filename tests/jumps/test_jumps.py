"""What sets each jump apart; `check_jump` runs on all of them."""

from __future__ import annotations

import torch
from torch import nn

from tsode.core.observation import Observation
from tsode.jumps import GRU, BayesGRU, InnovationGRU, NeuralJump

GENERATOR = torch.Generator().manual_seed(0)
Z = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)
X = torch.randn(4, 2, generator=GENERATOR, dtype=torch.float64)
MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
PREDICTED = torch.randn(4, 2, 2, generator=GENERATOR, dtype=torch.float64)


def observation(values=X, predicted=PREDICTED):
    return Observation(values * MASK, MASK, predicted)


def test_the_gru_jump_is_torch_on_values_and_mask():
    torch.manual_seed(0)
    jump = GRU(3, 2).double()
    expected = jump.cell(torch.cat([X * MASK, MASK], dim=1), Z)
    assert isinstance(jump.cell, nn.GRUCell)
    torch.testing.assert_close(jump(Z, observation())[:3], expected[:3])


def test_the_innovation_jump_reads_what_was_not_predicted():
    torch.manual_seed(0)
    jump = InnovationGRU(3, 2).double()
    location = PREDICTED[..., 0]
    expected = jump.cell(torch.cat([(X - location) * MASK, X * MASK, MASK], dim=1), Z)
    torch.testing.assert_close(jump(Z, observation())[:3], expected[:3])
    other = PREDICTED.clone()
    other[1, 1] = 99.0  # a prediction of a channel that is not seen
    assert torch.equal(jump(Z, observation(predicted=other)), jump(Z, observation()))


def test_the_neural_jump_forgets_the_state():
    torch.manual_seed(0)
    jump = NeuralJump(3, 2).double()
    assert torch.equal(jump(Z, observation())[:3], jump(Z + 5.0, observation())[:3])


def test_the_bayes_jump_bounds_the_error_of_an_outlier():
    torch.manual_seed(0)
    jump = BayesGRU(3, 2).double()
    jump.weight.data[:, :3] = 0.0  # only the normalised error is read
    far, farther = (observation(values=X + shift) for shift in (1e6, 1e9))
    torch.testing.assert_close(jump(Z, far), jump(Z, farther))
    assert jump.needs_scale


def test_the_bayes_jump_gives_zeros_for_channels_that_are_not_seen():
    torch.manual_seed(0)
    jump = BayesGRU(3, 2).double()
    jump.bias.data += 1.0
    other = PREDICTED.clone()
    other[1, 1] = 7.0
    assert torch.equal(jump(Z, observation(predicted=other)), jump(Z, observation()))
    features = torch.stack([X[1, 0], *PREDICTED[1, 0], torch.zeros(())])
    features[3] = 5.0 * torch.tanh((X[1, 0] - PREDICTED[1, 0, 0]) * torch.exp(-PREDICTED[1, 0, 1]) / 5.0)
    mapped = torch.relu(features @ jump.weight[0] + jump.bias[0])
    expected = jump.cell(torch.cat([mapped, torch.zeros_like(mapped)])[None], Z[1:2])
    torch.testing.assert_close(jump(Z, observation())[1:2], expected)
