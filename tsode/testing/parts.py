"""Contract checks of evolutions, jumps and likelihoods."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from tsode.core.observation import Observation
from tsode.evolutions.base import Evolution
from tsode.jumps.base import JumpMap
from tsode.likelihoods.base import Likelihood
from tsode.testing.assertions import assert_close

__all__ = ["check_evolution", "check_jump", "check_likelihood"]

N_ROWS = 5


def check_evolution(evolution: Evolution) -> None:
    """Check rows, clocks, zero lengths, questions, dtypes and gradients of an evolution.

    Parameters
    ----------
    evolution : Evolution
        Untrained is fine; it is copied, never changed.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    for dtype in (torch.float64, torch.float32):
        _check_evolution_in(copy.deepcopy(evolution).to(dtype), dtype)
    _check_gradient(copy.deepcopy(evolution).double())


def _check_evolution_in(evolution: Evolution, dtype: torch.dtype) -> None:
    z, t0, t1 = _intervals(evolution.n_state, dtype)
    together = evolution.evolve(z, t0, t1)
    assert together.z.dtype == dtype, f"evolve keeps the dtype: {dtype} went in, {together.z.dtype} came out."
    assert together.cost.shape == t0.shape, "evolve gives one cost a row."
    assert together.status.dtype == torch.int64, "evolve gives one int64 status a row."
    assert not bool(together.status.any()), f"evolve reaches its end time: status {together.status.tolist()}."
    still = evolution.evolve(z, t0, t0)
    assert torch.equal(still.z, z), "evolve over a length of zero returns the state bit for bit."

    for row in range(N_ROWS):
        one = slice(row, row + 1)
        alone = evolution.evolve(z[one], t0[one], t1[one])
        assert_close(alone.z, together.z[one], "a row evolves as if it were alone")
    order = torch.tensor([3, 0, 4, 2, 1])
    assert_close(evolution.evolve(z[order], t0[order], t1[order]).z, together.z[order], "the order of rows is free")

    times = t0[:, None] + (t1 - t0)[:, None] * torch.tensor([0.25, 0.5, 0.5, 1.0], dtype=torch.float64)
    several = evolution.evolve_to(z, t0, times)
    assert several.z.shape == (N_ROWS, 4, evolution.n_state), "evolve_to gives a state for each row and time."
    for k in range(4):
        single = evolution.evolve_to(z, t0, times[:, k : k + 1])
        assert_close(several.z[:, k : k + 1], single.z, "asking for more times changes no other answer")
    swapped = evolution.evolve_to(z, t0, times.flip(1))
    assert_close(swapped.z.flip(1), several.z, "the order of times is free")
    assert torch.equal(evolution.evolve_to(z, t0, t0[:, None]).z[:, 0], z), "evolve_to the start is the start."

    if getattr(getattr(evolution, "dynamics", None), "is_autonomous", True):
        later = evolution.evolve(z, t0 + 4096.0, t1 + 4096.0)
        assert_close(later.z, together.z, "the origin of time changes nothing")
    if evolution.runs_backward:
        back = evolution.evolve(z, t1, t0)
        assert bool(torch.isfinite(back.z).all()), "an evolution with runs_backward runs backward."
    exact = copy.deepcopy(evolution).double().evolve(z.double(), t0, t1)
    assert_close(together.z, exact.z.to(dtype), "float32 agrees with float64", 1e-5)


def _check_gradient(evolution: Evolution) -> None:
    z, t0, t1 = _intervals(evolution.n_state, torch.float64)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(evolution.evolve(z, t0, t0).z.sum(), z)
    assert torch.equal(gradient, torch.ones_like(z)), "a length of zero passes gradients through."
    assert torch.autograd.gradcheck(lambda state: evolution.evolve(state, t0, t1).z, (z,), raise_exception=True)


def _intervals(n_state: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z = 0.5 * torch.randn(N_ROWS, n_state, generator=generator, dtype=torch.float64)
    # multiples of 1/64, so that a shift by whole units loses no bit
    t0 = torch.tensor([0.0, 0.25, -1.5, 2.0, 0.015625], dtype=torch.float64)
    return z.to(dtype), t0, t0 + torch.tensor([0.5, 0.03125, 1.0, 0.25, 0.78125], dtype=torch.float64)


def check_jump(jump: JumpMap) -> None:
    """Check rows, unseen entries and gradients of a jump.

    Parameters
    ----------
    jump : JumpMap
        It is copied, never changed.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    for dtype in (torch.float64, torch.float32):
        module = copy.deepcopy(jump).to(dtype)
        z, seen = _observations(jump, dtype)
        after = module(z, seen)
        assert after.shape == z.shape, f"a jump keeps the shape of the state: {tuple(after.shape)} came out."
        assert after.dtype == dtype, f"a jump keeps the dtype: {dtype} went in, {after.dtype} came out."
        assert torch.equal(after[0], z[0]), "a row that sees nothing keeps its state bit for bit."
        garbage = torch.where(seen.mask > 0, seen.values, 1e6)
        read = module(z, Observation(garbage, seen.mask, seen.predicted))
        assert torch.equal(read, after), "values that were not seen are not read."
        for row in range(N_ROWS):
            one = slice(row, row + 1)
            part = Observation(seen.values[one], seen.mask[one], seen.predicted[one])
            assert_close(module(z[one], part), after[one], "a row jumps as if it were alone")
    module = copy.deepcopy(jump).double()
    z, seen = _observations(jump, torch.float64)
    inputs = tuple(tensor.requires_grad_() for tensor in (z, seen.values, seen.predicted))

    def run(state: Tensor, values: Tensor, predicted: Tensor) -> Tensor:
        return module(state, Observation(values, seen.mask, predicted))

    assert torch.autograd.gradcheck(run, inputs, raise_exception=True)


def _observations(jump: JumpMap, dtype: torch.dtype) -> tuple[Tensor, Observation]:
    """States and observations of some rows; the first sees nothing, the second everything."""
    generator = torch.Generator().manual_seed(4)
    shape = (N_ROWS, jump.n_channels)
    mask = torch.rand(shape, generator=generator) < 0.6
    mask[0], mask[1], mask[2:, 0] = False, True, True
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * mask
    predicted = 0.5 * torch.randn(*shape, 2 if jump.needs_scale else 1, generator=generator, dtype=torch.float64)
    z = torch.randn(N_ROWS, jump.n_state, generator=generator, dtype=torch.float64)
    return z.to(dtype), Observation(values.to(dtype), mask.to(dtype), predicted.to(dtype))


def check_likelihood(likelihood: Likelihood) -> None:
    """Check that density, distribution function, quantiles, moments and CRPS tell of one distribution.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    generator = torch.Generator().manual_seed(5)
    mean = torch.tensor([0.0, -3.0, 100.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.25, 8.0], dtype=torch.float64)
    params = likelihood.from_moments(mean, scale)
    assert params.shape == (3, likelihood.n_params), "from_moments gives n_params numbers an entry."
    assert_close(likelihood.mean(params), mean, "from_moments has the mean asked for")
    assert_close(likelihood.variance(params), scale**2, "from_moments has the variance asked for")

    levels = torch.tensor([1e-6, 0.05, 0.3, 0.5, 0.9, 1.0 - 1e-6], dtype=torch.float64)
    x = likelihood.quantile(params[:, None], levels)
    assert_close(likelihood.cdf(params[:, None], x), levels.expand_as(x), "cdf undoes quantile", 1e-7)
    assert bool((x.diff(dim=1) > 0).all()), "quantiles increase with their level."

    # points crowd in the middle and reach 1e5 standard deviations: tails of power four are held to 1e-8
    u = torch.linspace(-12.0, 12.0, 40_001, dtype=torch.float64)
    grid = mean[:, None] + scale[:, None] * u.sinh()
    density = likelihood.log_prob(params[:, None], grid).exp()
    promise = "log_prob is a density"
    assert_close(torch.trapezoid(density, grid), torch.ones(3, dtype=torch.float64), promise, 1e-6)
    assert_close(torch.trapezoid(grid * density, grid), mean, "mean is the mean of the density", 1e-6)
    spread = torch.trapezoid((grid - mean[:, None]) ** 2 * density, grid)
    assert_close(spread, scale**2, "variance is the variance of the density", 1e-5)
    at = likelihood.quantile(params[:, None], levels[1:5])
    below = likelihood.cdf(params[:, None], at)
    for k in range(at.shape[1]):
        inside = torch.where(grid <= at[:, k : k + 1], density, 0.0)
        assert_close(torch.trapezoid(inside, grid), below[:, k], "cdf is the integral of the density", 1e-3)

    for factor in (-2.5, 0.0, 0.8):
        truth = mean + factor * scale
        step = (grid >= truth[:, None]).double()
        integral = torch.trapezoid((likelihood.cdf(params[:, None], grid) - step) ** 2, grid)
        score = likelihood.crps(params, truth)
        # the step of the integrand falls inside one cell of the grid: an error of at most half a cell
        assert_close(score / scale, integral / scale, "crps is the integral of (cdf - step) squared", 1e-3)
    wider = likelihood.rescale(params, torch.tensor(2.0, dtype=torch.float64))
    assert_close(
        likelihood.quantile(wider, levels[3]), likelihood.quantile(params, levels[3]), "rescale keeps the median"
    )
    ratio = likelihood.variance(wider) / likelihood.variance(params)
    assert_close(ratio, torch.full_like(ratio, 4.0), "rescale multiplies the spread")
    shift, slope = torch.tensor(-7.0, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
    moved = likelihood.affine(params, shift, slope)
    assert_close(likelihood.quantile(moved[:, None], levels), shift + slope * x, "affine moves every quantile", 1e-9)

    noisy = (params + 0.1 * torch.randn(params.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    truth = (mean + 0.7 * scale).requires_grad_()
    for name in ("log_prob", "crps", "cdf"):
        assert torch.autograd.gradcheck(getattr(likelihood, name), (noisy, truth), raise_exception=True)
    assert torch.autograd.gradcheck(lambda p: likelihood.quantile(p[:, None], levels[1:3]), (noisy,))
