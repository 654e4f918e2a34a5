"""Paths seen here and there, when they are seen, and what a problem with a known optimum has to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.report import Report

__all__ = ["N_STEPS", "Paths", "Problem", "drawn_times", "grid_times", "loss", "seen_at"]

N_STEPS = 100


class Paths(NamedTuple):
    """Times (n k) with what is true and what is seen (n k c) at them, NaN where nothing is, and which are asked (n k).

    Times begin at 0 and do not decrease along a path; what is asked at a time may use what was seen strictly before.
    """

    times: np.ndarray
    truth: np.ndarray
    values: np.ndarray
    is_asked: np.ndarray

    def seen(self) -> pd.DataFrame:
        """What a forecaster is given: rows in which anything is seen."""
        return self._rows(~np.isnan(self.values).all(axis=2))

    def asked(self) -> pd.DataFrame:
        return self._rows(self.is_asked)

    def _rows(self, chosen: np.ndarray) -> pd.DataFrame:
        path, _ = np.nonzero(chosen)
        columns = {f"x{c}": self.values[..., c][chosen] for c in range(self.values.shape[2])}
        return pd.DataFrame({"unique_id": path, "ds": self.times[chosen], **columns})


class Problem(ABC):
    """Simulated paths whose best forecast can be computed: the mean of a value, given what was seen before it.

    `n_paths` are trained on and `n_test` tested; `horizon` is how far ahead a user would say that forecasts are for.
    A loss has to stay within `bar` times the optimum's, where there is one.
    """

    name: str
    n_paths: int = 20_000
    n_test: int = 4_000
    horizon: float = 0.5
    bar: float | None = 1.02
    channels: ClassVar[tuple[str, ...]] = ("x",)

    @abstractmethod
    def simulate(self, n: int, generator: np.random.Generator, is_test: bool = False) -> Paths: ...

    @abstractmethod
    def best(self, paths: Paths) -> np.ndarray:
        """array[n k c]: the optimum, wherever it is asked."""

    def tell(
        self, report: Report, who: str, paths: Paths, best: np.ndarray, forecast: np.ndarray, has_bar: bool
    ) -> None:
        """Put the loss of a forecast (n k c) beside the optimum's, channel by channel."""
        for c, channel in enumerate(self.channels):
            ratio = loss(paths, forecast, c) / loss(paths, best, c)
            what = f"{self.name}: {who}: loss of {channel} by the optimum's"
            if has_bar and self.bar is not None:
                report.at_most(what, ratio, self.bar)
            else:
                report.note(f"{what}: {ratio:.4f}")


def loss(paths: Paths, forecast: np.ndarray, channel: int) -> float:
    """Mean squared error of a channel wherever it is asked."""
    return float(np.mean((paths.truth - forecast)[paths.is_asked, channel] ** 2))


def grid_times(n: int, span: float = 1.0, n_steps: int = N_STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Times (n k) of even steps, and which of them are asked: all but the start."""
    times = np.tile(np.linspace(0.0, span, n_steps + 1), (n, 1))
    return times, times > 0.0


def drawn_times(n: int, chance: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (n k) of the grid, which are asked, among them as many uniform ones as the grid would show, which are not.

    Also which of them are drawn: those are seen. Paths with fewer than others end in unseen times at 1.
    """
    count = generator.binomial(N_STEPS, chance, n)
    is_drawn = np.arange(count.max()) < count[:, None]
    drawn = np.where(is_drawn, generator.random(is_drawn.shape), 1.0)
    times, is_asked = grid_times(n)
    times, is_asked = np.hstack([times, drawn]), np.hstack([is_asked, np.zeros_like(is_drawn)])
    is_drawn = np.hstack([np.zeros((n, N_STEPS + 1), dtype=bool), is_drawn])
    order = np.argsort(times, axis=1, kind="stable")
    return tuple(np.take_along_axis(one, order, axis=1) for one in (times, is_asked, is_drawn))  # type: ignore[return-value]


def seen_at(
    times: np.ndarray, chance: float, shares: tuple[float, ...], is_start_seen: tuple[bool, ...],
    generator: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Which channels are seen (n k c): at a time with a chance, and then each with its share; the start as said."""
    is_time = generator.random(times.shape) < chance
    is_seen = is_time[..., None] & (generator.random((*times.shape, len(shares))) < shares)
    is_seen[:, 0] = is_start_seen
    return is_seen
