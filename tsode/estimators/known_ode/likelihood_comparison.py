"""Comparison of populations by maximum likelihood: information criteria, and ratios where one holds another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import ParameterError, TsodeWarning
from tsode.inference.population.likelihood_ratio import likelihood_ratio

__all__ = ["compare_likelihoods"]

SLACK = 0.01  # units of the objective by which a larger model may be worse, from searches that end a little early


def compare_likelihoods(models: dict[str, Any]) -> pd.DataFrame:
    """Compare fits by ``inference="likelihood"`` to the same values, by the same `marginal`.

    A model is taken to be nested in another where all its parameters are among those of the other, which has more: an
    effect, a correlation or a covariate less, or a number in place of a prior. That the equations agree is not seen.

    Parameters
    ----------
    models : dict of name to KnownODEForecaster

    Returns
    -------
    DataFrame
        A row a model, the least ``aic`` first: ``objective`` (-2 log L without n log 2 pi), ``n_parameters``, ``aic``,
        ``bic`` by the number of values and ``bic_series`` by that of series; and where a model holds another, the
        largest of these ``against``, the likelihood ratio ``lrt`` with ``df`` and its ``p_value``, and whose ``law``
        that is. See `tsode.inference.population.likelihood_ratio` for spreads, which are 0 under the smaller model:
        of one the law is half chi squared with ``df`` and half with ``df - 1``; of more the p value is an upper bound.

    Raises
    ------
    ParameterError
        If objectives cannot be compared; it says why.
    """
    if not models:
        raise ParameterError("There is no model to compare.")
    tables = {name: model.estimates() for name, model in models.items()}
    _check_same(models, tables)
    rows = []
    for name, table in tables.items():
        row: dict[str, Any] = {
            "model": name, "objective": table.attrs["objective"], "n_parameters": len(table),
            **{kind: table.attrs[kind] for kind in ("aic", "bic", "bic_series")},
            "against": None, "lrt": np.nan, "df": pd.NA, "p_value": np.nan, "law": None,
        }  # fmt: skip
        held = [other for other in tables if set(tables[other].index) < set(table.index)]
        if held:
            smaller = max(held, key=lambda other: (len(tables[other]), -tables[other].attrs["objective"]))
            row |= _ratio(name, models, tables, smaller)
        rows.append(row)
    found = pd.DataFrame(rows).sort_values("aic", kind="stable", ignore_index=True)
    return found.astype({"df": "Int64", "against": object, "law": object})


def _ratio(name: str, models: dict[str, Any], tables: dict[str, pd.DataFrame], smaller: str) -> dict[str, Any]:
    df = len(tables[name]) - len(tables[smaller])
    statistic = tables[smaller].attrs["objective"] - tables[name].attrs["objective"]
    population = models[smaller]._density.system.population
    added = [
        x.removeprefix("omega_") for x in tables[name].index.difference(tables[smaller].index) if x[:6] == "omega_"
    ]
    # a spread that the smaller model has as a number above 0 is inside of its range
    n_at_bound = sum(population.effects.sd.get(effect, 0.0) == 0.0 for effect in added)
    if statistic < -SLACK:
        warnings.warn(
            f"The model {name!r} has all parameters of {smaller!r} and an objective {-statistic:.3f} higher: it is "
            "another model, or its search has not come to the top. Fit it with more n_starts.",
            TsodeWarning,
            stacklevel=4,
        )
        return {"against": smaller, "lrt": statistic, "df": df}
    law = {0: f"chi2({df})", 1: f"0.5 chi2({df - 1}) + 0.5 chi2({df})"}.get(n_at_bound, f"at most chi2({df})")
    return {
        "against": smaller, "lrt": statistic, "df": df, "law": law,
        "p_value": likelihood_ratio(statistic, df, n_at_bound),
    }  # fmt: skip


def _check_same(models: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    """Raise a ParameterError unless all objectives are of the same values, and of one method."""
    first = next(iter(models))
    cells, method = _values(models[first]), tables[first].attrs["method"]
    keys: Sequence[Any] = [name for name in cells if name not in ("value", "censored")]
    for name, model in models.items():
        other = _values(model)
        if tables[name].attrs["method"] != method:
            raise ParameterError(
                f"Objectives of different methods cannot be compared: {first!r} has {method!r}, {name!r} "
                f"{tables[name].attrs['method']!r}. Fit all with one marginal=."
            )
        same = other[keys].equals(cells[keys])
        if same and other[["value", "censored"]].equals(cells[["value", "censored"]]):
            continue
        one, two = cells["value"].to_numpy(), other["value"].to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            is_log = same and (np.allclose(np.log(one), two) or np.allclose(one, np.log(two)))
        if is_log:
            raise ParameterError(
                f"One of {first!r} and {name!r} was fitted to the logarithms of the other's values, and densities on "
                "two scales cannot be compared: fit both to the values, with LogNormalNoise in place of logarithms."
            )
        raise ParameterError(
            f"The model {name!r} was fitted to other values than {first!r}, or with other limits of quantification: "
            "fit all to the same."
        )


def _values(model: Any) -> pd.DataFrame:
    table = model._cells().drop(columns="series")
    every = list(model._density.cells.values())
    table["value"] = np.concatenate([cells.values.numpy() for cells in every])
    table["censored"] = np.concatenate([cells.is_below.numpy() * 1 + cells.is_above.numpy() * 2 for cells in every])
    return table
