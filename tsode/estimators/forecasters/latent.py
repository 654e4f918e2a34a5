"""What the forecasters with a latent path share: how they are trained, checked and asked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._registry import lookup
from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.errors import ParameterError, TsodeWarning
from tsode.estimators.forecasters.windowed import WindowedForecaster
from tsode.models.latent.base import LatentModel
from tsode.training.calibration import fit_spread
from tsode.training.kl_schedule import KL_SCHEDULES
from tsode.training.lagging_inference import LaggingInference
from tsode.training.latent_objective import BOUNDS, LatentObjective, validation_scores
from tsode.training.latent_usage import LatentUsage, measure_usage
from tsode.training.objective import SCORES
from tsode.training.splits import Split, validation_windows
from tsode.training.windows import Window

__all__ = ["LatentForecaster", "warn_unless_used"]

MOST_LOOKED_AT = 256  # series of whose posteriors the mutual information is estimated


class LatentForecaster(WindowedForecaster):
    """Base of the forecasters that draw a latent path from a posterior given the context.

    A subclass stores the parameters listed here among its own and builds a `LatentModel` in ``_build``.
    """

    loss: str
    kl_schedule: str
    kl_weight: float
    free_bits: float
    lagging: bool
    reconstruction: float
    n_train_samples: int

    reads_covariates = True
    counts: tuple[str, ...] = ("n_samples", "n_train_samples", "max_context", "max_epochs", "batch_size", "patience")
    """Parameters that are whole numbers of at least 1."""

    def _check_parameters(self) -> None:
        super()._check_parameters()
        lookup(dict.fromkeys((*BOUNDS, *SCORES)), self.loss, "loss")
        lookup(KL_SCHEDULES, self.kl_schedule, "kl_schedule")
        for name in self.counts:
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise ParameterError(
                    f"{name} must be a whole number of at least 1, but is {value!r}: pass e.g. {name}=16."
                )
        if not 0.0 <= self.drop < 1.0:
            raise ParameterError(f"drop is a share, in [0, 1), but is {self.drop!r}.")
        for name in ("kl_weight", "free_bits", "reconstruction"):
            if not getattr(self, name) >= 0.0:
                raise ParameterError(f"{name} must not be negative, but is {getattr(self, name)!r}.")
        if not self.learning_rate > 0.0:
            raise ParameterError(f"learning_rate must be positive, but is {self.learning_rate!r}: try 1e-2.")

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        assert isinstance(module, LatentModel)
        sampler, windows = self._windows(split, horizon)
        dtype, device = self._torch_dtype(), self._torch_device()
        # where the posterior is looked at: across series, or across the cuts of one
        shown = validation_windows(split.train[:MOST_LOOKED_AT], None, horizon, self.max_context, dtype)
        shown = [window.to(device) for window in shown[:1] or windows]
        module.spread.reset()
        objective: Any = LatentObjective(
            self.loss,
            self.max_epochs * sampler.n_batches,
            generator,
            n_samples=self.n_train_samples,
            kl_schedule=self.kl_schedule,
            free_bits=self.free_bits,
            reconstruction=self.reconstruction,
            kl_weight=self.kl_weight,
        )

        def validate(model: torch.nn.Module) -> dict[str, float]:
            assert isinstance(model, LatentModel)
            told = _usage(model, shown).mutual_information
            return validation_scores(model, windows, self.loss) | {"mutual_information": told}

        callbacks = []
        if self.lagging:
            objective = LaggingInference(
                objective,
                module.amortised(),
                lambda: next(iter(sampler.epoch(generator))).to(device),
                self.learning_rate,
            )
            callbacks.append(objective.on_epoch_end)
        history = self._learn(module, sampler, objective, validate, generator, callbacks)
        fit_spread(module, windows)
        warn_unless_used(_usage(module, shown))
        return history

    def _fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        assert isinstance(self.module_, LatentModel)
        return self.module_.interpolate(batch, query_times)


@torch.no_grad()
def _usage(model: LatentModel, windows: Sequence[Window]) -> LatentUsage:
    inferences = [model.infer(window.context) for window in windows]
    mean, log_scale = (torch.cat([getattr(one, name) for one in inferences]) for name in ("mean", "log_scale"))
    path_kl = torch.cat([model.path_kl(one) for one in inferences])
    return measure_usage(mean, log_scale, torch.Generator().manual_seed(0), float(path_kl.mean()))


def warn_unless_used(usage: LatentUsage) -> None:
    """Warn if the posterior is the prior whatever was seen."""
    if not usage.is_used:
        warnings.warn(
            f"The latent state is not used: {usage.active_units} of {usage.n_units} units are active, and it tells "
            f"{usage.mutual_information:.3f} nats about a series, so all series get the same forecast. Try "
            "lagging=True, kl_schedule='linear', free_bits=0.05, or longer training.",
            TsodeWarning,
            stacklevel=4,
        )
