"""Brownian motion drawn at given times and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_brownian"]


def draw_brownian(
    times: Tensor, n_paths: int, n_noise: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw paths that are zero at time zero: Tensor[p b n k], at ``times >= 0`` (b n), float64, in any order.

    Far cheaper than a `BrownianPath`, which can be asked again; the values depend on all times that are asked for.
    """
    b, n = times.shape
    times, order = times.sort(dim=1)
    gaps = torch.diff(times, dim=1, prepend=torch.zeros_like(times[:, :1]))
    normals = torch.randn(n_paths, b, n, n_noise, generator=generator, dtype=dtype, device=generator.device)
    values = (normals.to(times.device) * gaps.sqrt().to(dtype)[..., None]).cumsum(dim=2)
    rows = (order.argsort(dim=1) + n * torch.arange(b, device=order.device)[:, None]).reshape(-1)
    return values.flatten(1, 2).index_select(1, rows).view_as(values)
