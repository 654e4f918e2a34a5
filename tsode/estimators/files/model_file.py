"""Model files: one safetensors file whose header holds the rest as JSON. Reading one never runs code."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tsode.errors import FileFormatError
from tsode.estimators.files.checks import UNREADABLE, checksum, damaged
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
Tensors = dict[str, torch.Tensor]

FORMAT_VERSION = 3  # 1 had no checksum, 2 no parts with settings
WITHOUT_PARTS = 2  # of a file that names no part with settings, so that older versions read it


def write_model_file(path: Any, header: Header, tensors: Tensors) -> None:
    """Write tensors under a header of JSON, which may name a format; the file appears whole or not at all."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(target.parent)!r} to save to: make it first.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    text = json.dumps({"format_version": WITHOUT_PARTS, **header})
    try:
        # not `save_file`, whose files only their owner may read
        temporary.write_bytes(save(tensors, metadata={"tsode": text, "sha256": checksum(text, tensors)}))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def read_model_file(path: Any) -> tuple[Header, Tensors]:
    """Header and tensors of a file written by `write_model_file`; the header names its class.

    Raises
    ------
    FileFormatError
        If the file is damaged, is not one of ours or is of a newer format.
    """
    if Path(path).is_dir():
        raise FileFormatError(f"{str(path)!r} is a folder, not a model file: give the path that was passed to save().")
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no model file {str(path)!r}: give the path that was passed to save().")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        header = json.loads(metadata["tsode"])
        version = header["format_version"]
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ValueError(f"its format is {version!r}")
    except (SafetensorError, OSError, *UNREADABLE) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise FileFormatError(
            f"{str(path)!r} is not an undamaged tsode model file ({reason}): give one that save() has written."
        ) from error
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"{str(path)!r} has format {version}, but this version of tsode reads up to {FORMAT_VERSION}: "
            "upgrade tsode."
        )
    if (version > 1 or "sha256" in metadata) and metadata.get("sha256") != checksum(metadata["tsode"], tensors):
        raise damaged(path, "its content does not have the checksum that was saved with it")
    if not isinstance(header.get("class"), str):
        raise damaged(path, "its header names no class")
    return header, tensors


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
