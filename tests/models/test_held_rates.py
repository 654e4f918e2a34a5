"""Infusions in a filter: exact while they run, in whatever pieces, and known to a state that is resumed."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from tests.models.filters.test_inputs import SIZE, fed_batch, kernel_against_loop
from tsode.core.batch import IrregularBatch
from tsode.core.series import Series, collate
from tsode.dynamics import DYNAMICS
from tsode.dynamics.with_static import WithStatic
from tsode.errors import ParameterError
from tsode.evolutions.base import DrivenEvolution, Evolution, Evolved, Solved
from tsode.evolutions.decay import DecayingFlow
from tsode.evolutions.dense_linear import DenseLinearFlow
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.jumps.gru import GRU
from tsode.likelihoods.normal import Normal
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.jump_filter import JumpFilter, run_filters
from tsode.numerics import RK4, Dopri5, ExponentialDifference, ExponentialEuler, Midpoint, TorchDiffEq
from tsode.numerics.integrate import integrate
from tsode.readouts import Readout
from tsode.training.windows import make_window


class StateReadout(Readout):
    """What is forecast is the state itself, at a scale of 1."""

    def __init__(self, n_state: int) -> None:
        super().__init__(n_state, n_state, n_hidden=1)

    def location(self, z, last, seen, features=None):
        return z

    def spread(self, z, lead, last, seen, features=None):
        return torch.zeros_like(z)[..., None]


def generator(flow: Evolution) -> np.ndarray:
    """Matrix of a linear flow."""
    if isinstance(flow, DenseLinearFlow):
        return flow.drift.detach().numpy()
    if isinstance(flow, DecayingFlow):
        return -np.diag(flow.log_rate.detach().exp().numpy())
    decay, frequency = (rate.detach().numpy() for rate in flow.rates(torch.zeros(0, dtype=torch.float64)))
    turn = np.diag(frequency)
    return np.block([[-np.diag(decay), -turn], [turn, -np.diag(decay)]])


def flow_of(kind: str) -> Evolution:
    torch.manual_seed(1)
    flow = {"diagonal": DiagonalFlow(2), "decay": DecayingFlow(3), "dense": DenseLinearFlow(3)}[kind]
    if kind == "diagonal":
        with torch.no_grad():  # slow and fast, and one that hardly turns
            flow.rate.copy_(torch.tensor([-6.0, 1.0]))
            flow.frequency.copy_(torch.tensor([1e-3, 4.0]))
    return flow


def filter_of(flow: Evolution) -> JumpFilter:
    d = flow.n_state
    model = JumpFilter(flow, GRU(d, d), StateReadout(d), Normal(), n_rates=2).double()
    torch.nn.init.normal_(model.rate_map.weight)
    torch.nn.init.normal_(model.z_start)
    return model


def infused(*infusions: tuple[float, float, int, float], n_channels: int, last: float = 0.0) -> IrregularBatch:
    """One series with nothing observed: infusions as ``(start, end, kind, rate)``, from time 0 on."""
    changes = sorted((t, kind, sign * rate) for t0, t1, kind, rate in infusions for t, sign in ((t0, 1), (t1, -1)))
    times = np.array([t for t, *_ in changes if t < math.inf])
    inputs = np.zeros((len(times), 2))
    for row, (_, kind, change) in zip(inputs, changes):
        row[kind] = change
    return collate([Series(np.empty(0), np.empty((0, n_channels)), times, inputs, n_rates=2)], torch.float64)


def truth(model: JumpFilter, start: float, times: np.ndarray, *infusions: tuple[float, float, int, float]) -> Tensor:
    """States at `times` by exponentials of the flow with each infusion as a constant, from `start` on."""
    d = model.evolution.n_state
    matrix, weight = np.zeros((d + 2, d + 2)), model.rate_map.weight.detach().numpy()
    matrix[:d, :d], matrix[:d, d:] = generator(model.evolution), weight
    states = []
    for time in times:
        cuts = sorted({start, time, *(t for t0, t1, *_ in infusions for t in (t0, t1) if start < t < time)})
        z = model.z_start.detach().numpy()
        for left, right in pairwise(cuts):
            rates = np.zeros(2)
            for t0, t1, kind, rate in infusions:
                rates[kind] += rate * (t0 <= left < t1)
            z = (expm(matrix * (right - left)) @ np.concatenate([z, rates]))[:d]
        states.append(z)
    return torch.from_numpy(np.array(states))


def states(model: JumpFilter, batch: IrregularBatch, times: np.ndarray) -> Tensor:
    params, status = model.predict_params(batch, torch.from_numpy(times)[None], "left")
    assert not status.any()
    return params[0, :, :, 0].detach()


INFUSIONS = ((0.0, 1.5, 0, 2.0), (0.7, 2.0, 1, -1.0), (0.9, 1.2, 0, 5.0), (2.5, math.inf, 1, 0.4))
TIMES = np.array([1e-6, 0.3, 0.7, 1.0, 1.19, 1.5, 1.7, 2.2, 2.6, 9.0])


@pytest.mark.parametrize("kind", ["diagonal", "decay", "dense"])
def test_the_state_under_infusions_is_the_matrix_exponential_while_they_run_and_after(kind):
    model = filter_of(flow_of(kind))
    batch = infused(*INFUSIONS, n_channels=model.n_channels)
    torch.testing.assert_close(
        states(model, batch, TIMES), truth(model, 0.0, TIMES, *INFUSIONS), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("kind", ["diagonal", "decay", "dense"])
def test_two_halves_of_an_infusion_are_one_and_two_at_once_add(kind):
    model = filter_of(flow_of(kind))
    torch.nn.init.zeros_(model.z_start)
    first, second = (0.0, 2.0, 0, 3.0), (0.5, 3.0, 0, 1.5)
    one, other, both = (
        states(model, infused(*which, n_channels=model.n_channels), TIMES)
        for which in ((first,), (second,), (first, second))
    )
    halves = infused((0.0, 0.8, 0, 3.0), (0.8, 2.0, 0, 3.0), n_channels=model.n_channels)
    torch.testing.assert_close(states(model, halves, TIMES), one, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both, one + other, rtol=1e-10, atol=1e-10)


CASES = [
    ("mlp", Midpoint(400)),
    ("mlp", Dopri5()),
    ("mlp", TorchDiffEq("rk4", n_steps=100)),
    ("linear", RK4(100)),
    pytest.param("gru_ode", ExponentialEuler(2000), marks=pytest.mark.slow),
    pytest.param("semilinear", ExponentialDifference(1), marks=pytest.mark.slow),
    ("static", RK4(100)),
]


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_a_solver_takes_an_infusion_as_a_constant_in_the_field(name, solver):
    torch.manual_seed(0)
    field = (WithStatic(DYNAMICS["mlp"](5), 2) if name == "static" else DYNAMICS[name](5)).double()
    n_static = getattr(field, "n_static", 0)
    z, drive = torch.randn(2, 3, 5, dtype=torch.float64)
    t0, t1 = torch.zeros(3, dtype=torch.float64), torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)
    moves = drive * (torch.arange(5) < 5 - n_static)
    truth = integrate(lambda t, z: field(t, z) + moves, z, t0, t1, Dopri5(rtol=1e-10, atol=1e-12)).z
    flow = Solved(field, solver)
    tolerance = 1e-3 if name == "gru_ode" else 2e-5
    torch.testing.assert_close(flow.evolve(z, t0, t1, drive).z, truth, rtol=tolerance, atol=tolerance)
    several = flow.evolve_to(z, t0, torch.stack([t1, t0], dim=1), drive).z
    torch.testing.assert_close(several[:, 0], truth, rtol=0.1, atol=0.1)
    assert several[:, 1].equal(z), "no time, no infusion."


@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_the_gradient_by_state_and_drive_is_that_of_finite_differences(kind):
    flow = flow_of(kind).double()
    z, drive = torch.randn(2, 3, flow.n_state, dtype=torch.float64, requires_grad=True)
    t0, t1 = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 1e-3, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z, g: flow.evolve(z, t0, t1, g).z, (z, drive))
    assert torch.autograd.gradcheck(lambda z, g: flow.evolve(z, t1, t0, g).z, (z, drive)), "backward in time too."


def test_what_stands_still_does_not_move_while_an_infusion_runs():
    flow = DiagonalFlow(2, n_static=3).double()
    z, drive = torch.randn(2, 4, 7, dtype=torch.float64)
    t0 = torch.zeros(4, dtype=torch.float64)
    assert flow.evolve(z, t0, t0 + 2.0, drive).z[:, 4:].equal(z[:, 4:])


@pytest.mark.parametrize(("n_inputs", "n_rates"), [(1, 2), (0, 3), (2, 1)])
def test_the_kernel_lets_infusions_flow_in_as_the_plain_loop_does(n_inputs, n_rates):
    torch.manual_seed(0)
    batch, queries = fed_batch()
    model = build_filter(2, **SIZE, n_inputs=n_inputs, n_rates=n_rates).double()
    kernel_against_loop(model, batch, queries)
    members = [model, build_filter(2, **SIZE, n_inputs=n_inputs, n_rates=n_rates).double()]
    found = []
    for use_fused in (True, False):
        for member in members:
            member.use_fused = use_fused
        weights = [p for member in members for p in member.parameters()]
        loss = sum(run.path.z_plus.square().sum() for run in run_filters(members, batch))
        found.append(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))
    for fused, plain in zip(*found):
        torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", FILTERS)
def test_a_state_that_is_resumed_while_an_infusion_runs_knows_its_rate(name):
    torch.manual_seed(0)
    batch, queries = fed_batch()
    model = build_filter(2, **FILTERS[name], **SIZE, n_inputs=1, n_rates=2).double()
    rows = torch.tensor([row for row in range(batch.n_series) if batch.lengths[row] > 2])
    batch, queries = batch.select(rows), queries[rows]
    cut = batch.times.gather(1, (batch.lengths[:, None] // 2 - 1).clamp(min=0))
    queries = torch.maximum(queries, cut + 0.1)
    is_first = batch.times <= cut
    first = batch.replace(mask=batch.mask & is_first[..., None], inputs=batch.inputs * is_first[..., None])
    rest = batch.replace(mask=batch.mask & ~is_first[..., None], inputs=batch.inputs * ~is_first[..., None])
    state = model.advance(first)
    whole, _ = model.predict_params(batch, queries, "left")
    resumed, _ = model.predict_params(rest, queries, "left", state)
    torch.testing.assert_close(resumed, whole, rtol=1e-10, atol=1e-11)
    assert state.rates.abs().sum() > 0, "something was running."


def test_a_window_that_begins_while_an_infusion_runs_knows_its_rate():
    rng = np.random.default_rng(0)
    times = np.arange(1.0, 9.0)
    inputs = np.array([[7.0, 2.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, -2.0, 0.0]])
    series = Series(times, rng.normal(size=(8, 1)), np.array([0.5, 1.5, 2.5, 7.5]), inputs, n_rates=2)
    context = make_window([series], [6.0], 2.0, max_context=3).context
    assert context.times[0].tolist() == [4.0, 4.0, 5.0, 6.0, 7.5]
    assert context.inputs[0].tolist() == [[0.0] * 3, [0.0, 2.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0, -2.0, 0.0]]
    assert not make_window([series], [8.0], 2.0, max_context=1).context.inputs.any(), "nothing runs any more."


def test_a_rate_that_changes_is_no_news_and_no_forecast_is_surer_after_it():
    torch.manual_seed(0)
    model = build_filter(1, **SIZE, n_rates=1).double()
    times = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    seen = torch.tensor([[[True], [True], [False]]])
    inputs = torch.tensor([[[0.0], [0.0], [1e-30]]], dtype=torch.float64)
    batch = IrregularBatch(times, times[..., None], seen, torch.tensor([3]), inputs=inputs)
    queries = torch.tensor([[1.5, 2.5, 3.0]], dtype=torch.float64)
    without, _ = model.predict_params(batch.replace(inputs=None), queries, "left")
    torch.testing.assert_close(model.predict_params(batch, queries, "left")[0], without, rtol=1e-12, atol=1e-12)


def test_an_evolution_that_takes_no_drive_is_named():
    class Still(Evolution):
        n_state = 3

        def evolve(self, z, t0, t1):
            return Evolved(z, torch.zeros_like(t0), torch.zeros_like(t0, dtype=torch.int64))

    assert not issubclass(Still, DrivenEvolution)
    with pytest.raises(ParameterError, match="events have durations, but Still takes no constant input"):
        build_filter(1, evolution=Still(), n_rates=1)
