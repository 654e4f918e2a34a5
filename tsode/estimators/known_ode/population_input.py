"""Data of a population before its fit: series that say nothing, values that cannot be, doses given twice, units."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.errors import DataError, TsodeWarning
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.failures import prior_draws
from tsode.estimators.known_ode.schedules import event_rows
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise import LogNormalNoise, ProportionalNoise
from tsode.inference.priors import Prior

__all__ = ["check_population"]

N_DRAWS = 16  # of the prior
FAR = 30.0  # times what any of them leads to: a slip of units is a factor of 1000, or 60


def check_population(density: KnownDensity, reader: DataReader, is_likelihood: bool) -> None:
    """Raise where series cannot tell anything of what they share, and warn of what looks like a slip.

    Raises
    ------
    DataError
        If the predictions of a series are the same whatever the parameters, as without a dose, or if a value stands
        where a noise in proportion to the prediction is about none. Maximum likelihood of one series is refused too.
    """
    if is_likelihood and len(density.data.ids) == 1:
        raise DataError(
            f"There is one series, {density.data.ids[0]!r}, and maximum likelihood of a population learns from how "
            "several differ: fit more, or leave out random_effects= and infer with 'auto'."
        )
    with torch.no_grad():
        found = density.evaluate(prior_draws(density, N_DRAWS))
    predictions = {channel: _settled(x) for channel, x in found.predictions.items()}
    first = _first_events(density.data.events, len(density.data.ids))
    if not _all_of_noise(density):
        _check_informative(density, reader, predictions, first)
    _check_zeros(density, reader, predictions)
    _tell_of_missing_doses(density.data.ids, first)
    _tell_of_copies(density, reader)
    _tell_of_units(density, predictions)
    _tell_of_lone_members(density)


def _settled(x: Tensor) -> Tensor:
    """Predictions (b k), those of failed solves like the first that is there."""
    is_fine = x.isfinite()
    first = x.gather(0, is_fine.long().argmax(dim=0, keepdim=True))
    return torch.where(is_fine, x, first)


def _is_fixed(x: Tensor) -> Tensor:
    """Which cells (k) all draws (b k) predict the same of."""
    return (x.amax(dim=0) - x.amin(dim=0)) <= 1e-12 * x.abs().amax(dim=0)


def _first_events(events: ScheduledEvents | None, n: int) -> Tensor:
    """When something first acts on each series, infinite where nothing does."""
    if events is None or not events.time.shape[1]:
        return torch.full((n,), torch.inf, dtype=torch.float64)
    acts = events.kind != int(EventKind.MARK)
    return torch.where(acts, events.time, torch.inf).amin(dim=1)


def _all_of_noise(density: KnownDensity) -> bool:
    """Whether effects are of noise alone, which needs no prediction that changes."""
    of_noise = {given for noise in density.system.observed.values() for given in noise.settings().values()}
    population = density.system.population
    assert population is not None
    return set(population.effects.names) <= of_noise


def _check_informative(
    density: KnownDensity, reader: DataReader, predictions: dict[str, Tensor], first: Tensor
) -> None:
    n = len(density.data.ids)
    n_cells, n_moving = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
    last = torch.full((n,), -torch.inf, dtype=torch.float64)
    for channel, x in predictions.items():
        cells = density.cells[channel]
        n_cells.index_add_(0, cells.series, torch.ones_like(cells.series))
        n_moving.index_add_(0, cells.series, (~_is_fixed(x)).long())
        times = density.data.times[cells.series, cells.column]
        last = last.scatter_reduce(0, cells.series, times, "amax")
    silent = ((n_cells > 0) & (n_moving == 0)).nonzero()[:, 0].tolist()
    if not silent:
        return
    row = silent[0]
    key = density.data.ids[row]
    n_others = int(first.isfinite().sum())
    if first[row].isfinite() and first[row] >= last[row]:
        at, seen = reader.timeline.to_native(np.array([float(first[row]), float(last[row])]))
        why = f"its first event is at {at}, and its last value at {seen} (a value at the time of a dose is before it)"
        how = "Mend the times of its doses, or leave the series out"
    elif first[row].isfinite():
        why, how = "its events do not reach what is observed", "Look at target= and amounts of its events"
    elif n_others:
        why, how = f"it has no dose in events=, as {n_others} others have", "Give its doses, or leave the series out"
    else:
        why, how = "no series has a dose", "Pass events=, or initial states that do not vanish"
    more = f" (so do {len(silent) - 1} more)" if len(silent) > 1 else ""
    raise DataError(f"Series {key!r} is predicted the same whatever the parameters{more}: {why}. {how}.")


def _check_zeros(density: KnownDensity, reader: DataReader, predictions: dict[str, Tensor]) -> None:
    for channel, x in predictions.items():
        noise, cells = density.system.observed[channel], density.cells[channel]
        if not isinstance(noise, LogNormalNoise | ProportionalNoise):
            continue
        is_off = (x <= 0.0).all(dim=0) & ~(cells.is_below | cells.is_above)
        if bool(is_off.any()) and bool((x > 0.0).any()):  # a model that is never above 0 is another matter
            k = int(is_off.long().argmax())
            row, column = int(cells.series[k]), int(cells.column[k])
            at = reader.timeline.to_native(density.data.times[row, column : column + 1].numpy())[0]
            raise DataError(
                f"Channel {channel!r} of series {density.data.ids[row]!r} is {float(cells.values[k]):g} at time {at}, "
                f"where it is predicted to be {float(x[0, k]):.3g} whatever the parameters, and {type(noise).__name__} "
                f"is about predictions above 0 ({int(is_off.sum())} such values). A value at the time of a dose is "
                "before the dose: leave it out, give it a later time, or take AdditiveNoise or CombinedNoise."
            )


def _tell_of_missing_doses(ids: Sequence[object], first: Tensor) -> None:
    without = (~first.isfinite()).nonzero()[:, 0].tolist()
    if without and len(without) < len(ids):
        more = f" and {len(without) - 1} more have" if len(without) > 1 else " has"
        _warn(
            f"Series {ids[without[0]]!r}{more} no events, as {len(ids) - len(without)} others do: if doses are missing "
            "there, what all share is wrong."
        )


def _tell_of_copies(density: KnownDensity, reader: DataReader) -> None:
    data = density.data
    if data.events is None:
        return
    for row, key in enumerate(data.ids):
        times, numbers = event_rows(data.events, row)
        if not len(times):
            continue
        rows, count = np.unique(np.column_stack([times, numbers]), axis=0, return_counts=True)
        if (count > 1).any():
            at = reader.timeline.to_native(rows[count > 1][:1, 0])[0]
            _warn(
                f"Series {key!r} has the same event {count.max()} times at {at}, and all of them act: if they are "
                "copies, `events.drop_duplicates()`; if not, give one with the whole amount."
            )
            return


def _tell_of_units(density: KnownDensity, predictions: dict[str, Tensor]) -> None:
    """A warning where all draws of the prior lead far from all values of a series."""
    for channel, x in predictions.items():
        cells = density.cells[channel]
        ratio = torch.where((cells.values > 0) & (x > 0), cells.values / x, torch.nan).log()
        found: dict[Hashable, float] = {}
        for row, key in enumerate(density.data.ids):
            own = ratio[:, cells.series == row]
            own = own[:, ~own.isnan().any(dim=0)]
            if not own.shape[1]:
                continue
            of_draw = own.median(dim=1).values  # (b)
            nearest = float(of_draw[of_draw.abs().argmin()])
            if abs(nearest) > np.log(FAR) and bool((of_draw.sign() == of_draw.sign()[0]).all()):
                found[key] = nearest
        if found:
            key, off = next(iter(found.items()))
            which = "larger" if off > 0 else "smaller"
            more = f" (and of {len(found) - 1} more series)" if len(found) > 1 else ""
            _warn(
                f"Values of channel {channel!r} of series {key!r}{more} are {np.exp(abs(off)):.3g} times {which} than "
                "any draw of the prior leads to: look at the units of doses and values, or at the priors."
            )


def _tell_of_lone_members(density: KnownDensity) -> None:
    """A warning where a category, whose shift is to be found, has one series."""
    population = density.system.population
    if population is None or population.covariates is None:
        return
    for parameter, of in population.covariates.terms.items():
        for covariate, term in of.items():
            for category, shift in term.items() if isinstance(term, Mapping) else ():
                labels = [str(x) for x in np.asarray(density.data.static[covariate]).tolist()]
                if isinstance(shift, Prior) and labels.count(str(category)) == 1:
                    key = density.data.ids[labels.index(str(category))]
                    _warn(
                        f"The category {category!r} of covariate {covariate!r} has one series, {key!r}: its shift of "
                        f"{parameter!r} cannot be told from what that series has of its own."
                    )


def _warn(text: str) -> None:
    warnings.warn(text, TsodeWarning, stacklevel=6)
