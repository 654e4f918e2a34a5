"""Law of the standardised errors of a forecast that is a mixture of modes: a mixture of normals, by EM."""

from __future__ import annotations

import numpy as np

__all__ = ["N_ERRORS", "fit_errors", "mode_weights"]

N_ERRORS = 3
TEMPERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def mode_weights(evidence: np.ndarray, temper: float) -> np.ndarray:
    """Log weights of modes (... m) from their evidences; those that do not exist have minus infinity."""
    log_weight = (evidence - evidence.max(axis=-1, keepdims=True)) / temper
    return log_weight - np.log(np.exp(log_weight).sum(axis=-1, keepdims=True))


def fit_errors(
    values: np.ndarray, means: np.ndarray, scales: np.ndarray, evidence: np.ndarray
) -> tuple[np.ndarray, float]:
    """Errors' law and the temper of the evidences under which `values` are likeliest.

    Parameters
    ----------
    values : array[n]
    means, scales, evidence : array[n m]
        Of each mode.

    Returns
    -------
    law : array[3 e]
        Locations, log scales and log weights of the errors' components, in standard deviations.
    temper : float
        What evidences are divided by: errors that channels share make them too sure.
    """
    z = (values[:, None] - means) / scales
    best: tuple[float, np.ndarray, float] | None = None
    for temper in TEMPERS:
        log_mode = mode_weights(evidence, temper) - np.log(scales)
        location, width, weight = np.zeros(N_ERRORS), np.array([0.6, 1.2, 3.0]), np.array([0.5, 0.4, 0.1])
        for _ in range(60):
            u = (z[..., None] - location) / width
            log_part = log_mode[..., None] - 0.5 * u * u + np.log(weight / width)
            top = log_part.max(axis=(1, 2), keepdims=True)
            part = np.exp(log_part - top)
            total = part.sum(axis=(1, 2))
            part /= total[:, None, None]
            mass = part.sum(axis=(0, 1))
            # each component starts as ten values of a standard normal, so that few values cannot make it collapse
            location = (part * z[..., None]).sum(axis=(0, 1)) / (mass + 10.0)
            square = (part * (z[..., None] - location) ** 2).sum(axis=(0, 1))
            width = np.sqrt((square + 10.0) / (mass + 10.0))
            weight = (mass + 1.0) / (mass + 1.0).sum()
        likelihood = float((np.log(total) + top[:, 0, 0]).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, np.stack([location, np.log(width), np.log(weight)]), temper
    assert best is not None
    return best[1], best[2]
