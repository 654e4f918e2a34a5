"""Parameters of estimators as JSON: values, parts by name, and estimators of a closed list of classes."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from tsode._registry import FAMILIES, Part, build, is_plain, lookup, registered_name
from tsode.errors import DataError, ParameterError
from tsode.estimators.files.linear_heads import HEADS
from tsode.frames.labels import decode_label, encode_label

__all__ = [
    "CLASSES",
    "class_name",
    "decode_parameter",
    "decode_parameters",
    "encode_parameters",
    "estimator_classes",
    "names_part",
]

NOT_SAVED = ("callbacks", "random_state", "verbose")  # they belong to a session, not to a model
LARGEST_SETTING = 10**7  # in a file, lest a depth or width fill the memory before it is compared with the weights
PART_KEYS = frozenset({"part", "class_of", "instance_of"})

CLASSES: dict[str, type] = {}
"""Estimators of tsode that a file may hold, by their names; `SavedEstimator` enters its subclasses."""


def estimator_classes() -> dict[str, type]:
    """Estimators that a file may hold: those of tsode, and forecasters that were registered."""
    return {**CLASSES, **FAMILIES.get("forecaster", {})}


def class_name(cls: type) -> str:
    """Name of an estimator's class in a file: the registered one, or its own."""
    kind, name = registered_name(cls) or ("", "")
    return name if kind == "forecaster" else cls.__name__


def encode_parameters(estimator: Any) -> dict[str, Any]:
    """Constructor parameters, ready for JSON; `decode_parameters` undoes it.

    Raises
    ------
    ParameterError
        If a parameter is an object that JSON cannot hold, such as a part given by instance.
    """
    params = {name: value for name, value in estimator.get_params(deep=False).items() if name not in NOT_SAVED}
    return {name: _encode(name, value) for name, value in params.items()}


def decode_parameters(params: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor, from what `encode_parameters` gave."""
    return {name: decode_parameter(value) for name, value in params.items()}


def names_part(encoded: Any) -> bool:
    """Whether what `encode_parameters` gave holds a part otherwise than by its plain name."""
    if isinstance(encoded, dict):
        return not PART_KEYS.isdisjoint(encoded) or any(map(names_part, encoded.values()))
    return isinstance(encoded, list) and any(map(names_part, encoded))


def _encode(name: str, value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        classes, label = estimator_classes() | HEADS, class_name(type(value))
        if classes.get(label) is not type(value):
            raise ParameterError(
                f"{name}={type(value).__name__}(...) cannot be written to a model file, which may hold "
                f"{', '.join(sorted(classes))}: take one of these, register a forecaster of your own "
                "(`tsode.register`), or keep the estimator with pickle."
            )
        return {"estimator": {"class": label, "params": encode_parameters(value)}}
    if isinstance(value, Part):
        return {"part": value.name, "settings": _encode_settings(value)}
    if isinstance(value, pd.Index) or (isinstance(value, np.ndarray) and value.dtype.kind in "mM"):
        value = list(pd.Index(value))
    if isinstance(value, np.timedelta64 | pd.Timedelta):
        return {"label": encode_label(pd.Timedelta(value))}
    if isinstance(value, np.ndarray | torch.Tensor):
        return {"array": np.asarray(value).tolist()}
    if isinstance(value, list):
        return [_encode(name, entry) for entry in value]
    if isinstance(value, dict):
        return {"dict": {str(key): _encode(name, entry) for key, entry in value.items()}}
    try:
        return {"label": encode_label(value)}
    except DataError as error:
        return _encode_part(name, value, error)


def _encode_part(name: str, value: Any, error: DataError) -> dict[str, Any]:
    """A registered class, or an instance of one that is no more than its settings."""
    cls = value if isinstance(value, type) else type(value)
    kind, label = registered_name(cls) or ("", "")
    if isinstance(value, type) and kind:
        return {"class_of": kind, "name": label}
    settings = _settings_of(value)
    if kind and settings is not None:
        return {"instance_of": kind, "name": label, "settings": _encode_settings(Part(label, settings))}
    kind = kind or next((kind for kind, family in FAMILIES.items() if issubclass(cls, family.base)), "")
    if label:
        advice = f"it under its registered name, with settings as in part({label!r}, ...)"
    elif kind:
        advice = f"it a registered name, as in tsode.register({kind!r}, 'mine', {cls.__name__}), and pass {name}='mine'"
        advice += "" if isinstance(value, type) else " or part('mine', ...)"
    else:
        advice = "the part by its registered name"
    shown = cls.__name__ if isinstance(value, type) else f"{cls.__name__}(...)"
    raise ParameterError(
        f"{name}={shown} cannot be written to a model file: give {advice}, or keep the estimator with pickle."
    ) from error


def _settings_of(instance: Any) -> tuple[tuple[str, Any], ...] | None:
    """Arguments that make an equal instance, or None where it holds more than plain values."""
    try:
        state = vars(instance)
        names = inspect.signature(type(instance)).parameters
    except (TypeError, ValueError):
        return None
    if not all(map(is_plain, state.values())) or not names.keys() <= state.keys():
        return None
    settings = {name: state[name] for name in names}
    return tuple(settings.items()) if vars(type(instance)(**settings)) == state else None


def _encode_settings(part: Part) -> dict[str, Any]:
    return {name: _check_size(name, value) for name, value in part.settings}


def _check_size(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_check_size(name, entry) for entry in value)
    if isinstance(value, int) and abs(value) > LARGEST_SETTING:
        raise ParameterError(f"{name}={value} cannot stand in a model file: no setting may be above {LARGEST_SETTING}.")
    return value


def decode_parameter(value: Any) -> Any:
    """Undo one value of `encode_parameters`; nothing but the registries is asked for a name."""
    if isinstance(value, list):
        return [decode_parameter(entry) for entry in value]
    if "estimator" in value:
        cls = lookup(estimator_classes() | HEADS, value["estimator"]["class"], "estimator")
        return cls(**decode_parameters(value["estimator"]["params"]))
    if "part" in value:
        return _decode_part(value["part"], value["settings"])
    if "class_of" in value or "instance_of" in value:
        kind = value.get("class_of", value.get("instance_of"))
        family = lookup(FAMILIES, kind, "kind of part")
        cls = lookup(family, value["name"], kind)
        if "class_of" in value:
            return cls
        if issubclass(cls, torch.nn.Module):  # which may take memory, and is never written
            raise ValueError(f"{value['name']!r} is no part that holds nothing but settings")
        return build(family, _decode_part(value["name"], value["settings"]), kind)
    if "dict" in value:
        return {key: decode_parameter(entry) for key, entry in value["dict"].items()}
    if "array" in value:
        return np.array(value["array"])
    return decode_label(value["label"])


def _decode_part(name: Any, settings: Any) -> Part:
    if not isinstance(settings, dict):
        raise ValueError(f"the settings of {name!r} are a {type(settings).__name__}")
    part = Part(name, tuple(settings.items()))
    _encode_settings(part)
    return part
