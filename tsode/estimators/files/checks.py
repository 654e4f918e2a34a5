"""Checks of what a model file holds, before anything is built from it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from tsode._random import OwnDraws
from tsode.core.timeline import Timeline
from tsode.core.transforms import BOX_COX, IDENTITY, LOGIT
from tsode.errors import FileFormatError, UnknownNameError
from tsode.frames.ends import Ends
from tsode.frames.panel import Layout, Panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.supports import SupportScaler

__all__ = ["UNREADABLE", "check_layout", "check_panel", "check_scales", "damaged", "load_weights", "split_by_lengths"]

# What a header or tensors of the wrong kind make of the code that reads them; whoever catches it names the file.
UNREADABLE = (
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    IndexError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
_DTYPES = {"datetime": "M", "timedelta": "m", "float": "iuf", "int": "iuf"}
_KINDS = ("series", "wide", "long", "multiindex", "list")


def damaged(path: Any, error: BaseException | str) -> FileFormatError:
    """The error of a file that is ours and not whole, or names a part that is not registered."""
    if isinstance(error, UnknownNameError):
        return FileFormatError(
            f"{str(path)!r} is damaged, or made with a part of your own: {error} Register that part before loading, as "
            "in tsode.register('dynamics', 'mine', Mine), or fetch a whole copy."
        )
    reason = f"its header has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return FileFormatError(f"{str(path)!r} is damaged: {reason}. Save the model again, or fetch a whole copy.")


def split_by_lengths(array: np.ndarray, lengths: torch.Tensor, n: int, what: str) -> list[np.ndarray]:
    """Cut an array into one piece a series, as `lengths` (n) says.

    Raises
    ------
    ValueError
        If the lengths are not those of `n` series with as many rows together as the array.
    """
    if lengths.dtype != torch.int64 or tuple(lengths.shape) != (n,):
        raise ValueError(
            f"the lengths of {what} are {lengths.dtype} of shape {tuple(lengths.shape)}, not of {n} series"
        )
    counts = lengths.numpy()
    if (counts < 0).any() or int(counts.sum()) != len(array):
        raise ValueError(f"the lengths of {what} do not add up to its {len(array)} rows")
    return np.split(array, np.cumsum(counts)[:-1]) if n else []


def check_panel(panel: Panel, timeline: Timeline) -> None:
    """Raise a ValueError unless `panel` is what `read_panel` could have given, with times that `timeline` can place."""
    if not panel.ids or len(set(panel.ids)) < len(panel.ids):
        raise ValueError("its ids are not distinct")
    if not panel.channels or len(set(panel.channels)) < len(panel.channels):
        raise ValueError("its channels are not distinct")
    check_layout(panel.layout, panel.ids, panel.time_kind)
    for times, values in zip(panel.times, panel.values):
        if values.dtype != np.float64 or values.shape != (len(times), panel.n_channels):
            raise ValueError(f"its values are {values.dtype} of shape {values.shape}, not one column a channel")
        missing = np.isnat(times) if times.dtype.kind in "mM" else ~np.isfinite(times)
        if times.ndim != 1 or missing.any() or (times[1:] <= times[:-1]).any():
            raise ValueError("its times do not increase")
        if np.isinf(values).any():
            raise ValueError("its values are infinite")
        timeline.to_model(times)


def check_layout(layout: Layout, ids: Sequence[Hashable], time_kind: str) -> None:
    """Raise a ValueError unless this may be the layout of a container with these ids and kind of times."""
    if layout.kind not in _KINDS:
        raise ValueError(f"its layout {layout.kind!r} is none of {', '.join(_KINDS)}")
    flags = (layout.time_in_index, layout.is_squeezed, layout.is_unnamed, layout.ids_are_names)
    if not all(isinstance(flag, bool) for flag in flags) or layout.backend not in ("pandas", "polars", "pyarrow"):
        raise ValueError("its layout has other values than true and false, or an unknown library")
    if layout.kind == "long" and (layout.id_col is None or layout.id_col == layout.time_col):
        raise ValueError(f"its column of ids is {layout.id_col!r} and that of times {layout.time_col!r}")
    if (layout.kind == "long" and not layout.time_in_index and layout.time_col is None) or not layout.column_names:
        raise ValueError("its layout does not name its columns")
    if getattr(layout.time_dtype, "kind", None) not in set(_DTYPES[time_kind]):
        raise ValueError(f"its times are {time_kind}, to be written as {layout.time_dtype}")
    categories = getattr(layout.id_dtype, "categories", None)
    if categories is not None and not set(ids) <= set(categories):
        raise ValueError("its ids are not among their categories")


def check_scales(scaler: ChannelScaler, n_channels: int, what: str = "channels") -> None:
    """Raise a ValueError unless the units of all channels are positive and finite."""
    if scaler.shift.shape != (n_channels,) or scaler.scale.shape != (n_channels,):
        raise ValueError(f"it has scales of shape {scaler.scale.shape} for {n_channels} {what}")
    if not (np.isfinite(scaler.shift).all() and np.isfinite(scaler.scale).all() and (scaler.scale > 0).all()):
        raise ValueError(f"the scales of its {what} are not positive and finite")
    if isinstance(scaler, SupportScaler):
        _check_supports(scaler, n_channels)


def _check_supports(scaler: SupportScaler, n_channels: int) -> None:
    """Raise a ValueError unless every channel has a support and a map that goes with it."""
    maps, (low, high, guessed), nearest = scaler.maps, scaler.supports, scaler.nearest
    numbers = [part.numpy() for part in (maps.code, maps.lam, maps.offset)]
    if any(part.shape != (n_channels,) for part in (*numbers, low, high, guessed, nearest)):
        raise ValueError(f"it does not have a support and a map for each of {n_channels} channels")
    code, lam, offset = numbers
    is_kind = np.isin(code, (BOX_COX, LOGIT, IDENTITY)) & (lam >= 0.0) & (lam <= 1.0)
    is_finite = (offset >= 0.0) & np.isfinite(offset) & (nearest >= 0.0) & np.isfinite(nearest)
    # as many ends as the map has
    has_ends = (np.isfinite(low) == (code != IDENTITY)) & (np.isfinite(high) == (code == LOGIT)) & (low < high)
    if not (is_kind & is_finite & has_ends).all():
        raise ValueError("the supports of its channels and the maps of these do not go together")


def check_ends(ends: Ends | None, n_channels: int) -> None:
    """Raise a ValueError unless every channel has a lower and an upper end, in this order."""
    if ends is None:
        return
    if any(part.shape != (n_channels,) for part in ends):
        raise ValueError(f"it does not have two ends for each of {n_channels} channels")
    if not (ends.low <= ends.high).all() or np.isnan([ends.low_from, ends.high_from]).any():
        raise ValueError("the lower ends of its channels are not below the upper ones")


@contextmanager
def _at_most(n: int) -> Iterator[None]:
    """Stop a module that is being built once it has registered `n` parameters: a number in a header may be any."""
    here, count = threading.get_ident(), itertools.count(1)

    def stop(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
        if threading.get_ident() == here and next(count) > n:
            raise ValueError(f"its parameters ask for a model of more than {n} tensors")

    handle = register_module_parameter_registration_hook(stop)
    try:
        yield
    finally:
        handle.remove()


def _rename(name: str) -> str:
    """Today's name of a tensor, from the one in a file of before version 0.2."""
    return ".".join("input_map" if part == "push" else part for part in name.split("."))


def _resize(module: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Make room in a module whose sizes depend on what was fitted."""
    if hasattr(module, "resize_like"):
        module.resize_like(state)


def load_weights(
    build: Callable[[], torch.nn.Module], tensors: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> torch.nn.Module:
    """Build a module and give it the tensors named ``module.*``.

    Shapes are compared before memory is taken, so that a wrong size in a header costs none.

    Raises
    ------
    ValueError
        If the tensors are not those of the module, or not finite.
    """
    state = {_rename(name.removeprefix("module.")): t for name, t in tensors.items() if name.startswith("module.")}
    with torch.device("meta"), _at_most(10 * len(state) + 100):
        empty = build().to(dtype=dtype)
        _resize(empty, state)
        wanted = empty.state_dict()
    if state.keys() != wanted.keys():
        name = min(state.keys() ^ wanted.keys())
        raise ValueError(f"the tensor {name!r} is {'missing' if name in wanted else 'of no part of this model'}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise ValueError(
                f"the tensor {name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"not {wanted[name].dtype} of shape {tuple(wanted[name].shape)}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"the tensor {name!r} is not finite")
    with OwnDraws(torch.Generator()):
        module = build().to(dtype=dtype)
    _resize(module, state)
    module.load_state_dict(state)
    return module
