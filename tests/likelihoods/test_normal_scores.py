"""Quantiles of mixtures of normals: right wherever their components lie, and cheap."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import JumpODEForecaster
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.testing import example_panel

LEVELS = torch.tensor(
    [1e-6, 1e-3, 0.05, 0.1, 0.2, 0.29999, 0.3, 0.30001, 0.5, 0.6, 0.7, 0.9, 0.95, 0.999, 1.0 - 1e-6],
    dtype=torch.float64,
)


def mixtures(spread: float, width: float, n: int = 200) -> torch.Tensor:
    """Mixtures of three with locations this far apart and log scales this unlike."""
    each = torch.randn(n, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each[:, :3] *= spread
    each[:, 3:6] *= width
    each[0] = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.0, math.log(1e-6), 0.0, 0.0, 0.0])
    return each


def bisected(params: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Quantiles by halving, of the smaller tail so that no digit is lost in it."""
    location, log_scale, weight = NormalMixture(3).parts(params[:, None])
    is_upper = p > 0.5
    tail, sign = torch.where(is_upper, 1.0 - p, p), torch.where(is_upper, 1.0, -1.0)
    ends = location + log_scale.exp() * torch.special.ndtri(p)[:, None]
    low, high = ends.amin(dim=-1), ends.amax(dim=-1)
    for _ in range(200):
        middle = 0.5 * (low + high)
        u = sign[:, None] * (middle[..., None] - location) / log_scale.exp()
        beyond = 0.5 * (weight * torch.erfc(u * math.sqrt(0.5))).sum(dim=-1)
        is_low = (beyond > tail) == is_upper
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    return 0.5 * (low + high)


@pytest.mark.parametrize(
    ("spread", "width"), [(1.0, 0.5), (1.0, 2.0), (30.0, 1.0), (1.0, 6.0), (1e6, 6.0), (1e-9, 1e-9)]
)
def test_quantiles_of_a_mixture_are_those_of_bisection_and_never_cross(spread, width):
    params = mixtures(spread, width)
    family = NormalMixture(3)
    x, truth = family.quantile(params[:, None], LEVELS), bisected(params, LEVELS)
    sd = family.variance(params).sqrt()[:, None]
    # where two components leave a gap, any point of it that rounds to the level is right
    below = family.cdf(params[:, None], x)
    is_right = ((x - truth).abs() <= 1e-9 * sd) | ((below - LEVELS).abs() <= 4e-16)
    assert bool(is_right.all())
    assert float(((x - truth).abs() <= 1e-9 * sd).double().mean()) > 0.99
    assert bool((x.diff(dim=-1) >= 0.0).all())


def test_quantiles_of_a_moved_and_stretched_mixture_move_and_stretch_with_it():
    family, params = NormalMixture(3), mixtures(1.0, 1.0)
    x = family.quantile(params[:, None], LEVELS)
    for shift, scale in ((1e4, 1.0), (0.0, 1e-30), (0.0, 1e30)):
        moved = family.affine(params, *(torch.full((len(params),), v, dtype=torch.float64) for v in (shift, scale)))
        found = (family.quantile(moved[:, None], LEVELS) - shift) / scale
        torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


def test_quantiles_of_what_is_not_a_number_are_not_a_number_and_harm_no_other():
    family, params = NormalMixture(3), mixtures(1.0, 1.0, 4)
    x = family.quantile(params[:, None], LEVELS)
    params[1] = torch.nan
    holed = family.quantile(params[:, None], LEVELS)
    assert bool(holed[1].isnan().all())
    assert torch.equal(holed[[0, 2, 3]], x[[0, 2, 3]])


@pytest.mark.slow
def test_four_quantiles_of_a_mixture_cost_at_most_twice_the_mean():
    frame = example_panel(8)
    forecaster = JumpODEForecaster(max_epochs=2, random_state=0).fit(frame)
    new = pd.concat([frame.assign(unique_id=frame["unique_id"] + f"-{k}") for k in range(12)])
    last = new.groupby("unique_id")["ds"].max()
    leads = pd.to_timedelta(np.linspace(0.1, 20.0, 1000), unit="h").to_numpy()
    rows = {"unique_id": np.repeat(last.index, 1000), "ds": (last.to_numpy()[:, None] + leads).ravel()}
    question = pd.DataFrame(rows)
    asks = {
        "mean": lambda: forecaster.predict(question, context=new),
        "quantiles": lambda: forecaster.predict_quantiles(question, context=new, quantiles=[0.05, 0.25, 0.75, 0.95]),
    }
    taken = {name: [] for name in asks}
    for _ in range(7):
        for name, ask in asks.items():
            start = time.process_time()
            ask()
            taken[name].append(time.process_time() - start)
    assert np.median(taken["quantiles"][1:]) <= 2.0 * np.median(taken["mean"][1:])


def test_quantiles_of_one_component_are_those_of_the_normal():
    params = torch.tensor([[0.3, -0.5, 0.7]], dtype=torch.float64)
    levels = torch.tensor([0.01, 0.5, 0.9], dtype=torch.float64)
    wanted = 0.3 + torch.tensor(-0.5).double().exp() * torch.special.ndtri(levels)
    torch.testing.assert_close(NormalMixture(1).quantile(params[:, None], levels)[0], wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(1, 6), (4, 1, 6), (2, 4, 1, 6)])
def test_quantiles_have_the_shape_that_parameters_and_levels_have_together(shape: tuple[int, ...]):
    params = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    found = NormalMixture(2).quantile(params, levels)
    one_by_one = [NormalMixture(2).quantile(params, p) for p in levels]
    assert torch.equal(found, torch.cat(one_by_one, dim=-1))
