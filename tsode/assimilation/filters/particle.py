"""Bootstrap particle filter: weighted states, carried by the equation itself and weighed by what is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Ahead, Filter, where_rows
from tsode.assimilation.motion import Draws, Motion, Seen, Start
from tsode.assimilation.noisy_step import NoisyStep
from tsode.errors import ParameterError
from tsode.jumps.resampling import resample_systematic

__all__ = ["ParticleFilter", "Particles", "effective_size"]

START, NOISE, RESAMPLING, MEMBERS, ORDER = range(101, 106)  # purposes of draws


class Particles(NamedTuple):
    """Weighted states of ``r`` rows, and where they come from.

    Attributes
    ----------
    particles : Tensor[r m d]
    log_weights : Tensor[r m]
        Normalised when something has just been seen; after guided steps their sum is 1 in the mean only, and what it
        is counts in the next evidence. All -inf in a row whose data are impossible for every particle.
    midway : Tensor[r m d]
        Where the noise of the last step has put them, before the rest of that step (see `NoisyStep`).
    ancestors : Tensor[r m], int64
        Which place of the belief before the last step each comes from.
    lineage : Tensor[r m], int64
        The same for the belief at which something was last seen before that step.
    is_due : Tensor[r], bool
        Whether something has been seen since the last step.
    """

    particles: Tensor
    log_weights: Tensor
    midway: Tensor
    ancestors: Tensor
    lineage: Tensor
    is_due: Tensor


def effective_size(log_weights: Tensor) -> Tensor:
    """Effective number (r,) of particles of log weights (r m), by Kish; 0 in a row without weights."""
    is_dead = (log_weights == -torch.inf).all(dim=1)
    log_weights = torch.where(is_dead[:, None], 0.0, log_weights)
    size = (2.0 * log_weights.logsumexp(dim=1) - (2.0 * log_weights).logsumexp(dim=1)).exp()
    return torch.where(is_dead, 0.0, size)


@dataclass(frozen=True)
class ParticleFilter(Filter[Particles]):
    """Particles that move as the equation says (Gordon, Salmond & Smith 1993), for noise of any kind.

    The mean of ``exp(log evidence)`` over draws is the likelihood, exactly, whatever the threshold and the number of
    particles: of the equation in steps, as `NoisyStep` takes them. As a function of parameters it is rough, even with
    the same draws: another particle may be kept.

    Parameters
    ----------
    n_particles : int
    threshold : float
        Particles are resampled after something was seen, before the next step, where their effective number is below
        this share of them: 0 is never, 1 always.
    differentiable : bool
        Whether evidence and weights carry gradients. Resampled particles then keep the weight ``1/m`` in value and the
        gradient of the one before, ``w / stop(w)``: the gradient of the likelihood is right in the mean (Scibior &
        Wood 2021, equation 11), that of its logarithm for many particles. Without that it would leave out how
        parameters change what is kept.

    References
    ----------
    Gordon, Salmond and Smith, "Novel approach to nonlinear/non-Gaussian Bayesian state estimation", IEE Proceedings F
    140, 1993; Del Moral, "Feynman-Kac formulae", 2004, section 7.4 (unbiased); Scibior and Wood, "Differentiable
    particle filtering without modifying the forward pass", arXiv 2106.10314, 2021.
    """

    is_random: ClassVar[bool] = True
    is_smooth: ClassVar[bool] = False

    n_particles: int = 500
    threshold: float = 0.5
    differentiable: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.n_particles, bool) or not isinstance(self.n_particles, int) or self.n_particles < 2:
            raise ParameterError(f"n_particles must be a whole number from 2 on, but is {self.n_particles!r}.")
        if not 0.0 <= self.threshold <= 1.0:
            raise ParameterError(
                f"threshold is a share of the particles, from 0 (never resample) to 1 (always), but is "
                f"{self.threshold!r}."
            )

    @property
    def n_members(self) -> int:
        """Particles of a row."""
        return self.n_particles

    def start(self, start: Start, motion: Motion, t: Tensor, draws: Draws) -> Particles:
        """Draws of what is known of the state, of equal weight."""
        with self._gradients():
            z = start.quantile(draws.uniform(START, t, self.n_particles, motion.n_state))
        r, m, _ = z.shape
        places = _places(z)
        even = z.new_full((r, m), m).log().neg()
        return Particles(z, even, z, places, places, torch.zeros(r, dtype=torch.bool, device=z.device))

    def flow(
        self, belief: Particles, motion: Motion, t: Tensor, h: Tensor, draws: Draws, ahead: Ahead | None = None
    ) -> Particles:
        """Resample where that is due and needed, then one step of each particle with noise of its own."""
        with self._gradients():
            kept = self._resampled(belief, t, draws)
            step = NoisyStep.of(motion, t, kept.particles, h)
            xi, log_ratio = self.propose(step, draws, ahead)
            midway = step.noisy(xi)
            moved = kept._replace(
                particles=step.finish(midway),
                midway=midway,
                log_weights=kept.log_weights + log_ratio,
                is_due=torch.zeros_like(kept.is_due),
            )
            return where_rows(h > 0, moved, belief)

    def propose(self, step: NoisyStep, draws: Draws, ahead: Ahead | None) -> tuple[Tensor, Tensor]:
        """Normals (r m k) of a step, and the log ratios (r m) of their density to that by which they were drawn."""
        r, m, _ = step.mean.shape
        return draws.normal(NOISE, step.t, m, step.n_normals), step.mean.new_zeros(r, m)

    def change(self, belief: Particles, factor: Tensor, shift: Tensor) -> Particles:
        """Apply an event to each particle."""
        return belief._replace(particles=factor[:, None] * belief.particles + shift[:, None])

    def observe(self, belief: Particles, seen: Seen, t: Tensor, draws: Draws) -> tuple[Particles, Tensor]:
        """Weigh particles by their likelihoods; exact for noise of any kind.

        A particle that has left the range of numbers has none. Where all have none the log evidence is -inf and so are
        all weights, from there on.
        """
        with self._gradients():
            log_prob = seen.log_prob(seen.predict(belief.particles))
            log_prob = torch.where(log_prob.isnan(), -torch.inf, log_prob)
            joint = belief.log_weights + log_prob
            is_dead = (joint == -torch.inf).all(dim=1)
            log_sum = torch.where(is_dead[:, None], 0.0, joint).logsumexp(dim=1)
            weighed = belief._replace(log_weights=joint - log_sum[:, None], is_due=torch.ones_like(belief.is_due))
            evidence = torch.where(is_dead, -torch.inf, log_sum)
            return where_rows(seen.is_seen, weighed, belief), torch.where(seen.is_seen, evidence, 0.0)

    def members(self, belief: Particles, n: int, t: Tensor, draws: Draws) -> Tensor:
        """States drawn by their weights, in random order; NaN in a row without weights."""
        is_whole = belief.particles.isfinite().all(dim=2)
        log_weights = belief.log_weights.detach().where(is_whole, -torch.inf)
        places = resample_systematic(log_weights, draws.uniform(MEMBERS, t, 1)[:, 0], n)
        places = places.gather(1, draws.normal(ORDER, t, n).argsort(dim=1))
        is_dead = (log_weights == -torch.inf).all(dim=1)[:, None, None]
        return torch.where(is_dead, torch.nan, _at(belief.particles, places))

    def _gradients(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled())

    def _resampled(self, belief: Particles, t: Tensor, draws: Draws) -> Particles:
        """Rows that are due, resampled where their effective number is too low; the others with places noted."""
        places = _places(belief.particles)
        lineage = torch.where(belief.is_due[:, None], places, belief.lineage)
        belief = belief._replace(ancestors=places, lineage=lineage)
        if self.threshold == 0.0:
            return belief
        log_weights = belief.log_weights
        is_low = effective_size(log_weights.detach()) < self.threshold * log_weights.shape[1]
        is_drawn = belief.is_due & is_low & (log_weights.detach() > -torch.inf).any(dim=1)
        chosen = resample_systematic(log_weights.detach(), draws.uniform(RESAMPLING, t, 1)[:, 0])
        kept = log_weights.gather(1, chosen)
        kept = torch.where(is_drawn[:, None], kept, 0.0)  # -inf less -inf elsewhere
        even = log_weights.new_full(log_weights.shape, log_weights.shape[1]).log().neg()
        return where_rows(
            is_drawn,
            Particles(
                _at(belief.particles, chosen),
                even + (kept - kept.detach()),
                _at(belief.midway, chosen),
                chosen,
                lineage.gather(1, chosen),
                belief.is_due,
            ),
            belief,
        )


def _places(z: Tensor) -> Tensor:
    """Places (r m) of particles (r m d)."""
    return torch.arange(z.shape[1], device=z.device).expand(z.shape[:2])


def _at(z: Tensor, places: Tensor) -> Tensor:
    """Particles (r m d) at places (r n)."""
    return z.gather(1, places[..., None].expand(-1, -1, z.shape[-1]))
