"""Lagging inference: extra steps of the encoder while they raise the mutual information of data and latent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["LaggingInference"]

STEPS_PER_CHECK = 10  # inner steps between two checks of whether they still help


class LaggingInference:
    """Aggressive steps of the encoder before each step of the whole model.

    He, Spokoyny, Neubig & Berg-Kirkpatrick 2019, algorithm 1. A posterior that lags behind the model it is the
    posterior of looks useless to it, and is given up: it collapses to the prior. So, at first, the encoder is brought
    up to date before every step, until its loss no longer falls or `max_steps` are done. That ends for good after the
    first epoch in which the mutual information between data and latent has not risen.

    Parameters
    ----------
    objective : callable
        ``(model, batch) -> loss, parts, status``.
    encoder : iterable of Parameter
        What is trained ahead.
    draw : callable
        Gives a batch for an inner step.
    learning_rate : float
        Of the inner steps (Adam).
    max_steps : int
        Largest number of inner steps before a step.

    Attributes
    ----------
    is_aggressive : bool
        Whether inner steps are still taken.
    """

    def __init__(
        self,
        objective: Callable[[Any, Any], tuple[Tensor, dict[str, Tensor], Tensor]],
        encoder: Iterable[nn.Parameter],
        draw: Callable[[], Any],
        learning_rate: float = 1e-2,
        max_steps: int = 30,
    ) -> None:
        self.objective = objective
        self.parameters = list(encoder)
        self.draw = draw
        self.max_steps = max_steps
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate)
        self.is_aggressive = True
        self.best = -float("inf")

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        if self.is_aggressive and model.training:
            self._catch_up(model)
        return self.objective(model, batch)

    def _catch_up(self, model: nn.Module) -> None:
        before = float("inf")
        for _ in range(max(1, self.max_steps // STEPS_PER_CHECK)):
            total = 0.0
            for _ in range(STEPS_PER_CHECK):
                loss, _, status = self.objective(model, self.draw())
                gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
                total += float(loss.detach())
                is_sound = not bool(status.any()) and all(g is None or bool(g.isfinite().all()) for g in gradients)
                if is_sound:
                    for parameter, gradient in zip(self.parameters, gradients):
                        parameter.grad = gradient
                    nn.utils.clip_grad_norm_(self.parameters, 1.0)
                    self.optimizer.step()
            if not total < before:
                break
            before = total

    def on_epoch_end(self, row: dict[str, float]) -> None:
        """End the inner steps unless the mutual information in this epoch's row of the history has risen."""
        self.is_aggressive &= row["valid_mutual_information"] > self.best
        self.best = max(self.best, row["valid_mutual_information"])
