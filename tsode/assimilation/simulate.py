"""Simulation of members: paths of a motion with its noise, each by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.assimilation.motion import Motion
from tsode.evolutions.linear_sde import square_root

__all__ = ["moved_by_noise"]


def moved_by_noise(motion: Motion, z: Tensor, t: Tensor, h: Tensor, normal: Tensor) -> Tensor:
    """States (r m d) after steps ``h`` (r,) from times (r,), with noise by standard normals (r m k).

    Half a step of the drift, the noise of a whole one, half a step of the drift (Strang), which is of weak order two
    where the noise does not depend on the state; where the motion is linear, its transition, for which `normal` is as
    wide as the state.
    """
    if motion.is_linear:
        law = motion.transition(t, z[:, 0], h)
        moved = z @ law.phi.mT + law.shift[:, None] + normal @ square_root(law.cov).mT
        return torch.where((h == 0)[:, None, None], z, moved)
    half = motion.moved(t, z, 0.5 * h)
    root = motion.diffusion(t + 0.5 * h, half)
    shaken = half + h.to(z).sqrt()[:, None, None] * (root @ normal[..., None]).squeeze(-1)
    return torch.where((h == 0)[:, None, None], z, motion.moved(t + 0.5 * h, shaken, 0.5 * h))


def n_normals(motion: Motion) -> int:
    """Normals of a member's step."""
    return motion.n_state if motion.is_linear else motion.n_noise
