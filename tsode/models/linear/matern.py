"""Regression with errors that move in time: a linear mean, a Matérn process and noise, in one pass over the times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.evolutions.linear_sde import discretise, stationary_moments

__all__ = ["SMOOTHNESS", "MaternFit", "fit_matern", "matern_system", "score_matern"]

SMOOTHNESS = {0.5: 1, 1.5: 2, 2.5: 3}  # order of the process -> states of its equation

_STEPS_AT_ONCE = 512  # transitions held in memory at a time: changes no number
_LENGTHS, _SHARES = 16, np.array([0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.8, 1.0])
_ZOOMS = 3  # finer grids around the best, each a third as wide


@dataclass(frozen=True)
class MaternFit:
    """What a pass says of each candidate.

    Parameters
    ----------
    log_likelihood : Tensor[b]
        At the best scale, up to a constant that all candidates share.
    variance : Tensor[b]
        Of process and noise together.
    coef : Tensor[b q]
        Posterior mean of the weights of the columns.
    precision : Tensor[b q q]
        Of the weights, in units of one over `variance`.
    """

    log_likelihood: Tensor
    variance: Tensor
    coef: Tensor
    precision: Tensor


def matern_system(smoothness: float, length: float = 1.0) -> tuple[Tensor, Tensor]:
    """Drift (d d) and diffusion (d 1) whose first state is a Matérn process of variance 1.

    Hartikainen & Särkkä 2010, section 3; Särkkä & Solin 2019, section 12.3: ``(d/dt + rate)^d f = white noise`` with
    ``rate = sqrt(2 smoothness) / length``.

    Parameters
    ----------
    smoothness : {0.5, 1.5, 2.5}
        Rough (Ornstein-Uhlenbeck), once, or twice differentiable.
    length : float
        Length scale, as in `sklearn.gaussian_process.kernels.Matern`.

    Raises
    ------
    ParameterError
        For another smoothness.
    """
    if smoothness not in SMOOTHNESS:
        raise ParameterError(f"smoothness must be 0.5, 1.5 or 2.5, but is {smoothness!r}.")
    d = SMOOTHNESS[smoothness]
    rate = math.sqrt(2.0 * smoothness) / length
    # states are scaled by powers of the rate, so that short lengths leave no huge numbers in one of them
    drift = torch.diag(torch.full((d - 1,), rate, dtype=torch.float64), 1)
    drift[-1] = -rate * torch.tensor([float(math.comb(d, k)) for k in range(d)], dtype=torch.float64)
    diffusion = torch.zeros(d, 1, dtype=torch.float64)
    diffusion[-1] = 1.0
    variance = stationary_moments(drift, torch.zeros(d, dtype=torch.float64), diffusion)[1][0, 0]
    return drift, diffusion / variance.sqrt()


def score_matern(
    times: Tensor, y: Tensor, columns: Tensor, penalty: Tensor, smoothness: float, length: Tensor, noise: Tensor
) -> MaternFit:
    """Likelihood of ``y = columns w + process + noise`` for several length scales and shares of noise.

    The weights are integrated out: ``w_j ~ N(0, variance / penalty_j)``, flat where the penalty is 0. One Kalman
    filter whitens ``y`` and the columns alike (its gains do not depend on what is filtered), which makes this a least
    squares problem (Harvey 1989, section 3.4: the augmented filter).

    Parameters
    ----------
    times : Tensor[n], float64
        Not decreasing; several observations may stand at one time.
    y : Tensor[n]
    columns : Tensor[n q]
    penalty : Tensor[q]
    smoothness : float
    length : Tensor[b]
    noise : Tensor[b]
        Share of the noise in the variance, in (0, 1].
    """
    drift, diffusion = matern_system(smoothness)
    zeros = torch.zeros_like(drift[0])
    stationary = stationary_moments(drift, zeros, diffusion)[1]
    data = torch.cat([columns, y[:, None]], dim=1)
    mean = data.new_zeros(len(length), len(drift), data.shape[1])
    cov = (1.0 - noise)[:, None, None] * stationary
    log_det = torch.zeros_like(length)
    white = []
    gaps = times.diff(prepend=times[:1])
    for start in range(0, len(times), _STEPS_AT_ONCE):
        block = slice(start, start + _STEPS_AT_ONCE)
        step = discretise(drift, zeros, diffusion, gaps[block, None] / length)
        process = (1.0 - noise)[:, None, None] * step.cov
        for phi, added, row in zip(step.phi, process, data[block]):
            mean = phi @ mean
            cov = phi @ cov @ phi.mT + added
            variance = cov[:, 0, 0] + noise
            gain = cov[:, :, 0] / variance[:, None]
            error = row - mean[:, 0]
            mean = mean + gain[:, :, None] * error[:, None]
            cov = cov - gain[:, :, None] * cov[:, :1]
            white.append(error * variance.rsqrt()[:, None])
            log_det = log_det + variance.log()
    both = torch.stack(white, dim=1)
    design, target = both[..., :-1], both[..., -1:]
    precision = design.mT @ design + penalty.diag()
    factor = torch.linalg.cholesky(precision)
    coef = torch.cholesky_solve(design.mT @ target, factor)
    rest = target - design @ coef
    # not below rounding, for a `y` that is explained without rest
    squares = (rest.square().sum((1, 2)) + (penalty * coef[..., 0].square()).sum(1)).clamp(min=1e-12)
    freedom = len(times) - int((penalty == 0).sum())
    log_det = log_det + 2.0 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return MaternFit(-0.5 * (freedom * squares.log() + log_det), squares / freedom, coef[..., 0], precision)


def fit_matern(
    times: Tensor,
    y: Tensor,
    columns: Tensor,
    penalty: Tensor,
    smoothness: float,
    length: float | None = None,
    noise: float | None = None,
) -> tuple[float, float, MaternFit]:
    """Length scale and share of noise of the highest likelihood, on a grid that zooms in; given ones are kept.

    See `score_matern` for the arguments. A grid, because the likelihood has several maxima and a pass over the times
    serves all of its points at once.
    """
    gaps = times.diff()
    gaps = gaps[gaps > 0]
    span = float(times[-1] - times[0])
    shortest = 0.5 * float(gaps.median()) if len(gaps) else 1.0
    lengths = np.geomspace(shortest, max(4.0 * span, 2.0 * shortest), _LENGTHS)
    shares = _SHARES
    best = (-math.inf, 1.0, 1.0)
    width, depth = math.log(lengths[1] / lengths[0]), 1.2
    for _ in range(_ZOOMS + 1):
        some = lengths if length is None else [length]
        parts = shares if noise is None else [noise]
        grid = torch.tensor([(a, b) for a in some for b in parts], dtype=torch.float64)
        score = score_matern(times, y, columns, penalty, smoothness, grid[:, 0], grid[:, 1]).log_likelihood
        best = max(best, (float(score.max()), *grid[int(score.argmax())].tolist()))
        lengths = best[1] * np.exp(width * np.linspace(-1.0, 1.0, 7))
        # on the log-odds scale, on which the ends of a share are alike; a share of 1 is no process at all
        odds = math.log(best[2] / max(1.0 - best[2], 1e-3)) + depth * np.linspace(-1.0, 1.0, 7)
        shares = np.clip(1.0 / (1.0 + np.exp(-odds)), 1e-4, 1.0)
        width, depth = width / 3.0, depth / 3.0
    at = torch.tensor(best[1:], dtype=torch.float64)[:, None]
    return best[1], best[2], score_matern(times, y, columns, penalty, smoothness, at[0], at[1])
