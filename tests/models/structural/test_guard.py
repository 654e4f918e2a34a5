"""Guard for long leads: which members keep their weight, and that it hangs on the lead alone."""

import pytest
import torch
from torch import Tensor

from tests.models.structural.components import SCALE, make
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural.guard import GONE, guarded
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.structure import Structure

SCORE = 1.6448536269514722


def _fit(transform: Transform | None = None, reach: float = 5.0) -> ChannelFit:
    """A level and a slope that bends without end, of which the slope weighs more."""
    wild = Structure((make("slope"),), SCALE)
    calm = Structure((make("level"),), SCALE)
    wander = torch.zeros(3, wild.n_parameters, dtype=torch.float64)
    wander[:, 0] = torch.tensor([1.5, 1.6, 1.7])
    members = Member(wild, 0.8, wander), Member(calm, 0.2, torch.zeros(2, calm.n_parameters, dtype=torch.float64))
    return ChannelFit(members, transform or Transform.identity(), 1.0, 2.0, 1.0, reach=reach)


def _params(fit: ChannelFit, wild_scale: Tensor, calm_scale: float = 0.5) -> Tensor:
    scales = torch.cat(
        [wild_scale[:, None].expand(-1, 3), torch.full((len(wild_scale), 2), calm_scale).double()], dim=1
    )
    return torch.cat([torch.zeros_like(scales), scales.log(), fit.log_weights.expand_as(scales)], dim=1)


def _weights(params: Tensor) -> Tensor:
    """Of the two members."""
    weights = params.chunk(3, dim=-1)[2].softmax(dim=-1)
    return torch.stack([weights[..., :3].sum(dim=-1), weights[..., 3:].sum(dim=-1)], dim=-1)


def test_a_member_fades_between_the_widest_band_and_so_many_times_it() -> None:
    fit = _fit()
    lead = torch.tensor([2.0], dtype=torch.float64)
    widest = 4.0 * fit.reach * (1.0 + 2.0)
    ratios = torch.tensor([0.5, 1.0 - 1e-6, GONE**0.5, GONE + 1e-6], dtype=torch.float64)
    params = _params(fit, ratios * widest / (2.0 * SCORE * fit.spread))
    found = _weights(guarded(fit, params, lead.expand(4)))
    left = 0.8 / 8.0 / (0.8 / 8.0 + 0.2)
    torch.testing.assert_close(found[:, 0], torch.tensor([0.8, 0.8, left, 0.0]).double(), rtol=1e-5, atol=1e-12)


def test_nothing_changes_where_no_member_is_too_wide_or_nothing_is_known() -> None:
    fit = _fit()
    params = _params(fit, torch.tensor([3.0, 1e9], dtype=torch.float64))
    assert guarded(fit, params, torch.tensor([1.0, torch.inf]).double()) is params


def test_the_narrowest_member_always_stays() -> None:
    fit = _fit(reach=1e-9)
    found = guarded(fit, _params(fit, torch.tensor([50.0], dtype=torch.float64)), torch.ones(1).double())
    torch.testing.assert_close(_weights(found), torch.tensor([[0.0, 1.0]]).double())


def test_widths_are_of_the_values_in_their_own_units() -> None:
    fit = _fit(Transform.box_cox(0.0), reach=50.0)
    high, low = ((1.0 + 2.0 * sign * SCORE * torch.tensor([1.0, 3.0]).double()).exp() for sign in (1.0, -1.0))
    widest = 4.0 * 50.0 * 2.0
    assert (high - low)[0] < widest < (high - low)[1] / GONE
    found = _weights(guarded(fit, _params(fit, torch.tensor([1.0, 3.0]).double()), torch.ones(2).double()))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.8, 0.0]).double())


@pytest.fixture(scope="module")
def model() -> StructuralModel:
    model = StructuralModel(1)
    model.set_channels([_fit()])
    return model


def _batch() -> IrregularBatch:
    times = torch.linspace(0.0, 1.0, 20, dtype=torch.float64)[None]
    values = (1.0 + torch.sin(9.0 * times))[..., None]
    return IrregularBatch(times, values, torch.ones_like(values, dtype=torch.bool), torch.tensor([20]))


def test_forecasts_far_ahead_hang_on_no_other_query(model: StructuralModel) -> None:
    queries = torch.tensor([[1.1, 2.0, 4.0, 12.0, 60.0]], dtype=torch.float64)
    together = model.forecast(_batch(), queries)
    weights = _weights(together.params[0, :, 0])
    assert weights[0, 0] == pytest.approx(0.8)
    assert weights[-1, 0] == 0.0
    for k in range(5):
        alone = model.forecast(_batch(), queries[:, k : k + 1])
        assert torch.equal(alone.params[:, 0], together.params[:, k])


def test_quantiles_do_not_jump_where_a_member_loses_its_weight(model: StructuralModel) -> None:
    def largest_step(n: int) -> float:
        queries = torch.linspace(1.1, 40.0, n, dtype=torch.float64)[None]
        forecast = model.forecast(_batch(), queries)
        levels = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
        return float(forecast.family.quantile(forecast.params[..., None, :], levels).diff(dim=1).abs().max())

    assert largest_step(4000) < 0.2 * largest_step(400)


def test_samples_are_of_the_guarded_forecast_at_every_lead(model: StructuralModel) -> None:
    queries = torch.tensor([[1.2, 2.0, 4.0, 60.0]], dtype=torch.float64)
    forecast = model.forecast(_batch(), queries)
    paths = model.sample(_batch(), queries, 4000, torch.Generator().manual_seed(0))
    for level in (0.05, 0.25, 0.75, 0.95):
        ends = forecast.family.quantile(forecast.params, torch.tensor(level))
        shares = (paths <= ends).double().mean(dim=0).flatten()
        torch.testing.assert_close(shares, torch.full((4,), level).double(), rtol=0.0, atol=0.03)
