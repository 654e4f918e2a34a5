"""Check of the gradients that a model is trained by: with other steps, and by another way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tsode._isolation import isolated
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.evolutions.base import Solved
from tsode.numerics.base import Gradient, Solver
from tsode.numerics.captured import Captured
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.gradients import Adjoint, Backprop, Checkpoint
from tsode.numerics.integrate import check_gradient, integrate

__all__ = ["gradient_check"]

FINER = 32  # steps at the least that a span is cut into, to see a gradient that steps were too long for
ROUNDING = 1e-9  # of the largest gradient of all: what is smaller is rounding where it should be zero
OFF = 1e-3  # difference above which the summary says that something is wrong, unless tolerances are as loose


def gradient_check(
    model: Any, X: Any = None, *, t0: float = 0.0, t1: float | None = None, solver: Solver | None = None,
    gradient: Any = "backprop",
) -> pd.DataFrame:  # fmt: skip
    """Comparison of gradients with those on other steps, and by another way.

    A comparison that only tightens tolerances cannot see a state at rest: it allows any step, at any tolerance, and its
    gradient does not. Here the steps themselves are cut (or doubled in number), and the gradient is taken by another
    way that does not share its faults: the adjoint equation for the steps' own derivatives, and these for the adjoint.

    Parameters
    ----------
    model : forecaster or callable
        A fitted forecaster whose state is solved for, or a vector field ``field(t, z)`` such as `solve` takes.
    X : same kinds as in fit, or Tensor[b d]
        Series to forecast, by default those of fit; of a field its states at `t0`.
    t0, t1 : float
        Start and end of the solve, of a field.
    solver, gradient
        Those in question, of a field; by default `Dopri5` and "backprop". A forecaster has its own.

    Returns
    -------
    DataFrame
        A row a tensor that requires a gradient: its ``size``, the ``largest`` entry of its gradient, and the largest
        differences from it in parts of the larger of both: ``steps_error`` on other steps, ``mode_error`` by the
        other way. What is differentiated is a sum of all forecasts (of the states at `t1`) with weights. ``attrs`` have
        the ``gradient`` in question, the ``solver``, the ``other_gradient``, the ``other_solver`` and a ``summary``.

    Raises
    ------
    ParameterError
        If a tensor requires a gradient and gets none, though the result depends on it; if nothing is solved for.

    Examples
    --------
    >>> import torch
    >>> from tsode.diagnostics import gradient_check
    >>> rate = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    >>> table = gradient_check(lambda t, z: rate * z, torch.ones(1, 1, dtype=torch.float64), t1=2.0)
    >>> table["tensor"].tolist(), bool((table[["steps_error", "mode_error"]] < 1e-5).all(axis=None))
    (['start', 'tensor 1'], True)
    """
    if isinstance(model, FittedForecaster):
        with isolated():
            return _compare(_Forecasts(model, X))
    if not callable(model) or X is None or t1 is None:
        raise ParameterError(
            f"gradient_check takes a fitted forecaster, or a field with its starts and an end, but got a "
            f"{type(model).__name__}: write gradient_check(forecaster, X) or gradient_check(field, z0, t1=10.0)."
        )
    solver = Dopri5() if solver is None else solver
    return _compare(_Solve(model, torch.as_tensor(X), t0, t1, solver, check_gradient(solver, gradient)))


@dataclass(frozen=True)
class _Way:
    """A solver, and the way to its gradient."""

    solver: Solver
    gradient: Gradient


class _Solve:
    """A number made of a solve, and the tensors that it is differentiated by."""

    def __init__(self, field: Any, z: Tensor, t0: float, t1: float, solver: Solver, gradient: Gradient) -> None:
        self.field, self.span, self.way = field, t1 - t0, _Way(solver, gradient)
        self.z = (z[None] if z.dim() == 1 else z).detach().clone().requires_grad_()
        self.t0, self.t1 = (torch.full((len(self.z),), t, dtype=torch.float64) for t in (t0, t1))
        captured, start = Captured(), self.z.detach()
        with captured.watching():
            field(self.t0, start)
        names = {id(p): name for name, p in field.named_parameters()} if isinstance(field, nn.Module) else {}
        others = list(captured.tensors)
        if isinstance(field, nn.Module):
            met = set(map(id, others))
            others += [p for p in field.parameters() if p.requires_grad and id(p) not in met]
        self.tensors: dict[str, Tensor] = {"start": self.z}
        self.tensors |= {names.get(id(x), f"tensor {k}"): x for k, x in enumerate(others, 1)}

    def run(self, way: _Way) -> tuple[Tensor, Mapping[str, Tensor]]:
        end = integrate(self.field, self.z, self.t0, self.t1, way.solver, way.gradient).z
        return _weighted(end), self.tensors


class _Forecasts:
    """A number made of the forecasts of a fitted forecaster, in float64, and its weights."""

    def __init__(self, forecaster: FittedForecaster, X: Any) -> None:
        forecaster._check_fitted()
        solved = [part for part in forecaster.module_.modules() if isinstance(part, Solved)]
        if not solved:
            raise ParameterError(
                f"{type(forecaster).__name__} solves nothing numerically here, so there are no steps to check: its "
                "evolution has a closed form."
            )
        self.way, self.span = _Way(solved[0].solver, solved[0].gradient), 1.0
        self.module = copy.deepcopy(forecaster.module_).double()
        reader = replace(forecaster.reader_, events=None, covariates=None)
        panel = forecaster._panel if X is None else reader.read(X, beside=forecaster._panel)  # type: ignore[attr-defined]
        query = reader.query_of(panel, horizon=reader.horizon)
        device = next(self.module.parameters()).device
        self.pieces = list(
            pieces(reader, query, panel, self.module, torch.float64, device, is_joint=True, is_whole=True)
        )

    def run(self, way: _Way) -> tuple[Tensor, Mapping[str, Tensor]]:
        for part in self.module.modules():
            if isinstance(part, Solved):
                part.solver, part.gradient = way.solver, way.gradient
        means = [self.module.forecast(part.batch, part.query_times).mean for part in self.pieces]
        return sum((_weighted(x.flatten(1)) for x in means), torch.zeros(())), dict(self.module.named_parameters())


def _weighted(x: Tensor) -> Tensor:
    """A sum of (b m) in which nothing cancels."""
    return (x * (1.0 + 0.5 * torch.arange(x.numel(), dtype=x.dtype, device=x.device).cos().reshape(x.shape))).sum()


def _compare(question: _Solve | _Forecasts) -> pd.DataFrame:
    way = question.way
    finer, other = _Way(_finer(way.solver, question.span), way.gradient), _other(way)
    if way.gradient.name not in finer.solver.gradients:
        finer = replace(finer, gradient=Backprop())
    asked, on_steps, by_other = (_gradients(question.run, each) for each in (way, finer, other))
    rows = []
    largest = max((float(x.abs().max()) for x in asked.values() if x is not None and x.numel()), default=0.0)
    least = ROUNDING * largest
    for name, found in asked.items():
        if found is None:
            _check_idle(question, name, by_other[name])
            continue
        rows.append({
            "tensor": name, "size": found.numel(), "largest": float(found.abs().max()) if found.numel() else 0.0,
            "steps_error": _error(found, on_steps[name], least), "mode_error": _error(found, by_other[name], least),
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=["tensor", "size", "largest", "steps_error", "mode_error"])
    table.attrs = {
        "gradient": repr(way.gradient), "solver": repr(way.solver), "other_gradient": repr(other.gradient),
        "other_solver": repr(finer.solver), "summary": _summary(table, way, finer, other),
    }  # fmt: skip
    return table


def _gradients(run: Callable[[_Way], tuple[Tensor, Mapping[str, Tensor]]], way: _Way) -> dict[str, Tensor | None]:
    value, tensors = run(way)
    asked = {name: x for name, x in tensors.items() if x.requires_grad}
    found = torch.autograd.grad(value, list(asked.values()), allow_unused=True)
    return dict(zip(asked, found))


def _error(found: Tensor, truth: Tensor | None, least: float) -> float:
    """Largest difference in parts of the larger of the largest entries, or of the `least`; infinite beside NaN."""
    truth = torch.zeros_like(found) if truth is None else truth
    if not found.numel():
        return 0.0
    size = torch.maximum(found.abs().max(), truth.abs().max()).clamp(min=least)
    error = (found - truth).abs().max() / size if float(size) != 0 else size
    return float(error.nan_to_num(nan=torch.inf))


def _finer(solver: Solver, span: float) -> Solver:
    """The solver on other steps, which no tolerance chooses."""
    settings: Any = solver
    names = {field.name for field in fields(settings)} if is_dataclass(settings) else set()
    if "rtol" in names and "max_step" in names:
        longest = min(abs(span) / FINER, settings.max_step or torch.inf)
        return replace(settings, max_step=longest, rtol=settings.rtol / 10, max_steps=100 * settings.max_steps)
    if "max_step" in names and settings.max_step is not None:
        return replace(settings, max_step=settings.max_step / 2)
    if "n_steps" in names and not ("rtol" in names and solver.shares_steps):
        return replace(settings, n_steps=2 * settings.n_steps)
    return Dopri5(max_step=abs(span) / FINER, max_steps=10_000)


def _other(way: _Way) -> _Way:
    """A way that does not share the faults of the one in question."""
    if way.gradient.name == "adjoint":
        return _Way(way.solver, Backprop())
    if hasattr(way.solver, "rtol"):
        like: Any = way.solver
        plain = Dopri5(rtol=like.rtol, atol=like.atol, max_steps=max(10_000, like.max_steps))
        return _Way(plain, Adjoint())
    return _Way(way.solver, Backprop() if way.gradient.name != "backprop" else Checkpoint())


@torch.no_grad()
def _check_idle(question: _Solve | _Forecasts, name: str, by_other: Tensor | None) -> None:
    """Raise a `ParameterError` if a tensor without a gradient changes the result."""
    value, tensors = question.run(question.way)
    tensor = tensors[name]
    kept = tensor.clone()
    tensor.add_(1e-3 * (tensor.abs() + 0.01))
    changed, _ = question.run(question.way)
    tensor.copy_(kept)
    if by_other is not None or not torch.equal(value, changed):
        raise ParameterError(
            f"{name!r} requires a gradient and gets none by {question.way.gradient}, though the result depends on it: "
            "somewhere it is taken out of the graph (detach, .data, NumPy, or a copy made under no_grad)."
        )


def _summary(table: pd.DataFrame, way: _Way, finer: _Way, other: _Way) -> str:
    """One line for people."""
    parts = []
    for column, beside in (("steps_error", f"on steps of {finer.solver}"), ("mode_error", f"by {other.gradient}")):
        if not len(table):
            break
        place = int(table[column].to_numpy().argmax())
        parts.append(f"{table[column].iloc[place]:.1e} of {table['tensor'].iloc[place]!r} {beside}")
    worst = float(table[["steps_error", "mode_error"]].to_numpy().max()) if len(table) else 0.0
    loosest = max(OFF, 1000 * getattr(way.solver, "rtol", 0.0))
    verdict = "differs" if worst > loosest else "agrees"
    return f"{way.gradient} of {way.solver} {verdict}: largest differences {' and '.join(parts) or 'none'}."
