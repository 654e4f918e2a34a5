"""Finite-time Lyapunov exponents: how fast small errors of a state have grown after so much time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.stability.flow import GROWTH, Flow, check_arrived
from tsode.stability.standing import stand

__all__ = ["finite_time_exponents"]

LOST = 1e-13  # of the largest singular value: smaller ones are rounding


def finite_time_exponents(
    system: Any, starts: Any = None, times: Any = None, *, t0: float = 0.0, names: Sequence[str] | None = None,
    solver: Solver | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Exponents ``log(sigma_i) / (t - t0)`` of the singular values of the tangent map along each orbit.

    Singular values, not eigenvalues: the largest is by how much the worst small error of the start has grown, in the
    coordinates' own units.

    Parameters
    ----------
    system : callable, Dynamics, Solved, Map or fitted forecaster
        Of a forecaster, along the forecast of each series from its last row on.
    starts : array[d], array[s d], dict or frame
        Those of a forecaster are its own.
    times : array[m]
        After `t0`; of a forecaster, how long after the last row, in its unit of time (by default tenths of as long as
        its horizon).
    t0 : float

    Returns
    -------
    DataFrame
        A row a start and time: ``start`` (its place; of a forecaster the id of the series, and the time in the data's
        own kind), ``time``, the state, ``log_growth`` (of the largest singular value) and ``exponent_1``, ... per unit
        of time; NaN where one is lost in the rounding of the largest. Of draws from a posterior means, with
        ``log_growth_q05`` and ``_q95``. ``attrs["unit"]`` is the unit of time.

    Raises
    ------
    SolverError
        If an orbit does not stay finite.
    """
    where = stand(system, starts, t0, names, solver)
    if times is None:
        if where.fitted is None:
            raise ParameterError("When to look is not known: give times=.")
        times = where.fitted.reach * np.arange(1, 11) / 10
    begin = 0.0 if where.fitted is not None else t0
    asked = np.sort(np.asarray(times, dtype=float).ravel())
    if not len(asked) or not (asked > begin).all():
        raise ParameterError(f"times must be after t0={begin:g}, but are {asked[:5].tolist()}.")
    after = torch.as_tensor(asked) - begin
    parts = []
    for span, z, logs in zip(after, *_growth(where.flow, where.z, where.t, after)):
        part = pd.DataFrame(z.numpy(), columns=list(where.flow.names))
        part["log_growth"] = logs[:, 0].numpy()
        for i in range(logs.shape[1]):
            part[f"exponent_{i + 1}"] = logs[:, i].numpy() / float(span)
        part.insert(0, "time", begin + float(span))
        part.insert(0, "start", np.arange(len(z)))
        parts.append(part)
    table = pd.concat(parts, ignore_index=True).sort_values(["start", "time"], kind="stable", ignore_index=True)
    if where.fitted is not None:
        table = where.fitted.by_series(table, "log_growth", "mean")
    table.attrs["unit"] = where.flow.unit
    return table


@torch.no_grad()
def _growth(flow: Flow, z: Tensor, t: Tensor, after: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """States (s d) and logarithms of singular values (s d) after each of the spans."""
    s, d = z.shape
    begin, basis = t, torch.eye(d, dtype=torch.float64).expand(s, d, d)
    total, scale = basis, torch.zeros(s, dtype=torch.float64)
    states, found = [], []
    for span in after:
        until = begin + span
        while (t < until).any():
            # tangents are made orthonormal again before any has faded below the tolerance of the solve
            steepest = torch.linalg.matrix_norm(flow.linearise(t, z)[1], ord=2)
            longest = torch.ones_like(t) if flow.is_map else GROWTH / steepest.clamp(min=1e-12)
            longest = torch.tensor([flow.whole(x) for x in longest.tolist()], dtype=t.dtype)
            t1 = torch.minimum(t + longest, until)
            start = z
            z, tangents, _, status = flow.carry(z, basis, t, t1)
            check_arrived(status, start, t1)
            basis, upper = torch.linalg.qr(tangents)
            total, t = upper @ total, t1
            size = torch.linalg.matrix_norm(total)
            total, scale = total / size[:, None, None], scale + size.log()
        sizes = torch.linalg.svdvals(total)
        states.append(z)
        found.append((sizes.where(sizes > LOST * sizes[:, :1], torch.nan)).log() + scale[:, None])
    return states, found
