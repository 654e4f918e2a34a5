"""Files of known systems: all but their functions, which are given again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.errors import FileFormatError, ParameterError
from tsode.estimators.files.model_file import Header, Tensors, read_model_file
from tsode.estimators.files.parameters import decode_parameters, encode_parameters
from tsode.estimators.known_ode.parts_file import Unsaid, compare, decode, describe, encode, given_again
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.inference.known_system import KnownSystem

__all__ = ["KeepsFiles"]


class KeepsFiles:
    """Part of forecasters with known equations that writes and reads files.

    Attributes
    ----------
    parts : tuple of str
        Parameters that make up the system, which may hold functions.
    said : tuple of str
        Parameters that a file holds in the same way, which have none.
    """

    parts: ClassVar[tuple[str, ...]]
    said: ClassVar[tuple[str, ...]] = ()
    system: Any
    _check_parameters: Any
    _kept: KeptPosterior
    _fingerprint: Tensor
    _density: Any
    _given: Callable[[], KnownSystem]
    _describe: Callable[[], tuple[Header, Tensors]]
    _restore: Callable[..., None]
    get_params: Callable[..., dict[str, Any]]

    def _to_file(self) -> tuple[Header, Tensors]:
        held = {*self.parts, "system", *self.said}
        plain = {name: value for name, value in self.get_params(deep=False).items() if name not in held}
        header: Header = {"class": type(self).__name__, "params": encode_parameters(type(self)(**plain))}
        parts, unsaid = {}, ["system"] if self.system is not None else []
        for name in self.parts:
            try:
                parts[name] = encode(getattr(self, name))
            except Unsaid:
                unsaid.append(name)
        more = {name: encode(getattr(self, name)) for name in self.said}
        fitted, tensors = self._describe()
        of_posterior, own = self._kept.to_file()
        header |= {"parts": parts, "unsaid": unsaid, "posterior": of_posterior, "said": describe(self._given())}
        tensors |= own | {"fingerprint": self._fingerprint.clone()}
        found, of_found = self._found_to_file()
        more, tensors = more | found, tensors | of_found
        return header | fitted | {"more": more}, tensors

    def _found_to_file(self) -> tuple[dict[str, Any], Tensors]:
        """What fit has found beside the posterior, as JSON and as tensors; nothing, unless a subclass says so."""
        return {}, {}

    def _found_from_file(self, more: dict[str, Any], tensors: Tensors) -> None:
        """Undo `_found_to_file`."""

    @classmethod
    def load(cls, path: Any, device: str = "cpu", **parts: Any) -> Self:
        """Read a fitted forecaster back; functions, which no file holds, are given again.

        Parameters
        ----------
        path : path
        device : str
            Posteriors are on the CPU.
        **parts
            What holds functions, as at first: ``rates=``, or ``system=``; where they had any, ``initial=``,
            ``observed=``, ``triggers=``. If they give other numbers at stored points, that is an error.

        Raises
        ------
        ParameterError
            If a part is missing, or is another than when the file was written.
        FileFormatError
            If the file is damaged, is not one of ours, or holds another class.
        """
        header, tensors = read_model_file(path)
        if header["class"] != cls.__name__ or "unsaid" not in header:
            raise FileFormatError(f"{str(path)!r} holds a {header['class']}, not a {cls.__name__}: load it as such.")
        missing = [name for name in header["unsaid"] if name not in parts]
        if missing:
            raise ParameterError(
                f"A model file holds no functions: give them again, {cls.__name__}.load(path, {given_again(missing)})."
            )
        unknown = [name for name in parts if name not in (*cls.parts, "system")]
        if unknown:
            raise ParameterError(f"load takes parts of the system, but not {unknown[0]}=.")
        try:
            saved = {name: decode(value) for name, value in header["parts"].items()}
            more = {name: decode(value) for name, value in header["more"].items()}
            given = {**{name: more[name] for name in cls.said}, **saved, **parts}
            own = cls(**decode_parameters(header["params"]) | given)
            own._check_parameters()
            own._kept = KeptPosterior.from_file(header["posterior"], tensors)
            own._found_from_file(more, tensors)
            with isolated():
                rest = {k: v for k, v in tensors.items() if not k.startswith(("posterior.", "estimate."))}
                own._restore(header, rest, torch.device("cpu"))
                own._fingerprint = tensors["fingerprint"]
                density = own._density
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise FileFormatError(f"{str(path)!r} is damaged ({error!r}): save the forecaster again.") from error
        compare(density, header["said"], own._fingerprint)
        return own

    @classmethod
    def _from_file(cls, header: Header, tensors: Tensors, device: torch.device) -> Self:
        raise ParameterError(f"it holds no functions: load it by {cls.__name__}.load(path, rates=...)")
