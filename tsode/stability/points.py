"""Points at rest: Newton's method to them, their eigenvalues and their kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.stability.flow import Flow

__all__ = ["classify", "eigenvalues", "jacobian_table", "polish"]

N_ITERATIONS, N_HALVINGS = 100, 30
NEUTRAL = 1e-7  # of the largest eigenvalue: a real part closer to zero than this says nothing


@torch.no_grad()
def polish(flow: Flow, t: Tensor, z: Tensor, tolerance: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Newton's method with halved steps from every row of ``z`` (b d): where it ends, and whether that is a root (b,).

    Least-squares steps, so that a singular Jacobian (a fold, a line of fixed points) stops no row.
    """
    z, moved = z.clone(), torch.full_like(z, torch.inf)
    active = torch.ones(len(z), dtype=torch.bool)
    for _ in range(N_ITERATIONS):
        going_on = flow.at(active)
        value, jacobian = going_on.linearise(t[active], z[active])
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
            size = going_on.slope(t[active], best).norm(dim=1)
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
