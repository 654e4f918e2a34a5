"""Model files: one safetensors file whose header holds the rest as JSON. Reading one never runs code."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tsode._files import whole_file
from tsode.errors import FileFormatError, ParameterError
from tsode.estimators.files.checks import UNREADABLE, damaged
from tsode.estimators.files.tensor_file import ChecksumError, Tensors, check_header, checksum, read_tensor_file
from tsode.frames.labels import decode_label

__all__ = [
    "FORMAT_VERSION",
    "Header",
    "Tensors",
    "decode_labels",
    "read_model_file",
    "view_times",
    "weights_of",
    "write_model_file",
]

Header = dict[str, Any]
FORMAT_VERSION = 3  # 1 had no checksum, 2 no parts with settings
WITHOUT_PARTS = 2  # of a file that names no part with settings, so that older versions read it


def write_model_file(path: Any, header: Header, tensors: Tensors) -> None:
    """Write tensors under a header of JSON, which may name a format; the file appears whole or not at all.

    Raises
    ------
    ParameterError
        If the header is larger than `read_model_file` takes.
    """
    text = json.dumps({"format_version": WITHOUT_PARTS, **header})
    with whole_file(path) as file:
        content = save(tensors, metadata={"tsode": text, "sha256": checksum(text, tensors)})
        try:
            check_header(content[8 : 8 + int.from_bytes(content[:8], "little")].decode())
        except ValueError as error:
            raise ParameterError(
                f"This is too much for a model file ({error}): keep the estimator by pickle."
            ) from None
        file.write(content)


def read_model_file(path: Any) -> tuple[Header, Tensors]:
    """Header and tensors of a file written by `write_model_file`; the header names its class.

    All is read into memory of our own: what becomes of the file afterwards is of no account.

    Raises
    ------
    FileFormatError
        If the file is damaged, is not one of ours or is of a newer format.
    FileNotFoundError, PermissionError
    """
    name = repr(os.fsdecode(path))
    if os.path.isdir(path):
        raise FileFormatError(f"{name} is a folder, not a model file: give the path that was passed to save().")
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError(f"There is no model file {name}: give the path that was passed to save().")
    header: Header = {}

    def inspect(metadata: dict[str, str]) -> tuple[str, str] | None:
        header.update(_read_header(metadata["tsode"]))
        version = header["format_version"]
        if version > FORMAT_VERSION:
            raise FileFormatError(
                f"{name} has format {version}, but this version of tsode reads up to {FORMAT_VERSION}: upgrade tsode."
            )
        return (metadata["tsode"], metadata.get("sha256", "")) if version > 1 or "sha256" in metadata else None

    try:
        tensors = read_tensor_file(path, inspect)
    except FileFormatError:
        raise
    except PermissionError as error:
        raise PermissionError(f"{name} may not be read ({error.strerror}): change its mode or its owner.") from error
    except ChecksumError as error:
        raise damaged(path, error) from error
    except (OSError, *UNREADABLE) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise FileFormatError(
            f"{name} is not an undamaged tsode model file ({reason}): give one that save() has written."
        ) from error
    if not isinstance(header.get("class"), str):
        raise damaged(path, "its header names no class")
    return header, tensors


def _read_header(text: str) -> Header:
    check_header(text)
    header = json.loads(text)
    version = header["format_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"its format is {version!r}")
    return header


def decode_labels(states: Any) -> list[Hashable]:
    """Undo `encode_label` on each of a list."""
    if not isinstance(states, list):
        raise ValueError(f"its labels are a {type(states).__name__}, not a list")
    return [decode_label(state) for state in states]


def view_times(tensor: torch.Tensor, dtype: Any) -> np.ndarray:
    """Native times (n) of numbers in a file; `dtype` is the name of theirs."""
    kind = np.dtype(str(dtype))
    is_time = kind.kind in "mMif" and kind.itemsize == 8
    if not is_time or tensor.dtype not in (torch.int64, torch.float64) or tensor.ndim != 1:
        raise ValueError(f"its times are {tensor.dtype} of shape {tuple(tensor.shape)}, to be read as {dtype!r}")
    return tensor.numpy().view(kind)


def weights_of(module: torch.nn.Module) -> Tensors:
    """Weights of a model as tensors of a file, which `load_weights` reads."""
    return {f"module.{name}": value.detach().cpu().clone() for name, value in module.state_dict().items()}
