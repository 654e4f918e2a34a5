"""The spread curve undoes spreads that are known to be wrong."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tsode.likelihoods import Normal, NormalMixture, StudentT
from tsode.models import spread_calibration
from tsode.models.spread_calibration import SpreadCalibration

N = 6000


def held_out(family, log_factor, seed=0):
    """Values of a known law, and parameters of it whose spread is too small by ``exp(log_factor)``."""
    generator = torch.Generator().manual_seed(seed)
    lead = torch.rand(N, generator=generator, dtype=torch.float64)
    channel = torch.randint(0, 2, (N,), generator=generator)
    truth = family.from_moments(torch.randn(N, generator=generator).double(), 1.0 + lead)
    x = family.quantile(truth, torch.rand(N, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9))
    return family.rescale(truth, (-log_factor(lead, channel)).exp()), lead, channel, x


@pytest.mark.parametrize("family", [Normal(), StudentT(), NormalMixture(2)])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_spread_that_is_wrong_everywhere_is_undone(family, factor):
    curve = SpreadCalibration(2).double()
    curve.fit(family, *held_out(family, lambda lead, channel: torch.full_like(lead, math.log(factor))))
    found = curve(torch.linspace(0, 1, 5, dtype=torch.float64))
    # six standard errors of a share of .9 of some 1,000 values at a knot, over the normal density at the quantile
    assert (found.log() - math.log(factor)).abs().max() < 6.0 * (0.09 / 1000) ** 0.5 / (2 * 0.103 * 1.645)


def test_a_spread_that_is_wrong_in_some_leads_and_one_channel_is_undone():
    curve = SpreadCalibration(2).double()
    curve.fit(Normal(), *held_out(Normal(), lambda lead, channel: 0.8 * lead - 0.4 + 0.3 * channel))
    lead = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    wanted = 0.8 * lead[:, None] - 0.4 + torch.tensor([0.0, 0.3])
    assert (curve(lead).log() - wanted).abs().max() < 0.12


def test_the_factor_is_constant_beyond_the_knots_and_continuous_between():
    curve = SpreadCalibration(1).double()
    curve.lead.copy_(torch.tensor([0.1, 0.2, 0.4, 0.5, 0.7, 0.9]))
    curve.log_factor.copy_(torch.tensor([0.0, 0.1, -0.2, 0.3, 0.2, 0.5]))
    far = curve(torch.tensor([-3.0, 0.1, 0.9, 50.0], dtype=torch.float64))[:, 0].log()
    torch.testing.assert_close(far, torch.tensor([0.0, 0.0, 0.5, 0.5], dtype=torch.float64))
    fine = curve(torch.linspace(0, 1, 2001, dtype=torch.float64))[:, 0].log()
    assert fine.diff().abs().max() < 0.003


def test_equal_leads_and_few_values_are_no_trouble():
    curve = SpreadCalibration(2).double()
    params, _, channel, x = held_out(Normal(), lambda lead, channel: torch.full_like(lead, 0.5))
    curve.fit(Normal(), params, torch.full_like(x, 0.3), channel, x)
    assert curve(torch.tensor([0.3], dtype=torch.float64)).log().sub(0.5).abs().max() < 0.1
    curve.fit(Normal(), params[:10], torch.rand(10).double(), channel[:10], x[:10])
    assert torch.equal(curve(torch.rand(3).double()), torch.ones(3, 2).double())


def test_a_channel_that_is_mostly_one_value_is_not_narrowed_to_nothing():
    # dry days are inside any interval that holds zero: a factor by coverage would be the smallest there is
    family, generator = NormalMixture(2), torch.Generator().manual_seed(0)
    params = torch.tensor([0.0, 1.0, -4.0, 0.0, math.log(0.8), math.log(0.2)], dtype=torch.float64).expand(N, -1)
    x = family.quantile(params, torch.rand(N, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9))
    x = torch.where(x.abs() < 0.06, 0.0, x)
    curve = SpreadCalibration(1).double()
    curve.fit(family, params, torch.rand(N, generator=generator).double(), torch.zeros(N, dtype=torch.int64), x)
    assert curve(torch.tensor([0.5]).double()).log().abs().max() < 0.3


def test_a_part_of_very_many_held_out_values_gives_the_same_curve(monkeypatch):
    monkeypatch.setattr(spread_calibration, "MOST", N // 2)
    curve = SpreadCalibration(2).double()
    curve.fit(Normal(), *held_out(Normal(), lambda lead, channel: 0.3 * channel - 0.2))
    found = curve(torch.linspace(0, 1, 5, dtype=torch.float64)).log()
    assert (found - torch.tensor([-0.2, 0.1])).abs().max() < 0.12


class _Largest(TorchDispatchMode):
    """Numbers in the largest tensor that is made inside."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            self.n = max(self.n, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return made


def test_the_memory_of_a_fit_grows_with_its_values_and_not_with_their_number_times_that_of_channels():
    params, lead, _, x = held_out(Normal(), lambda lead, channel: torch.full_like(lead, 0.5))
    n_channels = 300
    with _Largest() as largest:
        SpreadCalibration(n_channels).double().fit(Normal(), params, lead, torch.arange(N) % n_channels, x)
    assert largest.n <= 20 * N
