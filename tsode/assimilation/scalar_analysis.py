"""Analysis of one value: what it says about the prediction that its noise is about."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.motion import Seen

__all__ = ["Analysis", "analyse"]

_REACH = 8.0  # standard deviations on either side of the mean
_N_COARSE, _N_FINE, _N_LOOKS = 65, 129, 3


class Analysis(NamedTuple):
    """Moments of a prediction after a value was seen.

    Parameters
    ----------
    log_evidence : Tensor[r]
        Log density of the value; 0 where none was seen.
    mean, var : Tensor[r]
        Where none was seen, or the value is impossible, those from before.
    """

    log_evidence: Tensor
    mean: Tensor
    var: Tensor


def analyse(seen: Seen, mean: Tensor, var: Tensor) -> Analysis:
    """Moments of a prediction ``s ~ N(mean, var)``, each (r,), given the value that was seen.

    Exact for normal noise. For any other the moments are those of ``N(s; mean, var) p(value | s)``, by quadrature: the
    law that they stand for is normal, which is an approximation.

    References
    ----------
    Minka, "Expectation propagation for approximate Bayesian inference", UAI 2001, section 3.2.
    """
    if seen.value is None or seen.variance is None:
        found = _by_quadrature(seen, mean, var)
    else:
        found = _of_normal(seen.value, seen.variance, mean, var)
        if seen.offset is not None:
            found = found._replace(log_evidence=found.log_evidence + seen.offset)
        is_other = seen.is_seen & seen.value.isnan()
        if bool(is_other.any()):  # a value beyond a limit of quantification
            other = _by_quadrature(seen, mean, var)
            found = Analysis(*(torch.where(is_other, x, y) for x, y in zip(other, found)))
    is_usable = seen.is_seen & found.log_evidence.isfinite()
    log_evidence = torch.where(is_usable, found.log_evidence, torch.where(seen.is_seen, -torch.inf, 0.0))
    return Analysis(log_evidence, torch.where(is_usable, found.mean, mean), torch.where(is_usable, found.var, var))


def _of_normal(value: Tensor, variance: Tensor, mean: Tensor, var: Tensor) -> Analysis:
    total = var + variance
    error = value - mean
    log_evidence = -0.5 * (error.square() / total + (2.0 * math.pi * total).log())
    return Analysis(log_evidence, mean + var / total * error, var * (variance / total))


def _by_quadrature(seen: Seen, mean: Tensor, var: Tensor) -> Analysis:
    is_wide = seen.is_seen & (var > 0)
    sd = torch.where(is_wide, var, 1.0).sqrt()
    centre, width = torch.zeros_like(sd), torch.full_like(sd, _REACH)  # in standard deviations from the mean
    with torch.no_grad():
        for _ in range(_N_LOOKS):
            x, weight, _ = _weights(seen, mean, sd, centre, width, _N_COARSE)
            at = (weight * x).sum(dim=1)
            spread = (weight * (x - at[:, None]).square()).sum(dim=1).sqrt()
            narrow = torch.maximum(_REACH * spread, 2.0 * width / (_N_COARSE - 1))
            is_better = at.isfinite() & (narrow < width)
            centre, width = torch.where(is_better, at, centre), torch.where(is_better, narrow, width)
    x, weight, log_evidence = _weights(seen, mean, sd, centre, width, _N_FINE)
    moved = (weight * x).sum(dim=1)
    spread = (weight * (x - moved[:, None]).square()).sum(dim=1)
    known = seen.log_prob(mean[:, None])[:, 0]  # of a state that is known nothing is to be learned
    return Analysis(
        torch.where(is_wide, log_evidence, known),
        torch.where(is_wide, mean + sd * moved, mean),
        torch.where(is_wide, var * spread, var),
    )


def _weights(
    seen: Seen, mean: Tensor, sd: Tensor, centre: Tensor, width: Tensor, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (r n) about the centre, their normalised weights, and the log of the sum of the weights (r,)."""
    x = centre[:, None] + width[:, None] * torch.linspace(-1.0, 1.0, n, dtype=mean.dtype)
    log_prob = seen.log_prob(mean[:, None] + sd[:, None] * x)
    log_density = log_prob - 0.5 * x.square() + (width[:, None] * 2.0 / (n - 1) / math.sqrt(2.0 * math.pi)).log()
    is_some = log_density.detach().isfinite()
    log_density = torch.where(is_some, log_density, -torch.inf)
    is_any = is_some.any(dim=1, keepdim=True)
    total = torch.where(is_any, log_density, 0.0).logsumexp(dim=1)
    weight = torch.where(is_any, (log_density - total[:, None]).exp(), 0.0)
    return x, weight, torch.where(is_any[:, 0], total, -torch.inf)
