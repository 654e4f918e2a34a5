"""Isolation of our computations from settings that a process or a thread has made for its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import threadpoolctl
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["isolated"]

# Factories that make floating-point numbers if no dtype is given, and those that do so if the numbers given are.
FLOATING: frozenset[Callable[..., Any]] = frozenset(
    {torch.empty, torch.eye, torch.linspace, torch.logspace, torch.ones, torch.rand, torch.randn, torch.zeros}
)
AS_GIVEN: frozenset[Callable[..., Any]] = frozenset(
    {torch.arange, torch.as_tensor, torch.asarray, torch.full, torch.scalar_tensor, torch.tensor}
)


@contextmanager
def isolated() -> Iterator[None]:
    """Compute inside as in a fresh process: float32 by default, with gradients, at full precision, on one thread.

    Whatever `torch.set_default_dtype`, `torch.set_default_device`, `torch.no_grad`, `torch.inference_mode` and
    `torch.autocast` have set outside changes neither numbers nor whether a fit can learn. Nothing that another thread
    could see is changed: all of this holds in the thread that entered only.

    One thread, for our operations are small: waking others costs more than they save.
    """
    torch.get_num_threads()  # a new thread takes the number of its process now and not later, over our limit
    with ExitStack() as settings:
        settings.enter_context(_thread_pools().limit(limits=1, user_api="openmp"))
        settings.enter_context(torch.inference_mode(False))  # gradients are on again as well
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                settings.enter_context(torch.autocast(device, enabled=False))
        # modes look at every operation, so they are entered only where they change something
        if torch.get_default_device() != torch.device("cpu"):
            settings.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            settings.enter_context(_Float32())
        yield


@functools.cache
def _thread_pools() -> threadpoolctl.ThreadpoolController:
    """The pools of the libraries that are loaded; OpenMP keeps the limit of each calling thread apart."""
    return threadpoolctl.ThreadpoolController()


class _Float32(TorchFunctionMode):
    """Tensors made without a dtype are float32 where they would be of the default dtype."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") is None:
            if func in FLOATING:
                kwargs["dtype"] = torch.float32
            elif func in AS_GIVEN and not hasattr(args[0], "dtype"):
                made = func(*args, **kwargs)
                return func(*args, **{**kwargs, "dtype": torch.float32}) if made.is_floating_point() else made
        return func(*args, **kwargs)
