"""Extended Kalman filter: moments by the equation linearised about the mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.filters.gaussian import GaussianBelief, GaussianFilter
from tsode.assimilation.motion import Motion, Seen
from tsode.evolutions.linear_sde import Transition

__all__ = ["ExtendedKalman"]


@dataclass(frozen=True)
class ExtendedKalman(GaussianFilter):
    """Extended Kalman filter of continuous time, in steps of the equation linearised locally.

    Over a step mean and covariance are those of the equation linearised at its start, without any further error:
    exact where the equation is linear, stable where it is stiff, and of order two elsewhere (Jimenez and Ozaki 2003).
    Values of noise that is not normal are conditioned on by the moments of the prediction, see
    `tsode.assimilation.scalar_analysis.analyse`.

    References
    ----------
    Jazwinski, *Stochastic Processes and Filtering Theory*, 1970, section 8.3; Jimenez and Ozaki, "Local linearization
    filters for non-linear continuous-discrete state space models", Int. J. Control 76, 2003.
    """

    def _moved(
        self, belief: GaussianBelief, motion: Motion, law: Transition, t: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        return (law.phi @ belief.mean[..., None]).squeeze(-1) + law.shift, law.phi @ belief.root

    def regressed(self, belief: GaussianBelief, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        mean = seen.predict(belief.mean[:, None])[:, 0] if torch.is_grad_enabled() else None
        # by the mean of the belief, or by what predictions are made of
        goes_on = mean is not None and mean.requires_grad
        with torch.enable_grad():
            at = belief.mean if belief.mean.requires_grad else belief.mean.detach().requires_grad_()
            image = seen.predict(at[:, None])[:, 0]
            slope = torch.zeros_like(at)
            if image.requires_grad:
                (slope,) = torch.autograd.grad(image.sum(), at, create_graph=goes_on, materialize_grads=True)
        slope = slope if goes_on else slope.detach()
        mean = image.detach() if mean is None else mean
        return mean, (belief.root.mT @ slope[..., None]).squeeze(-1), torch.zeros_like(mean)
