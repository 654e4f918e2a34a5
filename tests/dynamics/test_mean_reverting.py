import math

import torch

from tests.helpers import solve
from tsode.dynamics import MeanReverting


def test_solution_is_the_known_exponential():
    z0 = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    z1 = solve(MeanReverting(n_state=2).double(), z0, span=0.7)  # rate 1, level 0
    torch.testing.assert_close(z1, z0 * math.exp(-0.7), rtol=1e-8, atol=0.0)
