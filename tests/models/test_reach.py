"""Reach: implausible values are ends of the range, and forecasts beyond the horizon keep to their laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.series import Series
from tsode.likelihoods.normal import Normal
from tsode.models.filter_state import FilterState
from tsode.models.reach import SLACK, STILL, Reach
from tsode.training.reach import learn_reach

NORMAL = Normal()


class _Owner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reach = Reach(1)


def _reach(horizon: float = 2.0) -> Reach:
    """Of values from -1 to 1 whose neighbours are at most a half apart."""
    owner = _Owner().double()
    values = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[:, None]
    learn_reach(owner, [Series(np.arange(5.0), values)], horizon)
    return owner.reach


def _batch(values: list[float]) -> IrregularBatch:
    column = np.array(values)[:, None]
    return IrregularBatch.from_arrays([np.arange(float(len(values)))], [column], torch.float64)


def _law(batch: IrregularBatch, sd_of: object = None, mean_of: object = None) -> object:
    """A model that is certain of its mean, with a spread that is a function of the lead."""
    end = float(batch.times[0, -1])

    def ask(times: torch.Tensor) -> Forecast:
        lead = (times - end)[..., None]
        mean = torch.zeros_like(lead) if mean_of is None else mean_of(lead)
        sd = torch.full_like(lead, 0.1) if sd_of is None else sd_of(lead)
        return Forecast(times, NORMAL.from_moments(mean, sd), NORMAL, torch.zeros(1, dtype=torch.int64))

    return ask


def test_values_in_range_and_changes_as_large_as_those_of_training_pass_as_they_are() -> None:
    batch = _batch([0.0, 1.0, 1.4, 1.8, 2.2, -0.9])  # beyond the range, but step by step
    assert torch.equal(_reach().plausible(batch).values, batch.values)


def test_a_value_far_out_is_the_end_of_the_range_and_what_follows_is_as_it_was() -> None:
    reach = _reach()
    seen = reach.plausible(_batch([0.0, 734.0, 0.2, -50.0])).values[0, :, 0]
    assert seen.tolist() == [0.0, float(reach.high), 0.2, float(reach.low)]


def test_values_not_seen_are_not_neighbours() -> None:
    batch = _batch([1.4, float("nan"), 1.8])
    assert torch.equal(_reach().plausible(batch).values, batch.values)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_batch_that_goes_on_from_a_state_is_judged_as_the_whole(cut: int) -> None:
    reach, values = _reach(), [1.2, 1.6, 90.0, 1.4, 1.7]
    whole = reach.plausible(_batch(values)).values[0, :, 0]
    before = reach.plausible(_batch(values[:cut])).values[:, -1]
    one = torch.ones(1)
    at, none = one.double(), torch.zeros(1, 0)
    state = FilterState(at, at, torch.zeros(1, 1, 1), before, at[:, None], none, at, none)
    assert torch.equal(reach.plausible(_batch(values[cut:]), state).values[0, :, 0], whole[cut:])


def test_within_the_horizon_a_forecast_is_as_asked_to_the_bit() -> None:
    reach, batch = _reach(), _batch([0.0, 0.3])
    times = torch.tensor([[1.5, 2.0, 3.0]], dtype=torch.float64)
    ask = _law(batch, mean_of=lambda lead: 5.0 * lead)
    answer = reach.answer(ask, batch, times, times - 1.0, "left")
    assert torch.equal(answer.params, ask(times).params)


def test_the_spread_grows_by_the_power_found_in_the_horizon_up_to_that_of_the_channel() -> None:
    reach, batch = _reach(), _batch([0.0, 0.3])
    limit = SLACK * 2.0
    lead = limit * torch.tensor([[1.0, 4.0, 9.0, 1e8]], dtype=torch.float64)
    walk = _law(batch, sd_of=lambda lead: 0.1 * lead.sqrt())
    sd = reach.answer(walk, batch, lead + 1.0, lead, "left").variance.sqrt()[0, :, 0]
    expected = [0.1 * limit**0.5 * factor for factor in (1.0, 2.0, 3.0)]
    torch.testing.assert_close(sd[:3], torch.tensor(expected, dtype=torch.float64))
    assert float(sd[3]) == pytest.approx(np.std([-1.0, -0.5, 0.0, 0.5, 1.0]))


@pytest.mark.parametrize("shrinking", [0.5, 1.0, 50.0])
def test_the_spread_never_shrinks_beyond_the_horizon(shrinking: float) -> None:
    reach, batch = _reach(), _batch([0.0, 0.3])
    lead = torch.logspace(0.0, 7.0, 40, dtype=torch.float64)[None]
    sd = reach.answer(_law(batch, sd_of=lambda t: (-shrinking * t).exp() + 0.05), batch, lead + 1.0, lead, "left")
    beyond = sd.variance.sqrt()[0, lead[0] > SLACK * 2.0, 0]
    assert bool((beyond.diff() >= 0.0).all())


def test_far_ahead_the_mean_returns_to_that_of_the_channel() -> None:
    reach, batch = _reach(), _batch([0.0, 0.3])
    lead = torch.tensor([[1e9]], dtype=torch.float64)
    answer = reach.answer(_law(batch, mean_of=lambda t: 1e3 * t), batch, lead + 1.0, lead, "left")
    assert float(answer.mean) == pytest.approx(0.0, abs=1e-9)


def test_no_model_is_asked_for_times_after_its_state_stands_still() -> None:
    reach, batch, asked = _reach(), _batch([0.0, 0.3]), []
    ask = _law(batch)

    def watched(times: torch.Tensor) -> Forecast:
        asked.append(float(times.max()))
        return ask(times)

    lead = torch.tensor([[1e12]], dtype=torch.float64)
    reach.answer(watched, batch, lead + 1.0, lead, "left")
    assert max(asked) == pytest.approx(1.0 + STILL * SLACK * 2.0)


def test_after_an_implausible_last_value_the_mean_stays_in_the_range() -> None:
    reach, times = _reach(), torch.tensor([[3.0]], dtype=torch.float64)
    for values, wanted in (([0.0, 734.0], float(reach.high)), ([0.0, 0.9], 2.0), ([734.0, 0.9], 2.0)):
        batch = reach.plausible(_batch(values))
        answer = reach.answer(_law(batch, mean_of=lambda t: t), batch, times, times - 1.0, "left")
        assert float(answer.mean) == pytest.approx(wanted)


def test_before_training_all_is_within_reach() -> None:
    reach = _reach()
    reach.reset()
    batch = _batch([0.0, 1e5])
    lead = torch.tensor([[1e9]], dtype=torch.float64)
    ask = _law(batch, mean_of=lambda t: t)
    assert torch.equal(reach.plausible(batch).values, batch.values)
    assert float(reach.answer(ask, batch, lead + 1.0, lead, "left").mean) == 1e9
