"""Joint structures against the dense Gaussian of all channels, entries that are missing struck out."""

import math
from dataclasses import replace

import pytest
import torch

from tests.models.structural.components import SCALE, make, states_law
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural import joint_model
from tsode.models.structural.decomposition import decompose
from tsode.models.structural.joint import JointStructure
from tsode.models.structural.joint_model import JointStructuralModel
from tsode.models.structural.member import Member, of_channels
from tsode.models.structural.problems import Data, Problem, log_likelihoods

NAMES = ["slope", "ou", "season"]
N_CHANNELS = 3
UNITS = [(Transform.identity(), shift, spread, 0.0) for shift, spread in ((0.0, 1.0), (5.0, 3.0), (-1.0, 0.01))]
SHIFT, SPREAD = (torch.tensor([unit[k] for unit in UNITS], dtype=torch.float64) for k in (1, 2))


def _structure(names: list[str] = NAMES, n_regressors: int = 0) -> JointStructure:
    return JointStructure(tuple(map(make, names)), SCALE, n_regressors, N_CHANNELS)


def _z(structure: JointStructure, n: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(n, structure.n_parameters, generator=generator, dtype=torch.float64)


def _seen(n: int = 14) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Times (n), values and mask (n c): channels alone, together and in part, one that stops, a time without any."""
    generator = torch.Generator().manual_seed(3)
    times = (SCALE.gap * torch.rand(n, generator=generator, dtype=torch.float64)).cumsum(0)
    mask = torch.rand(n, N_CHANNELS, generator=generator) < 0.6
    mask[0], mask[4], mask[9:, 1] = True, False, False
    values = torch.sin(25.0 * times[:, None] + torch.arange(N_CHANNELS))
    return times, values, mask


def _law(structure: JointStructure, z: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Covariance of all channels at all times (n c n c) without noise, and noise (c), of standardised values."""
    n = len(structure.copy.priors)
    cov, h, _ = states_law(structure.copy, z[:, :n], times)
    loadings = structure.loadings(z)[0]
    alone = torch.einsum("i,aibj,j->ab", h, cov, h)
    return torch.einsum("ab,cd->acbd", alone, loadings @ loadings.T), structure.noises(z)[0]


def _model(structure: JointStructure, z: torch.Tensor) -> JointStructuralModel:
    model = JointStructuralModel(N_CHANNELS)
    model.set_channels(of_channels([Member(structure, 1.0, z)], UNITS, 1.0))
    return model


def _batch(times: torch.Tensor, scaled: torch.Tensor, mask: torch.Tensor) -> IrregularBatch:
    """Standardised values in the units of the channels."""
    values = torch.where(mask, SHIFT + SPREAD * scaled, torch.nan)
    return IrregularBatch.from_arrays([times.numpy()], [values.numpy()], torch.float64)


def _given(law: torch.Tensor, noise: torch.Tensor, y: torch.Tensor, used: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Mean (k) and covariance (k k) of what comes after the first len(y) entries, given those that were used."""
    n = len(y)
    inner = law[:n, :n][used][:, used] + torch.diag(noise[used])
    gain = torch.linalg.solve(inner, law[:n][used][:, n:])
    return gain.T @ y[used], law[n:, n:] - law[n:, :n][:, used] @ gain


def test_loadings_are_lower_triangular_with_one_first() -> None:
    structure = _structure(["ou"])
    z = torch.zeros(1, structure.n_parameters, dtype=torch.float64)
    torch.testing.assert_close(structure.loadings(z)[0], torch.eye(3, dtype=torch.float64))
    n = len(structure.copy.priors) + 2
    z[0, n : n + 5] = torch.tensor([1.0, -1.0, 1.0, -2.0, 0.5])
    own = [1.0, math.exp(0.7), math.exp(-0.7)]
    wanted = torch.tensor([[own[0], 0.0, 0.0], [0.5, own[1], 0.0], [-1.0, 0.25, own[2]]], dtype=torch.float64)
    torch.testing.assert_close(structure.loadings(z)[0], wanted)
    cov = wanted @ wanted.T
    found = replace(structure, channel=2).correlations(z)[0]
    torch.testing.assert_close(found, cov[2] / (cov[2, 2] * cov.diagonal()).sqrt())


def test_log_likelihood_is_that_of_the_dense_gaussian_of_what_was_seen() -> None:
    structure = _structure(n_regressors=2)
    z, (times, values, mask) = _z(structure), _seen()
    law, noise = _law(structure, z, times)
    size = law.shape[0] * N_CHANNELS
    used = mask.flatten()
    features = torch.stack([times.cos(), times.square()], dim=1)
    explained = features @ z[0, -2 * N_CHANNELS :].reshape(N_CHANNELS, 2).T
    dense = law.reshape(size, size)[used][:, used] + torch.diag(noise.repeat(len(times))[used])
    residual = (values - explained).flatten()[used]
    truth = torch.distributions.MultivariateNormal(torch.zeros_like(residual), dense).log_prob(residual)
    at, channel = mask.nonzero(as_tuple=True)
    data = Data.of(times[at, None], values[mask][:, None], torch.ones(len(at), 1).double(), features=features[at, None])
    found = log_likelihoods([Problem(structure, replace(data, channel=channel[:, None]))], z)
    torch.testing.assert_close(found[0], truth, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_differences() -> None:
    structure = _structure(["level", "ou"], n_regressors=1)
    z, (times, values, mask) = _z(structure, 2), _seen(7)
    at, channel = mask.nonzero(as_tuple=True)
    data = Data.of(
        times[at, None], values[mask][:, None], torch.ones(len(at), 1).double(), features=times[at, None, None]
    )
    problem = Problem(structure, replace(data, channel=channel[:, None]))

    def value(points: torch.Tensor) -> torch.Tensor:
        return log_likelihoods([problem] * len(points), points)

    assert torch.autograd.gradcheck(value, z.requires_grad_(), eps=1e-5, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("smooths", [False, True])
def test_forecast_and_smoother_are_those_of_the_dense_gaussian_of_what_was_seen(smooths: bool) -> None:
    structure = _structure()
    z, (times, values, mask) = _z(structure), _seen()
    queries = torch.cat([times[[3, 4, 12]], times[5:6] + 0.3 * SCALE.gap, times[-1:] + 2.0 * SCALE.gap])
    model, batch = _model(structure, z), _batch(times, values, mask)
    found = (model.fill if smooths else model.forecast)(batch, queries[None])
    for k, query in enumerate(queries):
        every, order = torch.cat([times, query[None]]).sort(stable=True)
        law, noise = _law(structure, z, every)
        place = order.argsort()
        law = law[place][:, :, place].reshape(2 * [len(every) * N_CHANNELS])
        used = (mask if smooths else mask & (times < query)[:, None]).flatten()
        mean, cov = _given(law, noise.repeat(len(times)), values.flatten(), used)
        torch.testing.assert_close((found.mean[0, k] - SHIFT) / SPREAD, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.variance[0, k] / SPREAD**2, cov.diagonal() + noise, rtol=1e-9, atol=1e-9)


def test_series_filtered_together_are_those_filtered_apart() -> None:
    structure = _structure(["level", "ou"])
    z, (times, values, mask) = _z(structure, 3), _seen()
    one, other = _batch(times, values, mask), _batch(2.0 * times[:9], -values[:9], mask[:9].flip(1))
    both = IrregularBatch.from_arrays(
        [one.times[0].numpy(), other.times[0].numpy()], [
            torch.where(batch.mask[0], batch.values[0], torch.nan).numpy() for batch in (one, other)
        ], torch.float64,
    )  # fmt: skip
    model, queries = _model(structure, z), torch.tensor([[0.05, 0.3, 1.0]]).double()
    together = model.forecast(both, queries.repeat(2, 1))
    for row, batch in enumerate((one, other)):
        alone = model.forecast(batch, queries)
        torch.testing.assert_close(together.params[row], alone.params[0], rtol=1e-11, atol=1e-11)


def test_samples_have_the_joint_law_over_channels_and_times() -> None:
    structure = _structure(["level", "ou"])
    z, (times, values, mask) = _z(structure), _seen()
    queries = times[-1] + SCALE.gap * torch.tensor([1.0, 3.0]).double()
    law, noise = _law(structure, z, torch.cat([times, queries]))
    law = law.reshape(2 * [len(law) * N_CHANNELS])
    mean, cov = _given(law, noise.repeat(len(times)), values.flatten(), mask.flatten())
    cov = cov + torch.diag(noise.repeat(2))
    n = 4000
    drawn = _model(structure, z).sample(_batch(times, values, mask), queries[None], n, torch.Generator().manual_seed(0))
    paths = ((drawn[:, 0] - SHIFT) / SPREAD).flatten(1)
    # six standard errors of means and of covariances of normal numbers
    sd = cov.diagonal().sqrt()
    assert bool(((paths.mean(dim=0) - mean).abs() < 6.0 * sd / n**0.5).all())
    size = sd[:, None] * sd
    error = ((size**2 + cov**2) / n).sqrt()
    assert bool(((paths.T.cov() - cov).abs() < 6.0 * error).all())
    assert float((cov / size)[0, 1:3].abs().max()) > 0.1  # there is something between channels to be seen


def test_parts_of_a_decomposition_add_up_to_the_fit_of_each_channel() -> None:
    structure = _structure()
    z, (times, values, mask) = _z(structure, 2), _seen()
    model, batch = _model(structure, z), _batch(times, values, mask)
    for c in range(N_CHANNELS):
        parts = {name: params.chunk(3, dim=-1)[0] for name, params in decompose(model, batch, c, 0, times[3:6]).items()}
        torch.testing.assert_close(sum(x for name, x in parts.items() if name != "fit"), parts["fit"])
        filled = model.fill(batch, times[None, 3:6]).mean[0, :, c]
        torch.testing.assert_close(parts["fit"].mean(dim=-1), filled, rtol=1e-10, atol=1e-10)


def test_channels_modelled_together_are_read_back_as_they_were() -> None:
    structure = _structure(n_regressors=1)
    model = _model(structure, _z(structure, 2))
    other = JointStructuralModel(N_CHANNELS)
    other.resize_like(model.state_dict())
    other.load_state_dict(model.state_dict())
    for one, back in zip(model.channels, other.channels):
        assert back.members[0].structure == one.members[0].structure
        assert torch.equal(back.members[0].z, one.members[0].z)
        assert (back.shift, back.spread, back.span) == (one.shift, one.spread, one.span)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"joint": 3', '"joint": 2'), ('"joint": 3', '"joint": null'), ('"members": null', '"members": []')],
)
def test_files_whose_channels_do_not_belong_together_are_refused(old: str, new: str) -> None:
    structure = _structure()
    model = _model(structure, _z(structure))
    text = bytes(model.code.tolist()).decode()
    assert old in text
    code = torch.frombuffer(bytearray(text.replace(old, new, 1).encode()), dtype=torch.uint8)
    other = JointStructuralModel(N_CHANNELS)
    other.resize_like({"code": code})
    with pytest.raises(ValueError, match=r"its|it has"):
        other.load_state_dict({"code": code})


def test_forecasts_and_samples_go_on_from_a_state_as_from_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = _structure(["level", "ou"])
    z, (times, values, mask) = _z(structure, 3), _seen()
    model, queries = _model(structure, z), times[None, -1:] + torch.tensor([0.01, 0.2], dtype=torch.float64)
    whole = _batch(times, values, mask)
    first, rest = (_batch(times[part], values[part], mask[part]) for part in (slice(8), slice(8, None)))
    state = model.advance(first)
    wanted = model.forecast(whole, queries)
    torch.testing.assert_close(model.forecast(rest, queries, state=state).params, wanted.params, rtol=1e-9, atol=1e-9)
    drawn, again = (
        model.sample(batch, queries, 50, torch.Generator().manual_seed(0), state=at)
        for batch, at in ((whole, None), (rest, state))
    )
    torch.testing.assert_close(drawn, again, rtol=1e-7, atol=1e-9)
    monkeypatch.setattr(joint_model, "HELD_AT_ONCE", 1)  # transitions of one event at a time
    torch.testing.assert_close(model.forecast(whole, queries).params, wanted.params, rtol=1e-9, atol=1e-9)
