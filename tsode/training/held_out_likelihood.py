"""Held-out likelihood: of the values of some series given what came before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tsode.core.batch import IrregularBatch
from tsode.models.linear.gaussian import LinearGaussianModel

__all__ = ["held_out_loss"]


@torch.no_grad()
def held_out_loss(model: LinearGaussianModel, batches: Sequence[tuple[IrregularBatch, ...]]) -> float:
    """Negative log-likelihood of a held-out value given what came before it, in nats; infinite where a pass failed.

    Parameters
    ----------
    batches : sequence of (IrregularBatch, IrregularBatch)
        The contexts, and the contexts with the held-out values after them.
    """
    total = count = 0.0
    for context, whole in batches:
        total -= float((model.log_likelihood(whole) - model.log_likelihood(context)).sum())
        count += float(whole.mask.sum() - context.mask.sum())
    score = total / max(count, 1.0)
    return score if np.isfinite(score) else float("inf")
