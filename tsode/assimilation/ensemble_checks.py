"""Checks of ensembles along time: where one has lost its spread."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_collapse"]


def first_collapse(spread: Tensor, share: float = 1e-3) -> Tensor:
    """Stop at which an ensemble has collapsed: in every state it is below a share of the largest spread so far.

    What is left then is one state with rounding about it: data move it no longer. It comes of members that are too few
    or without noise of their own, of noise of the data that is stated too small, or of inflation that is switched off.

    Parameters
    ----------
    spread : Tensor[n r d]
        Standard deviations of the members at the stops; not finite where a row has failed, which is no collapse.
    share : float

    Returns
    -------
    Tensor[r], int64
        Index of the first such stop, -1 where there is none.

    Examples
    --------
    >>> first_collapse(torch.tensor([1.0, 0.5, 1e-4]).reshape(3, 1, 1))
    tensor([2])
    """
    largest = spread.nan_to_num(0.0, 0.0).cummax(dim=0).values
    is_small = ((spread < share * largest) | (largest == 0.0)).all(dim=2) & (largest > 0.0).any(dim=2)
    return torch.where(is_small.any(dim=0), is_small.int().argmax(dim=0), -1)
