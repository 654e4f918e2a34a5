"""Model files of the estimators that read arrays."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tsode.errors import FileFormatError
from tsode.estimators.files.checks import UNREADABLE, damaged
from tsode.estimators.files.model_file import decode_parameter, encode_parameters, read_model_file, write_model_file
from tsode.estimators.settings import find_device

__all__ = ["SavedEstimator"]

Header = dict[str, Any]
Tensors = dict[str, torch.Tensor]


class SavedEstimator(BaseEstimator):
    """Base of estimators in model files; a subclass turns what it has fitted into a header and tensors, and back."""

    @abstractmethod
    def _describe(self) -> tuple[Header, Tensors]:
        """What fit has set, as something `json` can write and as tensors."""

    @abstractmethod
    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        """Set what fit has set from what `_describe` gave."""

    def save(self, path: Any) -> None:
        """Write parameters and what was fitted to one file (safetensors with a JSON header); all or nothing.

        Raises
        ------
        ParameterError
            If a parameter is an object that a file cannot hold, such as a head that is no linear model.
        """
        check_is_fitted(self)
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
            If the file is damaged, is not one of ours, is of a newer format, or holds another class.
        """
        place = find_device(device)
        header, tensors = read_model_file(path)
        if header["class"] != cls.__name__:
            raise FileFormatError(
                f"{str(path)!r} holds a {header['class']}: load it with {header['class']}.load(path)."
            )
        try:
            return cls._from_file(header, tensors, place)
        except UNREADABLE as error:
            raise damaged(path, error) from error

    def _to_file(self) -> tuple[Header, Tensors]:
        header, tensors = self._describe()
        header |= {"class": type(self).__name__, "params": encode_parameters(self)}
        if hasattr(self, "n_features_in_"):
            header["n_features_in"] = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in"] = self.feature_names_in_.tolist()
        return header, tensors

    @classmethod
    def _from_file(cls, header: Header, tensors: Tensors, device: torch.device) -> Self:
        estimator = cls(**{name: decode_parameter(value) for name, value in header["params"].items()})
        if "n_features_in" in header:
            estimator.n_features_in_ = int(header["n_features_in"])
        if "feature_names_in" in header:
            estimator.feature_names_in_ = np.array(header["feature_names_in"], dtype=object)
        estimator._restore(header, tensors, device)
        return estimator
