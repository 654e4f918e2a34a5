"""Marked point processes: when the next event comes, and of which mark."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._random import new_generator, seeded_initialisation
from tsode._registry import lookup
from tsode._threads import one_thread
from tsode.core.series import ROWS_AT_ONCE
from tsode.core.timeline import Timeline, kind_of_times
from tsode.errors import DataError, ParameterError
from tsode.estimators.files.streams import load_point_process, save_point_process
from tsode.estimators.point_process.fitted import FittedPointProcess
from tsode.estimators.settings import find_device, find_dtype
from tsode.frames.times import read_duration
from tsode.intensities.base import UNTIL, Intensity
from tsode.models.intensities import build_intensity
from tsode.training.loop import TrainingPlan, train
from tsode.training.stream_segments import Segment, SegmentSampler, batched, cut_segments, event_nll, hold_out, mean_nll

__all__ = ["PointProcessForecaster"]

LONGEST_PIECE = 256  # scored events of one stretch of a long stream in training


class PointProcessForecaster(FittedPointProcess):
    """Forecast when events come and of which mark, with an intensity that depends on the events before.

    The default is a neural jump intensity: a latent state flows in closed form between events and is set anew at each.
    Beside it stand the exact classics, to compare with or to be right with where they hold.

    Parameters
    ----------
    intensity : {"neural_jump", "hawkes", "self_correcting", "poisson"}
        A member of `tsode.intensities.INTENSITIES`.
    n_hidden : int
        Width of the memory of the neural intensity.
    n_modes, n_static : int
        Decaying and constant parts of its latent state between events.
    condition_on_first : bool or None
        Whether the first event of a stream is given rather than scored. None: given where no `windows` are passed,
        for a window that is opened by an event says nothing about it.
    until : {"window", "last_event"}
        Whether the silence between the last event and the end of the window counts. Without `windows` there is none.
    time_unit : "auto", duration or number
        One unit of model time; "auto" is about the median gap between events. The decay rates of the neural intensity
        start between 0.1 and 100 per unit.
    rate_unit : duration or number, optional
        Unit of time of intensities and log-likelihoods; the default is 1 for numbers and one hour for datetimes and
        timedeltas.
    validation_fraction : float
        Share of the streams held out to stop early (with fewer than ten streams, the last part of each).
    early_stopping : bool
        Whether the learning rate goes down once validation has not improved for `patience` epochs.
    max_epochs, batch_size, learning_rate, weight_decay, patience
        See `tsode.training.loop.TrainingPlan`; a batch holds `batch_size` streams, or pieces of long ones. The exact
        intensities are fitted without weight decay.
    device : str
    dtype : {"float32", "float64"}
    random_state, verbose, callbacks
        As in the other forecasters.
    id_col, time_col, mark_col : label
        Columns of the frames: one row an event. ``mark_col=None`` = events without marks.

    Attributes
    ----------
    marks_ : list
        Labels of the marks, in order.
    module_ : Intensity
        The fitted intensity, in model time.
    time_unit_ : np.timedelta64 or float
        One unit of model time.
    history_ : DataFrame
        Training history, one row an epoch; losses per event in model time.
    n_iter_ : int
        Epochs done.
    """

    def __init__(
        self,
        intensity: str = "neural_jump",
        *,
        n_hidden: int = 64,
        n_modes: int = 16,
        n_static: int = 8,
        condition_on_first: bool | None = None,
        until: str = "window",
        time_unit: Any = "auto",
        rate_unit: Any = None,
        max_epochs: int = 60,
        batch_size: int = 64,
        learning_rate: float = 1e-2,
        weight_decay: float = 0.01,
        early_stopping: bool = True,
        patience: int = 6,
        validation_fraction: float = 0.1,
        device: str = "auto",
        dtype: str = "float32",
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callable[[dict[str, float]], bool | None]] | None = None,
        id_col: Hashable = "unique_id",
        time_col: Hashable = "ds",
        mark_col: Hashable = "mark",
    ) -> None:
        self.intensity = intensity
        self.n_hidden = n_hidden
        self.n_modes = n_modes
        self.n_static = n_static
        self.condition_on_first = condition_on_first
        self.until = until
        self.time_unit = time_unit
        self.rate_unit = rate_unit
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks
        self.id_col = id_col
        self.time_col = time_col
        self.mark_col = mark_col

    # -- fit -------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, validation: Any = None, windows: Any = None) -> Self:
        """Learn from event streams by maximum likelihood.

        Parameters
        ----------
        X : DataFrame
            One row an event: `id_col` (may be absent where there is one stream), `time_col` (datetimes, timedeltas or
            numbers), `mark_col` (any labels). Rows need no order.
        y : ignored
        validation : DataFrame, optional
            Streams to validate on, instead of a share of `X`.
        windows : DataFrame, optional
            ``id_col, start, end``, one row a stream of `X` and of `validation`: when each was watched. A stream with
            a window and no row in either had no events, and is learned from: pass no windows of streams held out for
            a test. The default is from the first event of each stream to its last.

        Returns
        -------
        self

        Raises
        ------
        DataError, ParameterError
        """
        self._check_parameters()
        generator = new_generator(self.random_state)
        watched = None
        if validation is not None and windows is not None:
            windows, watched = self._share_windows(windows, validation)
        streams = self._read(X, windows, None)
        if not any(len(times) for times in streams.times):
            raise DataError("X has no rows: give at least one event.")
        held_out = None if validation is None else self._read(validation, watched, streams.marks, "validation")
        # the origin is the first time known, be it the start of a window
        known = [np.append(times, [low, high]) for times, low, high in zip(streams.times, streams.start, streams.end)]
        is_auto = isinstance(self.time_unit, str) and self.time_unit == "auto"
        unit = "auto" if is_auto else read_duration(self.time_unit, kind_of_times(known[0]), "time_unit")
        timeline = Timeline.fit(known, unit=unit)
        pieces = self._pieces(streams, timeline)
        if held_out is None:
            learned, checked = hold_out(pieces, self.validation_fraction, generator)
        else:
            learned, checked = pieces, self._pieces(held_out, timeline)
        if not any(piece.n_scored for piece in learned):
            raise DataError(
                "No stream has an event to learn from after its first: give longer streams, or windows= that say when "
                "each was watched."
            )
        with one_thread(), seeded_initialisation(generator):
            module = build_intensity(
                self.intensity, len(streams.marks), n_hidden=self.n_hidden, n_modes=self.n_modes, n_static=self.n_static
            ).to(find_device(self.device), find_dtype(self.dtype))
            rows = self._train(module, learned, checked, generator)
        self._streams, self._timeline = streams, timeline
        self.module_ = module.eval()
        self.marks_ = streams.marks
        self.time_unit_ = timeline.span(np.ones(1))[0]
        self.history_ = pd.DataFrame(rows)
        self.n_iter_ = len(rows)
        return self

    def _train(
        self, module: Intensity, learned: list[Segment], checked: list[Segment], generator: torch.Generator
    ) -> list[dict[str, float]]:
        device = find_device(self.device)
        module.initialise(SegmentSampler(learned, self.batch_size).all.to(device).events)
        if module.is_finite_memory:
            learned = [part for piece in learned for part in cut_segments(piece, LONGEST_PIECE)]
        sampler = SegmentSampler(learned, self.batch_size)
        valid = [batch.to(device) for batch in batched(checked, ROWS_AT_ONCE)]

        def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor], Tensor]:
            nll, n_scored = event_nll(model, batch, self.until)
            return nll.sum() / n_scored.sum().clamp(min=1), {}, torch.zeros_like(n_scored)

        return train(
            module,
            lambda: (batch.to(device) for batch in sampler.epoch(generator)),
            sampler.n_batches,
            objective,
            lambda model: {"loss": mean_nll(model, valid, self.until)},  # type: ignore[arg-type]
            TrainingPlan(
                max_epochs=self.max_epochs,
                learning_rate=self.learning_rate,
                # the parameters of an exact member mean something, and zero is no better a value than another
                weight_decay=0.0 if module.is_exact else self.weight_decay,
                patience=self.patience if self.early_stopping else None,
            ),
            verbose=self.verbose,
            callbacks=self.callbacks or (),
        )

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write parameters, weights and history to one file (safetensors with a JSON header); all or nothing."""
        self._check_fitted()
        save_point_process(self, path)

    @classmethod
    def load(cls, path: Any, device: str = "cpu") -> Self:
        """Read a fitted forecaster back. Nothing in a file can run code."""
        return load_point_process(cls, path, device)

    # -- between ---------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        if not isinstance(self.validation_fraction, float) or not 0.0 < self.validation_fraction < 1.0:
            raise ParameterError(
                f"validation_fraction is a share, in (0, 1), but is {self.validation_fraction!r}: try 0.1."
            )
        find_dtype(self.dtype)
        find_device(self.device)
        lookup(UNTIL, self.until, "end of a log-likelihood")

    def _share_windows(self, windows: Any, validation: Any) -> tuple[Any, Any]:
        """Windows of the streams of `X` and of `validation`."""
        if self.id_col not in getattr(windows, "columns", ()) or self.id_col not in getattr(validation, "columns", ()):
            raise DataError(f"windows= and validation= both need the column {self.id_col!r} to be told apart.")
        is_valid = windows[self.id_col].isin(validation[self.id_col])
        return windows[~is_valid], windows[is_valid]
