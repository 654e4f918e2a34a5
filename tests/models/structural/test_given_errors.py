"""Given standard errors against the dense joint Gaussian whose noise differs from value to value."""

import pytest
import torch

from tests.models.structural.components import states_law
from tests.models.structural.test_structure import _structure, _times, _z
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural.given_errors import GivenErrors, noise_of_errors
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.problems import Data, Problem, log_likelihoods
from tsode.models.structural.spec import decode, encode

SPREAD, SHIFT, AHEAD = 2.5, -1.0, 0.04
N_SEEN = 22


def _errors(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    errors = torch.rand(n, generator=generator, dtype=torch.float64) * 2.0
    errors[[3, 8]] = torch.nan  # not known
    errors[5] = 100.0
    return errors


@pytest.fixture(scope="module")
def case() -> dict[str, torch.Tensor | StructuralModel]:
    structure = _structure(["slope", "ou", "season"])
    z, times = _z(structure), _times()
    states, h, noise = states_law(structure, z, times)
    errors = _errors(len(times))
    given = noise_of_errors(errors, errors, Transform.identity(), SPREAD)
    cov = torch.einsum("i,aibj,j->ab", h, states, h)
    full = cov + torch.diag(noise + given)
    y = torch.linalg.cholesky(full) @ torch.linspace(-1.5, 1.5, len(times), dtype=torch.float64)
    model = StructuralModel(1)
    fit = ChannelFit(
        (Member(structure, 1.0, z),), Transform.identity(), SHIFT, SPREAD, 1.0, errors=GivenErrors(1, AHEAD)
    )
    model.set_channels([fit])
    return {"cov": cov, "full": full, "y": y, "times": times, "errors": errors, "given": given, "model": model,
            "z": z, "noise": torch.tensor(noise)}  # fmt: skip


def _batch(case: dict) -> IrregularBatch:
    both = torch.stack([SHIFT + SPREAD * case["y"], case["errors"]], dim=1)[:N_SEEN]
    return IrregularBatch.from_arrays([case["times"][:N_SEEN].numpy()], [both.numpy()], torch.float64)


def test_log_likelihood_is_that_of_the_dense_gaussian(case: dict) -> None:
    y, times = case["y"], case["times"]
    truth = torch.distributions.MultivariateNormal(torch.zeros_like(y), case["full"]).log_prob(y)
    data = Data.of(times[:, None], y[:, None], torch.ones_like(y)[:, None], case["given"][:, None])
    structure = case["model"].channels[0].members[0].structure
    torch.testing.assert_close(log_likelihoods([Problem(structure, data)], case["z"])[0], truth, rtol=1e-9, atol=1e-9)


def _law(case: dict, place: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the value at a place given the first n, in the data's units."""
    gain = torch.linalg.solve(case["full"][:n, :n], case["cov"][:n, place])
    variance = case["cov"][place, place] - gain @ case["cov"][:n, place] + case["noise"] + AHEAD
    return SHIFT + SPREAD * (gain @ case["y"][:n]), SPREAD**2 * variance


def test_forecasts_and_filled_values_are_those_of_the_dense_gaussian(case: dict) -> None:
    batch, times = _batch(case), case["times"]
    asked = [7, 15, 23, 24]
    forecast = case["model"].forecast(batch, times[asked][None])
    filled = case["model"].fill(batch, times[asked[2:]][None])
    for k, place in enumerate(asked):
        mean, variance = _law(case, place, min(place, N_SEEN))
        torch.testing.assert_close(forecast.mean[0, k, 0], mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(forecast.variance[0, k, 0], variance, rtol=1e-9, atol=1e-9)
        if k >= 2:
            torch.testing.assert_close(filled.mean[0, k - 2, 0], mean, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(filled.variance[0, k - 2, 0], variance, rtol=1e-9, atol=1e-9)


def test_smoothed_states_are_those_of_the_dense_gaussian(case: dict) -> None:
    model, fit = case["model"], case["model"].channels[0]
    readout = fit.parts(torch.zeros(1, 1).double()).readout[None]
    places = [4, 5, 11]
    mean, variance = model.smoothed(fit, _batch(case), 0, 0, case["times"][places], readout)
    for k, place in enumerate(places):
        gain = torch.linalg.solve(case["full"][:N_SEEN, :N_SEEN], case["cov"][:N_SEEN, place])
        torch.testing.assert_close(mean[0, k, 0], gain @ case["y"][:N_SEEN], rtol=1e-9, atol=1e-9)
        left = case["cov"][place, place] - gain @ case["cov"][:N_SEEN, place]
        torch.testing.assert_close(variance[0, k, 0], left, rtol=1e-8, atol=1e-9)


def test_a_forecast_goes_on_from_a_state_as_from_all_events(case: dict) -> None:
    batch, model = _batch(case), case["model"]
    times, both = batch.times[0].numpy(), batch.values[0].where(batch.mask[0], torch.nan).numpy()
    first, rest = (
        IrregularBatch.from_arrays([times[rows]], [both[rows]], torch.float64) for rows in (slice(15), slice(15, None))
    )
    asked = case["times"][-2:][None]
    whole = model.forecast(batch, asked)
    resumed = model.forecast(rest, asked, state=model.advance(first))
    torch.testing.assert_close(resumed.params, whole.params, rtol=1e-12, atol=1e-12)


def test_errors_are_read_back_from_a_file(case: dict) -> None:
    (fit,) = decode(encode(case["model"].channels), 1)
    assert fit.errors == GivenErrors(1, AHEAD)


def test_errors_follow_the_slope_of_the_transform() -> None:
    values = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    found = noise_of_errors(torch.full_like(values, 0.3), values, Transform.box_cox(0.0), 2.0)
    torch.testing.assert_close(found, (0.3 / values / 2.0) ** 2)
