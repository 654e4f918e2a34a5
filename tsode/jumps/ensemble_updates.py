"""Ensembles moved by what one scalar prediction has become: the serial updates of ensemble Kalman filters.

Values seen at one time come one after the other. Of each, the ensemble of its predictions tells a mean and a variance,
some analysis turns these into those after the value, and the states follow by their regression on the prediction: no
matrix of states by states is ever made, and noise of any kind will do.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["perturbed_update", "regression", "sample_moments", "square_root_update"]


def sample_moments(predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance (r,) of ensembles of scalars (r m)."""
    mean = predicted.mean(dim=1)
    return mean, (predicted - mean[:, None]).square().sum(dim=1) / (predicted.shape[1] - 1)


def regression(anomalies: Tensor, off: Tensor) -> Tensor:
    """Slope (r d) of states (r m d) on a scalar (r m), each about its mean; zero where the scalar has no spread."""
    square = off.square().sum(dim=1, keepdim=True)
    return (off[:, None] @ anomalies).squeeze(1) / torch.where(square > 0.0, square, torch.inf)


def square_root_update(
    members: Tensor, predicted: Tensor, mean: Tensor, var: Tensor, taper: Tensor | None = None
) -> Tensor:
    """Shift and scale the predictions to a mean and a variance, and let the states follow.

    No random numbers: where predictions are linear and noise normal, the sample mean and covariance after it are those
    of the Kalman filter for those before it, and without a taper the order of values at one time does not matter.

    Parameters
    ----------
    members : Tensor[r m d]
    predicted : Tensor[r m]
        The scalar, by member.
    mean, var : Tensor[r]
        Of the scalar after the value.
    taper : Tensor[r d], optional
        By how much each state follows: localisation.

    Returns
    -------
    Tensor[r m d]

    References
    ----------
    Anderson, "A local least squares framework for ensemble filtering", Monthly Weather Review 131, 2003, section 3.
    Whitaker & Hamill, "Ensemble data assimilation without perturbed observations", Monthly Weather Review 130, 2002.
    """
    before, spread = sample_moments(predicted)
    is_spread = spread > 0.0
    scale = torch.where(is_spread, var / torch.where(is_spread, spread, 1.0), 1.0).sqrt()
    return _moved(members, predicted, mean - before, scale, None, taper)


def perturbed_update(
    members: Tensor, predicted: Tensor, mean: Tensor, var: Tensor, noise: Tensor, taper: Tensor | None = None
) -> Tensor:
    """Draw each prediction towards the value seen with an error of its own, and let the states follow.

    With the gain ``K`` of the prediction and variance ``R`` of the noise, ``s + K (y + sqrt(R) noise - s)``. Mean and
    variance after the value say what normal value and noise would have led there: ``1 - K = var / spread`` and ``K R =
    var``; so noise of any kind has its equivalent. Where the variance has grown, as far tails may make it, there is
    none, and the predictions are shifted and scaled.

    Parameters
    ----------
    members : Tensor[r m d]
    predicted : Tensor[r m]
    mean, var : Tensor[r]
        Of the scalar after the value, for the sample moments before it.
    noise : Tensor[r m]
        Standard normals. Their mean moves the mean of the ensemble, unless they have none.
    taper : Tensor[r d], optional

    Returns
    -------
    Tensor[r m d]

    References
    ----------
    Burgers, van Leeuwen & Evensen, "Analysis scheme in the ensemble Kalman filter", Monthly Weather Review 126, 1998.
    """
    before, spread = sample_moments(predicted)
    left = var / torch.where(spread > 0.0, spread, torch.inf)
    is_wider = left > 1.0
    scale = torch.where(is_wider, left, 1.0).sqrt() * torch.where(is_wider, 1.0, left)
    drawn = var * (1.0 - left)  # K R K
    is_drawn = drawn > 0.0
    error = torch.where(is_drawn, torch.where(is_drawn, drawn, 1.0).sqrt(), 0.0)[:, None] * noise
    return _moved(members, predicted, mean - before, scale, error, taper)


def _moved(
    members: Tensor, predicted: Tensor, shift: Tensor, scale: Tensor, error: Tensor | None, taper: Tensor | None
) -> Tensor:
    """States that follow a scalar whose mean is shifted, whose anomalies are scaled and then get errors."""
    centre = members.mean(dim=1, keepdim=True)
    anomalies, off = members - centre, predicted - predicted.mean(dim=1, keepdim=True)
    slope = regression(anomalies, off)
    if taper is not None:
        slope = slope * taper
    after = scale[:, None] * off + shift[:, None]
    if error is not None:
        after = after + error
    # what follows the prediction is taken out whole before it is put back scaled: a scale of 1e-6 keeps its digits
    rest = anomalies - off[:, :, None] * slope[:, None]
    return (centre + rest) + after[:, :, None] * slope[:, None]
