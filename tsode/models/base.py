"""Model interface that estimators rely on: histories in, predictive distributions at any time out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast

__all__ = ["DrawsSignal", "ForecastModel", "HasSignal"]


class ForecastModel(nn.Module, ABC):
    """A model that turns histories into predictive distributions at any time.

    A member promises: the forecast of a series depends on that series' events before the query time and on nothing
    else: not on batch-mates, order, padding, other query times or later data.
    """

    n_channels: int

    @property
    def can_resume(self) -> bool:
        """Whether it can resume from its state after some events: then it has ``advance``, see `MarginalModel`."""
        return False

    @property
    def state_width(self) -> int:
        """Numbers of eight bytes of a state, if they are so many that only those of long histories are kept; else 0."""
        return 0

    @property
    def can_smooth(self) -> bool:
        """Whether `fill` asks for all of a history, what comes after a query too."""
        return type(self).fill is not ForecastModel.fill

    @property
    def event_width(self) -> int:
        """Numbers of eight bytes, about, that a pass holds for each event of a history."""
        return 16 * self.n_channels

    def query_width(self, n_between: int = 0) -> int:
        """Numbers of eight bytes, about, that a forecast holds for each query time.

        Parameters
        ----------
        n_between : int
            Events of the longest history in which queries stand between events; 0 if all come after them.
        """
        return 48 * self.n_channels

    def step_width(self, n_events: int, n_queries: int) -> float:
        """Numbers of its dtype, about, that a step of training holds for each series of a batch.

        Parameters
        ----------
        n_events : int
            Of a context.
        n_queries : int
            Times after it that are forecast.
        """
        return 0.0

    @abstractmethod
    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        """Predict all channels at each row's own query times.

        Parameters
        ----------
        batch : IrregularBatch
            Histories.
        query_times : Tensor[b m], float64
            In any order; before, between or after the events.
        side : {"left", "right"}
            "left": an event at the query time is not yet seen (a forecast); "right": it is (a filtered value).
        """

    def fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """Distribution from which missing entries are filled: filtered, of a model that can smooth smoothed."""
        return self.forecast(batch, query_times, side="right")

    @abstractmethod
    def sample(self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw joint paths of the observations after the history: Tensor[s b m c]."""


class HasSignal(ABC):
    """Part of a model whose paths are those of a signal that is seen through noise."""

    is_smooth = False  # whether a path is a curve, which the same seed draws at any times

    @abstractmethod
    def sample_signal(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Draw joint paths (s b m c) without noise, and their quadratic variations (s b m-1 c) between the times.

        Query times are in increasing order. The variation is None where it is not known.
        """


class DrawsSignal(HasSignal):
    """Part of a model that draws a signal, and then the noise through which it is seen."""

    @torch.no_grad()
    def sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> Tensor:
        """Draw joint paths of the observations: Tensor[s b m c]."""
        return self._sample(batch, query_times, n_samples, generator, has_noise=True, **known)

    @torch.no_grad()
    def sample_signal(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> tuple[Tensor, Tensor | None]:
        return self._sample(batch, query_times, n_samples, generator, has_noise=False, **known), None

    @abstractmethod
    def _sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, *,
        has_noise: bool, **known: Any,
    ) -> Tensor:  # fmt: skip
        """Joint paths of a signal, with the noise through which it is seen or without."""
