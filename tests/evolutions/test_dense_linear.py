import math

import pytest
import torch
from scipy.linalg import expm

from tests.helpers import solve
from tsode.core.status import Status
from tsode.evolutions.dense_linear import DenseLinearFlow
from tsode.evolutions.diagonal import DiagonalFlow


def tensor(x):
    return torch.as_tensor(x, dtype=torch.float64)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    flow = DenseLinearFlow(n_state=3).double()
    torch.nn.init.normal_(flow.drift)
    torch.nn.init.normal_(flow.offset)
    return flow


T0, T1 = tensor([0.0, 1.0, -2.0, 3.0]), tensor([0.5, 0.2, -2.0, 5.5])


def test_flow_is_the_matrix_exponential_where_there_is_no_offset(flow):
    torch.nn.init.zeros_(flow.offset)
    z = torch.randn(4, 3, dtype=torch.float64)
    drift = flow.drift.detach().numpy()
    truth = torch.stack([tensor(expm(drift * gap)) @ one for gap, one in zip((T1 - T0).tolist(), z)])
    torch.testing.assert_close(flow.evolve(z, T0, T1).z, truth, rtol=1e-12, atol=1e-12)


def test_flow_agrees_with_a_solver(flow):
    z = torch.randn(4, 3, dtype=torch.float64)
    truth = solve(lambda t, z: z @ flow.drift.mT + flow.offset, z, span=0.7)
    torch.testing.assert_close(
        flow.evolve(z, torch.zeros(4).double(), tensor([0.7] * 4)).z, truth, rtol=1e-8, atol=1e-8
    )


def test_zero_gap_returns_the_state_bit_for_bit_and_the_way_back_returns_to_it(flow):
    z = torch.randn(4, 3, dtype=torch.float64)
    assert flow.evolve(z, T0, T0).z.equal(z)
    torch.testing.assert_close(flow.evolve(flow.evolve(z, T0, T1).z, T1, T0).z, z, rtol=1e-11, atol=1e-11)


def test_each_of_many_times_has_the_answer_it_has_alone(flow):
    z, times = torch.randn(4, 3, dtype=torch.float64), torch.stack([T1, T0, T1 + 1.0], dim=1)
    together = flow.evolve_to(z, T0, times)
    assert together.z.shape == (4, 3, 3)
    assert together.cost.shape == (4, 3)
    for k in range(3):
        torch.testing.assert_close(together.z[:, k], flow.evolve(z, T0, times[:, k]).z, rtol=1e-13, atol=1e-13)
    assert flow.evolve_to(z, T0, times[:, :0]).z.shape == (4, 0, 3)


def test_gradients_are_right(flow):
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def evolved(z, drift, offset):
        return torch.func.functional_call(flow, {"drift": drift, "offset": offset}, (z,), strict=True)

    flow.forward = lambda z: flow.evolve(z, T0, T1).z
    assert torch.autograd.gradcheck(evolved, (z, flow.drift, flow.offset))


def test_explosion_is_a_status_of_its_row(flow):
    z, t0 = torch.ones(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        flow.drift.copy_(torch.eye(3))
    assert flow.evolve(z, t0, tensor([1.0, 1e4])).status.tolist() == [Status.OK, Status.NON_FINITE]
    assert flow.evolve_to(z, t0, tensor([[1.0, 2.0], [1.0, 1e4]])).status.tolist() == [Status.OK, Status.NON_FINITE]


def test_flow_starts_as_the_modes_of_the_diagonal_flow():
    dense, diagonal = DenseLinearFlow(6).double(), DiagonalFlow(3).double()
    z, t0 = torch.randn(2, 6, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    paired = dense.evolve(z, t0, t0 + 1.3).z
    by_part = diagonal.evolve(z[:, [0, 2, 4, 1, 3, 5]], t0, t0 + 1.3).z
    decay = math.exp(1.3 * (math.log1p(math.exp(-2.0)) - 0.13))  # their rates differ in the third digit
    torch.testing.assert_close(paired[:, [0, 2, 4, 1, 3, 5]], by_part * decay, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_state", [1, 2, 5])
def test_any_number_of_states_starts_stable(n_state):
    assert torch.linalg.eigvals(DenseLinearFlow(n_state).drift).real.max() < 0
