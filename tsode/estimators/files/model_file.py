"""Model files: one safetensors file whose header holds the rest as JSON. Reading one never runs code."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from sklearn.base import BaseEstimator

from tsode._registry import lookup
from tsode.core.timeline import Timeline
from tsode.errors import DataError, FileFormatError, ParameterError, UnknownNameError
from tsode.estimators.files.checks import (
    UNREADABLE,
    check_panel,
    check_scales,
    checksum,
    damaged,
    load_weights,
    split_by_lengths,
)
from tsode.estimators.files.linear_heads import HEADS
from tsode.estimators.forecasters.reader import DataReader, ReaderSettings
from tsode.estimators.settings import find_device
from tsode.frames.covariates import CovariateCoder
from tsode.frames.inputs import DosingInputs, EventEncoder
from tsode.frames.labels import decode_label, encode_label
from tsode.frames.panel import CovariateRecord, Layout, Panel
from tsode.frames.scaling import ChannelScaler

__all__ = [
    "FORMAT_VERSION",
    "decode_labels",
    "decode_parameter",
    "describe_estimator",
    "encode_parameters",
    "load_estimator",
    "read_model_file",
    "restore_estimator",
    "save_estimator",
    "view_times",
    "write_model_file",
]

FORMAT_VERSION = 2  # 1 had no checksum
NOT_SAVED = ("callbacks", "random_state", "verbose")  # they belong to a session, not to a model

T = TypeVar("T")


def save_estimator(estimator: Any, path: Any) -> None:
    """Write a fitted forecaster; the file appears whole or not at all. See `describe_estimator` for errors."""
    write_model_file(path, *describe_estimator(estimator))


def describe_estimator(estimator: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a fitted forecaster; `restore_estimator` undoes it.

    Raises
    ------
    ParameterError
        If a parameter is an object that JSON cannot hold, such as a part given by instance.
    """
    panel: Panel = estimator._panel
    reader: DataReader = estimator.reader_
    header = {
        "class": type(estimator).__name__,
        "params": encode_parameters(estimator),
        **_describe_reader(reader),
        "layout": panel.layout.to_dict(),
        "ids": [encode_label(key) for key in panel.ids],
        "channels": [encode_label(name) for name in panel.channels],
        "history": estimator.history_.to_dict(orient="list"),
        "n_iter": estimator.n_iter_,
        "time_dtype": str(panel.times[0].dtype),
        "ids_of_inputs": [encode_label(key) for key in panel.inputs],
    }
    tensors = {f"module.{name}": value.detach().cpu().clone() for name, value in estimator.module_.state_dict().items()}
    plain = [t.view(np.int64) if t.dtype.kind in "mM" else t for t in panel.times]
    tensors["panel.times"] = torch.from_numpy(np.concatenate(plain).copy())
    tensors["panel.values"] = torch.from_numpy(np.concatenate(panel.values).copy())
    tensors["panel.lengths"] = torch.tensor([len(t) for t in panel.times])
    if panel.inputs:
        put_in = list(panel.inputs.values())
        kind = np.result_type(*(one.times.dtype for one in put_in))
        times = np.concatenate([one.times.astype(kind) for one in put_in])
        tensors["inputs.times"] = torch.from_numpy(times.view(np.int64))
        tensors["inputs.values"] = torch.from_numpy(np.concatenate([one.values for one in put_in]))
        tensors["inputs.lengths"] = torch.tensor([len(one.times) for one in put_in])
        header["time_dtype_of_inputs"] = str(kind)
    if reader.covariates is not None:
        tensors |= _known_tensors(panel, header)
    return header, tensors


def encode_parameters(estimator: Any) -> dict[str, Any]:
    """Constructor parameters, ready for JSON; `decode_parameter` undoes each."""
    params = {name: value for name, value in estimator.get_params(deep=False).items() if name not in NOT_SAVED}
    return {name: _encode_parameter(name, value) for name, value in params.items()}


def write_model_file(path: Any, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors under a header of JSON; the file appears whole or not at all."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(target.parent)!r} to save to: make it first.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    text = json.dumps({"format_version": FORMAT_VERSION, **header})
    try:
        # not `save_file`, whose files only their owner may read
        temporary.write_bytes(save(tensors, metadata={"tsode": text, "sha256": checksum(text, tensors)}))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def load_estimator(cls: type[T], path: Any, device: str) -> T:
    """Read an estimator written by `save_estimator`.

    Raises
    ------
    FileFormatError
        If the file is damaged, is not one of ours, is of a newer format, or holds another class.
    """
    place = find_device(device)
    header, tensors = read_model_file(path)
    try:
        # the closed list of classes, and the one that the caller names
        made = lookup({**_registry(), cls.__name__: cls}, str(header["class"]), "forecaster")
    except UnknownNameError as error:
        raise FileFormatError(f"{str(path)!r} holds a class that tsode does not have: {error}") from error
    if not issubclass(made, cls):
        raise FileFormatError(f"{str(path)!r} holds a {made.__name__}: load it with {made.__name__}.load(path).")
    try:
        return _restore(made, header, tensors, place)
    except UNREADABLE as error:
        raise damaged(path, error) from error


def read_model_file(path: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
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


def restore_estimator(header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    """The forecaster that `describe_estimator` gave header and tensors of; its class is one of the closed list."""
    return _restore(lookup(_registry(), header["class"], "forecaster"), header, tensors, device)


def _restore(made: Any, header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    estimator = made(**{name: decode_parameter(value) for name, value in header["params"].items()})
    reader = _restore_reader(header, estimator.reader_settings())
    ids, lengths = decode_labels(header["ids"]), tensors["panel.lengths"]
    times = view_times(tensors["panel.times"], header["time_dtype"])
    panel = Panel(
        ids=ids,
        times=split_by_lengths(times, lengths, len(ids), "its times"),
        values=split_by_lengths(tensors["panel.values"].numpy(), lengths, len(ids), "its values"),
        channels=reader.channels,
        layout=Layout.from_dict(header["layout"]),
        inputs=_restore_inputs(header, tensors, reader.events),
        covariates=_restore_known(header, tensors, reader.covariates),
    )
    check_scales(reader.timeline, reader.scaler, panel.n_channels)
    check_panel(panel, reader.timeline)
    module = load_weights(
        lambda: estimator._build(panel.n_channels, reader.n_inputs, reader.n_features),
        tensors,
        dtype=estimator._torch_dtype(),
    )
    estimator._keep(reader, panel, module.to(device), header["history"], int(header["n_iter"]))
    return estimator


def _describe_reader(reader: DataReader) -> dict[str, Any]:
    """All but the settings, which are parameters, and the channels, ready for JSON."""
    return {
        "timeline": reader.timeline.to_dict(),
        "scaler": reader.scaler.to_dict(),
        "horizon": _encode_span(reader.horizon),
        "time_unit": _encode_span(reader.time_unit),
        "n_features_in": reader.n_features_in,
        "is_array": reader.is_array,
        "is_squeezed": reader.is_squeezed,
        "inputs": None if reader.events is None else reader.events.to_dict(),
        "covariates": None if reader.covariates is None else reader.covariates.to_dict(),
    }


def _restore_reader(header: dict[str, Any], settings: ReaderSettings) -> DataReader:
    events, covariates = header.get("inputs"), header.get("covariates")
    return DataReader(
        settings=settings,
        channels=decode_labels(header["channels"]),
        timeline=Timeline.from_dict(header["timeline"]),
        scaler=ChannelScaler.from_dict(header["scaler"]),
        horizon=_decode_span(header["horizon"]),
        time_unit=_decode_span(header["time_unit"]),
        events=None if events is None else EventEncoder.from_dict(events),
        covariates=None if covariates is None else CovariateCoder.from_dict(covariates),
        is_array=bool(header["is_array"]),
        is_squeezed=bool(header["is_squeezed"]),
        n_features_in=int(header["n_features_in"]),
    )


def _restore_inputs(
    header: dict[str, Any], tensors: dict[str, torch.Tensor], coder: EventEncoder | None
) -> dict[Hashable, DosingInputs]:
    ids = decode_labels(header.get("ids_of_inputs", []))
    if not ids or coder is None:
        return {}
    lengths, native = tensors["inputs.lengths"], view_times(tensors["inputs.times"], header["time_dtype_of_inputs"])
    put_in = tensors["inputs.values"].numpy()
    if put_in.dtype != np.float64 or put_in.shape != (len(native), len(coder.columns)) or not np.isfinite(put_in).all():
        raise ValueError(
            f"its events are {put_in.dtype} of shape {put_in.shape}, not finite ones of its kinds of event"
        )
    times, values = (split_by_lengths(part, lengths, len(ids), "its events") for part in (native, put_in))
    return dict(zip(ids, map(DosingInputs, times, values)))


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


def _known_tensors(panel: Panel, header: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Covariates of all series, end to end; what is needed to take them apart goes into the header."""
    header["ids_of_known"] = [encode_label(key) for key in panel.covariates]
    every = list(panel.covariates.values())
    tensors: dict[str, torch.Tensor] = {}
    static = [one.static for one in every if one.static is not None]
    if static:
        tensors["known.static"] = torch.from_numpy(np.stack(static))
        header["has_static"] = [one.static is not None for one in every]
    times = [one.times for one in every if one.times is not None]
    if times:
        kind = np.result_type(*(t.dtype for t in times))
        tensors["known.times"] = torch.from_numpy(np.concatenate([t.astype(kind) for t in times]).view(np.int64))
        tensors["known.values"] = torch.from_numpy(np.concatenate([x.values for x in every if x.values is not None]))
        tensors["known.lengths"] = torch.tensor([-1 if one.times is None else len(one.times) for one in every])
        header["time_dtype_of_known"] = str(kind)
    return tensors


def _restore_known(
    header: dict[str, Any], tensors: dict[str, torch.Tensor], coder: CovariateCoder | None
) -> dict[Hashable, CovariateRecord]:
    ids = decode_labels(header.get("ids_of_known", []))
    if coder is None:
        return {}
    found = dict.fromkeys(ids, CovariateRecord(None, None, None))
    if coder.static:
        having = [key for key, has in zip(ids, header["has_static"]) if has]
        static = tensors["known.static"].numpy()
        _check_numbers(static, (len(having), coder.n_static), "its static covariates")
        found |= {key: replace(found[key], static=own) for key, own in zip(having, static)}
    if coder.known:
        lengths = tensors["known.lengths"]
        having = [key for key, length in zip(ids, lengths.tolist()) if length >= 0]
        times, values = (
            view_times(tensors["known.times"], header["time_dtype_of_known"]),
            tensors["known.values"].numpy(),
        )
        _check_numbers(values, (len(times), len(coder.known)), "its covariates along time", may_lack=True)
        parts = [
            split_by_lengths(part, lengths[lengths >= 0], len(having), "its covariates") for part in (times, values)
        ]
        found |= {key: replace(found[key], times=t, values=x) for key, t, x in zip(having, *parts)}
    return found


def _check_numbers(found: np.ndarray, shape: tuple[int, ...], what: str, may_lack: bool = False) -> None:
    is_sound = found.dtype == np.float64 and found.shape == shape
    if not is_sound or not (np.isfinite(found) | (may_lack & np.isnan(found))).all():
        raise ValueError(f"{what} are {found.dtype} of shape {found.shape}, not finite ones of shape {shape}")


def _registry() -> dict[str, type]:
    import tsode.estimators as estimators  # the closed list of classes is above this file's own classes

    return {
        name: made for name, made in vars(estimators).items() if name in estimators.__all__ and isinstance(made, type)
    }


def _parts() -> dict[str, type]:
    """Estimators that may be parameters of another one."""
    return {**_registry(), **HEADS}


def _encode_parameter(name: str, value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        if _parts().get(type(value).__name__) is not type(value):
            raise ParameterError(
                f"{name}={type(value).__name__}(...) cannot be written to a model file, which may hold "
                f"{', '.join(sorted(_parts()))}: take one of these, or keep the estimator with pickle."
            )
        return {"estimator": {"class": type(value).__name__, "params": encode_parameters(value)}}
    if isinstance(value, pd.Index) or (isinstance(value, np.ndarray) and value.dtype.kind in "mM"):
        value = list(pd.Index(value))
    if isinstance(value, np.timedelta64 | pd.Timedelta):
        return {"label": encode_label(pd.Timedelta(value))}
    if isinstance(value, np.ndarray | torch.Tensor):
        return {"array": np.asarray(value).tolist()}
    if isinstance(value, list):
        return [_encode_parameter(name, part) for part in value]
    if isinstance(value, dict):
        return {"dict": {str(key): _encode_parameter(name, part) for key, part in value.items()}}
    try:
        return {"label": encode_label(value)}
    except DataError as error:
        raise ParameterError(
            f"{name}={type(value).__name__}(...) cannot be written to a model file: give the part by its "
            "registered name, or keep the estimator with pickle."
        ) from error


def decode_parameter(value: Any) -> Any:
    """Undo one value of `encode_parameters`."""
    if isinstance(value, list):
        return [decode_parameter(part) for part in value]
    if "estimator" in value:
        made, params = lookup(_parts(), value["estimator"]["class"], "estimator"), value["estimator"]["params"]
        return made(**{name: decode_parameter(part) for name, part in params.items()})
    if "dict" in value:
        return {key: decode_parameter(part) for key, part in value["dict"].items()}
    if "array" in value:
        return np.array(value["array"])
    return decode_label(value["label"])


def _encode_span(span: Any) -> Any:
    return encode_label(pd.Timedelta(span)) if isinstance(span, np.timedelta64) else float(span)


def _decode_span(state: Any) -> Any:
    span: Any = decode_label(state)
    return span if isinstance(span, float) else span.to_timedelta64()
