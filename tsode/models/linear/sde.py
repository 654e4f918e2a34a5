"""Linear-Gaussian SDEs: with given matrices, and learned ones that are stable whatever their parameters."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from tsode._checks import check_shapes
from tsode.errors import ParameterError
from tsode.evolutions.linear_sde import stationary_moments
from tsode.models.linear.gaussian import LinearGaussianModel
from tsode.models.linear.system import LinearSystem

__all__ = ["LinearSDE", "StableLinearSDE"]


class LinearSDE(LinearGaussianModel):
    """Linear-Gaussian SDE with given matrices: ``dx = (A x + b) dt + L dW``, seen as ``y = H x + d + r * noise``.

    A matrix given as a tensor or array is fixed; one given as an ``nn.Parameter`` is learned. The state starts at a
    series' first event from ``N(initial_mean, initial_cov)``.

    Parameters
    ----------
    drift : Tensor[d d]
        A; stable or not.
    offset : Tensor[d], optional
        b; zeros by default.
    diffusion : Tensor[d k]
        L, of any rank.
    readout : Tensor[c d]
        H.
    readout_offset : Tensor[c], optional
        d; zeros by default.
    noise : Tensor[c]
        r, standard deviations.
    initial_mean : Tensor[d], optional
        By default the stationary mean; zeros if `initial_cov` is given.
    initial_cov : Tensor[d d], optional
        By default the stationary covariance, which exists if A is stable.
    initial_time : float, optional
        When the initial belief holds, in the batch's time unit, no later than any event; by default at the first event
        of a series.
    dtype : torch.dtype
        Of the tensors that are not parameters. Double by default: the likelihood is a difference of large numbers.

    Raises
    ------
    ShapeError
        If the matrices disagree on the number of states or channels.
    ParameterError
        If no initial covariance is given and A is not stable.
    """

    drift: Tensor
    offset: Tensor
    diffusion: Tensor
    readout: Tensor
    readout_offset: Tensor
    noise: Tensor
    initial_mean: Tensor | None
    initial_cov: Tensor | None

    def __init__(
        self,
        *,
        drift: ArrayLike,
        diffusion: ArrayLike,
        readout: ArrayLike,
        noise: ArrayLike,
        offset: ArrayLike | None = None,
        readout_offset: ArrayLike | None = None,
        initial_mean: ArrayLike | None = None,
        initial_cov: ArrayLike | None = None,
        initial_time: float | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.initial_time = initial_time
        self.n_channels, self.n_state = np.shape(readout)[0], np.shape(drift)[0]
        self.is_stationary = initial_mean is None and initial_cov is None
        if initial_mean is None and initial_cov is not None:
            initial_mean = torch.zeros(self.n_state)
        given = {
            "drift": (drift, "d d"),
            "offset": (torch.zeros(self.n_state) if offset is None else offset, "d"),
            "diffusion": (diffusion, "d k"),
            "readout": (readout, "c d"),
            "readout_offset": (torch.zeros(self.n_channels) if readout_offset is None else readout_offset, "c"),
            "noise": (noise, "c"),
            "initial_mean": (initial_mean, "d"),
            "initial_cov": (initial_cov, "d d"),
        }
        tensors: dict[str, tuple[Tensor, str]] = {}
        for name, (value, letters) in given.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, None if value is None else torch.as_tensor(value, dtype=dtype).clone())
            if value is not None:
                tensors[name] = (getattr(self, name), letters)
        check_shapes(**tensors)
        if initial_cov is None and not self.drift.is_meta:  # where only shapes are asked for, there are no numbers
            growth = float(torch.linalg.eigvals(self.drift.detach()).real.max())
            if growth >= 0.0:
                raise ParameterError(
                    f"Without initial_cov the series starts in its stationary state, but the drift has none: an "
                    f"eigenvalue has real part {growth:.3g}, which must be negative. Give initial_mean and initial_cov."
                )

    def system(self) -> LinearSystem:
        mean, cov = self.initial_mean, self.initial_cov
        if mean is None or cov is None:
            stationary = stationary_moments(self.drift, self.offset, self.diffusion)
            mean = stationary[0] if mean is None else mean
            cov = stationary[1] if cov is None else cov
        return LinearSystem(
            self.drift, self.offset, self.diffusion, self.readout, self.readout_offset, self.noise,
            mean, cov, self.is_stationary, initial_time=self.initial_time,
        )  # fmt: skip


class StableLinearSDE(LinearGaussianModel):
    """Learned stationary linear-Gaussian SDE of any order, stable whatever its parameters are.

    ``A = S - G G' / 2``, ``L = G``, with ``S`` antisymmetric and ``G`` lower triangular. Then ``A + A' + L L' = 0``:
    the stationary covariance is the identity and no equation need be solved for it; and no mode grows, for the
    symmetric part of ``A`` is not positive. Nothing is lost: in coordinates in which its stationary covariance is the
    identity, every stationary system reads like this. Scales and levels are the readout's.

    The start is meant for standardised channels and a horizon of one time unit: each channel follows a state of its
    own with a time constant of half a unit, and a little of the others. Of these, pairs turn with angular frequencies
    from 1 to 16 radians per unit, and one that is left over has a time constant of five units. (Likelihoods have many
    maxima in a frequency; from one pair at rest, a period of half a unit was not found in a hundred steps.)

    Parameters
    ----------
    n_channels : int
    n_state : int, optional
        By default five more than channels: two pairs that turn, and one slow state. The time of a pass grows with its
        cube.
    dtype : torch.dtype
    n_inputs : int
        Width of the inputs at known times, which are added to the state by a learned matrix.
    n_features : int
        Width of the covariates, which are added to the observations by a learned matrix.
    n_rates : int
        Inputs, the last ones, that are changes of a rate which is held until the next, see `LinearSystem`.
    """

    def __init__(
        self,
        n_channels: int,
        n_state: int | None = None,
        dtype: torch.dtype = torch.float64,
        n_inputs: int = 0,
        n_features: int = 0,
        n_rates: int = 0,
    ) -> None:
        super().__init__()
        n_state = n_channels + 5 if n_state is None else n_state
        if n_state < 1:
            raise ParameterError(f"n_state={n_state} must be at least 1.")
        self.n_channels, self.n_state, self.n_rates = n_channels, n_state, n_rates
        n_own, n_pairs = min(n_channels, n_state), max(n_state - n_channels, 0) // 2
        time_constant = torch.full((n_state,), 5.0, dtype=dtype)
        time_constant[: n_own + 2 * n_pairs] = 1.0
        time_constant[:n_own] = 0.5
        # Not the logarithm of the diagonal: a smooth path has noise on few states, and their zeros must be in reach.
        self.diffusion = nn.Parameter((2.0 / time_constant).sqrt().diag())
        # Not zero elsewhere: with all states uncoupled and unseen, no gradient would tell them apart.
        rotation = 0.1 * torch.randn(n_state, n_state, dtype=dtype) / math.sqrt(n_state)
        first = n_own + 2 * torch.arange(n_pairs)
        self.register_buffer("first_of_pairs", first, persistent=False)
        rotation[first, first + 1] = 16.0 ** ((torch.arange(n_pairs, dtype=dtype) + 0.5) / max(n_pairs, 1))
        self.rotation = nn.Parameter(rotation)
        readout = math.sqrt(0.1 / n_state) * torch.randn(n_channels, n_state, dtype=dtype)
        channel = torch.arange(n_channels)
        readout[channel, channel % n_state] += math.sqrt(0.7)
        self.readout = nn.Parameter(readout)
        self.readout_offset = nn.Parameter(torch.zeros(n_channels, dtype=dtype))
        self.log_noise = nn.Parameter(torch.full((n_channels,), 0.5 * math.log(0.2), dtype=dtype))
        self.input_map = nn.Parameter(0.1 * torch.randn(n_state, n_inputs, dtype=dtype)) if n_inputs else None
        self.effect = nn.Parameter(torch.zeros(n_channels, n_features, dtype=dtype)) if n_features else None

    first_of_pairs: Tensor

    def system(self) -> LinearSystem:
        diffusion = self.diffusion.tril()
        rotation = self.rotation.triu(1)
        identity = torch.eye(self.n_state, dtype=diffusion.dtype, device=diffusion.device)
        zeros = torch.zeros_like(identity[0])
        return LinearSystem(
            rotation - rotation.mT - 0.5 * diffusion @ diffusion.mT, zeros, diffusion,
            self.readout, self.readout_offset, self.log_noise.exp(), zeros, identity, is_stationary=True,
            input_map=self.input_map, effect=self.effect, n_rates=self.n_rates,
        )  # fmt: skip
