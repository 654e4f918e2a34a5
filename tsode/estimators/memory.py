"""Memory that training takes, what there is of it, and the error that says what to set where it is too little."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tsode.errors import ParameterError

__all__ = ["check_memory", "free_memory", "told_of_memory"]

_SIGNS = ("can't allocate memory", "out of memory", "DefaultCPUAllocator")


def check_memory(estimator: Any, step_bytes: Callable[[int], float], n_channels: int) -> None:
    """Refuse a training step that would not fit, before the system ends the process for it.

    Parameters
    ----------
    estimator : Any
        With a parameter ``batch_size``.
    step_bytes : callable
        Bytes that a step takes, about, of a batch size.
    n_channels : int

    Raises
    ------
    ParameterError
        If it would not, with the settings that help; not where the free memory is unknown.
    """
    needed, free = step_bytes(estimator.batch_size), free_memory()
    if free is None or needed <= free:
        return
    fitting = next((size for size in _halves(estimator.batch_size) if step_bytes(size) <= free), None)
    raise ParameterError(
        f"A training step on {n_channels} channels takes about {_size(needed)} of memory, but {_size(free)} are free: "
        f"{_advice(estimator, fitting)}."
    )


@contextmanager
def told_of_memory(estimator: Any, n_channels: int) -> Iterator[None]:
    """Turn the errors of allocators inside into one that names the settings of the estimator that help.

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
        batch_size = getattr(estimator, "batch_size", 1)
        fitting = max(1, batch_size // 4) if batch_size > 1 else None
        raise ParameterError(
            f"Training on {n_channels} channels needs more memory than there is: {_advice(estimator, fitting)}."
        ) from error


def free_memory() -> float | None:
    """Bytes that this process may still take; None where that is not known, as on systems other than Linux.

    The least of what the machine has, what control groups (a container's limit) leave, and what the limit of the
    process leaves (``ulimit -v``).
    """
    known = [*_free_of_machine(), *_free_of_groups(), *_free_of_process()]
    return max(0.0, min(known)) if known else None


def _free_of_machine() -> Iterator[float]:
    with suppress(OSError, KeyError):
        yield 1024.0 * _entries("/proc/meminfo")["MemAvailable"]


def _free_of_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Iterator[float]:
    """What each group that the process is in leaves; the files of a group are named by the version of the system."""
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            top = root / "memory" if kinds else root
            limit, used, cache = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                if kinds
                else ("memory.max", "memory.current", "inactive_file")
            )
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):  # without a limit, it reads "max"
                    most, now = (float((folder / name).read_text()) for name in (limit, used))
                    yield most - now + _entries(folder / "memory.stat").get(cache, 0.0)
                if folder == top:
                    break


def _free_of_process() -> Iterator[float]:
    with suppress(ImportError, OSError, ValueError, KeyError):
        import resource  # there is none on Windows

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            yield most - 1024.0 * _entries("/proc/self/status")["VmSize"]


def _entries(path: str | Path) -> dict[str, float]:
    """Numbers of a file of the system, by their names."""
    found = re.findall(r"^(\w+):?\s+(\d+)", Path(path).read_text(), re.MULTILINE)
    return {name: float(number) for name, number in found}


def _halves(number: int) -> Iterator[int]:
    while number > 1:
        number //= 2
        yield number


def _advice(estimator: Any, batch_size: int | None) -> str:
    """Settings that help, of those that the estimator has."""
    has = estimator.get_params(deep=False)
    ways = [f"set batch_size={batch_size}, which is {has['batch_size']}"] if batch_size else []
    if has.get("n_members", 1) != 1:
        ways.append("set n_members=1")
    if has.get("n_train_samples", 1) > 1:
        ways.append("set n_train_samples=1")
    if "max_context" in has:
        ways.append(f"set max_context=, which is {has['max_context']}, for shorter pieces of a history")
    return ", or ".join([*ways, "give fewer channels by target="])


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
