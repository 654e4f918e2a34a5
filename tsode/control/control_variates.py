"""Control variates: the mean of a function of paths, less what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tsode.control.known_marginals import Marginal

__all__ = ["Estimate", "controls_of", "estimate"]

N_FOLDS = 5
SHARE = 0.05  # most controls, in parts of the paths
LEVELS = (0.005, 0.02, *(k / 16 for k in range(1, 16)), 0.98, 0.995)  # of the knots
FEWEST_BEYOND = 40  # paths on either side of a knot, in expectation: fewer do not fix a coefficient
RIDGE = 1e-8  # of the variance of a control


@dataclass(frozen=True)
class Estimate:
    """Mean of a function of paths.

    Parameters
    ----------
    mean : float
    error : float
        Its standard error.
    reduction : float
        Factor by which the variance of the mean is smaller than that of as many plain paths.
    n_controls : int
    """

    mean: float
    error: float
    reduction: float
    n_controls: int


def controls_of(paths: np.ndarray, marginals: Sequence[Marginal]) -> list[np.ndarray]:
    """Sets (s k) of controls of paths (s m c), zero in expectation: lines, and lines with ever more bends.

    The values themselves; and how far they are above knots, at quantiles of their laws: together these stand for any
    function of a value, up to what it does between two knots. Where times are so many that there would be more
    controls than a share of the paths, their means over the times and those of the last time.
    """
    n = len(paths)
    levels = np.array([p for p in LEVELS if min(p, 1.0 - p) * n >= FEWEST_BEYOND])
    lines, bends = [], []
    for one in marginals:
        values = torch.from_numpy(paths[:, :, one.channel])
        lines.append(values - one.mean)
        knots = one.quantiles(torch.from_numpy(levels))  # (m q)
        bends.append((values[..., None] - knots).clamp(min=0.0) - one.above(knots))
    line, bend = torch.stack(lines, dim=2)[..., None], torch.stack(bends, dim=2)  # (s m k 1), (s m k q)
    sets = []
    for chosen in (levels < 0.0, levels * 4 % 1 == 0.0, levels * 8 % 1 == 0.0, levels > 0.0):
        part = torch.cat([line, bend[..., torch.from_numpy(chosen)]], dim=3)
        whole, short = part.flatten(1), torch.cat([part.mean(dim=1), part[:, -1]], dim=1).flatten(1)
        sets += [one.numpy() for one in (whole, short) if one.shape[1] <= SHARE * n]
    return sets


def estimate(values: np.ndarray, choices: Sequence[np.ndarray], generator: np.random.Generator) -> Estimate:
    """Estimate the mean of the values (s,) of paths, with those controls that leave the least variance.

    Coefficients are those of a regression on the other folds of the paths, so that they are independent of the path
    they are used on and the mean is unbiased.

    References
    ----------
    Glasserman 2003, *Monte Carlo Methods in Financial Engineering*, section 4.1; the folds are of Avramidis and Wilson
    1993 (splitting).
    """
    n = len(values)
    plain = float(values.var(ddof=1)) if n > 1 else np.nan
    best, n_controls = values, 0
    if plain > 0.0 and n >= 4 * N_FOLDS:
        fold = generator.permutation(n) % N_FOLDS
        for controls in choices:
            rest = _rest(values, controls, fold)
            if rest.var(ddof=1) < best.var(ddof=1):
                best, n_controls = rest, controls.shape[1]
    left = float(best.var(ddof=1)) if n > 1 else np.nan
    reduction = plain / left if left > 0.0 else (1.0 if not plain > 0.0 else np.inf)
    return Estimate(float(best.mean()), float(np.sqrt(left / n)), reduction, n_controls)


def _rest(values: np.ndarray, controls: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Values (s,) less what the controls (s k) explain, by a regression on all folds but a path's own."""
    rest = values.copy()
    scale = controls.std(axis=0)
    scaled = controls / np.where(scale > 0.0, scale, 1.0)
    for k in range(N_FOLDS):
        is_own = fold == k
        x, y = scaled[~is_own], values[~is_own]
        x_apart, y_apart = x - x.mean(axis=0), y - y.mean()
        gram = x_apart.T @ x_apart + RIDGE * len(x) * np.eye(x.shape[1])
        rest[is_own] -= scaled[is_own] @ np.linalg.solve(gram, x_apart.T @ y_apart)
    return rest
