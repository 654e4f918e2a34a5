"""Laws that filters at several draws of the parameters predict: mixtures, with what is of the parameters told apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tsode.assimilation.forecast import Law
from tsode.estimators.forecasters.predictive import Predictive
from tsode.estimators.known_ode.laws import MixedPredictive
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.ensemble_mixture import EnsembleMixture

__all__ = ["mixture_over_draws"]


def mixture_over_draws(laws: Sequence[Law], rows: Tensor, chosen: Tensor, n: int, at: np.ndarray) -> MixedPredictive:
    """Mixtures at the first ``n`` times of a series over draws of the parameters, and over the states at each.

    Parameters
    ----------
    laws : sequence of Law
        Of all rows of a run.
    rows : Tensor[k]
        Those of the series, one a draw.
    chosen : Tensor[n k]
        Of each time, places among `rows` of draws that weigh the same.
    n : int
    at : array[n]
        See `Predictive`.
    """
    channels = []
    for law in laws:
        own = law.params[rows, :n].transpose(0, 1)  # (n k m p)
        own = own.gather(1, chosen[:n, :, None, None].expand(-1, -1, *own.shape[2:]))
        own = _possible(own)
        k, m = own.shape[1:3]
        family = EnsembleMixture(k * m, law.family)
        share = partial(_share_between, law.family, own)
        channels.append(Predictive(family, own.flatten(1)[:, None], at, epistemic_share=share))
    return MixedPredictive.of(channels)


def _possible(params: Tensor) -> Tensor:
    """Parameters (n k m p) in which members that have none give way to others of their draw, or else of any."""
    is_fine = params.isfinite().all(dim=-1)
    if bool(is_fine.all()):
        return params
    n, k, m, _ = params.shape
    for shape in ((n * k, m), (n, k * m)):
        flat, fine = params.reshape(*shape, -1), params.isfinite().all(dim=-1).reshape(shape)
        order = (~fine).long().argsort(dim=1, stable=True)
        count = fine.sum(dim=1, keepdim=True).clamp(min=1)
        place = torch.arange(shape[1]).expand(shape)
        source = torch.where(fine, place, order.gather(1, place % count))
        params = flat.gather(1, source[..., None].expand_as(flat)).reshape(params.shape)
    return params


def _share_between(family: Likelihood, params: Tensor) -> Tensor:
    """Share (n 1) of the variance that lies between draws of the parameters (n k m p)."""
    means = family.mean(params)
    within = family.variance(params).mean(dim=(1, 2)) + means.flatten(1).var(dim=1, correction=0)
    return (means.mean(dim=2).var(dim=1, correction=0) / within)[:, None]
