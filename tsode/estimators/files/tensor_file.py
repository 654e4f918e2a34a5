"""Tensor files: the bytes of a safetensors file, read once into memory of our own.

Nothing is mapped into memory: what becomes of the file afterwards changes no tensor. Sizes are compared with that of
the file before memory is taken for them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

__all__ = ["ChecksumError", "Tensors", "check_header", "checksum", "read_tensor_file"]

Tensors = dict[str, torch.Tensor]

LONGEST_HEADER = 2**25
"""Bytes: room for the ids of a million series."""
MOST_ENTRIES = 2**22
"""Of lists and objects in a header, lest a few bytes for each take gigabytes once they are parsed."""
CHECKED_IN_PIECES = 2**26
"""Bytes from which on the checksum is looked at before all are in memory."""

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """Place of one tensor in the bytes after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


_Part = tuple[str, torch.dtype, tuple[int, ...], Iterable[Any]]  # of what is summed up: name, dtype, shape, bytes


class ChecksumError(ValueError):
    """A file has other contents than those that were saved."""


def checksum(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the header's text and of each tensor's name, dtype, shape and bytes; hexadecimal.

    It tells damage; it is no signature, as whoever changes a file can make it again.
    """

    def parts() -> Iterator[_Part]:
        for name in sorted(tensors):
            tensor = tensors[name]
            flat = tensor.reshape(-1).clone(memory_format=torch.contiguous_format)  # one entry may have a stride of 0
            yield name, tensor.dtype, tuple(tensor.shape), [flat.view(torch.uint8).numpy().data]

    return _digest(text, parts())


def read_tensor_file(path: Any, inspect: Callable[[dict[str, str]], tuple[str, str] | None]) -> Tensors:
    """Tensors of a safetensors file, in one piece of memory that is ours.

    Parameters
    ----------
    path : path
    inspect : callable
        Takes the metadata, before memory is taken for tensors; gives the text and the `checksum` that must hold of it
        and the tensors, or None. Its errors are passed on.

    Raises
    ------
    ValueError
        If this is no whole safetensors file, or asks for more than it holds.
    ChecksumError
        If the checksum does not hold.
    """
    with Path(os.fsdecode(path)).open("rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        metadata, entries, payload = _read_header(file, found.st_size)
        n_bytes = found.st_size - payload
        expected = inspect(metadata)
        if expected is not None and n_bytes > CHECKED_IN_PIECES:
            _compare(*expected, _pieces(file, entries, payload))
        content = bytearray(n_bytes)
        file.seek(payload)
        if file.readinto(content) != n_bytes:  # type: ignore[attr-defined]
            raise ValueError("it was cut off while it was read")
    if expected is not None:
        view = memoryview(content)
        _compare(*expected, [(name, e.dtype, e.shape, [view[e.start : e.end]]) for name, e in sorted(entries.items())])
    return {name: _tensor(content, entry) for name, entry in entries.items()}


def check_header(text: str) -> None:
    """Raise a ValueError where the text of a header asks for more than can be meant."""
    if len(text) > LONGEST_HEADER:
        raise ValueError(f"its header has {len(text)} bytes, which is more than {LONGEST_HEADER}")
    n_entries = sum(map(text.count, "[{,"))
    if n_entries > MOST_ENTRIES:
        raise ValueError(f"its header has {n_entries} entries, which is more than {MOST_ENTRIES}")


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, _Entry], int]:
    """Metadata, the places of the tensors, and where their bytes begin."""
    length = int.from_bytes(file.read(8), "little")
    payload = 8 + length
    if size < 8 or payload > size:
        raise ValueError("it is shorter than its header says")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, which is more than {LONGEST_HEADER}")
    raw = file.read(length).decode()
    check_header(raw)
    header = json.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(entry, str) for entry in metadata.values()):
        raise ValueError("its metadata are no text")
    entries = {name: _entry(name, state) for name, state in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise ValueError(f"the tensor {name!r} does not begin where the one before it ends")
        end = entry.end
    if end != size - payload:
        raise ValueError(f"its tensors have {end} bytes, but {size - payload} follow the header")
    return metadata, entries, payload


def _entry(name: str, state: Any) -> _Entry:
    dtype, shape, (start, end) = _DTYPES[state["dtype"]], tuple(state["shape"]), state["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError(f"the shape of the tensor {name!r} is not of whole numbers")
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the tensor {name!r} is of shape {shape}, but has {end - start} bytes")
    return _Entry(dtype, shape, start, end)


def _tensor(content: bytearray, entry: _Entry) -> torch.Tensor:
    if entry.start == entry.end:
        return torch.empty(entry.shape, dtype=entry.dtype)
    if entry.start % entry.dtype.itemsize:
        raise ValueError("its tensors are not aligned")
    count = (entry.end - entry.start) // entry.dtype.itemsize
    return torch.frombuffer(content, dtype=entry.dtype, count=count, offset=entry.start).reshape(entry.shape)


def _pieces(file: BinaryIO, entries: Mapping[str, _Entry], payload: int) -> Iterator[_Part]:
    """Tensors in the order of their names, their bytes a megabyte at a time."""

    def read(start: int, end: int) -> Iterator[bytes]:
        file.seek(payload + start)
        while start < end:
            piece = file.read(min(2**20, end - start))
            if not piece:
                raise ValueError("it was cut off while it was read")
            yield piece
            start += len(piece)

    for name, entry in sorted(entries.items()):
        yield name, entry.dtype, entry.shape, read(entry.start, entry.end)


def _digest(text: str, parts: Iterable[_Part]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, dtype, shape, pieces in parts:
        digest.update(f"\0{name}\0{dtype}\0{shape}\0".encode())
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def _compare(text: str, wanted: str, parts: Iterable[_Part]) -> None:
    if _digest(text, parts) != wanted:
        raise ChecksumError("its content does not have the checksum that was saved with it")
