"""Jacobians along states: eigenvalues, spectral abscissa, stiffness, and how fast errors can grow at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError, ShapeError
from tsode.stability.fitted import FittedSystem
from tsode.stability.flow import Flow, as_flow, read_states
from tsode.stability.forecasters import as_fitted

__all__ = ["jacobian"]


@torch.no_grad()
def jacobian(
    system: Any, states: Any = None, *, times: Any = None, names: Sequence[str] | None = None, has_entries: bool = False
) -> pd.DataFrame:
    """Local stability at each of some states, as those of a trajectory: what the Jacobian there says.

    Parameters
    ----------
    system : callable, Dynamics, Solved, Map or fitted forecaster
        ``f(t, z)`` or what else `tsode.stability` analyses. Of a forecaster, along the forecast of each series.
    states : array[d], array[n d], dict or frame
        Of a frame with a column "time" that is the `times`. A forecaster's are its own.
    times : float or array[n], optional
        Of each state, for a field that reads them; 0 by default. Of a forecaster, how long after the last row, in its
        unit of time (by default from there on, in tenths of its horizon).
    names : sequence of str, optional
        Of the coordinates.
    has_entries : bool
        Whether the answer also has the entries of the Jacobian: ``d_z1_d_z2`` is the derivative of the first rate by
        the second coordinate.

    Returns
    -------
    DataFrame
        A row a state: ``time``, the state, ``eigenvalue_1``, ... (complex, by falling real part; per unit of time), and

        - ``spectral_abscissa``: largest real part. Above zero the nearest states part, on the long run of this
          Jacobian.
        - ``logarithmic_norm``: largest eigenvalue of its symmetric part, the fastest rate at which an error of any
          direction grows at once, in the Euclidean norm of the coordinates (Soederlind 2006). No less than the
          abscissa; far above it where eigenvectors are far from orthogonal.
        - ``stiffness_ratio``: largest over smallest size of the real parts below zero (Lambert 1991, section 6.2); 1
          where there is one of them, NaN where there is none.

        Of a map eigenvalues are multipliers, by falling modulus, and in place of these stand ``spectral_radius`` and
        ``norm``, the largest singular value. Of a forecaster: the id of the series, the time in the data's own kind and
        the ``lead``; of draws from a posterior medians, with ``spectral_abscissa_q05`` and ``_q95``.

    Raises
    ------
    ParameterError
        If the rate or its derivatives are not finite at a state, which is named.
    ShapeError
        If there are not as many times as states.

    References
    ----------
    Soederlind, "The logarithmic norm. History and modern theory", BIT Numerical Mathematics 46, 2006. Lambert,
    "Numerical Methods for Ordinary Differential Systems", 1991.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import jacobian
    >>> matrix = torch.tensor([[-1.0, 4.0], [0.0, -100.0]], dtype=torch.float64)
    >>> table = jacobian(lambda t, z: z @ matrix.T, [1.0, 1.0])
    >>> table[["spectral_abscissa", "stiffness_ratio"]].to_numpy().tolist()
    [[-1.0, 100.0]]
    """
    fitted = as_fitted(system)
    if fitted is not None:
        if states is not None:
            raise ParameterError("The states of a forecaster are those along its forecasts: leave states= out.")
        return _along_forecasts(fitted, times, has_entries)
    if states is None:
        raise ParameterError("Where to look is not known: give states=, a state or rows of states.")
    times = 0.0 if times is None else times
    if isinstance(states, pd.DataFrame) and "time" in states:
        times = states["time"].to_numpy(dtype=float)
        states = states.drop(columns="time")
        names = list(map(str, states.columns)) if names is None else names
    z = read_states(states)
    flow = as_flow(system, z.shape[1], names)
    when = np.asarray(times, dtype=float)
    if when.ndim and when.shape != (len(z),):
        raise ShapeError(f"There must be one time, or one a state, but there are {when.size} for {len(z)} states.")
    t = torch.tensor(when).expand(len(z))
    return _table(flow, z, t, has_entries)


def _along_forecasts(fitted: FittedSystem, times: Any, has_entries: bool) -> pd.DataFrame:
    """Tables of the rows of a forecaster at each of some leads, one below the other."""
    asked = np.sort(np.asarray(fitted.reach * np.arange(11) / 10 if times is None else times, dtype=float).ravel())
    if not len(asked) or asked[0] < 0:
        raise ParameterError(f"times must be leads, zero or more, but are {asked[:5].tolist()}.")
    flow, z, t = fitted.flow, fitted.starts, fitted.t0
    parts = []
    for lead in asked:
        later = fitted.t0 + float(lead)
        z, t = flow.arrive(z, t, later), later
        part = _table(flow, z, t, has_entries)
        part["time"] = float(lead)
        part.insert(0, "start", np.arange(len(z)))
        parts.append(part)
    table = pd.concat(parts, ignore_index=True).sort_values(["start", "time"], kind="stable", ignore_index=True)
    return fitted.by_series(table, "spectral_abscissa", "median")


def _table(flow: Flow, z: Tensor, t: Tensor, has_entries: bool) -> pd.DataFrame:
    """A row a state."""
    _, slopes = flow.linearise(t, z)
    if flow.is_map:
        slopes = slopes + torch.eye(z.shape[1], dtype=z.dtype)
    is_finite = slopes.isfinite().flatten(1).all(dim=1)
    if not is_finite.all():
        row = int(is_finite.logical_not().nonzero()[0, 0])
        at = ", ".join(f"{x:.6g}" for x in z[row].tolist())
        raise ParameterError(
            f"The derivatives at state {row}, ({at}) at t = {float(t[row]):.6g}, are not finite: leave it out, or mend "
            "the field there."
        )
    values = torch.linalg.eigvals(slopes)
    size = values.abs() if flow.is_map else values.real
    values = values.gather(1, size.argsort(dim=1, descending=True, stable=True))
    table = pd.DataFrame(z.numpy(), columns=list(flow.names))
    table.insert(0, "time", t.numpy())
    for i in range(z.shape[1]):
        table[f"eigenvalue_{i + 1}"] = values[:, i].numpy()
    if flow.is_map:
        table["spectral_radius"] = values.abs().amax(dim=1).numpy()
        table["norm"] = torch.linalg.matrix_norm(slopes, ord=2).numpy()
    else:
        table["spectral_abscissa"] = values.real.amax(dim=1).numpy()
        table["logarithmic_norm"] = torch.linalg.eigvalsh((slopes + slopes.mT) / 2)[:, -1].numpy()
        decay = -values.real
        slowest = decay.where(decay > 0, torch.inf).amin(dim=1)
        table["stiffness_ratio"] = (decay.amax(dim=1) / slowest).where(slowest.isfinite(), torch.nan).numpy()
    if has_entries:
        for i, of in enumerate(flow.names):
            for j, by in enumerate(flow.names):
                table[f"d_{of}_d_{by}"] = slopes[:, i, j].numpy()
    return table
