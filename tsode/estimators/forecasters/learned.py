"""Forecasters whose parameters are learned by gradient descent: settings of the training loop, scaling, covariates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.parameters import Check, at_least, positive, share
from tsode.training.loop import TrainingPlan

__all__ = ["Callback", "LearnedForecaster"]

Callback = Callable[[dict[str, float]], bool | None]


@dataclass(kw_only=True, eq=False, repr=False)
class LearnedForecaster(BaseForecaster):
    """Base of the forecasters that are trained, with the parameters that `JumpODEForecaster` describes."""

    max_context: int = 128
    max_epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-2
    early_stopping: bool = True
    patience: int = 4
    validation_fraction: float = 0.1
    scale: str = "auto"
    warm_start: bool = False
    callbacks: Sequence[Callback] | None = None
    past_covariates: Any = None
    known_path: str = "linear"
    calendar: Any = "auto"

    reads_covariates = True
    checks: ClassVar[dict[str, Check]] = {
        "validation_fraction": share("(", ")", float),
        **dict.fromkeys(("max_context", "max_epochs", "batch_size", "patience"), at_least(1)),
        "learning_rate": positive,
    }

    def _plan(self, weight_decay: float) -> TrainingPlan:
        return TrainingPlan(
            max_epochs=self.max_epochs,
            learning_rate=self.learning_rate,
            weight_decay=weight_decay,
            patience=self.patience if self.early_stopping else None,
        )
