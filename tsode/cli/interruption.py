"""Interruption of a command by Ctrl-C or by who runs it, which ends training early but does not lose what it has."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["Interruption"]


class Interruption:
    """Makes SIGTERM, as SIGINT, a KeyboardInterrupt while its block runs, and remembers the signal that came.

    Attributes
    ----------
    exit_code : int
        Of a command that was interrupted: 128 and the number of the signal, as shells have it; 0 if none came.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.exit_code = 128 + number
        raise KeyboardInterrupt
