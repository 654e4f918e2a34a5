"""Objective of latent models: a bound on the evidence, or a score with a KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tsode._registry import lookup
from tsode.core.batch import IrregularBatch
from tsode.likelihoods.normal import Normal
from tsode.models.latent.base import LatentModel
from tsode.training.evidence import Evidence, elbo, free_kl, gather_evidence, importance_bound
from tsode.training.kl_schedule import KL_SCHEDULES
from tsode.training.objective import SCORES, masked_mean
from tsode.training.shooting import in_segments, with_end
from tsode.training.windows import Window

__all__ = ["BOUNDS", "LatentObjective", "validation_scores"]

BOUNDS = ("elbo", "iwae")
VALIDATION_SAMPLES = 8
LOOSE = 1e-3  # weight of the gaps between segments at the start of training, as share of that at the end


@dataclass
class LatentObjective:
    """Negative bound on the evidence of contexts and targets, or a score of them with a KL.

    The posterior is given the context alone; the values of the context that were hidden from it, and the targets,
    are scored under it. "elbo" and "iwae" are the bounds, in nats a value. With a score in `SCORES`, the loss is the
    forecast's score + `reconstruction` times the context's + `kl_weight` times the KL a value: a generalised
    posterior (Knoblauch, Jewson & Damoulas 2022) under a score that is not a likelihood.

    Parameters
    ----------
    loss : str
        "elbo", "iwae" or a name in `tsode.training.objective.SCORES`.
    n_steps : int
        Training steps in all, for the schedule.
    generator : torch.Generator
    n_samples : int
        Paths a row in a step.
    kl_schedule : str
        Name in `KL_SCHEDULES`.
    free_bits : float
        Nats a coordinate that cost nothing, see `free_kl`.
    reconstruction, kl_weight : float
        Of the scores; the bounds do not read them.
    n_segments : int
        Of multiple shooting: each context is cut into so many segments, whose states at the start the posterior gives
        for each by itself, and no path is longer than its segment. 1 = one path from the first observation on.
    continuity : float
        Weight, at the end of training, of the mean squared gap between where a segment ends and the mean of where the
        next one starts, as share of the variance of starts. It grows by a factor a step. The KL is that of the first
        segments alone, whose states the others follow from.
    n_done : int
        Steps done.

    References
    ----------
    Bock, Plitt, "A multiple shooting algorithm for direct solution of optimal control problems", IFAC 1984.
    Iakovlev, Yildiz, Heinonen, Laehdesmaeki, "Latent neural ODEs with sparse Bayesian multiple shooting", ICLR 2023.
    Turan, Jaeschke, "Multiple shooting for training neural differential equations on time series", IEEE Control
    Systems Letters 6, 2022: the penalty.
    """

    loss: str
    n_steps: int
    generator: torch.Generator
    n_samples: int = 1
    kl_schedule: str = "constant"
    free_bits: float = 0.0
    reconstruction: float = 0.5
    kl_weight: float = 0.01
    n_segments: int = 1
    continuity: float = 10.0
    n_done: int = field(default=0, init=False)

    def __call__(self, model: LatentModel, window: Window) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts, and the status of each row; a caller leaves out rows whose status is not OK."""
        done = self.n_done / max(self.n_steps, 1)
        weight = lookup(KL_SCHEDULES, self.kl_schedule, "kl_schedule")(done)
        k, until, is_joined = self.n_segments, None, None
        if k > 1:
            window, until, is_joined = in_segments(window, k)
        inference = model.infer(window.context)
        truth = model.residual_batch(_side_by_side(window, inference.start))
        if until is not None:
            truth = with_end(truth, torch.maximum(until.flatten(), inference.start))
        draws = model.fresh_draws(self.n_samples, truth.n_series, self.generator)
        evidence = gather_evidence(model, inference, truth, draws)
        self.n_done += model.training
        per_value = truth.n_series / truth.mask.sum().clamp(min=1).float()
        kl = free_kl(evidence.kl[::k], self.free_bits) / k + evidence.cost.mean()
        parts = {"kl": evidence.kl[::k].sum(dim=1).mean() + evidence.cost.mean()}
        loss: Tensor | float = 0.0
        if is_joined is not None:
            ends = evidence.z[:, :, -1].unflatten(1, (-1, k))[:, :, :-1]
            starts = inference.mean.unflatten(0, (-1, k))[:, 1:]
            apart = (ends - starts).square().mean(dim=0) / starts.var(dim=(0, 1), correction=0).clamp(min=1e-12)
            parts["continuity"] = masked_mean(apart.mean(dim=2), is_joined[:, :-1])
            loss = self.continuity * LOOSE ** (1.0 - done) * parts["continuity"]
        status = evidence.status.unflatten(0, (-1, k)).amax(dim=1)
        if self.loss in BOUNDS:
            parts[self.loss] = (elbo if self.loss == "elbo" else importance_bound)(evidence).mean() * per_value
            if self.loss == "iwae":
                return loss - parts["iwae"], parts, status
            return loss + (weight * kl - evidence.log_likelihood.mean()) * per_value, parts, status
        n_context = window.hidden.n_events
        parts["forecast"] = self._score(evidence, truth, slice(n_context, None))
        loss = loss + parts["forecast"] + self.kl_weight * weight * kl * per_value
        if self.reconstruction and n_context:
            parts["reconstruction"] = self._score(evidence, truth, slice(n_context))
            loss = loss + self.reconstruction * parts["reconstruction"]
        return loss, parts, status

    def _score(self, evidence: Evidence, truth: IrregularBatch, part: slice) -> Tensor:
        """Mean score of a value over the paths."""
        score = SCORES[self.loss](Normal(), evidence.params[:, :, part], truth.values[:, part])
        return masked_mean(score.mean(dim=0), truth.mask[:, part])


def _side_by_side(window: Window, start: Tensor) -> IrregularBatch:
    """Contexts as they were before values were dropped, from each row's `start` on, and then the targets."""
    hidden, targets = window.hidden, window.targets
    times = torch.cat([hidden.times, targets.times], dim=1)
    mask = torch.cat([hidden.mask, targets.mask], dim=1) & (times >= start[:, None])[..., None]
    values = torch.cat([hidden.values, targets.values], dim=1)
    # what stands before the start is not scored, and is not to be reached by going back
    lengths = torch.full_like(hidden.lengths, times.shape[1])
    times = torch.maximum(times, start[:, None])
    return IrregularBatch(times, values, mask, lengths, covariates=window.context.covariates)


@torch.no_grad()
def validation_scores(model: LatentModel, windows: Sequence[Window], loss: str) -> dict[str, float]:
    """Mean loss of a held-out value, and squared error of the forecast; a failed solve counts as infinitely bad.

    For a bound, the loss is the bound itself over contexts and targets; for a score, that of the forecast, which is a
    mixture over paths.
    """
    generator = torch.Generator().manual_seed(0)  # the same paths at every look
    total = squared = count = 0.0
    for window in windows:
        truth, mask = window.targets.values, window.targets.mask
        forecast = model.forecast(window.context, window.targets.times)
        if bool(forecast.status.any()):
            return {"loss": float("inf"), "mse": float("inf")}
        n_seen = float(mask.sum())
        error = (forecast.mean - truth) ** 2
        if loss in BOUNDS:
            value, _, _ = LatentObjective(loss, 1, generator, n_samples=VALIDATION_SAMPLES)(model, window)
            total += float(value) * n_seen
        elif loss == "mse":
            total += float((error * mask).sum())
        else:
            total += float(SCORES[loss](model.likelihood, forecast.params[mask], truth[mask]).sum())
        squared += float((error * mask).sum())
        count += n_seen
    return {"loss": total / max(count, 1.0), "mse": squared / max(count, 1.0)}
