"""Interruption of what follows training: the trained weights stay."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tsode.errors import TsodeWarning

__all__ = ["kept_if_interrupted"]


@contextmanager
def kept_if_interrupted(model: nn.Module, doing: str) -> Iterator[None]:
    """Work inside that follows training; Ctrl-C leaves the model as it came in, and says so in a warning."""
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    try:
        yield
    except KeyboardInterrupt:
        model.load_state_dict(before)
        warnings.warn(
            f"fit was interrupted while {doing}, which is left out; the trained weights are kept.",
            TsodeWarning,
            stacklevel=5,
        )
