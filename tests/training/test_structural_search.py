"""Search for components: on part of the rows as on all, and on from an earlier fit."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural.evidence import posteriors, quick_posteriors
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.model import StructuralModel
from tsode.numerics.quasi_newton import minimise
from tsode.training.structural.again import fit_again, scale_to_go_on
from tsode.training.structural.choice import PeriodCandidate, automatic
from tsode.training.structural.recipe import Settings, fit_channel
from tsode.training.structural.sample import Seen

ALL, PART = Settings(most_rows=240, fine_rows=240), Settings(most_rows=100, fine_rows=160)
N_AHEAD = 16


def _simulated(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A level that wanders and a season of period 1, seen eight times in it, through noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(n + N_AHEAD) / 8.0
    season = np.sin(2.0 * np.pi * times) + 0.4 * np.cos(4.0 * np.pi * times)
    return times, 0.05 * rng.normal(size=len(times)).cumsum() + season + 0.2 * rng.normal(size=len(times))


def _seen(times: np.ndarray, values: np.ndarray) -> list[Seen]:
    return [Seen(times, values, np.empty((len(times), 0)), np.full(len(times), np.nan))]


def _fit(times: np.ndarray, values: np.ndarray, settings: Settings) -> ChannelFit:
    choose = partial(automatic, candidates=[PeriodCandidate(1.0, "unit")])
    generator = torch.Generator().manual_seed(0)
    return fit_channel(_seen(times, values), {"identity": Transform.identity()}, choose, generator, settings)


def _ahead(fit: ChannelFit, times: np.ndarray, values: np.ndarray) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of what follows."""
    model = StructuralModel(1)
    model.set_channels([fit])
    n = len(times) - N_AHEAD
    batch = IrregularBatch.from_arrays([times[:n]], [values[:n, None]], torch.float64)
    forecast = model.forecast(batch, torch.from_numpy(times[None, n:]))
    return forecast.mean[0, :, 0], forecast.variance[0, :, 0].sqrt()


def _names(fit: ChannelFit) -> set[str]:
    return {one.name for one in fit.likeliest.structure.components}


@pytest.fixture(scope="module")
def searched() -> dict[str, ChannelFit]:
    times, values = _simulated()
    return {name: _fit(times[:240], values[:240], how) for name, how in (("all", ALL), ("part", PART))}


@pytest.mark.slow
def test_a_search_on_part_of_the_rows_forecasts_as_one_on_all(searched: dict[str, ChannelFit]) -> None:
    assert "unit" in _names(searched["part"]) & _names(searched["all"])
    assert {"slope", "damped_slope"}.isdisjoint(_names(searched["part"]) | _names(searched["all"]))
    (mean, sd), (other, spread) = (_ahead(searched[name], *_simulated()) for name in ("part", "all"))
    assert ((mean - other).abs() < 0.25 * spread).all()
    assert ((sd / spread).log().abs() < 0.15).all()


@pytest.mark.slow
def test_a_fit_that_goes_on_keeps_components_and_weights_and_ends_at_the_mode(searched: dict[str, ChannelFit]) -> None:
    times, values = _simulated()
    early = _fit(times[:190], values[:190], ALL)
    late = fit_again(
        _seen(times[:240], values[:240]), Transform.identity(), early, torch.Generator().manual_seed(0), ALL
    )
    assert [member.weight for member in late.members] == pytest.approx([member.weight for member in early.members])
    again = fit_again(
        _seen(times[:240], values[:240]), Transform.identity(), late, torch.Generator().manual_seed(0), ALL
    )
    for one, other in zip(late.members, again.members, strict=True):
        assert [part.name for part in one.structure.components] == [part.name for part in other.structure.components]
        assert (one.z[0] - other.z[0]).abs().max() < 0.2  # of what the prior leaves open
    (mean, _), (other, spread) = (_ahead(fit, times, values) for fit in (late, searched["all"]))
    assert ((mean - other).abs() < 0.25 * spread).all()


@pytest.mark.slow
def test_a_fit_goes_on_only_with_data_of_its_kind(searched: dict[str, ChannelFit]) -> None:
    seen, identity, log = _seen(*_simulated()), Transform.identity(), Transform.box_cox(0.0, 0.1)
    fit = replace(searched["all"], transform=Transform.box_cox(0.0))
    assert scale_to_go_on(fit, seen, {"identity": identity, "log": log}) is log
    assert scale_to_go_on(fit, seen, {"identity": identity}) is None  # not all positive any more
    assert scale_to_go_on(replace(fit, changes=(1.0,)), seen, {"log": log}) is None
    assert scale_to_go_on(replace(fit, span=0.5 * fit.span), seen, {"log": log}) is None  # twice as long


def _bowl(z: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Narrow in the sum, wide in the difference; the problems differ in their place and height."""
    x = z - 0.1 * which[:, None]
    total, apart = x.sum(dim=1), x[:, 0] - x[:, 1]
    value = 50.0 * total**2 + 0.5 * apart**2 + 0.02 * total**3 + 30.0 * (which == 2)
    slope = (100.0 * total + 0.06 * total**2)[:, None] + apart[:, None] * torch.tensor([1.0, -1.0], dtype=z.dtype)
    return value, slope


def test_quick_posteriors_are_those_of_central_differences_but_for_what_is_far_behind() -> None:
    mode = 0.1 * torch.arange(3.0, dtype=torch.float64)[:, None].expand(3, 2)
    value = torch.tensor([0.0, 1.0, 30.0], dtype=torch.float64)
    truth = posteriors(_bowl, mode, value)
    found = quick_posteriors(_bowl, mode, value, torch.ones(3, 2, dtype=torch.bool), far=12.0)
    torch.testing.assert_close(found.covariance[:2], truth.covariance[:2], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.evidence[:2], truth.evidence[:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.covariance[2], found.covariance[0])


def _long_bowl(z: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Axes of very different width."""
    width = 10.0 ** torch.arange(4.0, dtype=torch.float64)
    return (0.5 * width * z**2 + 0.1 * z**4).sum(dim=1), width * z + 0.4 * z**3


def test_a_search_that_knows_the_curvature_takes_fewer_steps_to_the_same_place() -> None:
    start = torch.full((2, 4), 0.5, dtype=torch.float64)
    counts, points = [], []
    for inverse in (None, posteriors(_long_bowl, start, torch.zeros(2, dtype=torch.float64)).covariance):
        calls: list[int] = []

        def counted(z: Tensor, which: Tensor, calls: list[int] = calls) -> tuple[Tensor, Tensor]:
            calls.append(len(z))
            return _long_bowl(z, which)

        points.append(minimise(counted, start, inverse=inverse)[0])
        counts.append(len(calls))
    torch.testing.assert_close(points[0], points[1], rtol=0.0, atol=0.02)
    assert counts[1] < 0.5 * counts[0]
