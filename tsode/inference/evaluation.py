"""Evaluation of a density: counted, in calls that fit into memory, with a deadline, safe where it fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from tsode.inference.density import Density, hurried, reseeded, select, surrogate
from tsode.inference.streams import Streams

__all__ = ["INTERRUPTED", "Effort", "Evaluator", "Progress", "Stopped"]

MOST_ROWS, MOST_SLOPES = 8192, 2048  # of a call, without and with gradients (whose graph is kept)
INTERRUPTED = "interrupted"
T = TypeVar("T")

Progress = Callable[[str, int, float], None]
"""Told after each call: the stage, calls so far, and seconds so far."""


class Stopped(Exception):
    """The time is up, or somebody has pressed Ctrl-C: whoever catches it keeps what there is."""


@dataclass(frozen=True)
class Effort:
    """Evaluations that an answer has taken: calls without and with gradients, rows of both, and CPU seconds."""

    n_value_calls: int = 0
    n_slope_calls: int = 0
    n_rows: int = 0
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.n_value_calls} calls for values and {self.n_slope_calls} for gradients, {self.n_rows} rows, "
            f"{self.cpu_seconds:.1f} CPU seconds"
        )


class _Shared:
    """State of an evaluation, which those of some of its problems have in common with it."""

    def __init__(self, max_seconds: float | None, progress: Progress | None) -> None:
        self.effort = Effort()
        self.started, self.cpu = time.monotonic(), time.process_time()
        self.max_seconds = math.inf if max_seconds is None else max_seconds
        self.progress = progress
        self.stage, self.why_stopped = "start", ""


class Evaluator:
    """Density with the random numbers and the budget of an inference.

    Parameters
    ----------
    density : Density
    streams : Streams
    max_seconds : float or None
        Of the clock. The first call is always made.
    progress : callable or None
        See `Progress`.
    """

    def __init__(
        self,
        density: Density,
        streams: Streams,
        max_seconds: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.density, self.streams = density, streams
        self._shared = _Shared(max_seconds, progress)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return self.density.names

    @property
    def n_problems(self) -> int:
        """Number of problems."""
        return self.density.n_problems

    @property
    def effort(self) -> Effort:
        """Effort so far."""
        return replace(self._shared.effort, cpu_seconds=time.process_time() - self._shared.cpu)

    @property
    def why_stopped(self) -> str:
        """Reason why nothing is evaluated any more, and in which stage that was; empty as long as something is."""
        return self._shared.why_stopped

    @property
    def is_interrupted(self) -> bool:
        """Whether somebody has pressed Ctrl-C."""
        return self.why_stopped.startswith(INTERRUPTED)

    def select(self, problems: Tensor) -> Evaluator:
        """Evaluation of some problems, on the same account."""
        chosen = Evaluator(select(self.density, problems), self.streams.select(problems))
        chosen._shared = self._shared
        return chosen

    def hurried(self) -> Evaluator:
        """Evaluation of what is cheap, on the same account."""
        return self.of(hurried(self.density))

    def reseeded(self, k: int) -> Evaluator:
        """Evaluation by another seed, where the density is estimated."""
        return self.of(reseeded(self.density, k))

    def surrogate(self) -> Evaluator:
        """Evaluation of something smooth that is like the density."""
        return self.of(surrogate(self.density))

    def of(self, density: Density) -> Evaluator:
        """Evaluation of another density with the same problems, on the same account."""
        chosen = Evaluator(density, self.streams)
        chosen._shared = self._shared
        return chosen

    def stage(self, name: str) -> None:
        """Name what the next calls are for."""
        self._shared.stage = name

    def stop(self, why: str) -> None:
        """Evaluate nothing any more."""
        if not self._shared.why_stopped:
            self._shared.why_stopped = f"{why} during {self._shared.stage}"

    def sample_prior(self, n: int) -> Tensor:
        """Draws of the prior: (g n p)."""
        return self.density.sample_prior(n, self.streams.generator()).to(torch.float64)

    def value(self, u: Tensor) -> Tensor:
        """Log density (g b p) -> (g b), -inf wherever it is not finite."""
        parts = u.detach().split(max(1, MOST_ROWS // self.n_problems), dim=1)
        return _or_failed(torch.cat([self._call(part, _value) for part in parts], dim=1))

    def value_and_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Log density and its gradient: (g b p) -> (g b), (g b p); where either is not finite, -inf and zero."""
        parts = u.detach().split(max(1, MOST_SLOPES // self.n_problems), dim=1)
        values, slopes = zip(*(self._call(part, _value_and_slope) for part in parts))
        slope = torch.cat(slopes, dim=1)
        value = _or_failed(torch.cat(values, dim=1)).where(slope.isfinite().all(dim=-1), -torch.inf)
        return value, slope.where(value.isfinite()[..., None], 0.0)

    def _call(self, u: Tensor, evaluate: Callable[[Density, Tensor], Any]) -> Any:
        return self.ask(lambda: evaluate(self.density, u), u.shape[0] * u.shape[1], evaluate is not _value)

    def ask(self, evaluate: Callable[[], T], n_rows: int, is_slope: bool) -> T:
        """What `evaluate` returns, as one more call on the account."""
        shared = self._shared
        before = shared.effort
        if before.n_rows and time.monotonic() - shared.started > shared.max_seconds:
            self.stop(f"stopped after max_seconds={shared.max_seconds:g}")
        if shared.why_stopped:
            raise Stopped(shared.why_stopped)
        try:
            found = evaluate()
        except KeyboardInterrupt:
            self.stop(INTERRUPTED)
            raise Stopped(shared.why_stopped) from None
        shared.effort = replace(
            before,
            n_value_calls=before.n_value_calls + (not is_slope),
            n_slope_calls=before.n_slope_calls + is_slope,
            n_rows=before.n_rows + n_rows,
        )
        if shared.progress is not None:
            n_calls = shared.effort.n_value_calls + shared.effort.n_slope_calls
            shared.progress(shared.stage, n_calls, time.monotonic() - shared.started)
        return found


def _value(density: Density, u: Tensor) -> Tensor:
    with torch.no_grad():
        return density.log_prob(u)


def _value_and_slope(density: Density, u: Tensor) -> tuple[Tensor, Tensor]:
    at = u.clone().requires_grad_()
    with torch.enable_grad():
        value = density.log_prob(at)
        total = value.where(value.isfinite(), 0.0).sum()
        slope = torch.autograd.grad(total, at, allow_unused=True)[0] if total.requires_grad else None
    return value.detach(), torch.zeros_like(u) if slope is None else slope


def _or_failed(value: Tensor) -> Tensor:
    return value.where(value.isfinite(), -torch.inf)
