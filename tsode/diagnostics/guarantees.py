"""Promises of the structured parts of a fitted forecaster, measured where its forecasts take it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from tsode.diagnostics.path import latent_path
from tsode.dynamics import Structured
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.evolutions.orthogonal import OrthogonalFlow

__all__ = ["guarantees"]


def guarantees(
    forecaster: FittedForecaster, context: Any = None, *, events: Any = None, static: Any = None, known: Any = None,
    horizon: Any = None, n_series: int = 10,
) -> pd.DataFrame:  # fmt: skip
    """Promises of a forecaster's dynamics beside what is measured along its own histories and forecasts.

    Parameters
    ----------
    forecaster : JumpODEForecaster or LatentODEForecaster
        Fitted with a structured field (the table in `tsode.dynamics`) or the "orthogonal" evolution.
    context, events, static, known, horizon
        As in `latent_path`.
    n_series : int
        Series at most whose states are looked at.

    Returns
    -------
    DataFrame
        A row a promise and member of an ensemble: ``part`` (its place in the model), ``promise`` (a formula), what was
        ``measured``, the ``bound`` that it must not pass, the ``rounding`` by which it may, and whether it was
        ``kept``. ``attrs["n_states"]`` is the number of states.

    Raises
    ------
    ParameterError
        If no part of the forecaster promises anything.

    Examples
    --------
    >>> from tsode import JumpODEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> from tsode.diagnostics import guarantees
    >>> made = JumpODEForecaster(evolution="stable", n_members=1, max_epochs=1, random_state=0)
    >>> table = guarantees(made.fit(load_theophylline()))
    >>> bool(table["kept"].all())
    True
    """
    forecaster._check_fitted()
    parts = {
        name: part for name, part in forecaster.module_.named_modules() if isinstance(part, Structured | OrthogonalFlow)
    }
    if not parts:
        raise ParameterError(
            f"No part of this {type(forecaster).__name__} promises anything: give it a structured field, for instance "
            'evolution="stable"; the table in tsode.dynamics says which one promises what.'
        )
    _, panel = forecaster._read_query(None, None, forecaster.horizon_, context, events, static, known)
    told = {"context": context, "events": events, "static": static, "known": known, "horizon": horizon}
    paths = [latent_path(forecaster, series=series, n_points=200, **told).z for series in panel.ids[:n_series]]
    states = torch.cat([torch.as_tensor(z).flatten(0, 1) for z in paths])
    rows = [
        {"part": name, "promise": found.promise, "measured": found.measured, "bound": found.bound,
         "rounding": found.rounding, "kept": found.holds}
        for name, part in parts.items()
        for found in part.check(states[:, : part.n_state])
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.attrs["n_states"] = len(states)
    return table
