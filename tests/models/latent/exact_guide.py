"""A latent Ornstein-Uhlenbeck process of one coordinate whose posterior is known: guide, start and evidence."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.dynamics import OrnsteinUhlenbeck
from tsode.encoders.base import Encoded, Encoder
from tsode.models.latent.base import Inference
from tsode.models.latent.sde import LatentSDE, build_latent_sde
from tsode.models.linear.sde import LinearSDE
from tsode.numerics.sde import SDESolver

RATE, SIGMA, NOISE = 0.8, 1.1, 0.35


class Unread(Encoder):
    """An encoder that reads nothing: guide and start are given."""

    n_channels, n_hidden = 1, 1

    def encode(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        zero = batch.values.new_zeros(batch.n_series, 1)
        return Encoded(zero, zero[:, None].expand(-1, batch.n_events, -1), torch.zeros_like(batch.lengths))


class ExactGuide(nn.Module):
    """The likelihood ``exp(-precision (mean - z)**2 / 2)`` of all that is seen from an event on, carried back.

    Parameters
    ----------
    push : float
        Added to the state by each unit of input.
    """

    def __init__(self, push: float = 0.0) -> None:
        super().__init__()
        self.push = push

    def summarise_events(self, inference: Inference) -> Tensor:
        """Precision and mean at each event, what is seen there included: Tensor[b n 2]."""
        batch = inference.batch
        precision, mean = torch.zeros(2, batch.n_series, dtype=torch.float64)
        found, last = [], batch.times[:, -1]
        for k in reversed(range(batch.n_events)):
            precision, mean = carried_back(precision, mean, last - batch.times[:, k])
            if batch.inputs is not None:
                mean = mean - self.push * batch.inputs[:, k, 0]
            more = batch.mask[:, k, 0] / NOISE**2
            total = precision + more
            mean = torch.where(
                total > 0, (precision * mean + more * batch.values[:, k, 0]) / total.clamp(min=1e-300), 0.0
            )
            precision, last = total, batch.times[:, k]
            found.append(torch.stack([precision, mean], dim=-1))
        return torch.stack(found[::-1], dim=1)

    def look_ahead(self, ahead: Tensor, lead: Tensor) -> tuple[Tensor, Tensor]:
        precision, mean = carried_back(ahead[..., :1], ahead[..., 1:], lead)
        return (SIGMA**2 * precision).log(), mean

    def forward(self, z: Tensor, log_pull: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return log_pull, target


def carried_back(precision: Tensor, mean: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Precision and mean of a likelihood of the state a `span` earlier."""
    keep = torch.exp(-RATE * span)
    variance = SIGMA**2 * (1 - keep**2) / (2 * RATE)
    return precision * keep**2 / (1 + precision * variance), mean / keep


def guided(solver: SDESolver | str = "heun_maruyama", push: float | None = None) -> LatentSDE:
    """The process from a start at ``N(0, 1)``, with the exact guide."""
    how = {} if push is None else {"n_inputs": 1}
    model = build_latent_sde(
        1, encoder=lambda n_channels, n_hidden: Unread(), sde=OrnsteinUhlenbeck(1), solver=solver, **how
    ).double()  # fmt: skip
    model.guide = ExactGuide(push or 0.0)
    model.emission.location = nn.Linear(1, 1).double()
    with torch.no_grad():
        model.sde.log_rate.fill_(math.log(RATE))
        model.sde.log_sigma.fill_(math.log(SIGMA))
        model.emission.location.weight.fill_(1.0)
        model.emission.location.bias.zero_()
        model.emission.log_scale.fill_(math.log(NOISE))
        if push is not None:
            model.input_map.weight.fill_(push)
    return model


def posterior(model: LatentSDE, batch: IrregularBatch) -> Inference:
    """The exact posterior of the start, which is normal."""
    inference = model.infer(batch)
    precision, mean = model.guide.summarise_events(inference)[:, 0].unbind(dim=-1)
    total = precision + 1.0
    return Inference(
        (precision * mean / total)[:, None], -0.5 * total.log()[:, None], inference.start, inference.batch,
        inference.encoded, inference.status,
    )  # fmt: skip


def simulate(n_series: int, n_events: int, span: float, seed: int = 0) -> IrregularBatch:
    """Series of the process seen at random times."""
    rng = np.random.default_rng(seed)
    times, values = [], []
    for _ in range(n_series):
        t = np.sort(rng.uniform(0.0, span, n_events))
        z = [rng.normal()]
        for gap in np.diff(t):
            keep = math.exp(-RATE * gap)
            z.append(keep * z[-1] + SIGMA * math.sqrt((1 - keep**2) / (2 * RATE)) * rng.normal())
        times.append(t)
        values.append((np.array(z) + NOISE * rng.normal(size=n_events))[:, None])
    return IrregularBatch.from_arrays(times, values, torch.float64)


def log_evidence(batch: IrregularBatch) -> Tensor:
    """By the Kalman filter: Tensor[b]."""
    one = torch.ones(1, 1, dtype=torch.float64)
    system = LinearSDE(
        drift=-RATE * one, diffusion=SIGMA * one, readout=one, noise=NOISE * one[0], initial_mean=0.0 * one[0],
        initial_cov=one,
    )  # fmt: skip
    return system.double().log_likelihood(batch)
