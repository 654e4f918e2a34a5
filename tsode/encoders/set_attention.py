"""Encoder of a set of observations by attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.encoders.base import Encoded, Encoder
from tsode.errors import ParameterError

__all__ = ["SetAttention"]

LARGEST_SCORE = 8.0  # weights within a factor of 1e7, so that sums from the back lose nothing that counts


class SetAttention(Encoder):
    """Attention over the set of (time, channel, value) triples (Horn et al. 2020), with no recurrence.

    Each triple is embedded by a perceptron on its value, its channel's embedding and sines of the time since the
    reference; each head takes the mean of the embeddings under weights ``exp(score)``. A score depends on its own
    triple alone, so that sums from the back give the summary of each event and all later ones at no further cost.
    The log of the number of triples is read as well: a mean cannot tell much evidence from little.

    Parameters
    ----------
    n_channels : int
    n_hidden : int
        Width of summary and embedding; a multiple of `n_heads`.
    n_heads : int
    n_frequencies : int
        Sines and cosines, from a tenth of a turn to four turns in a unit of time.
    """

    reads_a_set = True

    frequencies: Tensor

    def __init__(self, n_channels: int, n_hidden: int = 64, n_heads: int = 4, n_frequencies: int = 8) -> None:
        super().__init__()
        if n_hidden % n_heads:
            raise ParameterError(f"n_hidden={n_hidden} must be a multiple of n_heads={n_heads}.")
        self.n_channels = n_channels
        self.n_hidden = n_hidden
        self.n_heads = n_heads
        turns = torch.logspace(-1.0, math.log10(4.0), n_frequencies)
        self.register_buffer("frequencies", 2.0 * math.pi * turns)
        self.channel = nn.Embedding(n_channels, n_hidden)
        self.embed_value = nn.Linear(1 + 2 + 2 * n_frequencies, n_hidden)
        self.embed = nn.Linear(n_hidden, n_hidden + n_heads)
        self.combine = nn.Sequential(nn.Linear(n_hidden + 1, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_hidden))

    def encode(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        b, n, dtype = batch.n_series, batch.n_events, batch.values.dtype
        row, event, channel = batch.mask.nonzero(as_tuple=True)
        elapsed = (batch.times - start[:, None])[row, event, None].to(dtype)
        angle = elapsed * self.frequencies
        triple = torch.cat(
            [batch.values[row, event, channel, None], elapsed, torch.log1p(10.0 * elapsed), angle.sin(), angle.cos()],
            dim=1,
        )
        embedded = self.embed(nn.functional.silu(self.embed_value(triple) + self.channel(channel)))
        content, score = embedded.split([self.n_hidden, self.n_heads], dim=1)
        weight = (LARGEST_SCORE * torch.tanh(score / LARGEST_SCORE)).exp()
        weighted = (content.unflatten(1, (self.n_heads, -1)) * weight[..., None]).flatten(1)
        terms = torch.cat([weighted, weight, torch.ones_like(elapsed)], dim=1)
        at_events = terms.new_zeros(b * n, terms.shape[1]).index_add(0, row * n + event, terms).unflatten(0, (b, n))
        from_back = at_events.flip(1).cumsum(dim=1).flip(1)
        sums = torch.cat([from_back[:, :1], from_back], dim=1) if n else terms.new_zeros(b, 1, terms.shape[1])
        total, weight, count = sums.split([self.n_hidden, self.n_heads, 1], dim=2)
        mean = total.unflatten(2, (self.n_heads, -1)) / weight.clamp(min=math.exp(-LARGEST_SCORE))[..., None]
        states = self.combine(torch.cat([mean.flatten(2), torch.log1p(count)], dim=2))
        return Encoded(states[:, 0], states[:, 1:], torch.zeros_like(batch.lengths))
