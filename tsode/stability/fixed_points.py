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
from tsode.stability.flow import ROUGH, TIGHT, Flow, as_flow, read_states

__all__ = ["classify", "fixed_points", "jacobian_table", "polish"]

N_ITERATIONS, N_HALVINGS = 100, 30
SAME = 1e-6  # of the spread of the starts: points closer than this are one
NEAR = 1e-5  # relative, what a rough solve can say of a root
NEUTRAL = 1e-7  # of the largest eigenvalue: a real part closer to zero than this says nothing


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


@torch.no_grad()
def polish(flow: Flow, t: Tensor, z: Tensor, tolerance: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Newton's method with halved steps from every row of ``z`` (b d): where it ends, and whether that is a root (b,).

    Least-squares steps, so that a singular Jacobian (a fold, a line of fixed points) stops no row.
    """
    z, moved = z.clone(), torch.full_like(z, torch.inf)
    active = torch.ones(len(z), dtype=torch.bool)
    for _ in range(N_ITERATIONS):
        value, jacobian = flow.linearise(t[active], z[active])
        is_usable = value.isfinite().all(dim=1) & jacobian.isfinite().flatten(1).all(dim=1)
        step = torch.zeros_like(value)
        if is_usable.any():
            solved = torch.linalg.lstsq(jacobian[is_usable], -value[is_usable, :, None], driver="gelsd").solution
            step[is_usable] = solved[..., 0]
        start, norm, before = z[active], value.norm(dim=1), moved[active].amax(dim=1)
        far = torch.where(is_usable[:, None], step.abs() / (1 + start.abs()), torch.inf)
        is_there = far.amax(dim=1) <= tolerance
        length = torch.ones_like(norm)
        best = start + step
        for _ in range(N_HALVINGS):
            size = flow.slope(t[active], best).norm(dim=1)
            worse = ~(size <= norm) & (norm > 0) & ~is_there
            if not worse.any():
                break
            length = torch.where(worse, length / 2, length)
            best = start + length[:, None] * step
        z[active] = torch.where(best.isfinite().all(dim=1)[:, None], best, start)
        moved[active] = far
        going = active.clone()
        # what no step makes smaller, or is rounding of the slope, is as near as it gets
        is_last = (far.amax(dim=1) <= 1e-2 * tolerance) | (is_there & (far.amax(dim=1) >= 0.9 * before)) | worse
        going[active] = is_usable & ~is_last
        active = going
        if not active.any():
            break
    value = flow.slope(t, z)
    return z, (moved.amax(dim=1) <= tolerance) & value.isfinite().all(dim=1)


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


def eigenvalues(flow: Flow, t: float, z: Tensor) -> Tensor:
    """Eigenvalues (b d) complex, by falling real part; of a map its multipliers, by falling modulus."""
    _, jacobian = flow.linearise(torch.full((len(z),), t, dtype=torch.float64), z)
    if flow.is_map:
        jacobian = jacobian + torch.eye(z.shape[1], dtype=z.dtype)
    values = torch.linalg.eigvals(jacobian)
    size = values.abs() if flow.is_map else values.real
    return values.gather(1, size.argsort(dim=1, descending=True, stable=True))


def jacobian_table(flow: Flow, z: Tensor, t: float = 0.0, values: Tensor | None = None) -> pd.DataFrame:
    """States with kind, eigenvalues (which may be known) and slope, a row each."""
    values = eigenvalues(flow, t, z) if values is None else values
    size = values.abs() if flow.is_map else values.real
    level = (size - 1 if flow.is_map else size).numpy()
    scale = NEUTRAL * np.maximum(values.abs().amax(dim=1).numpy(), 1.0 if flow.is_map else 0.0)[:, None]
    slope = flow.slope(torch.full((len(z),), t, dtype=torch.float64), z).abs().amax(dim=1)
    table = pd.DataFrame(z.numpy(), columns=list(flow.names))
    table["kind"] = [
        classify(row, values.imag[i].abs().numpy(), s) for i, (row, s) in enumerate(zip(level, scale[:, 0]))
    ]
    table["n_unstable"] = (level > scale).sum(axis=1)
    table["max_modulus" if flow.is_map else "max_real"] = size.amax(dim=1).numpy()
    for i in range(z.shape[1]):
        table[f"eigenvalue_{i + 1}"] = values[:, i].numpy()
    table["residual"] = slope.numpy()
    return table


def classify(level: np.ndarray, turning: np.ndarray, neutral: float) -> str:
    """Kind of a fixed point.

    Parameters
    ----------
    level : array[d]
        Real parts of the eigenvalues; of a map moduli less 1.
    turning : array[d]
        Imaginary parts, without their sign.
    neutral : float
        What of `level` counts as zero.
    """
    if (np.abs(level) <= neutral).any():
        others = level[np.abs(level) > neutral]
        if not len(others) and len(level) > 1 and (turning > neutral).all():
            return "centre"
        return "not hyperbolic"
    kind = "sink" if (level < 0).all() else "source" if (level > 0).all() else "saddle"
    has_focus = (turning > neutral).any()
    return f"{kind}, focus" if has_focus else kind
