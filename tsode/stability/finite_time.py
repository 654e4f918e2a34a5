"""Finite-time Lyapunov exponents: how fast small errors of a state have grown after so much time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.stability.flow import GROWTH, as_flow, check_arrived, read_states

__all__ = ["finite_time_exponents"]

LOST = 1e-13  # of the largest singular value: smaller ones are rounding


def finite_time_exponents(
    system: Any, starts: Any, times: Any, *, t0: float = 0.0, names: Sequence[str] | None = None,
    solver: Solver | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Exponents ``log(sigma_i) / (t - t0)`` of the singular values of the tangent map along each orbit.

    Singular values, not eigenvalues: the largest is by how much the worst small error of the start has grown, in the
    coordinates' own units.

    Parameters
    ----------
    system : callable, Dynamics, Solved or Map
    starts : array[d], array[s d], dict or frame
    times : array[m]
        After `t0`.
    t0 : float

    Returns
    -------
    DataFrame
        A row a start and time: ``start`` (its place), ``time``, the state, ``log_growth`` (of the largest singular
        value) and ``exponent_1``, ... per unit of time; NaN where one is lost in the rounding of the largest.

    Raises
    ------
    SolverError
        If an orbit does not stay finite.
    """
    z = read_states(starts)
    flow = as_flow(system, z.shape[1], names, solver)
    asked = np.sort(np.asarray(times, dtype=float).ravel())
    if not len(asked) or not (asked > t0).all():
        raise ParameterError(f"times must be after t0={t0:g}, but are {asked[:5].tolist()}.")
    s, d = z.shape
    t = torch.full((s,), t0, dtype=torch.float64)
    basis = torch.eye(d, dtype=torch.float64).expand(s, d, d)
    total, scale = basis, torch.zeros(s, dtype=torch.float64)
    rows = []
    with torch.no_grad():
        for time in asked:
            while (t < time).any():
                # tangents are made orthonormal again before any has faded below the tolerance of the solve
                steepest = torch.linalg.matrix_norm(flow.linearise(t, z)[1], ord=2)
                longest = torch.ones_like(t) if flow.is_map else GROWTH / steepest.clamp(min=1e-12)
                t1 = (t + longest).clamp(max=time)
                start = z
                z, tangents, _, status = flow.carry(z, basis, t, t1)
                check_arrived(status, start, t1)
                basis, upper = torch.linalg.qr(tangents)
                total, t = upper @ total, t1
                size = torch.linalg.matrix_norm(total)
                total, scale = total / size[:, None, None], scale + size.log()
            sizes = torch.linalg.svdvals(total)
            logs = (sizes.where(sizes > LOST * sizes[:, :1], torch.nan)).log() + scale[:, None]
            part = pd.DataFrame(z.numpy(), columns=list(flow.names))
            part.insert(0, "start", np.arange(s))
            part.insert(1, "time", time)
            part["log_growth"] = logs[:, 0].numpy()
            for i in range(d):
                part[f"exponent_{i + 1}"] = logs[:, i].numpy() / (time - t0)
            rows.append(part)
    return pd.concat(rows, ignore_index=True).sort_values(["start", "time"], kind="stable", ignore_index=True)
