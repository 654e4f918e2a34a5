"""Covariates: what is known of a series that explains part of its parameters."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tsode.errors import DataError, ParameterError
from tsode.inference.priors import Prior

__all__ = ["Covariates", "Linear", "Power"]


@dataclass(frozen=True)
class Power:
    """A parameter in proportion to a power of a positive covariate: ``typical * (x / at) ** coefficient``.

    Of a parameter that is not positive the place on its line moves by ``coefficient * log(x / at)``.

    Parameters
    ----------
    coefficient : number or Prior
    at : float, optional
        Where the parameter has its typical value; the median of the series of fit by default.
    """

    coefficient: float | Prior
    at: float | None = None

    def column(self, x: np.ndarray, at: float) -> np.ndarray:
        return np.log(x / at)

    def check(self, name: str, x: np.ndarray, ids: Sequence[Hashable]) -> None:
        bad = np.flatnonzero(~(x > 0))
        if len(bad):
            raise DataError(
                f"Covariate {name!r} of series {ids[bad[0]]!r} is {x[bad[0]]:g}, and a power needs positive numbers: "
                f"use Linear(...) for it."
            )


@dataclass(frozen=True)
class Linear:
    """A parameter whose place on its line moves by ``coefficient * (x - at)``: a positive one by a factor of its exp.

    Parameters
    ----------
    coefficient : number or Prior
    at : float, optional
        Where the parameter has its typical value; the median of the series of fit by default.
    """

    coefficient: float | Prior
    at: float | None = None

    def column(self, x: np.ndarray, at: float) -> np.ndarray:
        return x - at

    def check(self, name: str, x: np.ndarray, ids: Sequence[Hashable]) -> None:
        pass


Term = Power | Linear | Mapping[Hashable, "float | Prior"]


@dataclass(frozen=True, eq=False)
class Covariates:
    """Which covariates act on which parameters.

    Parameters
    ----------
    terms : mapping of str to mapping of str to Power, Linear, or mapping of category to number or Prior
        By parameter and covariate. A category that is not named has the typical value.
    middle : mapping of str to float
        Where parameters have their typical value, of covariates whose terms do not say.
    """

    terms: Mapping[str, Mapping[str, Term]]
    middle: Mapping[str, float]

    @classmethod
    def read(cls, given: Any) -> Self:
        """Terms as users write them: a number or a prior is that of a power, a dict has shifts of categories."""
        if not isinstance(given, Mapping) or not all(isinstance(value, Mapping) for value in given.values()):
            raise ParameterError(
                "covariates= takes a dict of parameter to a dict of covariate to its term, such as "
                f"{{'cl': {{'weight': 0.75}}}}, not {given!r}."
            )
        terms: dict[str, dict[str, Term]] = {}
        for name, of in given.items():
            terms[name] = {}
            for covariate, term in of.items():
                if isinstance(term, Prior | int | float) and not isinstance(term, bool):
                    term = Power(term)
                if not isinstance(term, Power | Linear | Mapping):
                    raise ParameterError(
                        f"covariates[{name!r}][{covariate!r}] is a number or prior of a power, Linear(...), "
                        f"Power(...), or a dict of category to shift, not {term!r}."
                    )
                terms[name][str(covariate)] = term
        return cls(terms, {})

    @property
    def names(self) -> tuple[str, ...]:
        """Covariates that are read."""
        return tuple(dict.fromkeys(name for of in self.terms.values() for name in of))

    def parameters(self, acting_on: Collection[str] | None = None) -> dict[str, float | Prior]:
        """Coefficients, as parameters of a system: ``<parameter>_<covariate>``, and with the category of a shift."""
        return {
            coefficient: given
            for name, of in self.terms.items()
            if acting_on is None or name in acting_on
            for covariate, term in of.items()
            for coefficient, given in _coefficients(name, covariate, term).items()
        }

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise a ParameterError unless all act on parameters that there are."""
        for name in self.terms:
            if name not in parameters:
                raise ParameterError(
                    f"covariates= names {name!r}, which is no parameter. Those are: {', '.join(parameters)}."
                )

    def fitted(self, table: Mapping[str, np.ndarray], ids: Sequence[Hashable]) -> Covariates:
        """The same, with the places of typical values taken from the series of fit (n of each covariate).

        Raises
        ------
        DataError
            If a covariate is missing, or one whose coefficient is to be found is the same for all series.
        """
        middle: dict[str, float] = {}
        for name, of in self.terms.items():
            for covariate, term in of.items():
                column = _column(table, covariate, ids)
                values = list(term.values()) if isinstance(term, Mapping) else [term.coefficient]
                if any(isinstance(value, Prior) for value in values) and len(set(column.tolist())) < 2:
                    raise DataError(
                        f"Covariate {covariate!r} is {column.tolist()[0]!r} in all series, so nothing can be learned "
                        f"of its coefficient on {name!r}: give the coefficient as a number, or leave it out."
                    )
                if not isinstance(term, Mapping):
                    middle[covariate] = float(np.median(_numbers(column, covariate, ids)))
        fitted = Covariates(self.terms, middle)
        fitted._check_apart(table, ids)
        return fitted

    def _check_apart(self, table: Mapping[str, np.ndarray], ids: Sequence[Hashable]) -> None:
        """Raise a DataError if coefficients that are to be found cannot be told from each other."""
        for name, columns in self.design(table, ids).items():
            for covariate, term in self.terms[name].items():
                shifts = term if isinstance(term, Mapping) else {}
                for category, shift in shifts.items():
                    coefficient = f"{name}_{covariate}_{category}"
                    if isinstance(shift, Prior) and not bool(columns[coefficient].any()):
                        known = ", ".join(sorted({str(x) for x in np.asarray(table[covariate]).tolist()}))
                        raise DataError(
                            f"No series has the category {category!r} of covariate {covariate!r}, so nothing can be "
                            f"learned of {coefficient!r}: its categories are {known}."
                        )
            given = self.parameters([name])
            free = {
                coefficient: x.numpy() for coefficient, x in columns.items() if isinstance(given[coefficient], Prior)
            }
            if not free:
                continue
            matrix = np.column_stack([np.ones(len(ids)), *free.values()])
            if np.linalg.matrix_rank(matrix / np.abs(matrix).max(axis=0).clip(min=1e-300)) < matrix.shape[1]:
                raise DataError(
                    f"The coefficients {', '.join(map(repr, free))} cannot be told from each other and the typical "
                    f"value of {name!r} in these {len(ids)} series: leave one out (a category that is not named has "
                    "the typical value), or give numbers."
                )

    def design(self, table: Mapping[str, np.ndarray], ids: Sequence[Hashable]) -> dict[str, dict[str, Tensor]]:
        """What each coefficient is multiplied by, by parameter and coefficient: Tensor[n]."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, of in self.terms.items():
            found[name] = {}
            for covariate, term in of.items():
                column = _column(table, covariate, ids)
                if isinstance(term, Mapping):
                    for category in term:
                        is_one = torch.tensor([str(x) == str(category) for x in column], dtype=torch.float64)
                        found[name][f"{name}_{covariate}_{category}"] = is_one
                    continue
                numbers = _numbers(column, covariate, ids)
                term.check(covariate, numbers, ids)
                at = self.middle[covariate] if term.at is None else term.at
                found[name][f"{name}_{covariate}"] = torch.from_numpy(term.column(numbers, at))
        return found


def _coefficients(name: str, covariate: str, term: Term) -> dict[str, float | Prior]:
    if isinstance(term, Mapping):
        return {f"{name}_{covariate}_{category}": given for category, given in term.items()}
    return {f"{name}_{covariate}": term.coefficient}


def _column(table: Mapping[str, np.ndarray], covariate: str, ids: Sequence[Hashable]) -> np.ndarray:
    if covariate not in table:
        raise DataError(
            f"covariates= names {covariate!r}, which static= does not have. Its columns: {', '.join(table) or 'none'}."
        )
    column = np.asarray(table[covariate])
    missing = [key for key, x in zip(ids, column.tolist()) if x is None or x != x]
    if missing:
        raise DataError(
            f"Covariate {covariate!r} is missing for {len(missing)} series, the first {missing[0]!r}: fill it in "
            "(with the median, say), or leave the series out."
        )
    return column


def _numbers(column: np.ndarray, covariate: str, ids: Sequence[Hashable]) -> np.ndarray:
    try:
        return column.astype(np.float64)
    except (TypeError, ValueError):
        strange = next(key for key, x in zip(ids, column.tolist()) if not isinstance(x, int | float))
        raise DataError(
            f"Covariate {covariate!r} of series {strange!r} is no number: give a dict of category to shift for it."
        ) from None
