"""Parameters as users give them -> what is meant by them, or an error that says what to give."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import torch

from tsode.core.timeline import Timeline, typical_gap
from tsode.errors import ParameterError
from tsode.frames.durations import read_duration
from tsode.frames.panel import Panel

__all__ = ["find_device", "find_dtype", "find_horizon", "find_unit", "read_levels"]

SCALES_APART = 100  # times longer: of another scale
FEWEST_GAPS = 10  # shorter ones, before a gap is a silence


def find_device(name: Any) -> torch.device:
    """The torch device of this name; "auto" is a GPU where there is one.

    Raises
    ------
    ParameterError
        If there is none.
    """
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0].rstrip(".")
        raise ParameterError(f"device={name!r} cannot be used ({reason}): try 'auto' or 'cpu'.") from error
    return device


def find_dtype(name: Any) -> torch.dtype:
    """The torch dtype of this name."""
    known = {"float32": torch.float32, "float64": torch.float64}
    if not isinstance(name, str) or name not in known:
        raise ParameterError(f"dtype must be 'float32' or 'float64', but is {name!r}.")
    return known[name]


def find_horizon(horizon: Any, panel: Panel) -> Any:
    """The training horizon in the data's own time; "auto" is half the median span of what was seen of the series.

    Silences do not count, see `_span`.
    """
    if not (isinstance(horizon, str) and horizon == "auto"):
        span = read_duration(horizon, panel.time_kind)
        if Timeline.fit(panel.times).duration(span) <= 0.0:
            raise ParameterError(f"horizon={horizon!r} must be positive: it is how far ahead to forecast.")
        return span
    is_number = panel.time_kind in ("float", "int")
    seen = panel.seen_times
    spans = [_span(t) for t in seen if len(t) > 1]
    if not spans:  # no series has two times: only a baseline can use this
        return 1.0 if is_number else np.timedelta64(1, "D")
    median = np.sort(np.array(spans))[len(spans) // 2]
    return float(median) / 2.0 if is_number else max(median / 2, np.ones((), dtype=median.dtype)[()])


def find_unit(horizon: Any, panel: Panel) -> Any:
    """One unit of model time: the horizon, unless what the data do is of another scale by far.

    A model whose unit is longer than all the data, or shorter than the gaps between them, begins where nothing can be
    learned: then the unit is half the median span, or the median gap.
    """
    half_span, gap = find_horizon("auto", panel), typical_gap(panel.seen_times)
    length: Any = np.timedelta64(horizon) if isinstance(horizon, datetime.timedelta) else horizon
    if length / SCALES_APART > half_span:
        return half_span
    if gap is not None and gap / SCALES_APART > length > length * 0:  # what is not positive is refused elsewhere
        return gap if isinstance(gap, np.timedelta64) else float(gap)
    return horizon


def _span(times: np.ndarray) -> Any:
    """Time from the first to the last of sorted times, less silences.

    A silence is a gap many times as long as all shorter gaps together, of which there must be some: it holds nothing of
    what the series does.
    """
    if len(times) < FEWEST_GAPS + 2:
        return times[-1] - times[0]
    gaps = np.sort(np.diff(times))
    passed = gaps.cumsum()
    is_silence = gaps[FEWEST_GAPS:] / SCALES_APART > passed[FEWEST_GAPS - 1 : -1]
    if not is_silence.any():
        return times[-1] - times[0]
    return passed[FEWEST_GAPS - 1 + int(is_silence.argmax())]


def read_levels(levels: Any, name: str, top: float) -> list[float]:
    """One level or several, in (0, `top`)."""
    try:
        numbers = [float(level) for level in np.atleast_1d(levels)]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(0.0 < level < top for level in numbers):
        raise ParameterError(
            f"{name} must lie between 0 and {top:g}, but is {levels!r}: pass e.g. {name}={[top * 0.8]}."
        )
    return numbers
