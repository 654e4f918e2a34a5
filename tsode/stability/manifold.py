"""Invariant manifolds of a fixed point as power series: the parametrisation method by automatic derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.stability.flow import as_flow, read_states
from tsode.stability.invariant_surface import invariant_surface
from tsode.stability.taylor import taylor

__all__ = ["invariant_manifold"]

RESONANT = 1e-8  # of the eigenvalue: a multiple of it closer to another one than this


@torch.no_grad()
def invariant_manifold(
    system: Any, point: Any, *, which: str = "unstable", dimension: int = 1, order: int | None = None, t: float = 0.0,
    scale: float = 1.0, names: Sequence[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Curve or surface through a fixed point that the flow maps to itself, along its eigenvectors, as a power series.

    ``W(s) = point + sum_k w_k s**k`` with ``w_1`` the eigenvector, so that ``f(W(s)) = eigenvalue * s * W'(s)``: along
    the curve the flow is ``s(t) = s(0) exp(eigenvalue t)``. Order by order ``(A - k eigenvalue) w_k`` is minus the k-th
    coefficient of the field along the series so far (Haro 2008; Cabre, Fontich, de la Llave 2005). A surface belongs to
    two real eigenvalues or a complex pair: ``W(x, y) = point + sum w_jk x**j y**k``, along which each of x and y, or
    ``x + i y``, is multiplied by ``exp(eigenvalue t)``.

    Parameters
    ----------
    system : callable, Dynamics or Solved
    point : array[d] or dict
        The fixed point.
    which : {"unstable", "stable", "fast", "slow"}
        The largest eigenvalue above zero; of those below zero the one farthest from it ("stable" and "fast") or the
        one nearest to it ("slow"), to which orbits come last. Of a surface two of these, by their real parts.
    dimension : {1, 2}
        Whether a curve or a surface.
    order : int, optional
        Highest power: 8, of a surface 6. The cost grows about threefold with each.
    scale : float
        Length of the eigenvectors; of a pair that of twice its real part, where its largest entry is real.

    Returns
    -------
    DataFrame
        A row a power from 0 on, a column a coordinate. ``attrs``: ``eigenvalue``, ``residual`` (largest miss of the
        invariance equation for ``|s| <= radius``) and ``radius`` (where the last term is 1e-6 of the first). Of a
        surface a row a pair of powers, ``power_1`` and ``power_2``, and ``eigenvalues``.

    Raises
    ------
    ParameterError
        If it is no fixed point, there is no such real eigenvalue, or a multiple of it is another one (resonance).

    References
    ----------
    Haro, "Automatic differentiation methods in computational dynamical systems", 2008. Cabre, Fontich, de la Llave,
    "The parameterization method for invariant manifolds III", Journal of Differential Equations 218, 2005.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import invariant_manifold
    >>> field = lambda t, z: torch.stack([z[:, 0], -z[:, 1] + z[:, 0] ** 2], dim=1)
    >>> invariant_manifold(field, [0.0, 0.0], order=3)["z2"].round(6).tolist()
    [0.0, 0.0, 0.333333, 0.0]
    """
    z = read_states(point)[:1]
    flow = as_flow(system, z.shape[1], names)
    if flow.is_map:
        raise ParameterError("Invariant manifolds are computed of fields only, but this is a map.")
    time = torch.full((1,), t, dtype=torch.float64)
    slope, jacobian = (x[0].numpy() for x in flow.linearise(time, z))
    if np.abs(slope).max() > 1e-7 * np.abs(jacobian).max() * (1 + float(z.abs().max())):
        raise ParameterError(f"The point is not a fixed one: its slope is {np.abs(slope).max():.3g}. See fixed_points.")
    if dimension not in (1, 2):
        raise ParameterError(f"dimension={dimension} is neither 1, a curve, nor 2, a surface.")
    if dimension == 2:
        return invariant_surface(flow, z[0].numpy(), jacobian, which, 6 if order is None else order, t, scale)
    order = 8 if order is None else order
    values, vectors = np.linalg.eig(jacobian)
    i = _chosen(values, which)
    value, vector = float(values[i].real), vectors[:, i].real
    vector = scale * vector / np.linalg.norm(vector) * (1.0 if vector[np.abs(vector).argmax()] > 0 else -1.0)
    series = [z[0].numpy(), vector]

    def along(s: Tensor) -> Tensor:
        """The field along the series so far, of a number."""
        powers = torch.stack([s**k if k else torch.ones_like(s) for k in range(len(series))])
        return flow.slope(time, (powers @ torch.as_tensor(np.stack(series)))[None])[0]

    for k in range(2, order + 1):
        shifted = jacobian - k * value * np.eye(len(vector))
        near = values[np.abs(values - k * value).argmin()]
        if abs(near - k * value) <= RESONANT * abs(value):
            raise ParameterError(
                f"The eigenvalue {value:.6g} is in resonance: {k} times it is the eigenvalue {near.real:.6g}, and the "
                f"curve has no power series beyond order {k - 1}. Ask for order={k - 1}."
            )
        coefficient = taylor(along, torch.zeros((), dtype=torch.float64), k)
        series.append(np.linalg.solve(shifted, -coefficient))
    table = pd.DataFrame(np.stack(series), pd.RangeIndex(order + 1, name="power"), list(flow.names))
    last = max(np.abs(series[-1]).max(), np.abs(series[-2]).max() if order > 2 else 0.0, 1e-300)
    radius = float((1e-6 * np.linalg.norm(vector) / last) ** (1 / max(order - 1, 1)))
    radius = min(radius, 1.0)
    table.attrs = {"eigenvalue": value, "radius": radius, "residual": _residual(along, series, value, radius)}
    return table


def _chosen(values: np.ndarray, which: str) -> int:
    real = np.abs(values.imag) <= 1e-12 * np.abs(values).max()
    signs = {"unstable": 1, "stable": -1, "fast": -1, "slow": -1}
    if which not in signs:
        raise ParameterError(f"which={which!r} is none of 'unstable', 'stable', 'fast', 'slow'.")
    allowed = np.flatnonzero(real & (np.sign(values.real) == signs[which]))
    shown = ", ".join(f"{x:.6g}" for x in values)
    if not len(allowed):
        raise ParameterError(f"There is no real eigenvalue for which={which!r} among {shown}.")
    size = np.abs(values.real[allowed])
    return int(allowed[size.argmin() if which == "slow" else size.argmax()])


def _residual(along: Any, series: list[np.ndarray], value: float, radius: float) -> float:
    """Largest miss of the invariance equation."""
    worst = 0.0
    for s in np.linspace(-radius, radius, 21):
        slope = sum(k * w * s ** (k - 1) for k, w in enumerate(series) if k)
        field = along(torch.tensor(s, dtype=torch.float64)).numpy()
        worst = max(worst, float(np.abs(field - value * s * slope).max()))
    return worst
