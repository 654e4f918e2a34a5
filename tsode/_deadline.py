"""Deadline for work that cannot be told how long it may take."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Overdue", "deadline"]


class Overdue(BaseException):
    """Work has taken longer than it may; no Exception, for the work itself must not take it for one of its own."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `Overdue` inside after so many seconds of the clock.

    By a signal: where there is none (Windows, threads other than the main one), or where somebody else's is under way,
    nothing is raised, and the work takes as long as it takes.
    """
    is_possible = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not is_possible or not math.isfinite(seconds) or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise Overdue(f"more than {seconds:.3g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
