"""Joint paths of structural models, each by one draw of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tsode.kernels.paired_filter import Belief
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.structure import Parts

__all__ = ["draw_paths"]


def draw_paths(
    fit: ChannelFit,
    seen: tuple[Tensor, Tensor],
    events: Tensor,
    times: Tensor,
    behind: Tensor,
    beliefs: Mapping[int, Belief],
    explained: Tensor,
    log_weights: Tensor,
    n_samples: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Scaled observations (g s m) of one series and the draw of each path; anew where an event comes between.

    Parameters
    ----------
    fit : ChannelFit
    seen : (Tensor[g d m], Tensor[g d])
        What each channel sees of the states, and the variance of its noise.
    events : Tensor[n]
    times : Tensor[m]
        In order.
    behind : Tensor[m], int64
        Events before each of them.
    beliefs : mapping
        Of all draws of the parameters, after so many events: (d k), (d k k).
    explained : Tensor[g m d]
        By covariates.
    log_weights : Tensor[d]
    n_samples : int
    generator : torch.Generator
    """
    chosen = torch.multinomial(log_weights.exp(), n_samples, replacement=True, generator=generator)
    values, state, before = [], times.new_zeros(len(chosen), fit.n_states), -1
    for k, count in enumerate(behind.tolist()):
        if count != before:
            last = events[count - 1] if count else times[k]
            belief, before = beliefs[count], count
            root = _root(belief.cov)
            noise = _normal(state, generator)
            state = belief.mean[chosen] + (root[chosen] @ noise[..., None]).squeeze(-1)
            gap = times[k] - last
        else:
            gap = times[k] - times[k - 1]
        state = _moved(fit.parts(gap.reshape(1, 1)), state, chosen, generator)
        values.append(torch.stack([_observed(state, h[chosen], r[chosen], generator) for h, r in zip(*seen)]))
    return torch.stack(values, dim=2) + explained[:, :, chosen].mT, chosen


def _observed(state: Tensor, readout: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    return (state * readout).sum(dim=-1) + noise.sqrt() * _normal(state[:, 0], generator)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _root(cov: Tensor) -> Tensor:
    """Square root of covariances that may be singular."""
    values, vectors = torch.linalg.eigh(0.5 * (cov + cov.mT))
    return vectors * values.clamp(min=0.0).sqrt()[..., None, :]


def _moved(parts: Parts, state: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """States (s m) after one step, each by its own draw of the parameters."""
    own, other, variance, covariance = (x[0, 0, chosen] for x in parts.steps)
    partner = state.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    first, second = variance[..., 0::2], variance[..., 1::2]
    white = _normal(state, generator)
    lead = first.clamp(min=0.0).sqrt()
    slope = covariance / lead.clamp(min=1e-150)
    rest = (second - slope**2).clamp(min=0.0).sqrt()
    noise = torch.stack([lead * white[..., 0::2], slope * white[..., 0::2] + rest * white[..., 1::2]], dim=-1)
    return own * state + other * partner + noise.flatten(-2)
