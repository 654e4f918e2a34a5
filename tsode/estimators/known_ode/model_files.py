"""Files of known systems: all but their functions, which are given again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.errors import FileFormatError, ParameterError
from tsode.estimators.files.model_file import Header, Tensors, read_model_file
from tsode.estimators.files.parameters import decode_parameters, encode_parameters
from tsode.estimators.known_ode.parts_file import Unsaid, compare, decode, describe, encode, given_again
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.inference.effects.space import Population
from tsode.inference.known_system import KnownSystem
from tsode.inference.population.estimate import Estimate

__all__ = ["PARTS", "KeepsFiles"]

PARTS = ("rates", "states", "parameters", "initial", "observed", "doses", "per_series", "triggers", "solver",
         "correlated_errors")  # fmt: skip
SAID = ("residual", "random_effects", "covariates", "occasion_effects")  # entries that a file holds as it holds parts


class KeepsFiles:
    """Part of `KnownODEForecaster` that writes and reads files."""

    system: Any
    residual: Any
    _terms: Any
    _population: Any
    _check_parameters: Any
    _estimate: Estimate | None
    _kept: KeptPosterior
    _fingerprint: Tensor
    _density: Any
    _given: Callable[[], KnownSystem]
    _describe: Callable[[], tuple[Header, Tensors]]
    _restore: Callable[..., None]
    _read_population: Callable[..., Population | None]
    get_params: Callable[..., dict[str, Any]]

    def _to_file(self) -> tuple[Header, Tensors]:
        plain = {
            name: value for name, value in self.get_params(deep=False).items() if name not in (*PARTS, "system", *SAID)
        }
        header: Header = {"class": type(self).__name__, "params": encode_parameters(type(self)(**plain))}
        parts, unsaid = {}, ["system"] if self.system is not None else []
        for name in PARTS:
            try:
                parts[name] = encode(getattr(self, name))
            except Unsaid:
                unsaid.append(name)
        more = {name: encode(getattr(self, name)) for name in SAID} | {"terms": encode(self._terms)}
        covariates = None if self._population is None else self._population.covariates
        more["middle"] = encode({} if covariates is None else covariates.middle)
        fitted, tensors = self._describe()
        of_posterior, own = self._kept.to_file()
        header |= {"parts": parts, "unsaid": unsaid, "posterior": of_posterior, "said": describe(self._given())}
        tensors |= own | {"fingerprint": self._fingerprint.clone()}
        if self._estimate is not None:
            entries = vars(self._estimate)
            of_tensors = {name: x for name, x in entries.items() if isinstance(x, torch.Tensor)}
            more["estimate"] = encode({name: x for name, x in entries.items() if name not in of_tensors})
            tensors |= {f"estimate.{name}": x.contiguous().clone() for name, x in of_tensors.items()}
        return header | fitted | {"more": more}, tensors

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
        unknown = [name for name in parts if name not in (*PARTS, "system")]
        if unknown:
            raise ParameterError(f"load takes parts of the system, but not {unknown[0]}=.")
        try:
            saved = {name: decode(value) for name, value in header["parts"].items()}
            more = {name: decode(value) for name, value in header["more"].items()}
            given = {**{name: more[name] for name in SAID}, **saved, **parts}
            own = cls(**decode_parameters(header["params"]) | given)
            own._check_parameters()
            own._terms, own._population = more["terms"], own._read_population(more["middle"])
            own._estimate = None
            if "estimate" in more:
                of_tensors: dict[str, Any] = {
                    k.removeprefix("estimate."): x for k, x in tensors.items() if k.startswith("estimate.")
                }
                own._estimate = Estimate(**more["estimate"], **of_tensors)
            own._kept = KeptPosterior.from_file(header["posterior"], tensors)
            if own._population is not None:
                own._population = own._population.meeting(own._kept.data.known)
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
