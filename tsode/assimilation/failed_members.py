"""Members of an ensemble whose simulation failed: which they are, and copies of good ones in their place."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FAR", "good_members", "replaced"]

FAR = 1e6
"""A member fails beyond this many times the size of the others, before and after: it is on its way to infinity."""

_JITTER = 0.1


def good_members(members: Tensor, before: Tensor) -> Tensor | None:
    """Which members (r m) have not failed over a step; None where that is all of them.

    One has failed that is not finite, or that lies, in some coordinate, farther from zero than `FAR` times the farthest
    member before the step and than `FAR` times what three quarters of the members keep to after it.

    Parameters
    ----------
    members, before : Tensor[r m d]
    """
    with torch.no_grad():
        size, largest = members.abs(), torch.finfo(members.dtype).max
        reach = (FAR * before.abs().amax(dim=1, keepdim=True)).nan_to_num(largest, largest)
        if (size <= reach).all():  # the usual case; and a NaN is in no order
            return None
        size = size.nan_to_num(torch.inf, torch.inf)
        most = size.kthvalue(max(1, (3 * size.shape[1]) // 4), dim=1, keepdim=True).values
        return (size.isfinite() & (size <= torch.maximum(reach, FAR * most))).all(dim=2)


def replaced(members: Tensor, is_good: Tensor, picks: Tensor, jitter: float = _JITTER) -> Tensor:
    """Copies of good members, with fresh noise, in place of those that failed.

    The noise is a share of the difference of two other good ones, so it has the shape of what is left of the ensemble.

    Parameters
    ----------
    members : Tensor[r m d]
        Those that failed are not read.
    is_good : Tensor[r m], bool
    picks : Tensor[r m 3]
        Uniform numbers in (0, 1).
    jitter : float
        The share.

    Returns
    -------
    Tensor[r m d]
        NaN in rows with fewer than two good members.
    """
    n_good = is_good.sum(dim=1)
    order = (~is_good).int().argsort(dim=1, stable=True)  # good ones in front
    rank = (picks * n_good[:, None, None]).long().clamp(max=members.shape[1] - 1)
    donor = order.gather(1, rank.flatten(1)).reshape(rank.shape)

    def of(which: int) -> Tensor:
        return members.gather(1, donor[..., which, None].expand_as(members))

    fresh = of(0) + jitter * (of(1) - of(2)) / 2.0**0.5
    whole = torch.where(is_good[..., None], members, fresh)
    return torch.where((n_good >= 2)[:, None, None], whole, torch.nan)
