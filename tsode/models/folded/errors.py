"""Law of the standardised errors of a forecast that is a mixture of modes: a mixture of normals, by EM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["N_ERRORS", "ErrorLaw", "fit_errors", "mode_weights"]

N_ERRORS = 3
N_ROUNDS = 40
TEMPERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
DRIFTS = (0.0, 0.005, 0.01, 0.02, 0.04)


@dataclass(frozen=True)
class ErrorLaw:
    """Errors of forecasts.

    Parameters
    ----------
    components : array[3 e]
        Locations, log scales and log weights of normals, in standard deviations of the forecast.
    temper : float
        What log evidences of modes are divided by: errors that channels share make them too sure.
    drift : float
        Standard deviation of the drift of a series' phase, in cycles a span of its history.
    likelihood : float
        Log likelihood that it was chosen for.
    """

    components: np.ndarray
    temper: float
    drift: float
    likelihood: float


def mode_weights(evidence: np.ndarray, temper: float) -> np.ndarray:
    """Log weights of modes (... m) from their evidences; those that do not exist have minus infinity."""
    log_weight = (evidence - evidence.max(axis=-1, keepdims=True)) / temper
    return log_weight - np.log(np.exp(log_weight).sum(axis=-1, keepdims=True))


def fit_errors(
    values: np.ndarray, means: np.ndarray, variances: np.ndarray, drifted: np.ndarray, evidence: np.ndarray
) -> ErrorLaw:
    """The law under which `values` (n) are likeliest, given what each mode says of them (n m).

    First the temper is chosen without a drift, then the drift.
    """
    best = max((_fit(values, means, variances, evidence, temper) for temper in TEMPERS), key=_likelihood)
    wider = [(drift, variances + drift**2 * drifted) for drift in DRIFTS[1:]]
    others = [_fit(values, means, variance, evidence, best.temper, drift) for drift, variance in wider]
    return max([best, *others], key=_likelihood)


def _likelihood(law: ErrorLaw) -> float:
    return law.likelihood


def _fit(
    values: np.ndarray, means: np.ndarray, variances: np.ndarray, evidence: np.ndarray, temper: float,
    drift: float = 0.0,
) -> ErrorLaw:  # fmt: skip
    scales = np.sqrt(variances)
    z = ((values[:, None] - means) / scales)[..., None]
    log_mode = (mode_weights(evidence, temper) - np.log(scales))[..., None]
    location, width, weight = np.zeros(N_ERRORS), np.array([0.6, 1.2, 3.0]), np.array([0.5, 0.4, 0.1])
    for _ in range(N_ROUNDS):
        log_part = log_mode - 0.5 * ((z - location) / width) ** 2 + np.log(weight / width)
        top = log_part.max(axis=(1, 2), keepdims=True)
        part = np.exp(log_part - top)
        total = part.sum(axis=(1, 2), keepdims=True)
        part /= total
        mass = part.sum(axis=(0, 1))
        # as if ten more values at one standard deviation had come, lest few values make a component collapse
        location = (part * z).sum(axis=(0, 1)) / (mass + 10.0)
        width = np.sqrt(((part * (z - location) ** 2).sum(axis=(0, 1)) + 10.0) / (mass + 10.0))
        weight = (mass + 1.0) / (mass + 1.0).sum()
    likelihood = float((np.log(total) + top).sum())
    return ErrorLaw(np.stack([location, np.log(width), np.log(weight)]), temper, drift, likelihood)
