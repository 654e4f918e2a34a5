"""Responses to events against closed forms: steps, pulses, and infusions into a first-order system."""

import math

import numpy as np
import torch

from tsode.core.series import Series, collate
from tsode.models.structural.event_responses import Responses

RESPONSES = Responses(2, (math.inf, 3.0))


def _batch(times: list[list[float]], inputs: list[list[list[float]]]) -> object:
    series = [
        Series(np.array([0.5, 4.0]), np.zeros((2, 1)), input_times=np.array(t), inputs=np.array(x).reshape(-1, 2))
        for t, x in zip(times, inputs)
    ]
    return collate(series, torch.float64)


def test_steps_stay_and_pulses_decay_from_strictly_after_their_events() -> None:
    batch = _batch([[1.0, 2.0]], [[[2.0, 0.0], [1.0, -1.0]]])
    at = torch.tensor([[0.9, 1.0, 1.5, 2.0, 5.0]], dtype=torch.float64)
    found = RESPONSES.at(batch, at)[0].unflatten(1, (2, 2))
    pulse = [0.0, 0.0, 2 * math.exp(-0.5 / 3), 2 * math.exp(-1 / 3), 2 * math.exp(-4 / 3) + math.exp(-1.0)]
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.0, 0.0, 2.0, 2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(found[:, 0, 1], torch.tensor(pulse, dtype=torch.float64))
    torch.testing.assert_close(found[-1, 1], torch.tensor([-1.0, -math.exp(-1.0)], dtype=torch.float64))


def test_an_infusion_gives_the_exact_response_of_a_first_order_system() -> None:
    batch = _batch([[1.0, 3.0]], [[[0.7, 0.0], [-0.7, 0.0]]])  # a rate of 0.7 from 1 to 3
    at = torch.tensor([[2.0, 6.0]], dtype=torch.float64)
    step, pulse = RESPONSES.at(batch, at)[0].unflatten(1, (2, 2))[:, 0].unbind(dim=1)
    level = 3.0 * (step - pulse)  # of x' = rate - x / 3
    truth = [2.1 * (1 - math.exp(-1 / 3)), 2.1 * (1 - math.exp(-2 / 3)) * math.exp(-3 / 3)]
    torch.testing.assert_close(level, torch.tensor(truth, dtype=torch.float64))


def test_series_with_more_events_beside_them_change_nothing() -> None:
    many = _batch([[1.0], [0.1, 0.2, 0.3, 5.0]], [[[1.0, 0.0]], [[1.0, 1.0]] * 4])
    alone = _batch([[1.0]], [[[1.0, 0.0]]])
    at = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    assert torch.equal(RESPONSES.at(many, at.expand(2, -1))[0], RESPONSES.at(alone, at)[0])
