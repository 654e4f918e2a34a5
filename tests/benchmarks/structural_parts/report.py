"""Report of a benchmark: every figure beside its bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Report"]

T = TypeVar("T")


class Report:
    """Prints figures as they come, and remembers how many missed their bars.

    Parameters
    ----------
    share : float
        Of the full counts (series simulated, cutoffs) that is run, for trials.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.n_bars = 0
        self.misses: list[str] = []
        self.part = ""

    def count(self, full: int) -> int:
        """How many of the full count are run."""
        return max(1, min(full, round(self.share * full)))

    def some(self, full: Sequence[T]) -> list[T]:
        """As many of the full sequence, spread evenly over it."""
        n, size = self.count(len(full)), len(full)
        return [full[(2 * k + 1) * size // (2 * n)] for k in range(n)]

    def begin(self, part: str, doc: str | None) -> None:
        self.part = part
        print(f"\n== {part}: {(doc or '').splitlines()[0]}", flush=True)

    def at_most(self, what: str, value: float, bar: float) -> None:
        self._add(what, value, f"<= {bar:g}", value <= bar)

    def at_least(self, what: str, value: float, bar: float) -> None:
        self._add(what, value, f">= {bar:g}", value >= bar)

    def within(self, what: str, value: float, low: float, high: float) -> None:
        self._add(what, value, f"{low:g} .. {high:g}", low <= value <= high)

    def note(self, text: str) -> None:
        print(f"     {text}", flush=True)

    def skip(self, why: str) -> None:
        """A part that cannot be run here: neither met nor missed."""
        print(f"skip {why}", flush=True)

    def _add(self, what: str, value: float, bar: str, is_met: bool) -> None:
        self.n_bars += 1
        if not is_met:
            self.misses.append(f"{self.part}: {what}: {value:.4g}, bar {bar}")
        print(f"{'ok  ' if is_met else 'MISS'} {what:<76} {value:>10.4g}   bar {bar}", flush=True)

    def finish(self) -> int:
        """Print what was missed. How many bars that is."""
        print(f"\n{self.n_bars - len(self.misses)} of {self.n_bars} bars met")
        for miss in self.misses:
            print(f"  missed  {miss}")
        return len(self.misses)
