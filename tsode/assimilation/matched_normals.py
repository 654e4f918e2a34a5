"""Normals with exact sample moments: mean zero, the identity, and no correlation with an ensemble that is there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["matched_normals"]


def matched_normals(members: Tensor, normals: Tensor) -> Tensor:
    """Turn normals (r m k) into some whose sample is exact beside an ensemble (r m d); see the module.

    The part of a sample that is not as it should be is taken off by reflections (Householder). That takes
    ``m - 1 >= d + k`` directions; with fewer members the normals are centred only.

    The result is a constant, but its derivative is such that the sample moments of whatever is made from both stay
    exact to first order when the ensemble is moved.

    References
    ----------
    Pham, "Stochastic methods for sequential data assimilation in strongly nonlinear systems", Monthly Weather Review
    129, 2001, section 3: second-order exact sampling.
    """
    m, d, k = members.shape[1], members.shape[2], normals.shape[2]
    if m - 1 < d + k:
        return normals - normals.mean(dim=1, keepdim=True)
    anomalies = members - members.mean(dim=1, keepdim=True)
    with torch.no_grad():
        ones = torch.ones_like(normals[..., :1])
        q, r = torch.linalg.qr(torch.cat([ones, anomalies, normals], dim=2))
        is_turned = r.diagonal(dim1=1, dim2=2)[:, None, 1 + d :] < 0.0
        exact = math.sqrt(m - 1) * torch.where(is_turned, -q[..., 1 + d :], q[..., 1 + d :])
    if not (torch.is_grad_enabled() and members.requires_grad):
        return exact
    with torch.no_grad():
        scale = anomalies.norm(dim=1, keepdim=True)
        scale = torch.where(scale > 0.0, scale, 1.0)
        inverse = torch.linalg.pinv(anomalies / scale).mT / scale  # m d
    return exact - inverse @ ((anomalies - anomalies.detach()).mT @ exact)
