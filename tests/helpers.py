"""Small things that several tests need."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics import Dopri5
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.integrate import integrate


def solve(field: VectorField, z0: Tensor, span: float, t0: float = 0.0, solver: Solver | None = None) -> Tensor:
    """State of every row of `z0` (b d) after `span`; to about 10 digits unless another solver is given."""
    start = torch.full(z0.shape[:1], t0, dtype=torch.float64)
    solution = integrate(field, z0, start, start + span, solver or Dopri5(rtol=1e-10, atol=1e-12))
    assert (solution.status == Status.OK).all()
    return solution.z
