import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.linear.dense_gaussian import DenseGaussian
from tsode.core.batch import IrregularBatch
from tsode.core.status import Status
from tsode.errors import ParameterError, ShapeError
from tsode.models.linear.sde import LinearSDE, StableLinearSDE
from tsode.testing import check_model

OU = {"drift": [[-0.8]], "offset": [0.4], "diffusion": [[0.6]], "readout": [[1.0]], "noise": [0.3]}
OU_TIMES = np.array([0.0, 0.4, 1.5, 1.6, 4.0, 7.25])
OU_VALUES = np.array([1.2, 0.7, -0.1, 0.3, 1.1, 0.4])


def _systems():
    """Name -> matrices; each has two channels, so that one may be missing."""
    rng = np.random.default_rng(0)
    start = {"initial_mean": rng.normal(size=2), "initial_cov": np.array([[1.0, 0.3], [0.3, 0.5]])}
    seen = {"readout": np.array([[1.0, 0.0], [0.5, -1.0]]), "noise": np.array([0.2, 0.5])}
    wild = {
        "drift": rng.normal(size=(4, 4)) - 2.5 * np.eye(4), "offset": rng.normal(size=4),
        "diffusion": rng.normal(size=(4, 4)), "readout": rng.normal(size=(2, 4)),
        "readout_offset": rng.normal(size=2), "noise": np.array([0.3, 0.1]),
    }  # fmt: skip
    oscillator = {"drift": [[0.0, 1.0], [-9.0, -0.3]], "diffusion": [[0.0], [1.0]], **seen}
    walk = {"drift": [[0.0, 1.0], [0.0, 0.0]], "diffusion": [[0.0], [0.7]], **seen}
    unstable = {"drift": [[0.6, 1.0], [-0.5, 0.1]], "offset": [0.3, -0.1], "diffusion": np.eye(2), **seen, **start}
    still = {"drift": [[-0.3, 2.0], [-2.0, -0.3]], "diffusion": np.zeros((2, 1)), **seen, **start}
    known = {"initial_mean": [1.0, -1.0], "initial_cov": np.zeros((2, 2))}
    return {
        "stable, from its stationary state": wild,
        "stable, from elsewhere": {**wild, "initial_mean": np.ones(4), "initial_cov": 2.0 * np.eye(4)},
        "oscillator with noise on its velocity": oscillator,
        "integrated random walk": {**walk, **start},
        "integrated random walk from a known start": {**walk, **known},
        "unstable": unstable,
        "without noise": still,
    }


SYSTEMS = _systems()


def tensor(x):
    return torch.as_tensor(x, dtype=torch.float64)


def random_series(n, seed, n_channels=2):
    """Irregular times, two pairs of them at one instant, two fifths of the values unseen, one event all unseen."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.0, 4.0, n)) + 0.5
    values = rng.normal(size=(n, n_channels))
    values[rng.random(values.shape) < 0.4] = np.nan
    times[3], times[n - 1] = times[2], times[n - 2]
    values[2:4], values[4] = [[0.3, np.nan], [np.nan, -0.8]], np.nan
    return times, values


def collate(*series):
    return IrregularBatch.from_arrays([t for t, _ in series], [v for _, v in series], dtype=torch.float64)


def oracle(model, start):
    with torch.no_grad():
        system = model.system()
    names = ("drift", "offset", "diffusion", "readout", "readout_offset", "noise", "initial_mean", "initial_cov")
    return DenseGaussian(*(getattr(system, name).numpy() for name in names), start=start)


def ou_posterior(model, queries, side="left"):
    belief = model.forecast_state(collate((OU_TIMES, OU_VALUES[:, None])), tensor([queries]), side)
    return belief.mean[0, :, 0], belief.cov[0, :, 0, 0]


def test_ornstein_uhlenbeck_example_has_its_known_answers():
    model, batch = LinearSDE(**OU), collate((OU_TIMES, OU_VALUES[:, None]))
    assert model.log_likelihood(batch).item() == pytest.approx(-4.00786448621965, abs=1e-12)
    assert model.filter(batch).updated.mean[0, -1, 0].item() == pytest.approx(0.437478329971, abs=1e-12)
    assert model.smooth(batch).mean[0, 0, 0].item() == pytest.approx(0.950334761978, abs=1e-12)
    mean, variance = ou_posterior(model, [8.25])
    assert mean.item() == pytest.approx(0.471907202771, abs=1e-12)
    assert variance.item() == pytest.approx(0.192537662456, abs=1e-12)


@pytest.mark.parametrize("name", SYSTEMS)
def test_likelihood_is_that_of_the_joint_gaussian(name):
    model = LinearSDE(**SYSTEMS[name])
    series = [random_series(9, 1), random_series(6, 2), random_series(7, 3)]
    truth = [oracle(model, t[0]).log_likelihood(t, v) for t, v in series]
    torch.testing.assert_close(model.log_likelihood(collate(*series)), tensor(truth), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_forecast_is_the_conditional_gaussian_given_the_events_before(name, side):
    model = LinearSDE(**SYSTEMS[name])
    series = [random_series(9, 1), random_series(6, 2)]
    queries = np.array([6.0, *series[0][0][[0, 2, 5]], 2.0, 4.6])
    belief = model.forecast_state(collate(*series), tensor(np.stack([queries, queries])), side)
    forecast = model.forecast(collate(*series), tensor(np.stack([queries, queries])), side)
    for row, (times, values) in enumerate(series):
        dense = oracle(model, times[0])
        for k, query in enumerate(queries):
            before = times <= query if side == "right" else times < query
            mean, cov = dense.posterior(times[before], values[before], np.array([max(query, times[0])]))
            torch.testing.assert_close(belief.mean[row, k], tensor(mean[0]), rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(belief.cov[row, k], tensor(cov[0, :, 0]), rtol=1e-9, atol=1e-9)
            seen_mean = dense.readout @ mean[0] + dense.readout_offset
            seen_variance = np.diag(dense.readout @ cov[0, :, 0] @ dense.readout.T) + dense.noise**2
            torch.testing.assert_close(forecast.mean[row, k], tensor(seen_mean), rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(forecast.variance[row, k], tensor(seen_variance), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SYSTEMS)
def test_smoothed_belief_is_the_conditional_gaussian_given_all_events(name):
    model = LinearSDE(**SYSTEMS[name])
    series = [random_series(9, 1), random_series(6, 2)]
    queries = np.array([6.0, *series[0][0][[0, 3, 5, 8]], 2.0, 2.5])
    smoothed = model.smooth(collate(*series), tensor(np.stack([queries, queries])))
    for row, (times, values) in enumerate(series):
        mean, cov = oracle(model, times[0]).posterior(times, values, np.maximum(queries, times[0]))
        torch.testing.assert_close(smoothed.mean[row], tensor(mean), rtol=1e-8, atol=1e-9)
        for k in range(len(queries)):
            torch.testing.assert_close(smoothed.cov[row, k], tensor(cov[k, :, k]), rtol=1e-8, atol=1e-9)


def test_smoothing_before_the_first_event_runs_a_stationary_system_back():
    model, times = LinearSDE(**SYSTEMS["stable, from its stationary state"]), np.array([1.0, 1.5])
    values = np.array([[1.0, np.nan], [0.0, -2.0]])
    smoothed = model.smooth(collate((times, values)), tensor([[0.2]]))
    mean, cov = oracle(model, 0.2).posterior(times, values, np.array([0.2]))
    torch.testing.assert_close(smoothed.mean[0], tensor(mean))
    torch.testing.assert_close(smoothed.cov[0, 0], tensor(cov[0, :, 0]))


def test_interpolation_is_the_smoothed_belief_seen_through_the_noise():
    model, batch, queries = LinearSDE(**SYSTEMS["unstable"]), collate(random_series(7, 1)), tensor([[2.0, 9.0, 0.0]])
    system, smoothed, answer = model.system(), model.smooth(batch, queries), model.interpolate(batch, queries)
    torch.testing.assert_close(answer.mean, smoothed.mean @ system.readout.mT)
    variance = (system.readout @ smoothed.cov @ system.readout.mT).diagonal(dim1=-2, dim2=-1) + system.noise**2
    torch.testing.assert_close(answer.variance, variance)


def test_smoothing_by_default_answers_at_the_events():
    batch = collate(random_series(7, 1), random_series(5, 2))
    model = LinearSDE(**SYSTEMS["unstable"])
    assert model.smooth(batch).mean.equal(model.smooth(batch, batch.times).mean)


def test_vague_start_does_not_cost_the_digits():
    vague = {**SYSTEMS["integrated random walk"], "initial_cov": 1e6 * np.eye(2)}
    model, (times, values) = LinearSDE(**vague), random_series(8, 3)
    batch = collate((times, values))
    truth = oracle(model, times[0])
    assert model.log_likelihood(batch).item() == pytest.approx(truth.log_likelihood(times, values), abs=1e-6)
    assert (torch.linalg.eigvalsh(model.filter(batch).updated.cov) > 0).all()
    assert (torch.linalg.eigvalsh(model.smooth(batch).cov) > 0).all()


@pytest.mark.parametrize("name", ["stable, from its stationary state", "unstable", "without noise"])
def test_gradient_of_the_likelihood_is_right_in_every_matrix(name):
    matrices = {key: tensor(value).requires_grad_() for key, value in SYSTEMS[name].items()}
    batch = collate(random_series(6, 1), random_series(5, 2))

    def likelihood(*values):
        return LinearSDE(**dict(zip(matrices, values))).log_likelihood(batch)

    assert torch.autograd.gradcheck(likelihood, tuple(matrices.values()), fast_mode=True)


def test_gradient_of_forecast_and_smoother_is_right():
    matrices = {key: tensor(value).requires_grad_() for key, value in SYSTEMS["unstable"].items()}
    batch, queries = collate(random_series(6, 1)), tensor([[5.0, 2.0]])

    def answers(*values):
        model = LinearSDE(**dict(zip(matrices, values)))
        smoothed = model.smooth(batch, queries)
        return model.forecast(batch, queries).params, smoothed.mean, smoothed.cov

    assert torch.autograd.gradcheck(answers, tuple(matrices.values()), fast_mode=True)


@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_do_not_depend_on_batch_mates_order_or_padding(name):
    model = LinearSDE(**SYSTEMS[name])
    series = [random_series(9, 1), random_series(6, 2), (np.zeros(0), np.zeros((0, 2))), random_series(7, 3)]
    queries = tensor([[2.0, 5.0], [0.1, 4.1], [1.0, 3.0], [4.0, 1.3]])

    def answers(batch, at):
        forecast, smoothed = model.forecast(batch, at), model.smooth(batch, at)
        return model.log_likelihood(batch), forecast.params, smoothed.mean, smoothed.cov

    together = answers(collate(*series), queries)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = answers(collate(*series).select(order), queries[order])
    for one, other in zip(together, shuffled):
        torch.testing.assert_close(one[order], other, rtol=0, atol=1e-12)
    for row in range(len(series)):
        alone = answers(collate(series[row]), queries[row : row + 1])
        for one, other in zip(together, alone):
            torch.testing.assert_close(one[row : row + 1], other, rtol=0, atol=1e-12)
        for k in range(2):
            one_query = answers(collate(series[row]), queries[row : row + 1, k : k + 1])
            torch.testing.assert_close(one_query[1][:, 0], together[1][row : row + 1, k], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SYSTEMS)
def test_event_that_saw_nothing_changes_nothing(name):
    model, (times, values) = LinearSDE(**SYSTEMS[name]), random_series(8, 4)
    more = np.array([(times[1] + times[2]) / 2, times[-1] + 0.5])
    where = np.searchsorted(times, more)
    longer = np.insert(times, where, more), np.insert(values, where, np.nan, axis=0)
    queries = tensor([[2.0, 6.0]])
    for answer in (
        lambda batch: model.log_likelihood(batch),
        lambda batch: model.forecast(batch, queries).params,
        lambda batch: model.smooth(batch, queries).mean,
        lambda batch: model.smooth(batch, queries).cov,
    ):
        torch.testing.assert_close(answer(collate(longer)), answer(collate((times, values))), rtol=1e-11, atol=1e-11)


def test_unseen_values_reach_neither_likelihood_nor_gradient():
    times, values = random_series(8, 4)
    clean = collate((times, values))
    dirty = clean.replace(values=clean.values.where(clean.mask, math.nan))
    gradients = []
    for batch in (clean, dirty):
        drift = nn.Parameter(tensor(SYSTEMS["unstable"]["drift"]))
        loss = LinearSDE(**{**SYSTEMS["unstable"], "drift": drift}).loss(batch)
        gradients.append(torch.autograd.grad(loss.sum(), drift)[0])
    assert gradients[0].equal(gradients[1])


def test_padding_keeps_the_belief_bit_for_bit():
    model = LinearSDE(**SYSTEMS["unstable"])
    updated = model.filter(collate(random_series(9, 1), random_series(6, 2))).updated
    assert updated.mean[1, 5:].equal(updated.mean[1, 5].expand(4, -1))
    assert updated.cov[1, 5:].equal(updated.cov[1, 5].expand(4, -1, -1))


def test_shift_of_time_changes_nothing():
    model, (times, values) = LinearSDE(**SYSTEMS["unstable"]), random_series(8, 4)
    here = model.forecast(collate((times, values)), tensor([[5.0]])).params
    there = model.forecast(collate((times + 1024.0, values)), tensor([[1029.0]])).params
    torch.testing.assert_close(here, there, rtol=1e-10, atol=1e-10)


def assert_moments(drawn, mean, cov):
    """Compare draws (s k) with a normal distribution; standard errors: mean sqrt(v / n), cov sqrt((v v' + c^2) / n)."""
    spread, n = np.diag(cov), len(drawn)
    assert (np.abs(drawn.mean(0) - mean) < 6 * np.sqrt(spread / n)).all()
    assert (np.abs(np.cov(drawn.T) - cov) < 6 * np.sqrt((np.outer(spread, spread) + cov**2) / n)).all()


def observed_moments(dense, times, values, queries):
    mean, cov = dense.posterior(times, values, queries)
    n = len(queries) * len(dense.noise)
    cov = np.einsum("cd,idje,fe->icjf", dense.readout, cov, dense.readout).reshape(n, n)
    return (mean @ dense.readout.T + dense.readout_offset).ravel(), cov + np.diag(np.tile(dense.noise**2, len(queries)))


def assert_increments(drawn, mean, cov):
    """Their variance over a short step is far below the values' own, so the check of the values would not see it."""
    contrast = np.eye(len(mean))[2:] - np.eye(len(mean))[:-2]
    assert_moments(drawn @ contrast.T, contrast @ mean, contrast @ cov @ contrast.T)


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_after_the_history_have_the_moments_of_the_joint_posterior(name):
    model, (times, values) = LinearSDE(**SYSTEMS[name]), random_series(7, 5)
    queries = np.array([5.5, 4.6, 5.6, 7.0])  # in no order
    drawn = model.sample(collate((times, values)), tensor(queries[None]), 20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 1, 4, 2)
    moments = observed_moments(oracle(model, times[0]), times, values, queries)
    assert_moments(drawn.reshape(20_000, 8).numpy(), *moments)
    assert_increments(drawn.reshape(20_000, 8).numpy(), *moments)


def test_samples_within_the_history_have_the_moments_of_the_forecast():
    model, (times, values) = LinearSDE(**SYSTEMS["unstable"]), random_series(7, 5)
    queries = np.array([times[5], 0.1, 5.0, times[1]])  # at events, before and after all of them
    batch = collate((times, values))
    drawn = model.sample(batch, tensor(queries[None]), 20_000, torch.Generator().manual_seed(0))[:, 0]
    forecast = model.forecast(batch, tensor(queries[None]))
    for k in range(4):
        mean, variance = forecast.mean[0, k].detach().numpy(), forecast.variance[0, k].detach().numpy()
        assert (np.abs(drawn[:, k].mean(0).numpy() - mean) < 6 * np.sqrt(variance / 20_000)).all()
        assert (np.abs(drawn[:, k].var(0).numpy() - variance) < 6 * variance * np.sqrt(2 / 20_000)).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_smoothed_samples_have_the_moments_of_the_joint_posterior_anywhere(name):
    model, (times, values) = LinearSDE(**SYSTEMS[name]), random_series(7, 5)
    queries = np.array([5.5, times[3], 2.2, 4.6, 5.6])  # in no order: at an event, between events, after them
    batch, generator = collate((times, values)), torch.Generator().manual_seed(0)
    drawn = model.sample_smoothed(batch, tensor(queries[None]), 20_000, generator).reshape(20_000, 10).numpy()
    moments = observed_moments(oracle(model, times[0]), times, values, queries)
    assert_moments(drawn, *moments)
    assert_increments(drawn, *moments)


def test_noise_free_path_of_a_random_walk_is_one_path():
    # Over .001 the Ornstein-Uhlenbeck process moves by a variance of .36 * .001; two of its values apart differ by .45.
    model = LinearSDE(**{**OU, "noise": [1e-9]})
    queries = torch.linspace(8.0, 8.1, 101, dtype=torch.float64)[None]
    batch = collate((OU_TIMES, OU_VALUES[:, None]))
    for draw in (model.sample, model.sample_smoothed):
        steps = draw(batch, queries, 200, torch.Generator().manual_seed(0)).diff(dim=2)
        # 20 000 squares: a standard error of one part in a hundred
        assert steps.var().item() == pytest.approx(0.36 * 0.001, rel=0.06)


def test_no_queries_give_no_samples():
    batch, none = collate((OU_TIMES, OU_VALUES[:, None])), torch.zeros(1, 0, dtype=torch.float64)
    for draw in (LinearSDE(**OU).sample, LinearSDE(**OU).sample_smoothed):
        assert draw(batch, none, 3, torch.Generator()).shape == (3, 1, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("n_channels", "n_state"), [(1, 2), (2, 5)])
def test_models_keep_the_contract(n_channels, n_state):
    torch.manual_seed(0)
    check_model(StableLinearSDE(n_channels, n_state))


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_given_systems_keep_the_contract(name):
    check_model(LinearSDE(**SYSTEMS[name]))


def test_same_generator_gives_the_same_samples():
    model, batch = StableLinearSDE(2, 3), collate(random_series(6, 1))
    one, other = (model.sample(batch, tensor([[1.0, 9.0]]), 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert one.equal(other)


def simulate(model, n_series, n_events, span, seed):
    """Series of a one-channel model at random times in [0, span]."""
    generator = torch.Generator().manual_seed(seed)
    times = (torch.rand(n_series, n_events, generator=generator, dtype=torch.float64) * span).sort(dim=1).values
    unseen = torch.zeros(n_series, n_events, 1, dtype=torch.bool)
    batch = IrregularBatch(times, unseen.double(), unseen, torch.full((n_series,), n_events))
    return batch.replace(values=model.sample(batch, times, 1, generator)[0], mask=~unseen)


def minimise(loss, parameters, n_iterations):
    optimizer = torch.optim.LBFGS(parameters, max_iter=n_iterations, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def test_maximum_likelihood_finds_speed_and_noise_of_an_ornstein_uhlenbeck_process():
    batch = simulate(LinearSDE(**OU), n_series=400, n_events=8, span=4.0, seed=0)
    log = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def loss():
        speed, diffusion, noise = log.exp()[:, None]
        model = LinearSDE(
            drift=-speed[None], offset=0.5 * speed, diffusion=diffusion[None], readout=[[1.0]], noise=noise
        )
        return model.loss(batch).sum()

    minimise(loss, [log], n_iterations=12)
    # Standard errors from the Hessian at the truth: .086, .048 and .029. Four of each.
    error = (log.detach() - tensor([0.8, 0.6, 0.3]).log()).abs()
    assert (error < tensor([0.35, 0.20, 0.12])).all()


@pytest.mark.slow
def test_learned_system_finds_a_damped_oscillator():
    truth = LinearSDE(drift=[[0.0, 1.0], [-9.0, -0.6]], diffusion=[[0.0], [3.0]], readout=[[1.0, 0.0]], noise=[0.1])
    batch = simulate(truth, n_series=150, n_events=8, span=5.0, seed=3)
    torch.manual_seed(0)
    model = StableLinearSDE(n_channels=1, n_state=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(40):  # a first step of LBFGS would take the noise to zero, whence no gradient leads back
        optimizer.zero_grad()
        model.loss(batch).mean().backward()
        optimizer.step()
    minimise(lambda: model.loss(batch).mean(), model.parameters(), n_iterations=15)
    # In nats a series: five parameters fitted to 150 series gain 2.5 / 150 = .017 on the truth in expectation.
    assert model.loss(batch).mean() < truth.loss(batch).mean()
    modes = torch.linalg.eigvals(model.system().drift)  # the truth's: -0.3 +- 2.985 i
    torch.testing.assert_close(modes.real, tensor([-0.3, -0.3]), rtol=0, atol=0.1)
    torch.testing.assert_close(modes.imag.abs(), tensor([2.985, 2.985]), rtol=0, atol=0.1)
    assert model.log_noise.item() == pytest.approx(math.log(0.1), abs=0.3)


def test_learned_system_is_stable_and_starts_stationary_whatever_its_parameters():
    torch.manual_seed(0)
    model = StableLinearSDE(2, 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        system = model.system()
        assert torch.linalg.eigvals(system.drift).real.max() < 0
        step = system.transitions(tensor([0.01, 1.0, 1e6]))
        mean, cov = step.carry(system.initial_mean, system.initial_cov)
    torch.testing.assert_close(mean, torch.zeros(3, 5, dtype=torch.float64))
    torch.testing.assert_close(cov, torch.eye(5, dtype=torch.float64).expand(3, 5, 5), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_channels", "n_state"), [(1, 1), (2, None), (3, 2), (2, 5)])
def test_learned_system_starts_with_the_scale_of_standardised_data(n_channels, n_state):
    torch.manual_seed(0)
    model = StableLinearSDE(n_channels, n_state)
    empty = IrregularBatch.from_arrays([np.zeros(0)], [np.zeros((0, n_channels))])
    forecast = model.forecast(empty, tensor([[1.0]]))
    assert ((forecast.variance > 0.5) & (forecast.variance < 2.0)).all()


def test_matrix_is_learned_if_given_as_a_parameter_and_fixed_otherwise():
    model = LinearSDE(**{**OU, "noise": nn.Parameter(tensor([0.3]))})
    assert [name for name, _ in model.named_parameters()] == ["noise"]
    assert {"drift", "offset", "diffusion", "readout", "readout_offset"} <= set(model.state_dict())


def test_explosion_is_a_status_of_its_row_alone():
    model = LinearSDE(**SYSTEMS["unstable"])
    steady = random_series(6, 2)
    broken = np.array([0.0, 1e4]), np.ones((2, 2))
    batch, queries = collate(steady, broken), tensor([[5.0], [2e4]])
    assert model.filter(batch).status.tolist() == [Status.OK, Status.NON_FINITE]
    assert model.forecast(batch, queries).status.tolist() == [Status.OK, Status.NON_FINITE]
    samples = model.sample(batch, queries, 2, torch.Generator())
    assert samples[:, 0].isfinite().all()
    assert not samples[:, 1].isfinite().any()
    far = model.forecast(collate(steady), tensor([[1e5]]))
    assert far.status.tolist() == [Status.NON_FINITE]


def test_series_without_events_starts_at_time_zero():
    model = LinearSDE(**SYSTEMS["integrated random walk"])
    belief = model.forecast_state(collate((np.zeros(0), np.zeros((0, 2)))), tensor([[0.0, 2.0]]))
    torch.testing.assert_close(belief.mean[0, 0], model.initial_mean)
    torch.testing.assert_close(belief.cov[0, 1], tensor(oracle(model, 0.0).moments(2.0)[1]))


def test_single_precision_agrees_to_its_digits():
    batch = collate(random_series(8, 1), random_series(6, 2))
    model = LinearSDE(**SYSTEMS["oscillator with noise on its velocity"])
    exact = model.log_likelihood(batch)
    single = model.to(torch.float32).log_likelihood(batch.to(dtype=torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)


def test_error_of_a_drift_without_stationary_state_says_what_to_give():
    with pytest.raises(ParameterError, match=r"real part 0\.2.*Give initial_mean and initial_cov"):
        LinearSDE(drift=[[0.2]], diffusion=[[1.0]], readout=[[1.0]], noise=[0.1])


def test_error_of_matrices_that_disagree_names_them():
    with pytest.raises(ShapeError, match="`readout` has 2 on axis 'd'"):
        LinearSDE(drift=[[-0.2]], diffusion=[[1.0]], readout=[[1.0, 0.0]], noise=[0.1])
    with pytest.raises(ParameterError, match="n_state=0"):
        StableLinearSDE(1, 0)
