import torch

from tests.helpers import solve
from tsode.dynamics import LinearDynamics


def test_solution_is_the_matrix_exponential():
    torch.manual_seed(0)
    field = LinearDynamics(n_state=3).double().requires_grad_(False)
    field.matrix.copy_(torch.randn(3, 3))
    field.offset.copy_(torch.tensor([1.0, -2.0, 0.5]))
    z0 = torch.randn(4, 3, dtype=torch.float64)
    rest = -torch.linalg.solve(field.matrix, field.offset)  # where the drift is zero
    expected = rest + (z0 - rest) @ torch.linalg.matrix_exp(0.7 * field.matrix).T
    torch.testing.assert_close(solve(field, z0, 0.7), expected, rtol=1e-8, atol=1e-8)
