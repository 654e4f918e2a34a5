"""Latent path forecasters, the base: training against a posterior, and a warning when the latent state is not used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from tsode._registry import Part
from tsode.encoders.base import Encoder
from tsode.errors import ParameterError, TsodeWarning
from tsode.estimators.forecasters.windowed import WindowedForecaster
from tsode.estimators.parameters import Check, at_least, not_negative, one_of, positive
from tsode.models.latent.base import LatentModel
from tsode.training.calibration import fit_spread
from tsode.training.interruption import kept_if_interrupted
from tsode.training.kl_schedule import KL_SCHEDULES
from tsode.training.lagging_inference import LaggingInference
from tsode.training.latent_objective import BOUNDS, LatentObjective, validation_scores
from tsode.training.latent_usage import LatentUsage, measure_usage
from tsode.training.objective import SCORES
from tsode.training.windows import Split, Window, validation_windows

__all__ = ["LatentForecaster", "warn_unless_used"]

MOST_INSPECTED = 256  # series of whose posteriors the mutual information is estimated


@dataclass(kw_only=True, eq=False, repr=False)
class LatentForecaster(WindowedForecaster):
    """Base of the forecasters that draw a latent path from a posterior given the context.

    A subclass builds a `LatentModel` in ``_build``.
    """

    encoder: str | Part | Callable[[int, int], Encoder] = "backward_filter"
    loss: str
    kl_schedule: str = "constant"
    kl_weight: float
    free_bits: float = 0.0
    lagging: bool = False
    reconstruction: float = 0.5
    n_samples: int
    n_train_samples: int = 1
    n_segments: int = 1
    continuity: float = 10.0
    n_state: int
    n_encoder: int = 64
    n_hidden: int = 64
    observation_scale: str
    max_epochs: int = 30

    checks: ClassVar[dict[str, Check]] = {
        "loss": one_of(dict.fromkeys((*BOUNDS, *SCORES))),
        "kl_schedule": one_of(KL_SCHEDULES),
        **dict.fromkeys(("n_samples", "n_train_samples", "n_state", "n_encoder", "n_hidden"), at_least(1)),
        "n_segments": at_least(1),
        "continuity": positive,
        **dict.fromkeys(("kl_weight", "free_bits", "reconstruction"), not_negative),
    }

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        assert isinstance(module, LatentModel)
        if self.n_segments > 1 and (self.loss == "iwae" or any(row.inputs.shape[1] for row in split.train)):
            raise ParameterError(
                f'n_segments={self.n_segments} is of series without events, for any loss but "iwae": leave it out.'
            )
        sampler, windows = self._windows(split, horizon)
        dtype, device = self._torch_dtype(), self._torch_device()
        # where the posterior is looked at: across series, or across the cuts of one
        shown = validation_windows(split.train[:MOST_INSPECTED], None, horizon, self.max_context, dtype)
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
            n_segments=self.n_segments,
            continuity=self.continuity,
        )

        def validate(model: torch.nn.Module) -> dict[str, float]:
            assert isinstance(model, LatentModel)
            information = _usage(model, shown).mutual_information
            return validation_scores(model, windows, self.loss) | {"mutual_information": information}

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
        with kept_if_interrupted(module, "intervals were calibrated"):
            fit_spread(module, [(module, windows)])
            warn_unless_used(_usage(module, shown))
        return history


@torch.no_grad()
def _usage(model: LatentModel, windows: Sequence[Window]) -> LatentUsage:
    inferences = [model.infer(window.context) for window in windows]
    mean, log_scale = (
        torch.cat([getattr(inference, name) for inference in inferences]) for name in ("mean", "log_scale")
    )
    path_kl = torch.cat([model.path_kl(inference) for inference in inferences])
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
