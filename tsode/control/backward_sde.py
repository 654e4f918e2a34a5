"""Backward stochastic differential equations: nonlinear expectations, in few dimensions and in many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.control.backward_problem import BackwardProblem, Driver, Gradient, Terminal, pathwise
from tsode.control.forward_sde import as_forward, read_start
from tsode.control.gradient_network import fit_network
from tsode.control.gradient_regression import fit_regression
from tsode.core.status import Status
from tsode.errors import ParameterError

__all__ = ["BackwardSolution", "backward_sde"]

METHODS = ("regression", "network")
N_ROUNDS = 3  # of the driver's own value
NUMBERS_AT_ONCE = 2**22  # of the states of paths
LAST = 0.2  # of the iterations, over which values are looked at


@dataclass(frozen=True, eq=False)
class BackwardSolution:
    """Value of a backward equation at the start.

    Parameters
    ----------
    value : float
        ``Y(0)``, the mean of ``g + sum f dt - sum Z dW`` over fresh paths.
    error : float
        Its standard error by Monte Carlo. That of steps of time, and of a gradient that is not the true one in a driver
        that reads it, is not in it: try more steps, and see what `loss` is.
    gradient : array[k]
        ``Z(0)``.
    loss : float
        Variance of that sum over fresh paths, by the variance of the terminal value: 0 for the true gradient and short
        steps. It is what to choose settings by.
    fitted_value : float
        ``Y(0)`` as the method has found it on its own paths.
    spread : float
        Standard deviation of this over the last fifth of the iterations of a network; NaN of a regression.
    history : DataFrame
        Of a network ``iteration``, ``loss``, ``value``; of a regression ``time``, ``loss`` (spread of what is to come)
        and ``value`` (its mean), from the end backwards.
    status : Status
        ``OK``, or ``NON_FINITE`` where a path or the loss left the range of numbers.
    """

    value: float
    error: float
    gradient: np.ndarray
    loss: float
    fitted_value: float
    spread: float
    history: pd.DataFrame = field(repr=False)
    status: Status


def backward_sde(
    forward: Any, g: Terminal, f: Driver | None = None, start: Any = None, horizon: float = 1.0, *,
    method: str = "regression", n_steps: int = 20, n_substeps: int = 1, n_paths: int = 20_000, degree: int = 3,
    n_hidden: int = 64, n_iterations: int = 1000, batch_size: int = 64, learning_rate: float = 0.01,
    random_state: Any = None, verbose: int = 0,
) -> BackwardSolution:  # fmt: skip
    """Solve ``-dY = f(t, X, Y, Z) dt - Z dW`` with ``Y(T) = g(X(T))`` along ``dX = drift dt + diffusion dW``.

    ``Y(0) = u(t0, start)``, where ``u`` solves the semilinear equation ``u_t + drift . grad u + 1/2 trace(diffusion
    diffusion' hess u) + f(t, x, u, grad u diffusion) = 0`` with ``u(T, x) = g(x)``: an expectation that feeds back on
    itself, such as a price with two rates of interest, the cost of an optimal control or a risk-sensitive mean.

    Parameters
    ----------
    forward : DiagonalSDE, pair of callables, ForwardSDE or KnownSDEForecaster
        An equation of `tsode.dynamics.SDES` (Ito; its steps are those of Milstein), a pair ``(drift, diffusion)`` of
        functions of ``t`` (b,) and ``x`` (b d), the second giving (b d) or a matrix (b d k), or a fitted forecaster of
        one series: see `fitted_forward`, which is for several.
    g : callable
        ``x`` (b d) -> (b,), by functions of torch. Its slope is a feature of both methods.
    f : callable, optional
        ``t`` (b,), ``x`` (b d), ``y`` (b,), ``z`` (b k) -> (b,). None: 0, and then ``Y(0)`` is ``E[g(X(T))]``.
    start : array[d], optional
        State at the start; of a fitted forecaster by default where its series stands.
    horizon : float
        Time from the start to the end, in the time of the equation.
    method : {"regression", "network"}
        Of the gradient: least squares on polynomials, for a few dimensions, or a network, for many.
    n_steps, n_substeps : int
        Steps of the backward equation, and steps of the forward one in each. The error falls with the first power.
    n_paths : int
        Of a regression, and fresh ones from which `value` is taken, by either method.
    degree : int
        Of the polynomials.
    n_hidden, n_iterations, batch_size, learning_rate
        Of the network: units of each of two layers, steps of Adam, fresh paths in each, and its first step.
    random_state : int, generator or None
    verbose : int
        1 shows progress.

    Returns
    -------
    BackwardSolution

    Raises
    ------
    ShapeError
        If `g` or `f` do not give one number a path, or the fields no states.
    ParameterError
        If a parameter is out of range, or has too many features for the paths.

    References
    ----------
    Han, Jentzen and E 2018, *Solving high-dimensional partial differential equations using deep learning*, PNAS
    115:8505, eq. 1 to 8. Gobet, Lemor and Warin 2005, Annals of Applied Probability 15:2172.

    Examples
    --------
    The mean of a square, and the cost of steering: by Cole and Hopf ``-log E exp(-X(T)**2)``.

    >>> import torch
    >>> from tsode.control import backward_sde
    >>> walk = (lambda t, x: torch.zeros_like(x), lambda t, x: torch.ones_like(x))
    >>> def square(x):
    ...     return x[:, 0] ** 2
    >>> mean = backward_sde(walk, square, start=[0.0], n_paths=2000, random_state=0)
    >>> steered = backward_sde(walk, square, lambda t, x, y, z: -0.5 * z.square().sum(dim=1), [0.0], n_paths=2000,
    ...                        random_state=0)
    >>> round(mean.value, 1), round(steered.value, 1)  # 1 and log(3) / 2
    (1.0, 0.5)
    """
    if method not in METHODS:
        raise ParameterError(f"method must be one of {', '.join(map(repr, METHODS))}, but is {method!r}.")
    counts = {"n_steps": n_steps, "n_substeps": n_substeps, "n_paths": n_paths, "degree": degree,
              "n_hidden": n_hidden, "n_iterations": n_iterations, "batch_size": batch_size}  # fmt: skip
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ParameterError(f"{name} must be a whole number from 1 on, but is {count!r}.")
    for name, number in (("horizon", horizon), ("learning_rate", learning_rate)):
        if not 0.0 < number < np.inf:
            raise ParameterError(f"{name} must be positive and finite, but is {number!r}.")
    equation = as_forward(forward)
    x0 = read_start(equation, start)
    generator = new_generator(random_state)
    with isolated():
        times = equation.t0 + horizon * torch.linspace(0.0, 1.0, n_steps + 1, dtype=torch.float64)
        problem = BackwardProblem(equation, x0, times, g, f, int(n_substeps))
        found: Gradient
        if method == "network":
            found = fit_network(
                problem, generator, n_hidden=n_hidden, n_iterations=n_iterations, batch_size=batch_size,
                learning_rate=learning_rate, verbose=verbose,
            )  # fmt: skip
        else:
            found = fit_regression(
                problem, generator, degree=degree, n_paths=n_paths, n_rounds=N_ROUNDS, verbose=verbose
            )
        return _judged(problem, found, n_paths, generator, method == "network")


@torch.no_grad()
def _judged(
    problem: BackwardProblem, found: Gradient, n_paths: int, generator: torch.Generator, is_network: bool
) -> BackwardSolution:
    """The value by fresh paths."""
    width = (len(problem.times) - 1) * len(problem.start)
    at_once = max(1, NUMBERS_AT_ONCE // width)
    parts, ends = [], []
    for first in range(0, n_paths, at_once):
        paths = problem.paths(min(at_once, n_paths - first), generator)
        y, z = found.along(paths)
        parts.append(pathwise(problem, paths, y, z))
        ends.append(problem.terminal(paths.x[-1]))
    values = torch.cat(parts)
    history = pd.DataFrame(found.history)
    plain = float(torch.cat(ends).var())
    is_fine = bool(values.isfinite().all()) and bool(np.isfinite(history["loss"]).all())
    last = history["value"].tail(max(2, round(LAST * len(history))))
    return BackwardSolution(
        value=float(values.mean()),
        error=float(values.std()) / n_paths**0.5,
        gradient=z[0, 0].numpy(),
        loss=float(values.var()) / plain if plain > 0.0 else 0.0,
        fitted_value=found.value,
        spread=float(last.std()) if is_network else float("nan"),
        history=history,
        status=Status.OK if is_fine else Status.NON_FINITE,
    )
