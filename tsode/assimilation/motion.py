"""Motion of rows of states by a stochastic differential equation, as filters ask for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.evolutions.linear_sde import Transition
from tsode.numerics.counted_normals import counted_normals

__all__ = ["Draws", "Motion", "Seen", "Start"]


class Motion(ABC):
    """Equation ``dz = drift dt + diffusion dW`` of ``r`` rows, each with parameters and inputs of its own.

    A row is a series at one set of parameters; it may have many states at once, its members. Rows and members do not
    see each other.

    Attributes
    ----------
    n_state, n_noise : int
        ``d`` and ``k``.
    is_linear : bool
        Whether the drift is affine in time and state from stop to stop and the diffusion constant: then `transition`
        is exact over any step, and filters take one from stop to stop.
    """

    n_state: int
    n_noise: int
    is_linear: bool

    @abstractmethod
    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        """Mean rates of change: times (r,), states (r m d) -> (r m d)."""

    @abstractmethod
    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        """Noise of the rates, Ito: (r,), (r m d) -> (r m d k); its covariance per unit of time is ``G G'``."""

    @abstractmethod
    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        """Law over steps ``h`` (r,) of the equation linearised at states ``z`` (r d) at times (r,).

        ``phi`` (r d d), ``shift`` (r d), ``cov`` (r d d). Exact where the motion is linear. A row with ``h = 0`` has
        the identity, zero and zero.
        """

    def moved(self, t: Tensor, z: Tensor, h: Tensor) -> Tensor:
        """States (r m d) after steps ``h`` (r,) of the drift alone, from times (r,); bit for bit where ``h = 0``.

        The classical method of order four, which is exact for no noise to ``h^5``; the transition where it is exact.
        """
        if self.is_linear:
            law = self.transition(t, z[:, 0], h)
            return torch.where((h == 0)[:, None, None], z, z @ law.phi.mT + law.shift[:, None])
        step = h.to(z)[:, None, None]
        half, end = t + 0.5 * h, t + h
        k1 = self.drift(t, z)
        k2 = self.drift(half, z + 0.5 * step * k1)
        k3 = self.drift(half, z + 0.5 * step * k2)
        k4 = self.drift(end, z + step * k3)
        return torch.where(step == 0, z, z + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))


@dataclass(frozen=True)
class Seen:
    """Value of one channel at one time, of ``r`` rows.

    Parameters
    ----------
    is_seen : Tensor[r], bool
        Elsewhere nothing was, and no filter moves the row.
    predict : callable
        States (r m d) -> the prediction (r m) that noise is about.
    log_prob : callable
        Predictions (r m) -> log likelihoods (r m) of the value, -inf where noise cannot be about the prediction.
    value, variance : Tensor[r], optional
        Of noise that is normal about the prediction, whatever that is: value seen and variance of the noise. None where
        it is of another kind; a value that is NaN lies beyond a limit of quantification.
    offset : Tensor[r], optional
        What the log density of `value` about the prediction lacks: that of the scale on which noise is normal.
    place : Tensor[r d], optional
        Where the channel stands, as weights of states that sum up to 1: which state it is of. For localisation.
    """

    is_seen: Tensor
    predict: Callable[[Tensor], Tensor]
    log_prob: Callable[[Tensor], Tensor]
    value: Tensor | None = None
    variance: Tensor | None = None
    offset: Tensor | None = None
    place: Tensor | None = None


@dataclass(frozen=True)
class Start:
    """What is known of the states of ``r`` rows before any data; coordinates are independent.

    Parameters
    ----------
    mean, sd : Tensor[r d]
        A coordinate that is known has no spread.
    quantile : callable
        Levels (r m d) -> states (r m d).
    """

    mean: Tensor
    sd: Tensor
    quantile: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Draws:
    """Standard normals of each row, by its key, a purpose and the time at which they act.

    So they depend neither on other rows, nor on padding, nor on what else is asked for; rows with the same key see the
    same noise.

    Parameters
    ----------
    keys : Tensor[r], int64
    """

    keys: Tensor

    def normal(self, purpose: int, t: Tensor, *shape: int) -> Tensor:
        """Normals (r *shape) at times ``t`` (r,); those of more members begin with those of fewer."""
        n = int(torch.Size(shape).numel())
        mixed = (self.keys * _LEAP + t.double().contiguous().view(torch.int64)) * _LEAP + purpose
        return counted_normals(mixed[:, None], torch.arange(n)[None]).reshape(-1, *shape)

    def uniform(self, purpose: int, t: Tensor, *shape: int) -> Tensor:
        """Uniform numbers (r *shape) in (0, 1)."""
        return torch.special.ndtr(self.normal(purpose, t, *shape)).clamp(1e-16, 1.0 - 1e-16)


_LEAP = 6364136223846793005  # odd: what differs in one bit is far apart
