"""Structures against the dense joint Gaussian: likelihood, gradient, filter, smoother and forecast."""

import math

import numpy as np
import pytest
import torch

from tests.models.structural.components import EVERY, SCALE, make, states_law
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.problems import Data, Problem, log_likelihoods
from tsode.models.structural.structure import Structure

SETS = [[name] for name in EVERY] + [["slope", "ou", "season"], ["level", "damped_slope", "matern", "cycle", "long_ou"]]


def _structure(names: list[str]) -> Structure:
    return Structure(tuple(map(make, names)), SCALE)


def _z(structure: Structure, n: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(structure.priors))
    return 0.5 * torch.randn(n, structure.n_parameters, generator=generator, dtype=torch.float64)


def _times(n: int = 25) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    gaps = SCALE.gap * torch.cat(
        [
            torch.rand(n - 5, generator=generator, dtype=torch.float64),
            torch.tensor([0.0, 1e-6, 30.0, 1e-3, 1.0]).double(),
        ]
    )
    return gaps.cumsum(0)


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_log_likelihood_is_that_of_the_dense_gaussian(names: list[str]) -> None:
    structure = _structure(names)
    z, times = _z(structure), _times()
    cov, h, noise = states_law(structure, z, times)
    dense_cov = torch.einsum("i,aibj,j->ab", h, cov, h) + noise * torch.eye(len(times), dtype=torch.float64)
    y = torch.linalg.cholesky(dense_cov) @ torch.linspace(-1.5, 1.5, len(times), dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(torch.zeros_like(y), dense_cov).log_prob(y)
    data = Data.of(times[:, None], y[:, None], torch.ones_like(y)[:, None])
    found = log_likelihoods([Problem(structure, data)], z)
    torch.testing.assert_close(found[0], truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("names", SETS[-2:], ids="+".join)
def test_gradients_are_those_of_differences(names: list[str]) -> None:
    structure = _structure(names)
    z, times = _z(structure, 2), _times()
    y = torch.sin(30.0 * times)
    problem = Problem(structure, Data.of(times[:, None], y[:, None], torch.ones_like(y)[:, None]))

    def value(points: torch.Tensor) -> torch.Tensor:
        return log_likelihoods([problem] * len(points), points)

    assert torch.autograd.gradcheck(value, z.requires_grad_(), eps=1e-5, atol=1e-6, rtol=1e-6)


def test_gradients_across_a_gap_of_a_million_medians_are_those_of_differences() -> None:
    structure = _structure(["slope"])
    gaps = SCALE.gap * torch.tensor([1.0, 0.5, 2.0, 1.0, 0.7, 1e6, 1.0, 0.3, 1.5], dtype=torch.float64)
    times = gaps.cumsum(0)
    y = torch.sin(30.0 * times) + torch.where(times > 1.0, 4e5, 0.0)
    problem = Problem(structure, Data.of(times[:, None], y[:, None], torch.ones_like(y)[:, None]))
    z = torch.zeros(1, structure.n_parameters, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_likelihoods([problem], z).sum(), z)
    moves = 1e-3 * torch.eye(structure.n_parameters, dtype=torch.float64)
    up, down = (log_likelihoods([problem] * len(moves), z.detach() + sign * moves) for sign in (1.0, -1.0))
    torch.testing.assert_close(slope[0], (up - down) / 2e-3, rtol=1e-5, atol=1e-5)


def test_problems_solved_together_are_those_solved_apart() -> None:
    times = _times()
    y = torch.cos(20.0 * times)
    data = Data.of(times[:, None], y[:, None], torch.ones_like(y)[:, None])
    problems = [Problem(_structure(names), data) for names in SETS]
    size = max(problem.structure.n_parameters for problem in problems)
    points = torch.zeros(len(problems), size, dtype=torch.float64)
    together = log_likelihoods(problems, points)
    apart = torch.cat([log_likelihoods([problem], points[:1]) for problem in problems])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


def test_several_series_are_each_by_itself() -> None:
    structure = _structure(["slope", "ou"])
    z = _z(structure)
    times = torch.stack([_times(), _times().flip(0).diff(prepend=_times()[-1:]).abs().cumsum(0)], dim=1)
    y = torch.sin(10.0 * times)
    mask = torch.ones_like(y)
    mask[20:, 1] = 0.0
    both = log_likelihoods([Problem(structure, Data.of(times, y, mask))], z)
    first = log_likelihoods([Problem(structure, Data.of(times[:, :1], y[:, :1], mask[:, :1]))], z)
    second = log_likelihoods([Problem(structure, Data.of(times[:20, 1:], y[:20, 1:], mask[:20, 1:]))], z)
    torch.testing.assert_close(both, first + second, rtol=1e-12, atol=1e-12)


def _model(structure: Structure, z: torch.Tensor, span: float = 1.0) -> StructuralModel:
    model = StructuralModel(1)
    model.set_channels([ChannelFit((Member(structure, 1.0, z),), Transform.identity(), 0.0, 1.0, span)])
    return model


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_forecast_and_smoother_are_those_of_the_dense_gaussian(names: list[str]) -> None:
    structure = _structure(names)
    z, times = _z(structure), _times()
    queries = torch.cat([times[3:5] + 0.4 * SCALE.gap, times[-1:] + torch.tensor([0.5, 40.0]).double() * SCALE.gap])
    every, order = torch.cat([times, queries]).sort(stable=True)
    cov, h, noise = states_law(structure, z, every)
    dense_cov = torch.einsum("i,aibj,j->ab", h, cov, h)
    place = order.argsort()
    seen, asked = place[: len(times)], place[len(times) :]
    y = torch.sin(25.0 * times)
    batch = IrregularBatch.from_arrays([times.numpy()], [y[:, None].numpy()], torch.float64)
    model = _model(structure, z)
    for smooths in (False, True):
        found = (model.fill if smooths else model.forecast)(batch, queries[None])
        for k, query in enumerate(queries):
            used = seen if smooths else seen[times < query]
            inner = dense_cov[used][:, used] + noise * torch.eye(len(used), dtype=torch.float64)
            gain = torch.linalg.solve(inner, dense_cov[used, asked[k]])
            mean = gain @ y[: len(used)] if not smooths else gain @ y
            variance = dense_cov[asked[k], asked[k]] - gain @ dense_cov[used, asked[k]] + noise
            torch.testing.assert_close(found.mean[0, k, 0], mean, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(found.variance[0, k, 0], variance, rtol=1e-8, atol=1e-8)


def test_samples_have_the_joint_law_of_the_forecast() -> None:
    structure = _structure(["slope", "ou", "cycle"])
    z, times = _z(structure), _times()
    queries = times[-1] + SCALE.gap * torch.tensor([[1.0, 2.5, 2.5, 9.0]], dtype=torch.float64)
    y = torch.sin(25.0 * times)
    batch = IrregularBatch.from_arrays([times.numpy()], [y[:, None].numpy()], torch.float64)
    model = _model(structure, z)
    paths = model.sample(batch, queries, 20_000, torch.Generator().manual_seed(0))[:, 0, :, 0]
    forecast = model.forecast(batch, queries)
    error = (paths.mean(dim=0) - forecast.mean[0, :, 0]) / forecast.variance[0, :, 0].sqrt()
    assert float(error.abs().max()) < 4.0 / math.sqrt(20_000)
    ratio = paths.var(dim=0) / forecast.variance[0, :, 0]
    assert float((ratio - 1.0).abs().max()) < 5.0 * math.sqrt(2.0 / 20_000)
    # at one time only the noise differs
    noise = float(structure.parts(z, torch.zeros(1, 1, dtype=torch.float64)).noise)
    assert float((paths[:, 1] - paths[:, 2]).var()) == pytest.approx(2.0 * noise, rel=0.05)


def test_samples_between_events_have_the_law_of_the_forecast_there() -> None:
    structure = _structure(["slope", "ou"])
    times = _times()
    queries = torch.stack([times[2], times[-1]])[None] + 0.1 * SCALE.gap
    batch = IrregularBatch.from_arrays([times.numpy()], [torch.sin(25.0 * times)[:, None].numpy()], torch.float64)
    model = _model(structure, _z(structure))
    paths = model.sample(batch, queries, 4000, torch.Generator().manual_seed(0))[:, 0, :, 0]
    ratio = paths.var(dim=0) / model.forecast(batch, queries).variance[0, :, 0]
    assert float((ratio - 1.0).abs().max()) < 5.0 * math.sqrt(2.0 / 4000)


def test_a_model_is_the_same_after_a_file_of_it() -> None:
    structure = _structure(["slope", "ou", "season", "cycle"])
    model = _model(structure, _z(structure, 3))
    other = StructuralModel(1)
    other.resize_like(model.state_dict())
    other.load_state_dict(model.state_dict())
    times = _times()
    batch = IrregularBatch.from_arrays([times.numpy()], [np.sin(times.numpy())[:, None]], torch.float64)
    queries = times[None, -1:] + 0.1
    assert torch.equal(model.forecast(batch, queries).params, other.forecast(batch, queries).params)
