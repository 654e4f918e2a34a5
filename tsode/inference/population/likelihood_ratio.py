"""Likelihood ratio of nested populations: its p value, also where a spread is 0 under the smaller model."""

from __future__ import annotations

from scipy.stats import chi2

__all__ = ["likelihood_ratio"]


def likelihood_ratio(statistic: float, df: int, n_at_bound: int = 0) -> float:
    """Probability that the objective falls by more than `statistic` though the smaller model is right.

    The law is chi squared with `df` degrees of freedom. Where one of these is a spread, 0 under the smaller model, the
    end of its range, it is half that and half chi squared with ``df - 1`` (Stram and Lee 1994, case 3; Self and Liang
    1987, case 6). With more spreads there is no such law for all models, and what comes is an upper bound.

    Parameters
    ----------
    statistic : float
        Difference of the objectives, ``-2 log L``.
    df : int
        Parameters that the smaller model has less.
    n_at_bound : int
        How many of them are spreads of effects that the smaller model does not have.

    References
    ----------
    Self and Liang, "Asymptotic properties of maximum likelihood estimators and likelihood ratio tests under nonstandard
    conditions", JASA 82, 1987; Stram and Lee, "Variance components testing in the longitudinal mixed effects model",
    Biometrics 50, 1994.
    """
    if statistic <= 0.0:
        return 1.0
    whole = float(chi2.sf(statistic, df))
    if n_at_bound != 1:
        return whole
    fewer = float(chi2.sf(statistic, df - 1)) if df > 1 else 0.0  # without any degree of freedom all mass is at 0
    return 0.5 * (whole + fewer)
