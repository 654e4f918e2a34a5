"""Likelihood of observation times: what the timing of observations says about the state of a filter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsode.models.filters.jump_filter import Filtered, JumpFilter

__all__ = ["times_loss"]

# Gauss-Legendre on [0, 1]: exact for polynomials of degree 9
NODES = (0.0469100770306680, 0.2307653449471585, 0.5, 0.7692346550528415, 0.9530899229693320)
WEIGHTS = (0.1184634425280945, 0.2393143352496832, 0.2844444444444444, 0.2393143352496832, 0.1184634425280945)


def times_loss(model: JumpFilter, filtered: Filtered) -> Tensor:
    """Negative log-likelihood of when a series was observed, in nats an observation.

    ``sum_i log rate(t_i) - int rate dt`` from the first event to the last observation, given the first event (Daley &
    Vere-Jones 2003, proposition 7.2.III); inputs move the state, but their times are not scored. The integral is by
    Gauss-Legendre with five nodes between any two events.
    """
    intensity, batch = model.intensity, filtered.batch
    assert intensity is not None
    gap = batch.times.diff(dim=1)
    n = batch.n_events - 1
    steps = torch.arange(n, device=gap.device)
    is_between = (steps < (filtered.n_observed - 1)[:, None]) & (gap > 0)
    at = is_between.flatten().nonzero()[:, 0]
    if not len(at):
        return filtered.path.z_start.new_zeros(())
    width = batch.n_events + 1
    row = at.div(n, rounding_mode="floor")
    place = row * width + at % n + 1
    z, t, acted_at = (part.flatten(0, 1)[place] for part in (*filtered.first.starts, filtered.acted_at))
    length = gap.flatten()[at]
    share = torch.tensor([*NODES, 1.0], dtype=gap.dtype, device=gap.device)
    times = t[:, None] + length[:, None] * share
    evolution: Any = model.evolution
    states = evolution.evolve_to(z, t, times, *model.drive(filtered.held, place)).z
    rates = intensity(states, (times - acted_at[:, None]).to(states.dtype))
    weights = rates.new_tensor(WEIGHTS)
    compensator = (rates[:, :-1] @ weights) * length.to(rates.dtype)
    is_observed = batch.mask[:, 1:].any(dim=2).flatten()[at]
    return (compensator - torch.where(is_observed, rates[:, -1].log(), 0.0)).sum() / is_observed.sum().clamp(min=1)
