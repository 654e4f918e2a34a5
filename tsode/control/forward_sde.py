"""Forward equation of a backward one: a drift, a diffusion and a start, and paths with their noise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.assimilation.known_motion import KnownMotion
from tsode.errors import ParameterError, ShapeError
from tsode.estimators.known_sde.forecaster import KnownSDEForecaster
from tsode.inference.parameters import Parameters
from tsode.numerics.milstein import Milstein
from tsode.numerics.sde import DiagonalSDE

__all__ = ["ForwardSDE", "Paths", "as_forward", "fitted_forward", "read_start"]

Field = Callable[[Tensor, Tensor], Tensor]
N_MEMBERS = 64  # states of a belief that a start is the mean of


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths of a forward equation and the noise that has moved them.

    Parameters
    ----------
    t : Tensor[n+1], float64
    x : Tensor[n+1 b d]
    dw : Tensor[n b k]
        Brownian increments between the times.
    """

    t: Tensor
    x: Tensor
    dw: Tensor


@dataclass(frozen=True, eq=False)
class ForwardSDE:
    """Equation ``dX = drift dt + diffusion dW`` in the sense of Ito, from a start.

    Parameters
    ----------
    drift : callable
        ``t`` (b,), ``x`` (b d) -> (b d).
    diffusion : callable
        ``t``, ``x`` -> (b d), the size of each coordinate's own noise, or (b d k), a matrix.
    start : Tensor[d], float64, optional
    t0 : float
        Time of the start.
    names : sequence of str
        Of the states of a fitted equation.
    diagonal : DiagonalSDE, optional
        The equation itself where the library has it: its steps are then those of Milstein.
    """

    drift: Field
    diffusion: Field
    start: Tensor | None = None
    t0: float = 0.0
    names: Sequence[str] = ()
    diagonal: DiagonalSDE | None = None

    def times_noise(self, t: Tensor, x: Tensor, row: Tensor) -> Tensor:
        """Row vectors (b d) times the diffusion there: (b k)."""
        g = self.diffusion(t, x)
        return row * g if g.dim() == 2 else (row[:, None] @ g)[:, 0]

    def paths(
        self, start: Tensor, times: Tensor, n_paths: int, n_substeps: int, generator: torch.Generator
    ) -> Paths:  # fmt: skip
        """Paths from ``start`` (d,) at the first of ``times`` (n+1,), by so many steps between two of them."""
        x = start.expand(n_paths, -1)
        with torch.no_grad():
            g = self.diffusion(times[:1].expand(n_paths), x)
            k = g.shape[-1]
            steps = times.diff() / n_substeps
            noise = torch.randn(len(steps), n_substeps, n_paths, k, generator=generator, dtype=torch.float64)
            noise = noise * steps.sqrt()[:, None, None, None]
            found = [x]
            for i, h in enumerate(steps):
                for j in range(n_substeps):
                    x = self._moved((times[i] + j * h).expand(n_paths), h, x, noise[i, j])
                found.append(x)
        return Paths(times, torch.stack(found), noise.sum(dim=1))

    def _moved(self, t: Tensor, h: Tensor, x: Tensor, dw: Tensor) -> Tensor:
        if self.diagonal is not None:
            return Milstein().step(self.diagonal, t, h.expand(len(x)), x, dw).z
        g = self.diffusion(t, x)
        moved = g * dw if g.dim() == 2 else (g @ dw[..., None]).squeeze(-1)
        return x + self.drift(t, x) * h + moved


def as_forward(forward: Any) -> ForwardSDE:
    """A forward equation from an equation of the library, a pair of a drift and a diffusion, or a fitted forecaster."""
    if isinstance(forward, ForwardSDE):
        return forward
    if isinstance(forward, KnownSDEForecaster):
        return fitted_forward(forward)
    if isinstance(forward, DiagonalSDE):
        equation = forward.double()
        if equation.calculus != "ito":
            raise ParameterError(f"{type(forward).__name__} is meant in the sense of Stratonovich: give it as Ito's.")
        return ForwardSDE(equation.drift, equation.diffusion, diagonal=equation)
    if isinstance(forward, tuple) and len(forward) == 2 and all(map(callable, forward)):
        return ForwardSDE(*forward)
    raise ParameterError(
        "forward must be an equation such as tsode.dynamics.GeometricBrownian, a pair (drift, diffusion) of functions "
        f"of t (b,) and x (b d), or a fitted KnownSDEForecaster, but is {forward!r}."
    )


def fitted_forward(forecaster: KnownSDEForecaster, series: Hashable = None) -> ForwardSDE:
    """The equation of a fitted `KnownSDEForecaster`, from where a series stands after its last row.

    Parameters are the medians of the draws of the posterior, the start is the mean of the states given all rows. Time
    is that of the equations, in units of ``time_unit_``.

    Parameters
    ----------
    forecaster : KnownSDEForecaster
    series : label, optional
        Id of a series; by default the only one.
    """
    forecaster._check_fitted()
    histories = forecaster._histories
    if series is None and len(histories.ids) > 1:
        raise ParameterError(f"There are {len(histories.ids)} series: say which, as in series={histories.ids[0]!r}.")
    key = histories.ids[0] if series is None else series
    if key not in histories.ids:
        raise ParameterError(f"There is no series {key!r}: choose from {', '.join(map(repr, histories.ids[:5]))}.")
    (last,) = histories.select([histories.ids.index(key)]).last_times
    if last is None:
        raise ParameterError(f"Series {key!r} has no rows, so that nothing says in which state it is.")
    query, panel = forecaster._read_query(None, {key: [last]}, None, None, None)
    with isolated(), torch.no_grad():
        runs = forecaster._runs(query, panel, "all")
        run = next(iter(runs))
        branches, chosen = forecaster._branches([run], panel, 0, None)
        # just after the last row, whose value counts
        after = torch.nextafter(torch.from_numpy(run.times), torch.tensor(torch.inf, dtype=torch.float64))
        states = branches.paths(after.expand(len(branches.rows.series), 1), N_MEMBERS)[chosen[0][0]]
        start = states.mean(dim=(0, 1, 2))
        values = {name: x[chosen[0][0]].median()[None] for name, x in branches.rows.values.items()}
        density = branches.density
        one = torch.zeros(1, dtype=torch.int64)
        along = density.known_along(one, Parameters(values))
        motion = KnownMotion(density.system, values, along, density.size[:1], density.is_linear)

    def drift(t: Tensor, x: Tensor) -> Tensor:
        return motion.drift(t[:1], x[None])[0]

    def diffusion(t: Tensor, x: Tensor) -> Tensor:
        return motion.diffusion(t[:1], x[None])[0]

    return ForwardSDE(drift, diffusion, start, float(np.asarray(run.times)[0]), tuple(density.system.states))


def read_start(forward: ForwardSDE, start: Any) -> Tensor:
    """Start (d,) that was given, or that of the equation."""
    given = forward.start if start is None else start
    if given is None:
        raise ParameterError("start is missing: give the state (d,) at time t0.")
    x = torch.as_tensor(given, dtype=torch.float64).detach()
    if x.dim() != 1:
        raise ShapeError(f"start must be one state (d,), but has shape {tuple(x.shape)}.")
    if not bool(x.isfinite().all()):
        raise ParameterError(f"start must be finite, but is {x.tolist()}.")
    t = torch.full((1,), forward.t0, dtype=torch.float64)
    with torch.no_grad():
        f, g = forward.drift(t, x[None]), forward.diffusion(t, x[None])
    if tuple(f.shape) != (1, len(x)) or tuple(g.shape[:2]) != (1, len(x)) or g.dim() not in (2, 3):
        raise ShapeError(
            f"From x of shape (b d) = (1 {len(x)}) the drift must give (1 {len(x)}) and the diffusion (1 {len(x)}) or "
            f"(1 {len(x)} k), but they gave {tuple(f.shape)} and {tuple(g.shape)}."
        )
    return x
