"""Groups of rows of like length, so that a long series does not fill up the short ones."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["of_like_length"]


def of_like_length(lengths: Tensor, most: int, width: int) -> list[Tensor]:
    """Rows (b) to be filtered together, short ones first, so that there are no more than `most` steps and beliefs."""
    groups: list[list[int]] = [[]]
    for row in lengths.argsort(stable=True).tolist():
        steps = max(int(lengths[row]), width) * (len(groups[-1]) + 1)  # a belief holds as much as `width` steps
        if groups[-1] and steps > most:
            groups.append([])
        groups[-1].append(row)
    return [torch.tensor(rows) for rows in groups]
