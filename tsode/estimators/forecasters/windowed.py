"""Base of the forecasters that are trained on windows of series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.base import Callback, LearnedForecaster
from tsode.estimators.parameters import Check, at_least, not_negative, parts_of, share
from tsode.evolutions.base import Solved
from tsode.training.loop import train
from tsode.training.penalised import Penalised
from tsode.training.penalties import PENALTIES
from tsode.training.windows import Split, Window, WindowSampler, validation_windows

__all__ = ["WindowedForecaster"]

MOST_LEVELS = 8  # steps 128 times as long


@dataclass(kw_only=True, eq=False, repr=False)
class WindowedForecaster(LearnedForecaster):
    """Base of the forecasters that are trained on windows."""

    weight_decay: float = 0.01
    drop: float = 0.3
    n_levels: int = 1
    penalties: Any = None

    checks: ClassVar[dict[str, Check]] = {
        "drop": share(),
        "weight_decay": not_negative,
        "n_levels": at_least(1, MOST_LEVELS),
        "penalties": parts_of(PENALTIES),
    }

    def _windows(self, split: Split, horizon: float) -> tuple[WindowSampler, list[Window]]:
        """What to draw training windows from, and the windows to validate on."""
        dtype, device = self._torch_dtype(), self._torch_device()
        # members that leave out a fold each are many, and learn from few series
        size = self.batch_size if split.folds is None else max(1, self.batch_size // 2)
        sampler = WindowSampler(split.train, horizon, size, self.max_context, drop=self.drop, dtype=dtype)
        windows = validation_windows(split.valid, split.valid_from, horizon, self.max_context, dtype)
        if not sampler.series or not windows:
            raise DataError(
                "There is no series with two observation times on either side of a cut, so nothing can be learned "
                "about change in time. Give longer series, or use LastValueForecaster or ConstantForecaster."
            )
        return sampler, [window.to(device) for window in windows]

    def _learn(
        self,
        module: torch.nn.Module,
        sampler: WindowSampler,
        objective: Any,
        validate: Callable[[torch.nn.Module], dict[str, float]],
        generator: torch.Generator,
        callbacks: Sequence[Callback] = (),
    ) -> list[dict[str, float]]:
        """Run the training loop by the parameters of this forecaster; the user's callbacks come first."""
        device = self._torch_device()
        if self.n_levels > 1 and not any(isinstance(part, Solved) for part in module.modules()):
            raise ParameterError(
                f"n_levels={self.n_levels} is of steps in time, but nothing in this model takes any: leave n_levels "
                'out, or choose an evolution that is solved, as evolution="mlp" is.'
            )
        self._check_memory(module, sampler.batch_size, *sampler.size())
        with ExitStack() as stack:
            if self.penalties is not None:
                given = self.penalties if isinstance(self.penalties, list | tuple) else [self.penalties]
                objective = Penalised(objective, module, given)
                stack.enter_context(objective.trained_in(module))
            return train(
                module,
                lambda: (window.to(device) for window in sampler.epoch(generator)),
                sampler.n_batches,
                objective,
                validate,
                replace(self._plan(self.weight_decay), n_levels=self.n_levels),
                verbose=self.verbose,
                callbacks=[*(self.callbacks or ()), *callbacks],
            )
