"""Training and validation windows: a context before a cut in a series, and the targets after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.series import ROWS_AT_ONCE, Series, collate

__all__ = [
    "Split",
    "Window",
    "WindowSampler",
    "drop_values",
    "make_window",
    "split_for_validation",
    "validation_windows",
]

FEWEST_BATCHES = 20  # of an epoch, so that small panels train as long as large ones
FEWEST_WINDOWS = 16  # of a batch of a panel that has few
FEWEST_SERIES = 10  # with fewer, a share of the series is too few to validate on, so the last part of each is held out
WINDOWS_WANTED = 200
STANDARD_SHARE = 0.25  # of windows that are cut one horizon before the end of their series


@dataclass(frozen=True)
class Window:
    """Contexts, and what came after them.

    Parameters
    ----------
    context : IrregularBatch
        Observations up to each row's cut, and inputs up to the horizon: what a model may see.
    targets : IrregularBatch
        Events after the cut, up to the horizon.
    hidden : IrregularBatch
        The context before values were dropped from it: what a backcast is scored on.
    number : Tensor[b] or None
        Places of the series that rows were cut from, among those that a sampler, or whoever else made it, has.
    """

    context: IrregularBatch
    targets: IrregularBatch
    hidden: IrregularBatch
    number: Tensor | None = None

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Window:
        shown, targets, hidden = (batch.to(device, dtype) for batch in (self.context, self.targets, self.hidden))
        return Window(shown, targets, hidden, None if self.number is None else self.number.to(device))

    def select(self, rows: Tensor) -> Window:
        shown, targets, hidden = (batch.select(rows) for batch in (self.context, self.targets, self.hidden))
        return Window(shown, targets, hidden, None if self.number is None else self.number[rows])


def make_window(
    series: Sequence[Series],
    cuts: Sequence[float],
    horizon: float,
    max_context: int,
    max_targets: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Window:
    """Cut each series once: the last `max_context` events up to its cut, and the events within `horizon` after it.

    Of more than `max_targets` targets every second (third, ...) is kept. Inputs are known ahead: they belong to the
    context up to the horizon, from its first observation on if that is not the first of the series.
    """
    contexts, targets = [], []
    for row, cut in zip(series, cuts):
        middle, end = row.times.searchsorted([cut, cut + horizon], side="right").tolist()
        start = max(0, middle - max_context)
        thin = slice(middle, end, -(-max(end - middle, 1) // max_targets))
        begin = float(row.times[start]) if start else -np.inf
        inputs = slice(0)
        if len(row.input_times):
            inputs = slice(*row.input_times.searchsorted([begin, np.nextafter(cut + horizon, np.inf)]))
        context = row.part(slice(start, middle), inputs)
        if row.n_rates and start:  # an infusion that began before runs on
            running = row.begun_before(begin)
            context = replace(
                context,
                input_times=np.concatenate([np.full(len(running), begin), context.input_times]),
                inputs=np.concatenate([running, context.inputs]),
            )
        target = row.part(thin, slice(0))
        if row.covariates is not None:
            context = replace(context, covariates=row.covariates.between(begin, cut + horizon))
            target = replace(target, covariates=None)
        contexts.append(context)
        targets.append(target)
    shown = collate(contexts, dtype)
    return Window(shown, collate(targets, dtype), shown)


def drop_values(window: Window, share: float, generator: torch.Generator, probability: float = 0.7) -> Window:
    """Hide some values of some contexts, so that a model learns from sparser histories than it was given.

    With `probability` a series loses each of its context values with a chance drawn uniformly from [0, `share`].
    """
    context = window.context
    n_series = context.n_series
    chance = torch.rand(n_series, generator=generator) * share
    chance = chance * (torch.rand(n_series, generator=generator) < probability)
    kept = torch.rand(context.mask.shape, generator=generator) >= chance[:, None, None]
    mask = context.mask & kept
    return replace(window, context=context.replace(mask=mask, values=context.values * mask))


class WindowSampler:
    """Random windows of a panel, an epoch at a time.

    A quarter of the windows is cut one horizon before the end of its series (as at prediction time, when the whole
    history is known), the others uniformly between `margin` horizons after its start and before its end. A long
    series gives several windows an epoch, one for every two horizons of its span, silences left out.

    Parameters
    ----------
    series : sequence of Series
    horizon : float
        Longest lead time, in model time.
    batch_size, max_context : int
        At most; panels that have few windows an epoch, by their series and spans, are seen no more than twice a batch.
    min_batches, max_batches : int, optional
        Least number of batches an epoch, None = `FEWEST_BATCHES`, and most, so that large panels train little longer:
        then an epoch is a part of the panel.
    drop : float
        See `drop_values`; 0 = off.
    """

    def __init__(
        self,
        series: Sequence[Series],
        horizon: float,
        batch_size: int = 64,
        max_context: int = 128,
        min_batches: int | None = None,
        max_batches: int = 40,
        drop: float = 0.3,
        dtype: torch.dtype = torch.float32,
        margin: float = 0.4,
    ) -> None:
        # a series needs at least one event on either side of a cut
        self.series = [row for row in series if len(row.times) > 1]
        self.horizon = horizon
        self.max_context = max_context
        self.drop = drop
        self.dtype = dtype
        self.margin = margin
        self.clocks = [row.active_clock(horizon) for row in self.series]
        weight = np.array([max(1, round(clock[-1] / (2.0 * horizon))) for clock in self.clocks], dtype=float)
        self.weight = torch.from_numpy(weight)
        self.batch_size = min(batch_size, max(FEWEST_WINDOWS, 2 * int(weight.sum())))
        fewest = FEWEST_BATCHES if min_batches is None else min_batches
        self.n_batches = min(max(fewest, int(weight.sum() // batch_size)), max_batches) if len(weight) else 0

    def cut(self, row: int, share: float, is_standard: bool) -> float:
        """Time of a cut: one horizon before the end of the series at `row`, or at `share` of its inner part."""
        times, clock = self.series[row].times, self.clocks[row]
        # short series are cut in their inner part, at most `margin` horizons and at least a fifth from either end
        margin = min(self.margin * self.horizon, 0.2 * clock[-1])
        standard = float(times[-1]) - self.horizon
        if is_standard and standard >= times[0] + margin:
            return standard
        return float(np.interp(margin + share * (clock[-1] - 2.0 * margin), clock, times))

    def size(self) -> tuple[int, int]:
        """Events of the longest context of a batch, and targets of a series, rounded up: those of one that is drawn."""
        generator = torch.Generator().manual_seed(0)  # not the one of training, whose windows stay as they are
        window = self.draw(self.order(generator)[0], generator)
        targets = window.targets.mask.any(dim=2)
        return window.context.n_events, -(-int(targets.sum()) // len(targets))

    def epoch(self, generator: torch.Generator) -> Iterator[Window]:
        """Draw the windows of one epoch, one batch at a time."""
        for rows in self.order(generator):
            yield self.draw(rows, generator)

    def order(self, generator: torch.Generator) -> Tensor:
        """Series of each batch: Tensor[batches batch_size]. Each series comes in turn as often as its weight says."""
        needed = self.n_batches * self.batch_size
        if bool((self.weight == 1).all()):
            rounds = -(-needed // len(self.series))
            shuffled = [torch.randperm(len(self.series), generator=generator) for _ in range(rounds)]
            return torch.cat(shuffled)[:needed].reshape(self.n_batches, self.batch_size)
        drawn = torch.multinomial(self.weight, needed, replacement=True, generator=generator)
        return drawn.reshape(self.n_batches, self.batch_size)

    def draw(self, rows: Tensor, generator: torch.Generator) -> Window:
        """One batch of windows of the series at `rows`."""
        rows_listed = rows.tolist()
        share = torch.rand(len(rows_listed), generator=generator, dtype=torch.float64).tolist()
        is_standard = (torch.rand(len(rows_listed), generator=generator) < STANDARD_SHARE).tolist()
        cuts = [self.cut(*cut) for cut in zip(rows_listed, share, is_standard)]
        chosen = [self.series[i] for i in rows_listed]
        window = make_window(chosen, cuts, self.horizon, self.max_context, dtype=self.dtype)
        window = replace(window, number=rows)
        return drop_values(window, self.drop, generator) if self.drop else window


@dataclass(frozen=True)
class Split:
    """Series to train on, and series to validate on.

    Parameters
    ----------
    train, valid : list of Series
    valid_from : list of float or None
        First time at which each series of `valid` may be cut; None = anywhere.
    n_targets : int or None
        Channels that are forecast, the first ones; None = all.
    folds : array[len(train)] of int or None
        Of each series, where the members of an ensemble leave out one each; then `valid` is `train`.
    """

    train: list[Series]
    valid: list[Series]
    valid_from: list[float] | None
    n_targets: int | None = None
    folds: np.ndarray | None = None


def split_for_validation(
    series: Sequence[Series], fraction: float, horizon: float, generator: torch.Generator
) -> Split:
    """Hold out a share of the series, or the last part of each where there are few.

    The last part is `fraction` of the span or one horizon, whichever is longer, but at most a quarter of the span.
    """
    usable = [row for row in series if len(row.times) > 1]
    if len(usable) >= FEWEST_SERIES:
        n_valid = max(1, round(fraction * len(usable)))
        order = torch.randperm(len(usable), generator=generator).tolist()
        return Split([usable[i] for i in sorted(order[n_valid:])], [usable[i] for i in sorted(order[:n_valid])], None)
    train, cuts = [], []
    for row in usable:
        held_out = min(max(fraction * row.span, horizon), 0.25 * row.span)
        cut = float(row.times[-1]) - held_out
        before = int(np.searchsorted(row.times, cut, side="right"))
        train.append(row.part(slice(before)))
        cuts.append(cut)
    return Split(train, usable, cuts)


def validation_windows(
    series: Sequence[Series],
    valid_from: Sequence[float] | None,
    horizon: float,
    max_context: int,
    dtype: torch.dtype,
    batch_size: int = ROWS_AT_ONCE,
    wanted: int = WINDOWS_WANTED,
) -> list[Window]:
    """Fixed windows: each series cut one horizon before its end, and evenly before that while few windows are there."""
    chosen: list[int] = []
    cuts: list[float] = []
    n_cuts = max(1, min(32, -(-wanted // max(len(series), 1))))
    for number, row in enumerate(series):
        last = float(row.times[-1])
        if valid_from is None:
            first = float(row.times[0]) + 0.2 * row.span
            final = max(last - horizon, float(row.times[0]) + 0.5 * row.span)
        else:
            first, final = valid_from[number], last - min(horizon, 0.5 * (last - valid_from[number]))
        candidates = np.linspace(final, first, n_cuts) if n_cuts > 1 else np.array([final])
        # a cut that falls between the same two events as another gives the same window
        behind = np.searchsorted(row.times, candidates, side="right")
        for k in sorted(np.unique(behind, return_index=True)[1]):
            if 0 < behind[k] < len(row.times):
                chosen.append(number)
                cuts.append(float(candidates[k]))
    windows = []
    for i in range(0, len(chosen), batch_size):
        part = chosen[i : i + batch_size]
        window = make_window([series[k] for k in part], cuts[i : i + batch_size], horizon, max_context, dtype=dtype)
        windows.append(replace(window, number=torch.tensor(part)))
    return windows
