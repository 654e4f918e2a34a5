"""Check that what a point process answers is finite."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from tsode.errors import SolverError

__all__ = ["check_finite"]


def check_finite(answers: Sequence[np.ndarray] | np.ndarray, ids: Sequence[Hashable], what: str) -> None:
    """Refuse answers, one array a stream, that left the range of numbers.

    Raises
    ------
    SolverError
        That names the stream.
    """
    for key, answer in zip(ids, answers):
        if not np.isfinite(answer).all():
            raise SolverError(
                f"The {what} of stream {key!r} is beyond the range of numbers: its events, or the times asked for, are "
                "too unlike those in fit. Ask for nearer times, drop the stream, or fit on streams like it."
            )
