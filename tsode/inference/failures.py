"""Failures of a known system at points of its parameters: of what kind, of which series, when, at which values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_laws import Evaluation

__all__ = ["Failure", "best_draws", "find_failures"]

_HALVINGS = 6  # of the time within which a solve has failed
_MOST_NAMED = 8  # parameters in a text


@dataclass(frozen=True)
class Failure:
    """A cause for which points are impossible, with the first of these as an example.

    Parameters
    ----------
    cause : str
    share : float
        Of all points.
    series : label or None
        The first series that it is about; None where it is about none.
    time : float or time
        When; of a solve, the last time that it is known to reach. NaN where there is none.
    value, prediction : float
        Of the cell that it is about, NaN where there is none.
    point : dict of str to float
        Parameters.
    """

    cause: str
    share: float
    series: object
    time: Any
    value: float
    prediction: float
    point: dict[str, float]

    def where(self) -> str:
        """Series, time and parameters of the example, in words."""
        time = f"{self.time:.6g}" if isinstance(self.time, float) else str(self.time)
        place = "" if self.series is None else f" of series {self.series!r} at time {time}"
        if self.value == self.value:
            place += f" (value {self.value:.6g}, prediction {self.prediction:.6g})"
        named = list(self.point.items())
        shown = ", ".join(f"{name} = {x:.4g}" for name, x in named[:_MOST_NAMED])
        return f"{place} with {shown}{', ...' if len(named) > _MOST_NAMED else ''}".strip()

    def __str__(self) -> str:
        return f"{self.share:.0%} {self.cause}, first {self.where()}"


def find_failures(density: KnownDensity, u: Tensor) -> list[Failure]:
    """Causes for which points ``u`` (g b p) are impossible, the most frequent first."""
    with torch.no_grad():
        found = density.evaluate(u)
    failures = []
    for cause, is_hit in found.causes.items():
        if bool(is_hit.any()):
            g, b = (int(x) for x in is_hit.nonzero()[0])
            failures.append(_example(density, u, found, cause, float(is_hit.double().mean()), g, b))
    return sorted(failures, key=lambda failure: -failure.share)


def best_draws(density: KnownDensity, u: Tensor, n: int = 3) -> list[tuple[dict[str, float], float, float]]:
    """Points of ``u`` (g b p) that come nearest to being possible: parameters, share of values that are, log density.

    Of the problem that comes off worst; its log density is the sum over what has one.
    """
    with torch.no_grad():
        found = density.evaluate(u)
    s, n_series = density.space.n_series, len(density.data.ids)
    score, count, total = (torch.zeros(u.shape[1], n_series, dtype=u.dtype) for _ in range(3))
    for channel, of_cells in found.scores.items():
        series = density.cells[channel].series
        is_fine = ~found.is_bad[channel] & (found.status == Status.OK)[:, series]
        score.index_add_(1, series, torch.where(is_fine, of_cells, 0.0))
        count.index_add_(1, series, is_fine.to(u))
        total.index_add_(1, series, torch.ones_like(of_cells))
    by_problem = [x.reshape(len(x), -1, s).sum(dim=2).T for x in (score, count, total)]
    share = by_problem[1] / by_problem[2].clamp(min=1.0)
    g = int(share.amax(dim=1).argmin())
    value = found.log_prior[g] + by_problem[0][g]
    order = sorted(range(u.shape[1]), key=lambda b: (-float(share[g, b]), -float(value[b])))[:n]
    return [(_point(density, u, g, b), float(share[g, b]), float(value[b])) for b in order]


def _example(density: KnownDensity, u: Tensor, found: Evaluation, cause: str, share: float, g: int, b: int) -> Failure:
    s, point = density.space.n_series, _point(density, u, g, b)
    own = range(g * s, (g + 1) * s)
    nan = float("nan")
    if cause.startswith("a parameter"):
        x = density.space.constrain(u[g : g + 1].expand(density.n_problems, -1, -1))[g, b]
        wrong = [name for name, value in zip(density.names, x.tolist()) if not abs(value) < float("inf")]
        named = f" ({', '.join(wrong)})" if wrong else ""
        return Failure(cause + named, share, None, nan, nan, nan, point)
    if cause.startswith("the solve"):
        row = max(own, key=lambda k: int(found.status[b, k]))
        return Failure(cause, share, density.data.ids[row], _time_of_failure(density, u, row, b), nan, nan, point)
    for channel, is_bad in found.is_bad.items():
        cells = density.cells[channel]
        mine = is_bad[b] & (cells.series // s == g)
        if f"channel {channel!r}" in cause and bool(mine.any()):
            k = int(mine.int().argmax())
            row, column = int(cells.series[k]), int(cells.column[k])
            return Failure(
                cause, share, density.data.ids[row], float(density.data.times[row, column]), float(cells.values[k]),
                float(found.predictions[channel][b, k]), point,
            )  # fmt: skip
    return Failure(cause, share, None, nan, nan, nan, point)


def _point(density: KnownDensity, u: Tensor, g: int, b: int) -> dict[str, float]:
    x = density.space.constrain(u)[g, b]
    return dict(zip(density.names, x.tolist()))


def _time_of_failure(density: KnownDensity, u: Tensor, row: int, b: int) -> float:
    """The last time that a solve is known to reach."""
    point = u[:, b : b + 1]
    reached, failed = density.data.start[row], density.data.times[row].max()
    for _ in range(_HALVINGS):
        middle = 0.5 * (reached + failed)
        times = density.data.start.clone()
        times[row] = middle
        with torch.no_grad():
            status = density.trajectories(point, times[:, None])[1].reshape(-1)[row]
        reached, failed = (middle, failed) if int(status) == Status.OK else (reached, middle)
    return float(reached)
