"""Risk of a plan: the tail of a loss over draws, by quantile or by expected shortfall."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError

__all__ = ["RISKS", "check_risk", "largest", "tail"]

RISKS = ("quantile", "shortfall")
_SPREAD, _SOFT = 0.02, 0.005  # of numbers of order one: width of a draw, and what counts as the largest of several


def check_risk(by: str, where: str) -> None:
    """Refuse what is no measure of risk."""
    if by not in RISKS:
        raise ParameterError(f"{where} measures risk by {by!r}, but knows {' and '.join(map(repr, RISKS))}.")


def tail(loss: Tensor, probability: float, by: str = "quantile", is_smooth: bool = False) -> Tensor:
    """Measure of the upper tail of a loss over its draws: at most 0 where the risk is kept.

    The quantile is the least number that no more than a share `probability` of the draws exceeds, so that it is at most
    0 just if no more than that share is above 0. The expected shortfall is the mean of that share of largest losses, a
    draw counting in part where the share is no whole number of them (Rockafellar & Uryasev 2000, eq. 4).

    Parameters
    ----------
    loss : Tensor[... s]
    probability : float
        Between 0 and 1.
    by : {"quantile", "shortfall"}
    is_smooth : bool
        The quantile of draws that are spread out a little, by a logistic law: a smooth function of the losses, which
        are in numbers of order one.

    Returns
    -------
    Tensor[...]

    References
    ----------
    R. T. Rockafellar and S. Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2 (2000) 21-41.

    Examples
    --------
    >>> import torch
    >>> losses = torch.tensor([-3.0, -2.0, -1.0, 4.0])
    >>> float(tail(losses, 0.25)), float(tail(losses, 0.5, by="shortfall"))
    (-1.0, 1.5)
    """
    check_risk(by, "tail")
    if by == "quantile" and is_smooth:
        return _spread_quantile(loss, probability)
    ordered = loss.sort(dim=-1, descending=True).values
    s = loss.shape[-1]
    n_above = probability * s
    whole = math.floor(n_above + 1e-9)
    weights = torch.zeros(s, dtype=loss.dtype)
    if by == "shortfall":
        weights[:whole] = 1.0
        if whole < s:
            weights[whole] = max(n_above - whole, 1e-12 if whole == 0 else 0.0)
    else:
        weights[min(whole, s - 1)] = 1.0
    return (ordered * weights).sum(dim=-1) / weights.sum()


def largest(x: Tensor, is_smooth: bool) -> Tensor:
    """Largest number along the last axis, of numbers of order one; smooth and a little more where that is asked for."""
    if not is_smooth:
        return x.amax(dim=-1)
    return _SOFT * torch.logsumexp(x / _SOFT, dim=-1)


def _spread_quantile(loss: Tensor, probability: float) -> Tensor:
    """Root q of ``mean(sigmoid((loss - q) / width)) = probability``, with its derivative by the losses."""
    share = min(max(probability, 0.5 / loss.shape[-1]), 1.0)
    x = loss.detach()
    low, high = (x.amin(dim=-1) - 40.0 * _SPREAD, x.amax(dim=-1) + 40.0 * _SPREAD)
    for _ in range(60):
        middle = (low + high) / 2.0
        is_above = torch.sigmoid((x - middle[..., None]) / _SPREAD).mean(dim=-1) > share
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
    q = (low + high) / 2.0
    off = (x - q[..., None]) / _SPREAD
    pull = (nn.functional.logsigmoid(off) + nn.functional.logsigmoid(-off)).softmax(dim=-1)
    return q + (pull * (loss - x)).sum(dim=-1)
