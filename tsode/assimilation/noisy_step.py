"""Steps of a stochastic differential equation in three parts: to the noise, the noise, and from it to the end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.motion import Motion
from tsode.numerics.semidefinite_root import semidefinite_root

__all__ = ["NoisyStep"]


@dataclass(frozen=True)
class NoisyStep:
    """Step ``h`` of states: carried to `mean`, moved to ``mean + root xi`` by standard normals, and on by `finish`.

    Strang's splitting: half a step of the drift alone, the noise of the whole step, half a step of the drift. Its law
    errs by ``O(h^2)`` for noise that does not depend on the state, and by ``O(h)`` for noise that does. Where the
    motion is linear `mean` and `root` are the exact law, and nothing is left to finish.

    Parameters
    ----------
    motion : Motion
    t, h : Tensor[r], float64
    mean : Tensor[r m d]
    root : Tensor[r m d k] or Tensor[r 1 d k]

    References
    ----------
    Strang, "On the construction and comparison of difference schemes", SIAM Journal on Numerical Analysis 5, 1968;
    Buckwar, Samson, Tamborrino and Tubikanec, "A splitting method for SDEs with locally Lipschitz drift", Applied
    Numerical Mathematics 179, 2022, equation 11.
    """

    motion: Motion
    t: Tensor
    h: Tensor
    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, motion: Motion, t: Tensor, z: Tensor, h: Tensor) -> NoisyStep:
        """Step from states ``z`` (r m d)."""
        if motion.is_linear:
            law = motion.transition(t, z[:, 0], h)
            mean = torch.where((h == 0)[:, None, None], z, z @ law.phi.mT + law.shift[:, None])
            return cls(motion, t, h, mean, semidefinite_root(law.cov)[:, None])
        mean = motion.moved(t, z, 0.5 * h)
        root = motion.diffusion(t + 0.5 * h, mean) * h.to(z).sqrt()[:, None, None, None]
        return cls(motion, t, h, mean, root)

    @property
    def n_normals(self) -> int:
        """Number of standard normals that a state needs."""
        return self.root.shape[-1]

    @property
    def left(self) -> Tensor:
        """What is left of the step after the noise, (r,)."""
        return torch.zeros_like(self.h) if self.motion.is_linear else 0.5 * self.h

    def noisy(self, xi: Tensor) -> Tensor:
        """States (r m d) after the noise, by standard normals (r m k)."""
        return self.mean + (self.root @ xi[..., None]).squeeze(-1)

    def finish(self, midway: Tensor) -> Tensor:
        """States (r m d) at the end, from those after the noise."""
        return midway if self.motion.is_linear else self.motion.moved(self.t + self.left, midway, self.left)
