"""Motions that ensembles are tried on, and a Kalman filter written out beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from tsode.assimilation.motion import Motion, Seen, Start
from tsode.evolutions.linear_sde import Transition, discretise


class LinearMotion(Motion):
    """``dz = (A z + b) dt + L dW``; `is_linear` can be denied, so that filters take small steps of it."""

    def __init__(self, matrix: Tensor, offset: Tensor, noise: Tensor, is_linear: bool = True) -> None:
        self.matrix, self.offset, self.noise = matrix, offset, noise
        self.n_state, self.n_noise, self.is_linear = matrix.shape[0], noise.shape[1], is_linear

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return z @ self.matrix.mT + self.offset

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.noise.expand(*z.shape[:2], -1, -1)

    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        return discretise(self.matrix, self.offset, self.noise, h)


class Lorenz96(Motion):
    """``dz_i = (z_{i+1} - z_{i-2}) z_{i-1} - z_i + F`` on a ring, without noise."""

    n_noise, is_linear = 0, False

    def __init__(self, n_state: int = 40, forcing: float = 8.0) -> None:
        self.n_state, self.forcing = n_state, forcing

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return (z.roll(-1, -1) - z.roll(2, -1)) * z.roll(1, -1) - z + self.forcing

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return z.new_zeros(*z.shape, 0)

    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        raise NotImplementedError("no filter of ensembles asks for it")


def normal_start(mean: Tensor, sd: Tensor) -> Start:
    """Independent normal coordinates (r d)."""
    return Start(mean, sd, lambda u: mean[:, None] + sd[:, None] * torch.special.ndtri(u))


def normal_seen(weights: Tensor, value: Tensor, variance: Tensor) -> Seen:
    """Values (r,), NaN where missing, of ``weights . z`` with normal noise of a variance (r,)."""

    is_seen, value = ~value.isnan(), value.nan_to_num(0.0)

    def log_prob(predicted: Tensor) -> Tensor:
        error = value[:, None] - predicted
        return -0.5 * (error.square() / variance[:, None] + (2.0 * math.pi * variance[:, None]).log())

    place = weights.expand(len(value), -1)
    return Seen(is_seen, lambda z: z @ weights, log_prob, value, variance, place=place)


@dataclass
class Kalman:
    """Mean and covariance of one series, written out with dense matrices and the Joseph form."""

    mean: np.ndarray
    cov: np.ndarray
    log_evidence: float = 0.0

    def flow(self, matrix: np.ndarray, offset: np.ndarray, noise: np.ndarray, h: float) -> np.ndarray:
        """Exact step by one exponential (Van Loan 1978); the matrix that the mean moves by."""
        d = len(matrix)
        phi = expm(matrix * h)
        block = np.block([[matrix, offset[:, None]], [np.zeros((1, d + 1))]])
        loan = expm(np.block([[-matrix, noise @ noise.T], [np.zeros((d, d)), matrix.T]]) * h)
        self.mean = phi @ self.mean + expm(block * h)[:d, d]
        self.cov = phi @ self.cov @ phi.T + phi @ loan[:d, d:]
        self.cov = 0.5 * (self.cov + self.cov.T)
        return phi

    def change(self, factor: np.ndarray, shift: np.ndarray) -> None:
        self.mean = factor * self.mean + shift
        self.cov = factor[:, None] * self.cov * factor

    def observe(self, weights: np.ndarray, value: float, variance: float) -> None:
        if math.isnan(value):
            return
        total = weights @ self.cov @ weights + variance
        error = value - weights @ self.mean
        gain = self.cov @ weights / total
        kept = np.eye(len(self.mean)) - np.outer(gain, weights)
        self.mean = self.mean + gain * error
        self.cov = kept @ self.cov @ kept.T + variance * np.outer(gain, gain)
        self.log_evidence -= 0.5 * (error**2 / total + math.log(2.0 * math.pi * total))
