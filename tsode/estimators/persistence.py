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
from tsode.estimators.linear_heads import HEADS
from tsode.estimators.settings import find_device
from tsode.frames.covariates import CovariateCoder
from tsode.frames.inputs import InputCoder, Inputs
from tsode.frames.labels import decode_label, encode_label
from tsode.frames.panel import Known, Layout, Panel
from tsode.frames.scaling import ChannelScaler

__all__ = [
    "FORMAT_VERSION",
    "decode_parameter",
    "describe_estimator",
    "encode_parameters",
    "load_estimator",
    "read_model_file",
    "restore_estimator",
    "save_estimator",
    "write_model_file",
]

FORMAT_VERSION = 1
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
    header = {
        "class": type(estimator).__name__,
        "params": encode_parameters(estimator),
        "timeline": estimator._timeline.to_dict(),
        "scaler": estimator._scaler.to_dict(),
        "layout": panel.layout.to_dict(),
        "ids": [encode_label(key) for key in panel.ids],
        "channels": [encode_label(name) for name in panel.channels],
        "history": estimator.history_.to_dict(orient="list"),
        "n_iter": estimator.n_iter_,
        "horizon": _encode_span(estimator.horizon_),
        "time_unit": _encode_span(estimator.time_unit_),
        "time_dtype": str(panel.times[0].dtype),
        "n_features_in": estimator.n_features_in_,
        "is_array": estimator._is_array,
        "is_squeezed": estimator._is_squeezed,
        "inputs": None if estimator._coder is None else estimator._coder.to_dict(),
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
    if estimator._covariates is not None:
        header["covariates"] = estimator._covariates.to_dict()
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
    try:
        # not `save_file`, whose files only their owner may read
        temporary.write_bytes(
            save(tensors, metadata={"tsode": json.dumps({"format_version": FORMAT_VERSION, **header})})
        )
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
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise FileFormatError(f"{str(path)!r} is damaged: {error}.") from error


def read_model_file(path: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a file written by `write_model_file`; the header names its class.

    Raises
    ------
    FileFormatError
        If the file is damaged, is not one of ours or is of a newer format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no model file {str(path)!r}: give the path that was passed to save().")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        header = json.loads(metadata["tsode"])
        version = int(header["format_version"])
    except (SafetensorError, KeyError, ValueError, OSError, TypeError) as error:
        raise FileFormatError(f"{str(path)!r} is not an undamaged tsode model file ({error}).") from error
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"{str(path)!r} has format {version}, but this version of tsode reads up to {FORMAT_VERSION}: "
            "upgrade tsode."
        )
    if "class" not in header:
        raise FileFormatError(f"{str(path)!r} is damaged: its header names no class.")
    return header, tensors


def restore_estimator(header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    """The forecaster that `describe_estimator` gave header and tensors of; its class is one of the closed list."""
    return _restore(lookup(_registry(), header["class"], "forecaster"), header, tensors, device)


def _restore(made: Any, header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    estimator = made(**{name: decode_parameter(value) for name, value in header["params"].items()})
    lengths = tensors["panel.lengths"].tolist()
    cuts = np.cumsum(lengths)[:-1]
    times = tensors["panel.times"].numpy().view(np.dtype(header["time_dtype"]))
    panel = Panel(
        ids=[decode_label(key) for key in header["ids"]],
        times=np.split(times, cuts),
        values=np.split(tensors["panel.values"].numpy(), cuts),
        channels=[decode_label(name) for name in header["channels"]],
        layout=Layout.from_dict(header["layout"]),
        inputs=_restore_inputs(header, tensors),
        known=_restore_known(header, tensors),
    )
    estimator._panel = panel
    covariates = header.get("covariates")
    estimator._covariates = None if covariates is None else CovariateCoder.from_dict(covariates)
    estimator.calendar_ = list(estimator._covariates.cycles) if estimator._covariates else []
    coder = header.get("inputs")
    estimator._coder = None if coder is None else InputCoder.from_dict(coder)
    estimator._timeline = Timeline.from_dict(header["timeline"])
    estimator._scaler = ChannelScaler.from_dict(header["scaler"])
    past = estimator._past()
    estimator.channels_ = [name for name in panel.channels if name not in past]
    estimator.horizon_ = _decode_span(header["horizon"])
    estimator.time_unit_ = _decode_span(header["time_unit"])
    estimator.last_times_ = dict(zip(panel.ids, panel.last_times))
    estimator.n_features_in_ = int(header["n_features_in"])
    estimator._is_array, estimator._is_squeezed = bool(header["is_array"]), bool(header["is_squeezed"])
    estimator.feature_names_in_ = np.array(panel.channels, dtype=object)
    estimator.history_ = pd.DataFrame(header["history"])
    estimator.n_iter_ = int(header["n_iter"])
    state = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
    n_inputs = len(estimator._coder.columns) if estimator._coder else 0
    n_features = estimator._covariates.n_features if estimator._covariates else 0
    module = estimator._build(len(panel.channels), n_inputs, n_features).to(dtype=estimator._torch_dtype())
    module.load_state_dict(state)
    estimator.module_ = module.to(device).eval()
    return estimator


def _restore_inputs(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[Hashable, Inputs]:
    ids = header.get("ids_of_inputs", [])
    if not ids:
        return {}
    cuts = np.cumsum(tensors["inputs.lengths"].tolist())[:-1]
    times = np.split(tensors["inputs.times"].numpy().view(np.dtype(header["time_dtype_of_inputs"])), cuts)
    values = np.split(tensors["inputs.values"].numpy(), cuts)
    return {decode_label(key): Inputs(*both) for key, both in zip(ids, zip(times, values))}


def _known_tensors(panel: Panel, header: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Covariates of all series, end to end; what is needed to take them apart goes into the header."""
    header["ids_of_known"] = [encode_label(key) for key in panel.known]
    every = list(panel.known.values())
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


def _restore_known(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[Hashable, Known]:
    ids = [decode_label(key) for key in header.get("ids_of_known", [])]
    found = dict.fromkeys(ids, Known(None, None, None))
    if "known.static" in tensors:
        having = [key for key, has in zip(ids, header["has_static"]) if has]
        for key, own in zip(having, tensors["known.static"].numpy()):
            found[key] = replace(found[key], static=own)
    if "known.times" in tensors:
        lengths = tensors["known.lengths"].tolist()
        having = [key for key, length in zip(ids, lengths) if length >= 0]
        cuts = np.cumsum([length for length in lengths if length >= 0])[:-1]
        times = np.split(tensors["known.times"].numpy().view(np.dtype(header["time_dtype_of_known"])), cuts)
        for key, own, values in zip(having, times, np.split(tensors["known.values"].numpy(), cuts)):
            found[key] = replace(found[key], times=own, values=values)
    return found


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
