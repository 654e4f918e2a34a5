"""Guide of a latent path to the events ahead of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.models.latent.base import Inference

__all__ = ["Guide"]

FIRST_PULL = 0.4  # at an event: the posterior starts near the prior


class Guide(nn.Module):
    """Pull of a path to a target, ``pull * (target - z)``, both read off the state and the events ahead.

    A path that is to meet an observation has to be pulled the harder the nearer it is: for a linear process the best
    steering has this form, with a pull that falls with the time to go.

    Parameters
    ----------
    n_state : int
    n_context : int
        Width of the encoder.
    n_channels : int
    width : int
        Hidden units.
    n_inputs : int
        Width of the inputs at known times.
    fastest : float
        Bound of the pull. A target that is met within ``1 / fastest`` is met for any observation.
    """

    def __init__(
        self, n_state: int, n_context: int, n_channels: int, width: int = 64, n_inputs: int = 0, fastest: float = 1e4
    ) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.fastest = fastest
        self.of_event = nn.Linear(n_context + 2 * n_channels + n_inputs, width)
        self.of_lead = nn.Linear(2, width, bias=False)
        self.of_state = nn.Linear(n_state, width, bias=False)
        self.pull_and_target = nn.Linear(width, 2 * n_state)
        self.falls = nn.Parameter(torch.ones(n_state))

    def summarise_events(self, inference: Inference) -> Tensor:
        """Summary of each event and all later ones, which steers the way to it: Tensor[b n w]."""
        batch, context = inference.batch, inference.encoded.context
        parts = [context, batch.values, batch.mask.to(context)]
        if self.n_inputs:
            none = context.new_zeros(*context.shape[:2], self.n_inputs)
            parts.append(none if batch.inputs is None else batch.inputs)
        return self.of_event(torch.cat(parts, dim=-1))

    def look_ahead(self, ahead: Tensor, lead: Tensor) -> tuple[Tensor, Tensor]:
        """What does not depend on the state, given the summary of the next event (... w) and the time to it (... 1)."""
        log_lead = torch.log1p(10.0 * lead)
        hidden = ahead + self.of_lead(torch.cat([lead, log_lead], dim=-1))
        log_pull = math.log(FIRST_PULL) - self.falls * log_lead
        return hidden, self.pull_and_target.bias + torch.cat([log_pull, torch.zeros_like(log_pull)], dim=-1)

    def forward(self, z: Tensor, hidden: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the pull, and the target, of states ``z`` (b d), given what `look_ahead` found there (b ...)."""
        hidden = torch.tanh(torch.addmm(hidden, z, self.of_state.weight.mT))
        log_pull, target = torch.addmm(offset, hidden, self.pull_and_target.weight.mT).chunk(2, dim=1)
        return log_pull.clamp(max=math.log(self.fastest)), target
