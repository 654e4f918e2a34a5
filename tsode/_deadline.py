"""Deadline for work that cannot be told how long it may take."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Overdue", "deadline"]

AGAIN = 1.0  # seconds


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

    is_over = False

    def ring(number: int, frame: Any) -> None:
        if not is_over:
            raise Overdue(f"more than {seconds:.3g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    # again and again: where an object is being deleted, an exception is lost
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN)
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
