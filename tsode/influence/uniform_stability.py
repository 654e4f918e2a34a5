"""Uniform stability of convex learners: how much at most one training example can change any loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsode.errors import ParameterError

__all__ = ["ridge_bound", "stability_bound"]


def stability_bound(lipschitz: float, step_sizes: Sequence[float] | np.ndarray, n: int) -> float:
    """Bound the expected change of a loss when one of `n` examples is exchanged, after stochastic gradient steps.

    It holds for losses that are convex, `lipschitz` and smooth in the parameters, if no step is longer than 2 over
    their smoothness. The mean is over the draws of examples, which both runs share.

    Parameters
    ----------
    lipschitz : float
        Largest norm of the gradient of one example's loss where the steps go.
    step_sizes : array[t]
    n : int

    Returns
    -------
    float
        ``2 L^2 sum(step_sizes) / n``, in units of the loss.

    Raises
    ------
    ParameterError
        If an argument is negative or not finite, or `n` is below 1.

    References
    ----------
    Hardt, Recht and Singer, "Train faster, generalize better", ICML 2016, theorem 3.7.

    Examples
    --------
    >>> from tsode.influence import stability_bound
    >>> stability_bound(2.0, [0.25, 0.25], 100)
    0.04
    """
    steps = np.asarray(step_sizes, dtype=float)
    if not np.isfinite(steps).all() or (steps < 0).any():
        raise ParameterError(f"step_sizes={step_sizes!r} must be finite and not negative.")
    _check("lipschitz", lipschitz)
    _check_n(n)
    return float(2.0 * lipschitz**2 * steps.sum() / n)


def ridge_bound(admissible: float, kernel_bound: float, penalty: float, n: int) -> float:
    """Bound the change of any loss when one of `n` examples is removed from a minimiser with a squared penalty.

    The minimiser is that of ``mean(loss) + penalty * |weights|^2``, with a convex loss.

    Parameters
    ----------
    admissible : float
        Lipschitz constant of the loss in the prediction, where predictions lie.
    kernel_bound : float
        Largest norm of the regressors of an example.
    penalty : float
    n : int

    Returns
    -------
    float
        ``admissible^2 kernel_bound^2 / (2 penalty n)``, in units of the loss.

    Raises
    ------
    ParameterError
        If an argument is negative or not finite, the penalty is zero, or `n` is below 1.

    References
    ----------
    Bousquet and Elisseeff, "Stability and generalization", JMLR 2, 2002, theorem 22.

    Examples
    --------
    >>> from tsode.influence import ridge_bound
    >>> ridge_bound(2.0, 1.0, 0.5, 100)
    0.04
    """
    _check("admissible", admissible)
    _check("kernel_bound", kernel_bound)
    _check("penalty", penalty)
    _check_n(n)
    if penalty == 0:
        raise ParameterError("penalty=0 bounds nothing: give a positive penalty.")
    return float(admissible**2 * kernel_bound**2 / (2.0 * penalty * n))


def _check(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ParameterError(f"{name}={value!r} must be finite and not negative.")


def _check_n(n: int) -> None:
    if n < 1:
        raise ParameterError(f"n={n!r} must be at least 1: it is the number of examples.")
