"""Error of a fit that needs more memory than there is, which says what to set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tsode.errors import ParameterError

__all__ = ["told_of_memory"]

_SIGNS = ("can't allocate memory", "out of memory", "DefaultCPUAllocator")


@contextmanager
def told_of_memory(batch_size: int, n_channels: int) -> Iterator[None]:
    """Turn the errors of allocators inside into one that names the setting that helps.

    Raises
    ------
    ParameterError
        If there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        smaller = f"set batch_size={max(1, batch_size // 4)}, which is {batch_size}, or " if batch_size > 1 else ""
        raise ParameterError(
            f"Training on {n_channels} channels needs more memory than there is: {smaller}max_context= for shorter "
            "pieces of a history, give fewer channels by target=, or a smaller model."
        ) from error
