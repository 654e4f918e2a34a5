"""Gaussian conditioning of a belief on an observation, exact (Kalman update)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from tsode.core.observation import Observation
from tsode.core.status import Status
from tsode.jumps.base import JumpMap

__all__ = ["Conditioned", "GaussianConditioning", "condition"]


@dataclass(frozen=True)
class Conditioned:
    """A belief after an observation, and what the observation said.

    Parameters
    ----------
    mean : Tensor[... d]
    cov : Tensor[... d d]
    log_prob : Tensor[...]
        Log density of the seen values under the belief before; 0 where nothing was seen.
    status : Tensor[...], int64
        `Status.NON_FINITE` where the predictive covariance is not positive definite.
    kept : Tensor[... d d]
        ``1 - gain H``: share of the prior error that remains.
    observed : Tensor[... c d]
    weighted : Tensor[... c d+1]
        Whose product ``observed' weighted`` is ``H' S^-1 [H, e]``, over the channels seen, with the error ``e`` and its
        predictive covariance ``S``.
    """

    mean: Tensor
    cov: Tensor
    log_prob: Tensor
    status: Tensor
    kept: Tensor
    observed: Tensor
    weighted: Tensor

    def pull_back(self, vector: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """What this and later data say about the state, from just after the observation to just before.

        One half of a step of the modified Bryson-Frazier smoother (Bierman 1973); the other half is the flow's,
        `tsode.evolutions.linear_sde.Transition.pull_back`.

        Parameters
        ----------
        vector : Tensor[... d]
        matrix : Tensor[... d d]
        """
        information = self.observed.mT @ self.weighted
        vector = (self.kept.mT @ vector[..., None]).squeeze(-1) - information[..., -1]
        return vector, self.kept.mT @ matrix @ self.kept + information[..., :-1]

    def unbind(self) -> list[Conditioned]:
        """One conditioning for each place on axis 1 (b n ...)."""
        return [Conditioned(*parts) for parts in zip(*(getattr(self, f.name).unbind(1) for f in fields(self)))]


def condition(mean: Tensor, cov: Tensor, error: Tensor, mask: Tensor, readout: Tensor, variance: Tensor) -> Conditioned:
    """Condition the belief ``N(mean, cov)`` on the channels seen of ``H x + noise``.

    The covariance is updated in the form of Bucy & Joseph 1968, a sum of squares: it stays positive semi-definite
    after rounding. Rows that see nothing come back bit for bit.

    Parameters
    ----------
    mean : Tensor[... d]
    cov : Tensor[... d d]
        Positive semi-definite, singular allowed.
    error : Tensor[... c]
        Seen value minus the one predicted from `mean`; not read where not seen.
    mask : Tensor[... c], bool
    readout : Tensor[c d]
        H.
    variance : Tensor[c]
        Of the noise.
    """
    after, is_lost = _at_once(mean, cov, error, mask, readout, variance)
    if not is_lost.any():
        return after
    after, _ = _at_once(mean, cov, error, mask & ~is_lost[..., None], readout, variance)
    exact = _by_roots(mean, cov, error, mask & is_lost[..., None], readout, variance)

    def chosen(left: Tensor, right: Tensor) -> Tensor:
        return torch.where(is_lost.reshape(*is_lost.shape, *[1] * (left.dim() - is_lost.dim())), left, right)

    return Conditioned(*(chosen(getattr(exact, f.name), getattr(after, f.name)) for f in fields(after)))


def _seen_only(error: Tensor, mask: Tensor, readout: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mask as numbers, H, variance and error.

    A channel that is not seen has a zero row of H, the variance 1 and no error: no gain, and no share in the density.
    """
    seen = mask.to(readout.dtype)
    return seen, seen[..., None] * readout, torch.where(mask, variance, 1.0), error.where(mask, 0.0)


def _at_once(
    mean: Tensor, cov: Tensor, error: Tensor, mask: Tensor, readout: Tensor, variance: Tensor
) -> tuple[Conditioned, Tensor]:
    """All channels by one Cholesky factor; and where that has lost half the digits or more, (...)."""
    seen, observed, noise, error = _seen_only(error, mask, readout, variance)
    together = observed @ cov @ observed.mT + torch.diag_embed(noise)
    both = torch.cat([observed, error[..., None]], dim=-1)
    if together.shape[-1] == 1:  # one channel: LAPACK would be called for each number
        factor, info = together.clamp(min=0.0).sqrt(), ~(together > 0.0)[..., 0, 0]
        weighted = both / together
    else:
        factor, info = torch.linalg.cholesky_ex(together)
        weighted = torch.cholesky_solve(both, factor)
    pivots, size = factor.detach().diagonal(dim1=-2, dim2=-1).square(), together.detach().diagonal(dim1=-2, dim2=-1)
    is_lost = (info > 0) | (pivots < torch.finfo(cov.dtype).eps ** 0.5 * size).any(dim=-1)
    gain = (weighted[..., :-1] @ cov).mT
    kept = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device) - gain @ observed
    updated = kept @ cov @ kept.mT + (gain * (seen * noise)[..., None, :]) @ gain.mT
    distance = (error * weighted[..., -1]).sum(-1)
    log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    conditioned = Conditioned(
        mean=mean + (gain @ error[..., None]).squeeze(-1),
        cov=0.5 * (updated + updated.mT),
        log_prob=-0.5 * (distance + log_det + math.log(2.0 * math.pi) * seen.sum(-1)),
        status=torch.where(info > 0, int(Status.NON_FINITE), int(Status.OK)),
        kept=kept,
        observed=observed,
        weighted=weighted,
    )
    return conditioned, is_lost


def _by_roots(mean: Tensor, cov: Tensor, error: Tensor, mask: Tensor, readout: Tensor, variance: Tensor) -> Conditioned:
    """The same from square roots of the covariances: half as many digits are lost, and none to a difference.

    Of channels that see almost the same with little noise, the covariance has no inverse in rounded numbers; its root,
    made by reflections of the root of the covariance before, has (Kailath, Sayed & Hassibi 2000, section 12.3).
    """
    seen, observed, noise, error = _seen_only(error, mask, readout, variance)
    d, c = observed.shape[-1], observed.shape[-2]
    # Rounding may have made the covariance a little less than positive semi-definite, in the units of each state.
    size, tiny = cov.diagonal(dim1=-2, dim2=-1), torch.finfo(cov.dtype).tiny
    root, info = torch.linalg.cholesky_ex(cov + torch.diag_embed(10 * d * torch.finfo(cov.dtype).eps * size + tiny))
    above = torch.cat([root.mT @ observed.mT, root.mT], dim=-1)
    below = torch.nn.functional.pad(torch.diag_embed(noise.sqrt()), (0, d))
    triangle = torch.linalg.qr(torch.cat([above, below], dim=-2)).R  # large rows first, which keeps small ones
    lower = triangle[..., :c, :c].mT
    scaled = torch.linalg.solve_triangular(lower, torch.cat([observed, error[..., None]], dim=-1), upper=False)
    gain, left = triangle[..., :c, c:].mT, triangle[..., c:, c:]
    log_det = 2.0 * lower.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return Conditioned(
        mean=mean + (gain @ scaled[..., -1:]).squeeze(-1),
        cov=left.mT @ left,
        log_prob=-0.5 * (scaled[..., -1].square().sum(-1) + log_det + math.log(2.0 * math.pi) * seen.sum(-1)),
        status=torch.where((info > 0) | ~log_det.isfinite(), int(Status.NON_FINITE), int(Status.OK)),
        kept=torch.eye(d, dtype=mean.dtype, device=mean.device) - gain @ scaled[..., :-1],
        observed=scaled[..., :-1],
        weighted=scaled,
    )


class GaussianConditioning(JumpMap):
    """Condition the state on what was seen as if it had a Gaussian error of a learned, constant covariance.

    ``z_plus = z + P H' S^-1 (x - predicted)`` with ``S = H P H' + R`` over the channels seen: the Kalman update, with
    the exact gain for every pattern of missing channels. ``P`` does not depend on the history ("optimal
    interpolation", Kalnay 2003, section 5.4); the filter that carries its covariance along is
    `tsode.models.linear.sde.LinearSDE`, which uses the same `condition`.

    Parameters
    ----------
    n_state, n_channels : int
    """

    def __init__(self, n_state: int, n_channels: int, n_inputs: int = 0) -> None:
        super().__init__(n_state, n_channels, n_inputs)
        self.factor = nn.Parameter(torch.eye(n_state))  # P = factor factor'
        self.readout = nn.Parameter(torch.randn(n_channels, n_state) / math.sqrt(n_state))
        self.log_noise = nn.Parameter(torch.full((n_channels,), -1.0))  # gain of 0.9 at the start: trust what is seen

    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        cov = (self.factor @ self.factor.mT).expand(len(z), -1, -1)
        error = observation.values - observation.predicted[..., 0]
        return condition(z, cov, error, observation.mask > 0, self.readout, (2.0 * self.log_noise).exp()).mean
