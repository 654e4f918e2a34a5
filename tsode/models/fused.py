"""Which fused kernel, if any, serves the parts of a jump filter.

A kernel runs all events of a batch in one autograd node and returns the same `Path` as the plain loop. To add one:
append its ``(matches, run)`` to `KERNELS`. Parts are matched by exact type: a subclass may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.path import Path

if TYPE_CHECKING:
    from tsode.models.jump_filter import JumpFilter

__all__ = ["KERNELS", "Run", "kernel_for"]

Run = Callable[["JumpFilter", IrregularBatch, Tensor, Tensor], Path]
"""``(model, batch, last, seen) -> Path``, as `JumpFilter._loop`."""

KERNELS: list[tuple[Callable[[JumpFilter], bool], Run]] = []


def kernel_for(model: JumpFilter) -> Run | None:
    """The first kernel that serves the parts of `model`."""
    return next((run for matches, run in KERNELS if matches(model)), None)
