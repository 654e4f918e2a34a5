"""Marked point process as a forecaster: training of an intensity on event streams."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode._random import OwnDraws, new_generator
from tsode._registry import Part
from tsode.core.series import ROWS_AT_ONCE
from tsode.core.timeline import Timeline, kind_of_times, typical_gap
from tsode.errors import DataError
from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.files.saved import SavedEstimator
from tsode.estimators.files.streams import describe_point_process, restore_point_process
from tsode.estimators.parameters import (
    Check,
    at_least,
    callables,
    labels_rows,
    not_negative,
    one_of,
    positive,
    read_by,
    share,
)
from tsode.estimators.point_process.fitted import FittedPointProcess
from tsode.estimators.settings import find_device, find_dtype
from tsode.frames.durations import read_duration
from tsode.frames.meeting import check_meeting
from tsode.frames.streams import Streams
from tsode.intensities.base import UNTIL, Intensity
from tsode.models.intensities import build_intensity
from tsode.training.loop import TrainingPlan, train
from tsode.training.maximum_likelihood import maximise
from tsode.training.stream_segments import Segment, SegmentSampler, batched, cut_segments, event_nll, hold_out, mean_nll

__all__ = ["PointProcessForecaster"]

LONGEST_SEGMENT = 256  # scored events of one stretch of a long stream in training


@dataclass(kw_only=True, eq=False, repr=False)
class PointProcessForecaster(FittedPointProcess, SavedEstimator):
    """Forecast when events come and of which mark, with an intensity that depends on the events before.

    The default is a neural jump intensity: a latent state flows in closed form between events and is set anew at each.
    Beside it stand the exact classics, to compare with or to be right with where they hold: they are fitted to all
    events by maximum likelihood (`summary` has the estimates and their standard errors), whatever the parameters of
    training below. An intensity depends on the events strictly before it: those of one time are simultaneous.

    Parameters
    ----------
    intensity : {"neural_jump", "hawkes", "self_correcting", "poisson"} or Part
        A member of `tsode.intensities.INTENSITIES`, or such a name with settings (`tsode.part`).
    n_hidden : int
        Width of the memory of the neural intensity.
    n_modes, n_static : int
        Decaying and constant parts of its latent state between events.
    condition_on_first : bool or None
        Whether the first event of a stream, with all others of its time, is given rather than scored. None: given
        where no `windows` are passed, for a window that is opened by an event says nothing about it.
    until : {"window", "last_event"}
        Whether the silence between the last event and the end of the window counts. Without `windows` there is none.
    time_unit : "auto", duration or number
        One unit of model time; "auto" is the median gap between events. The decay rates of the neural intensity
        start between 0.1 and 100 per unit.
    rate_unit : duration or number, optional
        Unit of time of intensities and log-likelihoods; the default is 1 for numbers and one hour for datetimes and
        timedeltas.
    validation_fraction : float
        Share of the streams held out to stop early (with fewer than ten streams, the last part of each); none are
        without `early_stopping`, and none for the exact intensities.
    early_stopping : bool
        Whether the learning rate goes down once validation has not improved for `patience` epochs.
    max_epochs, batch_size, learning_rate, weight_decay, patience
        See `tsode.training.loop.TrainingPlan`; a batch holds `batch_size` streams, or pieces of long ones.
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
        Training history, one row an epoch, or a step of an exact intensity; losses per event in model time.
    n_iter_ : int
        Epochs, or steps, done.
    """

    intensity: str | Part = field(default="neural_jump", kw_only=False)
    n_hidden: int = 64
    n_modes: int = 16
    n_static: int = 8
    condition_on_first: bool | None = None
    until: str = "window"
    time_unit: Any = "auto"
    rate_unit: Any = None
    max_epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    early_stopping: bool = True
    patience: int = 6
    validation_fraction: float = 0.1
    device: str = "auto"
    dtype: str = "float32"
    random_state: Any = None
    verbose: bool | int = 0
    callbacks: Sequence[Callable[[dict[str, float]], bool | None]] | None = None
    id_col: Hashable = "unique_id"
    time_col: Hashable = "ds"
    mark_col: Hashable = "mark"

    checks: ClassVar[dict[str, Check]] = {
        **dict.fromkeys(("n_hidden", "n_modes", "max_epochs", "batch_size", "patience"), at_least(1)),
        "n_static": at_least(0),
        "learning_rate": positive,
        "weight_decay": not_negative,
        "callbacks": callables,
        "validation_fraction": share("(", ")", float),
        "until": one_of(UNTIL),
        "dtype": read_by(find_dtype),
        "device": read_by(find_device),
        "verbose": not_negative,
        **dict.fromkeys(("id_col", "time_col", "mark_col"), labels_rows),
    }

    # -- fit -------------------------------------------------------------------------------------------------------

    @isolated()
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
        SolverError
            If no likelihood is finite.
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
        times = [np.append(events, [low, high]) for events, low, high in zip(streams.times, streams.start, streams.end)]
        is_auto = isinstance(self.time_unit, str) and self.time_unit == "auto"
        kind = kind_of_times(times[0])
        unit = "auto" if is_auto else read_duration(self.time_unit, kind, "time_unit")
        if is_auto and kind == "float":  # as it is, as for all other kinds: the unit of the data changes nothing
            gap = typical_gap(times)
            unit = "auto" if gap is None else float(gap)
        timeline = Timeline.fit(times, unit=unit)
        self._per_rate_unit(timeline)  # raises where the unit of rates is none
        draws = OwnDraws(generator)
        with draws:
            module = self._build(len(streams.marks))
        module.reorder_marks(torch.tensor(_order_of_marks(streams)))
        module = module.to(find_device(self.device), find_dtype(self.dtype))
        train_segments = valid_segments = self._segments(streams, timeline)
        if held_out is not None:
            valid_segments = self._segments(held_out, timeline)
        elif self.early_stopping and not module.is_exact:
            train_segments, valid_segments = hold_out(train_segments, self.validation_fraction, generator)
        if not any(segment.n_scored for segment in train_segments):
            raise DataError(
                "No stream has an event to learn from after its first: give longer streams, or windows= that say when "
                "each was watched."
            )
        with draws.in_training(module):
            rows = self._train(module, train_segments, valid_segments, generator)
        self._streams, self._timeline = streams, timeline
        self.module_ = module.eval()
        self.marks_ = streams.marks
        self.time_unit_ = timeline.span(np.ones(1))[0]
        self.history_ = pd.DataFrame(rows)
        self.n_iter_ = len(rows)
        return self

    def _build(self, n_marks: int) -> Intensity:
        sizes = {"n_hidden": self.n_hidden, "n_modes": self.n_modes, "n_static": self.n_static}
        return build_intensity(self.intensity, n_marks, **sizes)

    def _train(
        self,
        module: Intensity,
        train_segments: list[Segment],
        valid_segments: list[Segment],
        generator: torch.Generator,
    ) -> list[dict[str, float]]:
        device = find_device(self.device)
        batches = [batch.to(device) for batch in batched(valid_segments, ROWS_AT_ONCE)]
        module.initialise(SegmentSampler(train_segments, self.batch_size).all.to(device).events)
        if module.is_exact:
            whole = batches
            if valid_segments is not train_segments:
                whole = [batch.to(device) for batch in batched(train_segments, ROWS_AT_ONCE)]
            return maximise(module, whole, batches, self.until, self.callbacks or ())
        if module.is_finite_memory:
            train_segments = [part for segment in train_segments for part in cut_segments(segment, LONGEST_SEGMENT)]
        sampler = SegmentSampler(train_segments, self.batch_size)

        def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor], Tensor]:
            nll, n_scored = event_nll(model, batch, self.until)
            return nll.sum() / n_scored.sum().clamp(min=1), {}, torch.zeros_like(n_scored)

        return train(
            module,
            lambda: (batch.to(device) for batch in sampler.epoch(generator)),
            sampler.n_batches,
            objective,
            lambda model: {"loss": mean_nll(model, batches, self.until)},  # type: ignore[arg-type]
            TrainingPlan(
                max_epochs=self.max_epochs,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                patience=self.patience if self.early_stopping else None,
            ),
            verbose=self.verbose,
            callbacks=self.callbacks or (),
        )

    # -- files -----------------------------------------------------------------------------------------------------

    def _describe(self) -> tuple[Header, Tensors]:
        return describe_point_process(self)

    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        restore_point_process(self, header, tensors, device)

    # -- between ---------------------------------------------------------------------------------------------------

    def _share_windows(self, windows: Any, validation: Any) -> tuple[Any, Any]:
        """Windows of the streams of `X` and of `validation`."""
        if self.id_col not in getattr(windows, "columns", ()) or self.id_col not in getattr(validation, "columns", ()):
            raise DataError(f"windows= and validation= both need the column {self.id_col!r} to be told apart.")
        says = "validation= has series {}, which has no window"
        check_meeting(validation[self.id_col].unique(), windows[self.id_col], says, of="windows=")
        is_valid = windows[self.id_col].isin(validation[self.id_col])
        return windows[~is_valid], windows[is_valid]


def _order_of_marks(streams: Streams) -> list[int]:
    """The marks by how many events they have, and when: so that a fit does not depend on what they are called."""
    codes, times = np.concatenate(streams.codes), np.concatenate(streams.times)
    moments = {code: times[codes == code].tolist() for code in range(len(streams.marks))}
    return sorted(moments, key=lambda code: (-len(moments[code]), moments[code]))
