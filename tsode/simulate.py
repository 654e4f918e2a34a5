"""Simulation of series whose best possible forecast is known."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode._registry import lookup

__all__ = ["lotka_volterra", "observe", "ornstein_uhlenbeck"]


def ornstein_uhlenbeck(
    times: Tensor,
    *,
    speed: float,
    mean: float,
    sigma: float,
    start: float | Tensor,
    n_paths: int,
    generator: torch.Generator,
    scheme: str = "exact",
) -> Tensor:
    """Draw paths of ``dX = speed (mean - X) dt + sigma dW``.

    Parameters
    ----------
    times : Tensor[n], float64, increasing
        The first is the time of `start`.
    start : float or Tensor[n_paths]
    scheme : {"exact", "euler"}
        From the exact transition density, or by Euler-Maruyama steps from time to time, as public benchmarks do.

    Returns
    -------
    Tensor[n_paths n], float64
    """
    gaps = times.double().diff()
    if lookup({"exact": False, "euler": True}, scheme, "scheme"):
        keep, spread = 1.0 - speed * gaps, sigma * gaps.sqrt()
    else:
        keep = (-speed * gaps).exp()
        spread = sigma * ((1.0 - keep**2) / (2.0 * speed)).sqrt()
    x = torch.zeros(n_paths, dtype=torch.float64) + start
    path = [x]
    for k in range(len(gaps)):
        x = mean + keep[k] * (x - mean) + spread[k] * torch.randn(n_paths, generator=generator, dtype=torch.float64)
        path.append(x)
    return torch.stack(path, dim=1)


def lotka_volterra(
    times: Tensor, start: Tensor, rates: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0), n_steps: int = 20
) -> Tensor:
    """Solve prey ``x' = x (a - b y)`` and predator ``y' = y (d x - c)`` with Runge-Kutta steps of order four.

    Parameters
    ----------
    times : Tensor[n], float64, increasing
    start : Tensor[p 2]
        Prey and predators at the first time.
    rates : (a, b, c, d)
    n_steps : int
        Steps between two times.

    Returns
    -------
    Tensor[p n 2]
    """
    a, b, c, d = rates

    def field(z: Tensor) -> Tensor:
        prey, predator = z.unbind(-1)
        return torch.stack([prey * (a - b * predator), predator * (d * prey - c)], dim=-1)

    z = start.double()
    path = [z]
    for gap in times.double().diff():
        h = gap / n_steps
        for _ in range(n_steps):
            k1 = field(z)
            k2 = field(z + 0.5 * h * k1)
            k3 = field(z + 0.5 * h * k2)
            k4 = field(z + h * k3)
            z = z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        path.append(z)
    return torch.stack(path, dim=1)


def observe(paths: Tensor, probability: float, generator: torch.Generator, noise: float = 0.0) -> Tensor:
    """See each entry with `probability`, with normal noise of standard deviation `noise`; NaN = not seen.

    Parameters
    ----------
    paths : Tensor[...]
    """
    seen = torch.rand(paths.shape, generator=generator) < probability
    noisy = paths + noise * torch.randn(paths.shape, generator=generator, dtype=paths.dtype)
    return torch.where(seen, noisy, torch.nan)
