"""Estimators in model files: base class of all that can be saved and loaded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tsode._registry import Part, abstract_methods, as_part, lookup
from tsode.errors import FileFormatError, ParameterError, UnknownNameError
from tsode.estimators.files.checks import UNREADABLE, damaged
from tsode.estimators.files.model_file import FORMAT_VERSION, Header, Tensors, read_model_file, write_model_file
from tsode.estimators.files.parameters import (
    CLASSES,
    class_name,
    decode_parameters,
    encode_parameters,
    estimator_classes,
    names_part,
)
from tsode.estimators.parameters import check_parameters
from tsode.estimators.settings import find_device

__all__ = ["SavedArrayReader", "SavedEstimator"]


class SavedEstimator(BaseEstimator):
    """Base of estimators in model files; a subclass turns what it has fitted into a header and tensors, and back.

    Subclasses in tsode are those that a file may hold, with the forecasters that were registered.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        is_hidden = cls.__name__.startswith("_") or abstract_methods(cls)
        if cls.__module__.startswith("tsode.") and not is_hidden:
            CLASSES[cls.__name__] = cls

    @abstractmethod
    def _describe(self) -> tuple[Header, Tensors]:
        """What fit has set, as something `json` can write and as tensors."""

    @abstractmethod
    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        """Set what fit has set from what `_describe` gave."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``solver__max_step=0.1`` changes a setting of a part that is given by `part`."""
        for name in list(params):
            key, _, setting = name.partition("__")
            value = params.get(key, getattr(self, key, None))
            if setting and isinstance(value, str | Part):
                params[key] = as_part(value).replace(**{setting: params.pop(name)})
        return super().set_params(**params)

    def save(self, path: Any) -> None:
        """Write parameters, weights and what else was fitted to one file (safetensors with a JSON header).

        The file appears whole or not at all.

        Raises
        ------
        ParameterError
            If a parameter is an object that a file cannot hold: a part given by instance, or of a class that is not
            registered (`tsode.register`), or a head that is no linear model.
        """
        self._check_fitted()
        write_model_file(path, *self._to_file())

    @classmethod
    def load(cls, path: Any, device: str = "cpu") -> Self:
        """Read a fitted estimator back. Nothing in a file can run code.

        Parameters
        ----------
        path : path
        device : str
            Where to put the weights; the machine that saved them does not matter.

        Raises
        ------
        FileFormatError
            If the file is damaged, is not one of ours, is of a newer format, holds another class, or names a part that
            is not registered here.
        """
        place = find_device(device)
        header, tensors = read_model_file(path)
        name = header["class"]
        try:
            held = lookup({**estimator_classes(), cls.__name__: cls}, name, "estimator")
        except UnknownNameError as error:
            raise FileFormatError(
                f"{str(path)!r} holds a class that tsode does not have: {error} A forecaster of your own is loaded by "
                f"its class, or once it is registered: tsode.register('forecaster', {name!r}, ...)."
            ) from error
        if not issubclass(held, cls):
            raise FileFormatError(f"{str(path)!r} holds a {name}: load it with {held.__name__}.load(path).")
        try:
            return held._from_file(header, tensors, place)
        except UNREADABLE as error:
            raise damaged(path, error) from error

    def _check_fitted(self) -> None:
        check_is_fitted(self)

    def _check_parameters(self, but: Collection[str] = ()) -> None:
        """Raise a ParameterError if a parameter, from a user or from a file, is not what it can be."""
        check_parameters(self, but)

    def _to_file(self) -> tuple[Header, Tensors]:
        name = class_name(type(self))
        if estimator_classes().get(name, type(self)) is not type(self):
            raise ParameterError(f"There is another {name} in tsode, which a model file would be taken for: rename it.")
        header: Header = {"class": name, "params": encode_parameters(self)}
        if names_part(header["params"]):
            header["format_version"] = FORMAT_VERSION
        fitted, tensors = self._describe()
        return header | fitted, tensors

    @classmethod
    def _from_file(cls, header: Header, tensors: Tensors, device: torch.device) -> Self:
        estimator = cls(**decode_parameters(header["params"]))
        estimator._check_parameters(but=["device"])  # which the machine that loads a file need not have
        estimator._restore(header, tensors, device)
        return estimator


class SavedArrayReader(SavedEstimator):
    """Base of estimators in model files that read arrays, and keep what scikit-learn knows of their columns."""

    def _to_file(self) -> tuple[Header, Tensors]:
        header, tensors = super()._to_file()
        if hasattr(self, "n_features_in_"):
            header["n_features_in"] = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in"] = self.feature_names_in_.tolist()
        return header, tensors

    @classmethod
    def _from_file(cls, header: Header, tensors: Tensors, device: torch.device) -> Self:
        estimator = super()._from_file(header, tensors, device)
        if "n_features_in" in header:
            estimator.n_features_in_ = int(header["n_features_in"])
        if "feature_names_in" in header:
            estimator.feature_names_in_ = np.array(header["feature_names_in"], dtype=object)
        return estimator
