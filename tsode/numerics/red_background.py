"""Red background of one series, fitted at uneven times: a random walk, a second part and noise.

The second part is an Ornstein-Uhlenbeck process; in a smooth background it is the velocity of the walk, which makes
anything from a walk to an integrated walk. In front of a rough background alone, smooth noise would look periodic.
Columns (the values, a trend, waves) are whitened by the Kalman filter of that background: its gains depend on the times
alone, so they are computed once and shared by all columns. Every variance is in units of the noise's, which is itself
profiled out of the likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Background", "Whitener", "cholesky_with_ridge", "clip_innovations", "fit_backgrounds"]

Array = NDArray[np.floating[Any]]  # float64

_MOST_ELEMENTS = 20_000_000  # of a whitened block: 160 MB
_OFFSETS = np.array(list(product((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (0.0,))))
_PAIRS = [(i, j) for i in range(3) for j in range(i, 3)]
# Least-squares fit of a quadratic to its values at the offsets.
_QUADRATIC = np.linalg.pinv(
    np.column_stack([np.ones(27), _OFFSETS[:, :3], *(_OFFSETS[:, i] * _OFFSETS[:, j] for i, j in _PAIRS)])
)


class Background(NamedTuple):
    """Best background of one model.

    Attributes
    ----------
    settings : Array[4]
        Logs of the walk's variance per unit of time, the second part's variance and its rate; then 1 if that is the
        walk's velocity, 0 if it stands beside the walk.
    log_posterior : float
    """

    settings: Array
    log_posterior: float


class Whitener:
    """Kalman filters of backgrounds, with gains that are computed once.

    Parameters
    ----------
    gaps : Array[n]
        Time since the row before; the first is 0.
    settings : Array[b 4]
        As in `Background`.

    Attributes
    ----------
    decays, couplings : Array[n b]
        What is left of the second state after a gap, and what it adds to the first.
    first, second, innovation : Array[n b]
        Gains of both states, and variances of the innovations.
    seen : Array[b]
        What the rows show of the second state.
    """

    def __init__(self, gaps: Array, settings: Array) -> None:
        level, variance, rate = np.exp(settings[:, :3].T)
        smooth = settings[:, 3]
        self.seen = 1.0 - smooth
        ages, lost = gaps[:, None] * rate, -np.expm1(-gaps[:, None] * rate)
        self.decays, self.couplings = np.exp(-ages), smooth * lost / rate
        q11 = gaps[:, None] * level + smooth * 2 * variance * gaps[:, None] ** 3 * rate * _share_of_the_cube(ages)
        q12 = smooth * variance * lost**2 / rate
        rows = [self.decays, self.couplings, q11, q12, -variance * np.expm1(-2 * ages)]
        seen: Any = self.seen
        p22: Any = variance
        steps: Any = zip(*rows, strict=True)
        if len(settings) == 1:  # Python's own floats are ten times faster than arrays of one
            seen, p22 = seen.item(), p22.item()
            steps = zip(*(row[:, 0].tolist() for row in rows), strict=True)
        p11, p12 = 0.0 * p22, 0.0 * p22
        result = []
        for decay, coupling, n11, n12, n22 in steps:
            moved = coupling * p22
            p11 = p11 + coupling * (p12 + p12 + moved) + n11
            p12 = (p12 + moved) * decay + n12
            p22 = p22 * decay * decay + n22
            g1, g2 = p11 + seen * p12, p12 + seen * p22
            innovation = g1 + seen * g2 + 1.0
            k1, k2 = g1 / innovation, g2 / innovation
            p11, p12, p22 = p11 - k1 * g1, p12 - k1 * g2, p22 - k2 * g2
            result.append((k1, k2, innovation))
        self.first, self.second, self.innovation = np.array(result).reshape(len(gaps), 3, -1).transpose(1, 0, 2)

    def whiten(self, columns: Array) -> Array:
        """Return innovations of columns [n k] over their standard deviations: Array[n b k]."""
        n_backgrounds = self.decays.shape[1]
        white = np.empty((len(columns), n_backgrounds, columns.shape[1]))
        parts = (self.couplings, self.decays, self.first, self.second)
        target, seen = white, self.seen[:, None]
        factors: Any = [part[:, :, None] for part in parts]
        if n_backgrounds == 1:
            target, seen = white[:, 0], self.seen
            factors = [part[:, 0].tolist() for part in parts]
        level, rest, step = np.zeros((3, *target.shape[1:]))
        for column, row, coupling, decay, first, second in zip(columns, target, *factors, strict=True):
            level += np.multiply(rest, coupling, out=step)
            rest *= decay
            np.subtract(column, level, out=row)
            row -= np.multiply(rest, seen, out=step)
            level += np.multiply(row, first, out=step)
            rest += np.multiply(row, second, out=step)
        white /= np.sqrt(self.innovation)[:, :, None]
        return white


def _share_of_the_cube(x: Array) -> Array:
    """Return (x - 2 (1 - exp(-x)) + (1 - exp(-2 x)) / 2) / x^3, by its series where the terms cancel."""
    small = np.minimum(x, 0.03)
    series = 1 / 3 + small * (-1 / 4 + small * (7 / 60 + small * (-1 / 24 + small * 31 / 2520)))
    large = np.maximum(x, 0.03)
    return np.where(x < 0.03, series, (large + 2 * np.expm1(-large) - 0.5 * np.expm1(-2 * large)) / large**3)


def cholesky_with_ridge(gram: Array) -> Array:
    """Return Cholesky factors; a ridge below rounding keeps a column that is zero or double from counting."""
    diagonal = np.arange(gram.shape[-1])
    gram = gram.copy()
    gram[..., diagonal, diagonal] = gram[..., diagonal, diagonal] * (1 + 1e-10) + 1e-12
    return np.linalg.cholesky(gram)


def _log_priors(gaps: Array, settings: Array) -> Array:
    """Weak normal priors on the logs, by which directions that the data leave open have a curvature."""
    centre = np.array([np.log(0.01), 0.0, -0.5 * np.log(gaps.sum())])
    return -0.5 * (((settings[..., :3] - centre) / (5.0, 5.0, 2.0)) ** 2).sum(axis=-1)


def _log_posteriors(gaps: Array, fixed: Array, values: Array, models: Sequence[Array], settings: Array) -> Array:
    """Log posterior of every background under every model: Array[b m]. Restricted likelihood in `fixed`."""
    n, n_fixed = fixed.shape
    columns = np.column_stack([fixed, values, *models])
    ends = n_fixed + 1 + np.cumsum([0, *(model.shape[1] for model in models)])
    result = np.empty((len(settings), len(models)))
    size = max(1, _MOST_ELEMENTS // columns.size)
    for start in range(0, len(settings), size):
        block = slice(start, start + size)
        whitener = Whitener(gaps, settings[block])
        white = whitener.whiten(columns)
        gram = white.transpose(1, 2, 0) @ white.transpose(1, 0, 2)
        for j in range(len(models)):
            order = [*range(n_fixed), *range(ends[j], ends[j + 1]), n_fixed]
            diagonal = np.diagonal(cholesky_with_ridge(gram[:, order][:, :, order]), axis1=1, axis2=2)
            result[block, j] = (
                -(n - n_fixed) * np.log(diagonal[:, -1])
                - np.log(diagonal[:, :n_fixed]).sum(axis=1)
                - 0.5 * np.log(whitener.innovation).sum(axis=0)
            )
    return result + _log_priors(gaps, settings)[:, None]


def fit_backgrounds(
    gaps: Array,
    fixed: Array,
    values: Array,
    models: Sequence[Array],
    *,
    n_rounds: int = 3,
) -> list[Background]:
    """Fit a background under each of several models of the mean.

    A coarse grid, then rounds of a quadratic fitted to the 27 neighbours of each best point: all points of a round
    are one batch.

    Parameters
    ----------
    gaps : Array[n]
        As for `Whitener`.
    fixed : Array[n p]
        Columns in every model, whose coefficients are integrated out.
    values : Array[n]
        The series.
    models : sequence of Array[n k]
        Columns that one model has besides, whose coefficients are maximised; k may be 0.
    n_rounds : int
        One finds the place, three the height to a tenth.

    Returns
    -------
    list of Background
        One for each model.
    """
    grids, steps = zip(*(_grid(gaps.sum(), smooth) for smooth in (0, 1)), strict=True)
    found = _log_posteriors(gaps, fixed, values, models, np.concatenate(grids))
    # A centre for each model in each family.
    coarse = zip(grids, np.split(found, [len(grids[0])]), strict=True)
    centres = np.concatenate([points[heights.argmax(axis=0)] for points, heights in coarse])
    step = np.repeat(steps, len(models), axis=0)
    own, of_model = np.arange(len(centres)), np.arange(len(models))
    winners, best = centres[of_model], np.full(len(models), -np.inf)
    for _ in range(n_rounds):
        points = centres[:, None] + step[:, None] * _OFFSETS
        found = _log_posteriors(gaps, fixed, values, models, points.reshape(-1, 4))
        # A model wins by any point, so that none gains by a place where another was not looked at.
        top = found.argmax(axis=0)
        better = found[top, of_model] > best
        winners = np.where(better[:, None], points.reshape(-1, 4)[top], winners)
        best = np.where(better, found[top, of_model], best)
        heights = found.reshape(len(centres), len(_OFFSETS), -1)[own, :, own % len(models)]
        centres = centres + step * [_step_to_the_top(around) for around in heights]
        step = step / 3
    return [Background(settings, float(height)) for settings, height in zip(winners, best, strict=True)]


def _grid(span: float, smooth: int) -> tuple[Array, Array]:
    """Return the coarse settings of a family, Array[b 4], and half their steps, Array[4]."""
    least, most = (0.1 / span**2, 1e5) if smooth else (0.03, 3e3)
    levels = np.linspace(np.log(0.03 / span), np.log(1e3), 5)
    variances = np.linspace(np.log(least), np.log(most), 5)
    rates = np.linspace(np.log(3.0 / span), 0.0, 4)
    steps = [0.5 * (axis[1] - axis[0]) for axis in (levels, variances, rates)]
    return np.array(list(product(levels, variances, rates, [smooth]))), np.array([*steps, 0.0])


def _step_to_the_top(values: Array) -> Array:
    """Return the step, in units of the offsets, to the top of the quadratic through values at the offsets."""
    coefficients = _QUADRATIC @ values
    hessian = np.zeros((3, 3))
    for (i, j), coefficient in zip(_PAIRS, coefficients[4:], strict=True):
        hessian[i, j] += coefficient
        hessian[j, i] += coefficient
    curvatures, axes = np.linalg.eigh(-hessian)
    # Where it does not bend down the step goes uphill as far as it may.
    step = axes @ (axes.T @ coefficients[1:4] / np.maximum(curvatures, 1e-3))
    return np.append(np.clip(step, -2.0, 2.0), 0.0)


def clip_innovations(gaps: Array, fixed: Array, values: Array, background: Background, most: float = 5.0) -> Array:
    """Values with innovations clipped at so many robust standard deviations of theirs.

    What is far from its prediction is taken to be at the bound, for itself and for the predictions after it. Where more
    than a tenth of the rows would be clipped they are no outliers, and the values come back as they are.

    Parameters
    ----------
    gaps, fixed, values
        As for `fit_backgrounds`.
    background : Background
        What predicts them.
    most : float
        Robust standard deviations.

    Returns
    -------
    Array[n]
    """
    whitener = Whitener(gaps, background.settings[None])
    white = whitener.whiten(np.column_stack([fixed, values]))[:, 0]
    coefficients = np.linalg.lstsq(white[:, :-1], white[:, -1], rcond=None)[0]
    sizes = np.abs(white[:, -1] - white[:, :-1] @ coefficients)
    # The upper quantile counts where most rows hardly move, as in a train of pulses.
    bound = most * max(np.median(sizes) / 0.6745, np.quantile(sizes, 0.9) / 1.645)
    trend = fixed @ coefficients
    parts = (whitener.couplings, whitener.decays, whitener.first, whitener.second, np.sqrt(whitener.innovation))
    rows = zip((values - trend).tolist(), *(part[:, 0].tolist() for part in parts), strict=True)
    level, rest, seen, n_clipped = 0.0, 0.0, float(whitener.seen[0]), 0
    cleaned = values.copy()
    for i, (value, coupling, decay, first, second, sd) in enumerate(rows):
        level, rest = level + coupling * rest, decay * rest
        predicted = level + seen * rest
        error, limit = value - predicted, bound * sd
        if abs(error) > limit:
            error = limit if error > 0 else -limit
            cleaned[i] = trend[i] + predicted + error
            n_clipped += 1
        level += first * error
        rest += second * error
    return values if n_clipped > 0.1 * len(values) else cleaned
