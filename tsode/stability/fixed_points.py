"""Fixed points of a flow or map: from many starts, each once, with its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._random import new_generator
from tsode.errors import ParameterError
from tsode.stability.fitted_points import around, fitted_points
from tsode.stability.flow import ROUGH, TIGHT, as_flow, read_states
from tsode.stability.forecasters import as_fitted
from tsode.stability.points import eigenvalues, jacobian_table, polish

__all__ = ["fixed_points"]

SAME = 1e-6  # of the spread of the starts: points closer than this are one
NEAR = 1e-5  # relative, what a rough solve can say of a root


@torch.no_grad()
def fixed_points(
    system: Any, starts: Any = None, *, box: Sequence[tuple[float, float]] | None = None, n_starts: int = 200,
    t: float = 0.0, names: Sequence[str] | None = None, tolerance: float = 1e-10, random_state: Any = 0,
) -> pd.DataFrame:  # fmt: skip
    """States at which a flow rests, stable or not, found by Newton's method from many starts in one batch.

    Parameters
    ----------
    system : callable, Dynamics, Solved or Map
        ``f(t, z)`` or what else `tsode.stability` analyses.
    starts : array[b d], dict or frame, optional
        Where to begin, beside what is drawn from `box`.
    box : sequence of (low, high), optional
        One pair a coordinate; `n_starts` starts are drawn from it, without a pattern but evenly (Sobol).
    t : float
        Time at which a field that reads it is looked at.
    names : sequence of str, optional
        Of the coordinates.
    tolerance : float
        A point counts where Newton's last step was at most this, relative to ``1 + |z|`` coordinate by coordinate.
    random_state : int or Generator

    Returns
    -------
    DataFrame
        A row a point, the most stable first: its coordinates, ``kind``, ``n_unstable``, ``max_real`` (per unit of time;
        of a map the largest modulus ``max_modulus``), ``eigenvalue_1``, ... (complex; of a map its multipliers),
        ``residual`` (largest entry of the slope) and ``n_starts`` that came there.

    Raises
    ------
    ParameterError
        If no start came to rest; the smallest slope met and its place are told.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import fixed_points
    >>> points = fixed_points(lambda t, z: z - z**3, box=[(-2, 2)])
    >>> points["z1"].round(6).abs().tolist(), points["kind"].tolist()
    ([1.0, 1.0, 0.0], ['sink', 'sink', 'source'])
    """
    fitted = as_fitted(system)
    if fitted is not None:
        return fitted_points(
            fitted,
            lambda flow, states: fixed_points(
                flow, states if starts is None else starts, box=around(states) if starts is None is box else box,
                n_starts=n_starts, t=t, tolerance=tolerance, random_state=random_state,
            ),
        )  # fmt: skip
    z = _starts(starts, box, n_starts, random_state)
    flow = as_flow(system, z.shape[1], names, TIGHT)
    time = torch.full((len(z),), t, dtype=torch.float64)
    if flow.is_solved:
        found, is_root = polish(as_flow(system, z.shape[1], names, ROUGH), time, z, NEAR)
        if is_root.any():
            found[is_root], is_root[is_root.clone()] = polish(flow, time[is_root], found[is_root], tolerance)
    else:
        found, is_root = polish(flow, time, z, tolerance)
    if not is_root.any():
        slope = flow.slope(time, found)
        size = slope.abs().amax(dim=1).nan_to_num(nan=torch.inf)
        best = int(size.argmin())
        at = ", ".join(f"{x:.6g}" for x in found[best].tolist())
        raise ParameterError(
            f"None of {len(z)} starts came to a fixed point: the smallest slope met is {float(size[best]):.3g}, "
            f"at ({at}). Give other starts or a larger box; a flow may also have none."
        )
    points, counts = _apart(found[is_root], z)
    values = eigenvalues(flow, t, points)
    size = values.abs() if flow.is_map else values.real
    order = size.amax(dim=1).argsort(stable=True)
    table = jacobian_table(flow, points[order], t, values[order])
    table["n_starts"] = counts[order].numpy()
    return table


def _starts(starts: Any, box: Any, n_starts: int, random_state: Any) -> Tensor:
    if starts is None and box is None:
        raise ParameterError("Where to look is not known: give starts=, or box=[(low, high), ...], a pair a state.")
    parts = [] if starts is None else [read_states(starts)]
    if box is not None:
        low, high = torch.as_tensor(np.asarray(box, dtype=float)).unbind(dim=1)
        if not (low <= high).all():
            raise ParameterError(f"box must have pairs (low, high), but is {box}.")
        seed = new_generator(random_state).initial_seed() % 2**31
        sobol = torch.quasirandom.SobolEngine(len(low), scramble=True, seed=seed)
        parts.append(low + (high - low) * sobol.draw(n_starts, dtype=torch.float64))
    return torch.cat(parts)


def _apart(found: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Each point once (n d), and how many of the rows came there (n,)."""
    spread = (starts.amax(dim=0) - starts.amin(dim=0)).clamp(min=1e-12) + found.abs().amax(dim=0) * 1e-3
    points: list[Tensor] = []
    counts: list[int] = []
    for z in found:
        for i, point in enumerate(points):
            if bool(((z - point).abs() <= SAME * spread).all()):
                counts[i] += 1
                break
        else:
            points.append(z)
            counts.append(1)
    return torch.stack(points), torch.tensor(counts)
