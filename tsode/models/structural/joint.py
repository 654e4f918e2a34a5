"""Joint structure: one sum of components in several channels, whose innovations are correlated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.structure import COEFFICIENT_SD, LEAST_NOISE, NOISE, Parts, Structure, pad

__all__ = ["MOST_STATES", "JointStructure"]

MOST_STATES = 200  # of all copies: the cost of a row grows with their square

OWN_LOG_SD = 0.7  # of a channel's loading of its own
SHARED_SD = 0.5  # of a loading on what is another channel's own
VARIANCES = ("rate", "variance", "size")  # parameters that are squares of values


@dataclass(frozen=True)
class JointStructure(Structure):
    """A structure for several channels, as one of them sees it: ``y_c = sum_{j <= c} L[c, j] h' x_j + noise_c``.

    The ``x_j`` are independent copies of the states. With lower triangular loadings ``L`` this is the same as channels
    with the same parameters whose innovations, and starts, have the covariance ``L L'`` between channels.

    Parameters ``z``, standard normal beforehand: those of the structure, whose noise is that of the first channel; the
    noise of each other channel; the logarithms of their own loadings, that of the first being 1; the loadings below the
    diagonal, row by row; and the coefficients of each channel.

    Parameters
    ----------
    components, scale, n_regressors
        See `Structure`.
    n_channels : int
    channel : int
        By which the series is seen. All else is the same for all channels.
    """

    n_channels: int = 2
    channel: int = 0

    @cached_property
    def copy(self) -> Structure:
        """What there is of each ``x_j``."""
        return Structure(self.components, self.scale)

    @property
    def _sizes(self) -> list[int]:
        others = self.n_channels - 1
        below, coefficients = others * self.n_channels // 2, self.n_channels * self.n_regressors
        return [self.copy.n_parameters, others, others, below, coefficients]

    @property
    def n_parameters(self) -> int:
        return sum(self._sizes)

    @property
    def n_states(self) -> int:
        return self.n_channels * self.copy.n_states

    @property
    def places(self) -> dict[str, list[int]]:  # type: ignore[override]
        """States of each component, of all copies, by name."""
        size = self.copy.n_states
        return {
            name: [copy * size + state for copy in range(self.n_channels) for state in states]
            for name, states in self.copy.places.items()
        }

    def level(self, n_states: int | None = None) -> Tensor:
        """Zeros: no channel's level is taken to have moved."""
        return torch.zeros(self.n_states if n_states is None else n_states, dtype=torch.float64)

    def _split(self, z: Tensor) -> tuple[Tensor, ...]:
        return z[:, : self.n_parameters].split(self._sizes, dim=1)

    def loadings(self, z: Tensor) -> Tensor:
        """Of each channel on each copy: Tensor[b c c], lower triangular."""
        _, _, own, below, _ = self._split(z)
        own = torch.cat([torch.ones_like(z[:, :1]), (OWN_LOG_SD * own).exp()], dim=1)
        row, column = torch.tril_indices(self.n_channels, self.n_channels, offset=-1)
        shared = z.new_zeros(len(z), self.n_channels, self.n_channels)
        return torch.diag_embed(own) + shared.index_put((torch.arange(len(z))[:, None], row, column), SHARED_SD * below)

    def noises(self, z: Tensor) -> Tensor:
        """Variance of the noise of each channel: Tensor[b c]."""
        common, others, *_ = self._split(z)
        first = self.copy.parameters(common)[NOISE, "variance"][:, None]
        prior = self.copy.priors[NOISE, "variance"]
        return LEAST_NOISE + torch.cat([first, (prior.log_median + prior.log_sd * others).exp()], dim=1)

    def parameters(self, z: Tensor) -> dict[tuple[str, str], Tensor]:
        """Parameters (b) of this channel by itself, from ``z`` (b p)."""
        own = self.loadings(z)[:, self.channel].square().sum(dim=1)
        common = self.copy.parameters(self._split(z)[0])
        scaled = {key: value * own if key[1] in VARIANCES else value for key, value in common.items()}
        return scaled | {(NOISE, "variance"): self.noises(z)[:, self.channel]}

    def correlations(self, z: Tensor) -> Tensor:
        """Of the innovations of this channel with those of each: Tensor[b c]."""
        rows = torch.nn.functional.normalize(self.loadings(z), dim=-1)
        return (rows @ rows[:, self.channel, :, None]).squeeze(-1)

    def coefficients(self, z: Tensor) -> Tensor:
        """Of the regressors of this channel, in standard deviations of the series: Tensor[b f]."""
        return self._every_coefficient(z)[:, self.channel]

    def _every_coefficient(self, z: Tensor) -> Tensor:
        return COEFFICIENT_SD * self._split(z)[-1].unflatten(1, (self.n_channels, self.n_regressors))

    def parts(self, z: Tensor, gap: Tensor, n_states: int | None = None) -> Parts:
        """Transitions, start, and what this channel sees, see `Structure.parts`."""
        common = self.copy.parts(self._split(z)[0], gap)
        size, n = self.n_states if n_states is None else n_states, self.n_channels
        own, other, variance = (pad(part.repeat(1, 1, n), size) for part in common.steps[:3])
        steps = PairedSteps(own, other, variance, pad(common.steps.covariance.repeat(1, 1, n), size // 2))
        readout = self._readouts(z, size)[:, self.channel]
        return Parts(steps, pad(common.start.repeat(1, n), size), readout, self.noises(z)[:, self.channel])

    def _readouts(self, z: Tensor, size: int) -> Tensor:
        """What each channel sees of the states of all copies: Tensor[b c m]."""
        one = pad(z.new_tensor(self.copy.readout), self.copy.n_states)
        return pad((self.loadings(z)[..., None] * one).flatten(2), size)

    def rows(self, z: Tensor, channel: Tensor, features: Tensor, n_states: int) -> tuple[Tensor, Tensor, Tensor]:
        """Readout (n b m), noise (n b) and what regressors explain (n b) of rows of any channels.

        Parameters
        ----------
        z : Tensor[b p]
        channel : Tensor[n b], int64
        features : Tensor[n b f]
        n_states : int
            See `parts`.
        """
        is_of = torch.nn.functional.one_hot(channel, self.n_channels).to(z.dtype)  # a product is its own slope's sum
        readout = torch.einsum("nbc,bcm->nbm", is_of, self._readouts(z, n_states))
        noise = torch.einsum("nbc,bc->nb", is_of, self.noises(z))
        explained = torch.einsum("nbc,nbf,bcf->nb", is_of, features, self._every_coefficient(z))
        return readout, noise, explained
