"""Posterior of the last layers of a filter's readouts: what few data leave unknown of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tsode.readouts import Readout

__all__ = ["PRECISION", "ReadoutPosterior", "last_read"]

PRECISION = 1.0  # of the prior of a weight: locations are in standard deviations of their channels


class ReadoutPosterior(nn.Module):
    """Variance of locations, by Laplace's approximation of the weights of the last layer.

    Given what that layer reads, ``h`` with a 1 beside it, a location is linear in its weights. Their posterior has the
    precision ``share_c sum h h' / variance + 1``, with the sum over training values and the share of a channel in it,
    so that the variance of a location is ``sum_j (u_j' h)^2 / (share_c value_j + 1)`` in the eigenvectors of the sum.
    That of an ensemble is the members' mean: they have learned from much the same values.

    Reference: A. Kristiadi, M. Hein, P. Hennig, "Being Bayesian, even just a bit, fixes overconfidence in ReLU
    networks", ICML 2020.

    Parameters
    ----------
    n_members, n_read, n_channels : int
        `n_read` counts the 1.
    """

    basis: Tensor
    value: Tensor
    share: Tensor

    def __init__(self, n_members: int, n_read: int, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("basis", torch.zeros(n_members, n_read, n_read))
        self.register_buffer("value", torch.zeros(n_members, n_read))
        self.register_buffer("share", torch.zeros(n_channels))

    @classmethod
    def of(cls, members: Sequence[Any]) -> ReadoutPosterior | None:
        """An empty one for these filters; None where locations are not linear in a last layer that is called once."""
        if not all(type(getattr(member, "readout", None)) is Readout and member.n_passes == 1 for member in members):
            return None
        layer = members[0].readout.location_out
        return cls(len(members), layer.in_features + 1, members[0].n_channels).to(layer.weight)

    @torch.no_grad()
    def fit(self, information: Tensor, share: Tensor) -> None:
        """Set it from the sums (k q q) of ``h h' / variance`` over training values, and the channels' shares (c)."""
        value, basis = torch.linalg.eigh(information)
        self.basis.copy_(basis)
        self.value.copy_(value.clamp(min=0.0))
        self.share.copy_(share)

    def forward(self, read: Sequence[Tensor]) -> Tensor:
        """Variance of the locations where the layer of each member reads these (b m q-1): Tensor[b m c]."""
        total = torch.zeros_like(self.share)
        for h, basis, value in zip(read, self.basis, self.value, strict=True):
            along = with_one(h.to(basis)) @ basis
            total = total + along.square() @ (1.0 / (self.share * value[:, None] + PRECISION))
        return total / len(self.value)


def with_one(read: Tensor) -> Tensor:
    """What a layer with a bias reads (... q-1), with a 1 beside it: Tensor[... q]."""
    return torch.cat([read, torch.ones_like(read[..., :1])], dim=-1)


@contextmanager
def last_read(members: Sequence[Any]) -> Iterator[list[Tensor]]:
    """A list that holds, for each member, what the last layer of its location has read last."""
    read: list[Tensor] = [torch.empty(0)] * len(members)
    handles = []
    for k, member in enumerate(members):

        def keep(_: nn.Module, inputs: tuple[Tensor, ...], k: int = k) -> None:
            read[k] = inputs[0].detach()

        handles.append(member.readout.location_out.register_forward_pre_hook(keep))
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()
