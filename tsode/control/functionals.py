"""Functionals of forecasts: the mean of any function of the joint path, its quantiles and its Monte Carlo error."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode._random import new_generator
from tsode.control.control_variates import Estimate, controls_of, estimate
from tsode.control.known_marginals import Marginal, known_marginals
from tsode.control.path_functionals import PathFunctional
from tsode.errors import DataError, ParameterError, ShapeError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.settings import read_levels
from tsode.frames.table import ID_COL

__all__ = ["forecast_functional"]

COLUMNS = ("mean", "mean-se", "n_samples", "variance_reduction", "n_controls")
WAYS = ("auto", "control", "antithetic", None)
KINDS = ("signal", "observation")


def forecast_functional(
    forecaster: FittedForecaster, g: PathFunctional, times: Any = None, X: Any = None, *, horizon: Any = None,
    context: Any = None, events: Any = None, static: Any = None, known: Any = None, n_samples: int = 1000,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9), variance_reduction: str | None = "auto", of: str = "signal",
    random_state: Any = None,
) -> pd.DataFrame:  # fmt: skip
    """Forecast a function of the joint path: a cost, a maximum, a time in range, a payoff.

    The mean is that over sample paths. Where the law of the paths at each time is known exactly, functions of the
    values that have known expectations are subtracted (control variates), with coefficients from other paths, so that
    the mean stays unbiased and has less variance. For a function of the value at one time they take nearly all of it
    away; for one of the whole path a part.

    Parameters
    ----------
    forecaster : FittedForecaster
    g : callable
        Paths (s m c), in the data's units, with channels as in ``channels_``, and their times (m,), in order -> values
        (s,). `maximum`, `time_in_range` and `payoff` make some.
    times, X, horizon, context, events, static, known
        As in `predict`.
    n_samples : int
        Paths of each series, 2 or more.
    quantiles : list of float
        Levels between 0 and 1, of the paths as they are drawn.
    variance_reduction : {"auto", "control", "antithetic"} or None
        "control" or "antithetic" raise where they are not possible; "auto" is "control" where it is, and otherwise
        None. "antithetic" draws half of the paths and mirrors them, which takes paths that are a function of one
        Gaussian process: those of a `LinearSDEForecaster` without components or classes.
    of : {"signal", "observation"}
        Paths without or with the noise of observations. A forecaster that does not tell the two apart gives
        observations; the attribute ``attrs["of"]`` of the answer says what it was.
    random_state : int, generator or None

    Returns
    -------
    DataFrame
        A row a series: its id (where there are ids), ``mean``, ``mean-se`` (standard error of the mean, by Monte
        Carlo), ``q-0.1``, ..., ``n_samples`` (paths that were solved), ``variance_reduction`` (factor by which the
        variance of the mean is smaller than that of as many plain paths) and ``n_controls``. A series without a
        forecast has NaN, and a warning names it.

    Raises
    ------
    ShapeError
        If `g` does not give one number a path.
    DataError
        If what it gives are no numbers, or not finite.
    ParameterError
        If a parameter is out of range, or a way of reducing the variance is not possible here.

    References
    ----------
    Glasserman 2003, *Monte Carlo Methods in Financial Engineering*, eq. 4.1 to 4.3 and 4.16.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.control import forecast_functional, maximum
    >>> system = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.1],
    ...           "initial_mean": [0.0], "initial_cov": [[1.0]]}
    >>> walk = LinearSDEForecaster(system=system).fit(pd.DataFrame({"ds": [0.0, 1.0, 2.0], "y": [0.0, 0.3, 0.1]}))
    >>> highest = forecast_functional(walk, maximum(), np.linspace(2.1, 3.0, 10), random_state=0)
    >>> bool(highest["mean"][0] > 0.5), highest.columns.tolist()[:3]
    (True, ['mean', 'mean-se', 'q-0.1'])
    """
    for name, value, known_values in (("variance_reduction", variance_reduction, WAYS), ("of", of, KINDS)):
        if value not in known_values:
            raise ParameterError(f"{name} must be one of {', '.join(map(repr, known_values))}, but is {value!r}.")
    n = _read_count(n_samples)
    levels = read_levels(quantiles, "quantiles", 1.0)
    if not callable(g):
        raise ParameterError(f"g must be a function of paths (s m c) and times (m,), but is {g!r}.")
    query, panel = forecaster._read_query(X, times, horizon, context, events, static, known)
    generator = new_generator(random_state)
    folds = np.random.default_rng(int(torch.randint(0, 2**31, (), generator=generator)))
    is_mirrored = variance_reduction == "antithetic"
    marginals: dict[int, list[Marginal]] = {}
    if variance_reduction is not None:
        marginals = known_marginals(forecaster, query, panel, of, is_mirrored)
    if variance_reduction in ("control", "antithetic") and not marginals:
        raise ParameterError(
            f"variance_reduction={variance_reduction!r} takes the exact law of the paths, which is not known of "
            f"this {type(forecaster).__name__} (of={of!r}): use variance_reduction='auto' and more samples."
        )
    n_drawn = -(-n // 2) if is_mirrored else n
    rows = [[np.nan] * (len(COLUMNS) + len(levels))] * len(query.ids)
    said = of
    for places, signals in forecaster._signals(query, panel, n_drawn, generator, of):
        for place, signal in zip(places, signals):
            said = signal.of
            paths = signal.paths[np.isfinite(signal.paths).all(axis=(1, 2))]
            if len(paths) < 2 or not paths.shape[1]:
                continue
            own = marginals.get(place, [])
            if is_mirrored:
                found, values = _mirrored(g, paths, query.times[place], own, query.ids[place])
            else:
                values = _values(g, paths, query.times[place], query.ids[place])
                choices = controls_of(paths, own) if own else []
                found = estimate(values, choices, folds)
            ends = np.quantile(values, levels).tolist()
            rows[place] = [found.mean, found.error, *ends, len(values), found.reduction, found.n_controls]
    labels = [*COLUMNS[:2], *(f"q-{level:g}" for level in levels), *COLUMNS[2:]]
    frame = pd.DataFrame(rows, columns=labels)
    if query.layout.has_ids:
        label = ID_COL if query.layout.id_col is None else query.layout.id_col
        frame.insert(0, _free(label, labels), pd.Index(query.ids, tupleize_cols=False))
    frame.attrs["of"] = said
    return frame


def _mirrored(
    g: PathFunctional, paths: np.ndarray, times: np.ndarray, marginals: Sequence[Marginal], key: Hashable
) -> tuple[Estimate, np.ndarray]:
    """Estimate from paths (s m c) and their mirror images, and the values of both."""
    other = paths.copy()
    for one in marginals:
        other[:, :, one.channel] = one.mirrored(torch.from_numpy(paths[:, :, one.channel])).numpy()
    values = _values(g, np.concatenate([paths, other]), times, key)
    pairs = values.reshape(2, -1).mean(axis=0)
    error, plain = pairs.std(ddof=1) / len(pairs) ** 0.5, values.var(ddof=1) / len(values)
    reduction = plain / error**2 if error > 0.0 else (1.0 if plain == 0.0 else np.inf)
    return Estimate(float(pairs.mean()), float(error), float(reduction), 0), values


def _values(g: PathFunctional, paths: np.ndarray, times: np.ndarray, key: Hashable) -> np.ndarray:
    """What `g` gives of paths, if it is one finite number a path."""
    s, m, c = paths.shape
    given = g(paths.copy(), times)
    try:
        values = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"g gave {type(given).__name__}, which is no array of numbers ({error}): return a NumPy array of shape "
            f"({s},), such as paths[:, -1, 0]."
        ) from error
    if values.shape != (s,):
        raise ShapeError(
            f"g must give one number for each path, an array of shape ({s},), but gave shape {values.shape} for paths "
            f"of shape {paths.shape} (samples, times, channels): {_advice(values.shape, s, m, c)}."
        )
    if values.dtype.kind not in "bfiu":
        raise DataError(
            f"g must give real numbers, but gave {values.dtype}: return floats, such as values.astype(float)."
        )
    values = values.astype(float)
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"g gave {'NaN' if np.isnan(values[bad]).any() else 'infinity'} for {int(bad.sum())} of the {s} paths of "
            f"series {key!r}, whose values are all finite: look for a logarithm, root or division outside of its range."
        )
    return values


def _advice(shape: tuple[int, ...], s: int, m: int, c: int) -> str:
    """How a function that gives this shape could be mended."""
    if shape == ():
        return "it has reduced over the paths too; reduce over axes 1 and 2 alone, as in paths.mean(axis=(1, 2))"
    if shape == (s, 1):
        return "drop the last axis, as in values[:, 0]"
    if shape == (s, c):
        return "choose a channel, as in paths[:, :, 0].max(axis=1)"
    if shape in ((s, m), (s, m, c)):
        return "reduce over the times and choose a channel, as in paths[:, :, 0].mean(axis=1)"
    if shape in ((m,), (m, c), (c,)):
        return "it has reduced over the paths, axis 0; reduce over the times, axis 1"
    return "reduce over axes 1 and 2 alone"


def _read_count(n_samples: Any) -> int:
    if isinstance(n_samples, bool) or not isinstance(n_samples, int | np.integer) or n_samples < 2:
        raise ParameterError(f"n_samples must be a whole number from 2 on, but is {n_samples!r}.")
    return int(n_samples)


def _free(label: Hashable, taken: Sequence[str]) -> Hashable:
    if label in taken:
        raise DataError(f"The column of ids is named {label!r}, as a column of the answer is: rename it.")
    return label
