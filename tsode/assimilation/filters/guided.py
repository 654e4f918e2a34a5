"""Guided particle filter: noise is drawn towards what will be seen next, and weights say by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Ahead
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.motion import Draws, Seen
from tsode.assimilation.noisy_step import NoisyStep
from tsode.errors import ParameterError

__all__ = ["GuidedFilter", "normal_by_curvature"]

TOWARDS, CHOICE = 111, 112  # purposes of draws
FARTHEST = 8.0  # length of the normals that are aimed at: what lies beyond is hopeless, or a prediction that bends away


@dataclass(frozen=True)
class GuidedFilter(ParticleFilter):
    """Particle filter whose steps lead to the next observation (Golightly & Wilkinson 2008; Whitaker et al. 2017).

    In each step, with the state before its noise, the drift alone says what would be predicted at the time of the next
    observation, and how that changes with each of the step's standard normals ``xi``. As if prediction and noise were
    linear and normal, with as much noise in each step to come, the law of ``xi`` given the observation is normal; it is
    drawn from that, and the weight is what ``xi`` should have had by what it has. So equations with noise in few states
    are no trouble. On a linear motion with a linear normal observation, and `defensive` 0, the proposal is the best
    there is. Without an observation ahead it is the bootstrap filter.

    Noise that is not normal is replaced, in the proposal only, by the normal with its slope and curvature at the
    prediction; where it curves the wrong way, by the square of its slope for a curvature, as in Fisher's information.

    Parameters
    ----------
    n_aims : int
        How often the prediction is made linear, the first time without noise, then where the last has led to.
    defensive : float
        Share of draws that are not guided, which bounds the weights of a step by its inverse (Hesterberg 1995). With 0
        weights may have no variance where predictions bend or noise has heavy tails.

    References
    ----------
    Golightly and Wilkinson, "Bayesian inference for nonlinear multivariate diffusion models observed with error",
    Computational Statistics and Data Analysis 52, 2008, section 3.2; Whitaker, Golightly, Boys and Sherlock, "Improved
    bridge constructs for stochastic differential equations", Statistics and Computing 27, 2017, section 2.3;
    Hesterberg, "Weighted average importance sampling and defensive mixture distributions", Technometrics 37, 1995.
    """

    n_aims: int = 3
    defensive: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.n_aims, bool) or not isinstance(self.n_aims, int) or self.n_aims < 1:
            raise ParameterError(f"n_aims must be a whole number from 1 on, but is {self.n_aims!r}.")
        if not 0.0 <= self.defensive < 1.0:
            raise ParameterError(
                f"defensive is the share of draws that are not guided, from 0 to less than 1, but is "
                f"{self.defensive!r}."
            )

    def propose(self, step: NoisyStep, draws: Draws, ahead: Ahead | None) -> tuple[Tensor, Tensor]:
        """Normals (r m k) towards what is ahead, and log ratios (r m).

        The proposal carries no gradient: at the same normals the weights need none.
        """
        free, even = super().propose(step, draws, ahead)
        if ahead is None or not ahead.seen:
            return free, even
        is_seen = torch.stack([seen.is_seen for seen in ahead.seen]).any(dim=0) & ahead.gap.isfinite()
        gap = torch.maximum(torch.where(is_seen, ahead.gap, 0.0), step.h)
        n_steps = (gap / torch.where(step.h > 0, step.h, torch.inf)).clamp(min=1.0).to(free)
        mean = torch.zeros_like(free)
        with torch.no_grad():
            for _ in range(self.n_aims):  # Gauss-Newton steps to the likeliest normals
                gain, error, variance, is_guided = _aim(step, mean, gap, ahead.seen)
                own = gain @ gain.mT  # (r m c c)
                later = (n_steps - 1.0)[:, None, None, None] * own + torch.diag_embed(variance)
                factor, info = torch.linalg.cholesky_ex(later + own)
                root, later_info = torch.linalg.cholesky_ex(later)
                # what cannot be aimed at is left to chance
                is_aimed = is_guided.any(dim=2) & (info == 0) & (later_info == 0) & own.isfinite().all(-1).all(-1)
                aim = (gain.mT @ torch.cholesky_solve(error[..., None], factor)).squeeze(-1)
                is_aimed &= aim.isfinite().all(-1)
                length = torch.linalg.vector_norm(aim, dim=-1, keepdim=True)
                mean = torch.where(is_aimed[..., None], aim * (FARTHEST / length).clamp(max=1.0), 0.0)
            _, m, c = error.shape
            # Matheron's rule: mean + e - g' S^-1 (g e + eta) with eta ~ N(0, S - g g') has covariance 1 - g' S^-1 g
            eta = (root @ draws.normal(TOWARDS, step.t, m, c)[..., None]).squeeze(-1)
            pull = -(gain @ free[..., None]).squeeze(-1) - eta
            drawn = mean + free + (gain.mT @ torch.cholesky_solve(pull[..., None], factor)).squeeze(-1)
            is_free = draws.uniform(CHOICE, step.t, m) < self.defensive
            xi = torch.where((is_aimed & ~is_free)[..., None], drawn, free)
            apart = xi - mean
            bent = gain @ apart[..., None]
            square = apart.square().sum(-1) + (bent * torch.cholesky_solve(bent, root)).sum((-2, -1))
            log_det = 2.0 * (_log_diagonal(root) - _log_diagonal(factor))  # of 1 - g' S^-1 g
            log_ratio = -0.5 * (xi.square().sum(-1) - square) + 0.5 * log_det  # of the prior to the guided law
            if self.defensive > 0.0:
                log_ratio = -torch.logaddexp(
                    math.log1p(-self.defensive) - log_ratio, torch.full_like(log_ratio, math.log(self.defensive))
                )
            return xi, torch.where(is_aimed, log_ratio, 0.0)


def _log_diagonal(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _aim(step: NoisyStep, xi: Tensor, gap: Tensor, ahead: list[Seen]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Channels ahead as normal observations that are linear about normals (r m k), and which can be aimed at (r m c).

    Gains (r m c k) of predictions by the step's normals, errors (r m c) of what is predicted without any, variances
    (r m c) of noise; 0, 0 and 1 where they cannot.
    """
    until_noise = step.h - step.left
    with torch.enable_grad():
        z = step.noisy(xi).detach().requires_grad_()
        end = step.motion.moved(step.t + until_noise, z, gap - until_noise)
        predictions = [seen.predict(end) for seen in ahead]
        slopes = [
            torch.autograd.grad(s.sum(), z, retain_graph=True, allow_unused=True)[0] if s.requires_grad else None
            for s in predictions
        ]
    parts = []
    for seen, prediction, slope in zip(ahead, predictions, slopes):
        s = prediction.detach()
        error, variance = _as_normal(seen, s)
        gain = torch.zeros_like(step.mean) if slope is None else slope
        gain = (step.root.detach().mT @ gain[..., None]).squeeze(-1)
        error = error + (gain * xi).sum(-1)
        is_guided = error.isfinite() & variance.isfinite() & (variance > 0.0) & gain.isfinite().all(-1)
        is_guided = is_guided & seen.is_seen[:, None]
        parts.append(
            (
                torch.where(is_guided[..., None], gain, 0.0),
                torch.where(is_guided, error, 0.0),
                torch.where(is_guided, variance, 1.0),
                is_guided,
            )
        )
    gains, errors, variances, are_guided = zip(*parts)
    return torch.stack(gains, 2), torch.stack(errors, 2), torch.stack(variances, 2), torch.stack(are_guided, 2)


def _as_normal(seen: Seen, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Value less prediction (r m) and variance (r m), of the normal noise that is like that of a channel."""
    if seen.value is None or seen.variance is None:
        return normal_by_curvature(seen, prediction)
    error = seen.value.detach()[:, None] - prediction
    variance = seen.variance.detach()[:, None].expand_as(prediction)
    is_beyond = seen.is_seen & seen.value.isnan()
    if not is_beyond.any():
        return error, variance
    other_error, other_variance = normal_by_curvature(seen, prediction)
    is_beyond = is_beyond[:, None]
    return torch.where(is_beyond, other_error, error), torch.where(is_beyond, other_variance, variance)


def normal_by_curvature(seen: Seen, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """The same by slope and curvature of the log likelihood at the prediction.

    The square of the slope stands for a curvature of the wrong sign.
    """
    with torch.enable_grad():
        s = prediction.detach().requires_grad_()
        score = seen.log_prob(s).sum()
        slope = torch.zeros_like(s)
        if score.requires_grad:
            (slope,) = torch.autograd.grad(score, s, create_graph=True)
        bend = torch.autograd.grad(slope.sum(), s, allow_unused=True)[0] if slope.requires_grad else None
    slope = slope.detach()
    curvature = torch.zeros_like(slope) if bend is None else -bend
    variance = 1.0 / torch.where(curvature > 0.0, curvature, slope.square())
    return variance * slope, variance
