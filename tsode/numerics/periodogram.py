"""Periods of one series at uneven times, found by a periodogram against its own red background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from tsode.errors import DataError, ParameterError
from tsode.numerics.red_background import Background, clip_innovations, fit_backgrounds
from tsode.numerics.wave_gains import WaveGains

__all__ = ["FoundPeriod", "find_periods"]

Array = NDArray[np.floating[Any]]  # float64

_MOST_HARMONICS = 6
_FEWEST_TURNS = 3.0  # of a searched period within the span
_MOST_ROWS = 3_000
_MOST_CELLS = 30_000_000  # rows x frequencies of a search
_N_PEAKS = 3  # of the periodogram that are fitted together with the background
_BIC = 3.0  # nats by which a longer period with the harmonics must win
# Cycles as numbers of gaps: seasons of a year, days of a week, hours, weeks, quarters of an hour, minutes ...
_ROUND_CYCLES = np.array([4, 7, 12, 24, 48, 52, 365.25 / 7, 96, 168, 288, 365.25, 1440])


@dataclass(frozen=True)
class FoundPeriod:
    """A period that noise does not explain.

    Attributes
    ----------
    period : float
        In the unit of the times.
    log_p_value : float
        Log of the probability of so large a gain in the background alone, the search included.
    gain : float
        Log-likelihood over the background alone (nats), of the harmonics that helped.
    sd_log_period : float
        Standard deviation of the log of the period, from the curvature of the likelihood.
    n_harmonics : int
        How many harmonics helped.
    """

    period: float
    log_p_value: float
    gain: float
    sd_log_period: float
    n_harmonics: int


class _Part(NamedTuple):
    """Rows that are looked at together, in the units of the data; times from 0 in gaps, values about 0 with sd 1."""

    times: Array
    values: Array
    fixed: Array
    gap: float
    shortest: float  # period that is searched, in gaps

    @property
    def span(self) -> float:
        return float(self.times[-1])

    @property
    def gaps(self) -> Array:
        return np.diff(self.times, prepend=0.0)

    @property
    def nothing(self) -> Array:
        return np.empty((len(self.times), 0))

    @property
    def regular_gap(self) -> float | None:
        """Gap of the grid, rows of which may be missing; None if there is no grid."""
        counts = np.rint(self.gaps[1:])
        gap = self.span / counts.sum()
        return gap if counts.min() >= 1 and np.abs(self.gaps[1:] - counts * gap).max() < 0.02 else None

    def most_harmonics(self, frequency: float) -> int:
        """As many as the gaps resolve and the rows can pay for; at least one."""
        return max(1, min(_MOST_HARMONICS, int(0.5 / frequency + 1e-6), len(self.times) // 8))

    def background(self) -> Background:
        """Background of what is in the model, near enough to look for more."""
        return fit_backgrounds(self.gaps, self.fixed, self.values, [self.nothing], n_rounds=1)[0]

    def gains(self, background: Background) -> WaveGains:
        """Gains of waves over all that is in the model."""
        return WaveGains(self.times, self.fixed, self.values, background)

    def waves(self, frequency: float, n_harmonics: int) -> Array:
        """Cosines and sines of the harmonics, without a sine that is zero at all times."""
        angles = 2 * np.pi * frequency * self.times[:, None] * np.arange(1, n_harmonics + 1)
        columns = np.column_stack([np.cos(angles), np.sin(angles)])
        return columns[:, np.abs(columns).max(axis=0) > 1e-5]

    def with_waves(self, frequency: float, n_harmonics: int) -> _Part:
        """Take a period into the model."""
        return self._replace(fixed=np.column_stack([self.fixed, self.waves(frequency, n_harmonics)]))


def find_periods(
    times: Array,
    values: Array,
    *,
    n_at_most: int = 1,
    level: float = 0.01,
    candidates: Sequence[float] = (),
) -> list[FoundPeriod]:
    """Find the periods of one series.

    Known candidates come first, the shortest before the longer: each is tested by the joint gain of its harmonics, and
    pays nothing for a search. Then a periodogram is searched, in which the background (a random walk, an
    Ornstein-Uhlenbeck part and noise, or a smooth walk and noise) is fitted with and without each of the highest peaks.
    Whatever was found is in the model when the next one is looked for.

    Parameters
    ----------
    times : Array[n], float64
        Increasing; ties are allowed. Any unit.
    values : Array[n], float64
        Any unit. Rows that are not finite are left out.
    n_at_most : int
        How many periods at most, candidates included.
    level : float
        Probability of a false period at each test.
    candidates : sequence of float
        Known periods, such as those of the calendar, in the unit of `times`. One that is longer than half the span or
        shorter than two gaps is left out.

    Returns
    -------
    list of FoundPeriod
        In the order in which they were found; empty below 12 rows and for values that follow a cubic exactly.

    Raises
    ------
    DataError
        If times and values differ in length, or times fall.
    ParameterError
        If `n_at_most`, `level` or a candidate is out of its range.

    Notes
    -----
    Periods between two gaps and a third of the span are searched. Beyond 3,000 rows these are the last 3,000, and
    periods too long for them are searched in means of neighbouring rows over the whole span. The p-value of a search is
    that of Baluev (2008, MNRAS 385, 1279), equation 5.
    """
    times, values = _checked(times, values, n_at_most, level, candidates)
    found: list[FoundPeriod] = []
    left = sorted(set(candidates))
    for part in _parts(times, values):
        _search(part, left, n_at_most, level, found)
        left = [period for period in left if period / part.gap > 0.5 * part.span]
    return found


def _checked(
    times: Array, values: Array, n_at_most: int, level: float, candidates: Sequence[float]
) -> tuple[Array, Array]:
    times, values = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.shape != values.shape:
        raise DataError(
            f"Times and values must be two arrays of one length, but their shapes are {times.shape} and {values.shape}."
        )
    if n_at_most < 0:
        raise ParameterError(f"`n_at_most` must be 0 or more, got {n_at_most}.")
    if not 0 < level < 1:
        raise ParameterError(f"`level` must lie between 0 and 1, got {level}.")
    if not all(np.isfinite(period) and period > 0 for period in candidates):
        raise ParameterError(f"Candidates must be positive and finite, got {list(candidates)}.")
    seen = np.isfinite(times) & np.isfinite(values)
    times, values = times[seen], values[seen]
    if (np.diff(times) < 0).any():
        row = int(np.argmax(np.diff(times) < 0))
        raise DataError(f"Times must increase, but go from {times[row]} back to {times[row + 1]}. Sort them first.")
    return times, values


# -- the rows ----------------------------------------------------------------------------------------------------------


def _parts(times: Array, values: Array) -> Iterator[_Part]:
    """Give the last rows, then means of neighbours over the whole span for periods that are too long for these."""
    last = _part(times[-_MOST_ROWS:], values[-_MOST_ROWS:])
    if last is not None:
        yield last
    if len(times) > _MOST_ROWS:
        edges = np.linspace(0, len(times), _MOST_ROWS + 1).astype(int)[:-1]
        sizes = np.diff(edges, append=len(times))
        means = _part(np.add.reduceat(times, edges) / sizes, np.add.reduceat(values, edges) / sizes)
        if means is not None:
            longest = last.span * last.gap / _FEWEST_TURNS if last is not None else 0.0
            yield means._replace(shortest=max(means.shortest, longest / means.gap))


def _part(times: Array, values: Array) -> _Part | None:
    """Bring rows to units of their own; None if there is nothing in them to search."""
    gaps = np.diff(times)
    if len(times) < 12 or not gaps.any():
        return None
    gap = float(np.median(gaps[gaps > 0]))
    times = (times - times[0]) / gap
    # A stretch between holes that has half the rows stands for the series if waves cannot be followed over the holes.
    longest = _MOST_CELLS / (2 * len(times))
    if times[-1] > longest:
        ends = np.searchsorted(times, times + longest, side="right")
        start = int(np.argmax(ends - np.arange(len(times))))
        rows = slice(start, int(ends[start]))
        if len(times[rows]) >= max(12, len(times) / 2):
            times, values = times[rows] - times[start], values[rows]
    fixed = np.polynomial.legendre.legvander(2 * times / times[-1] - 1, 3)
    basis, triangle = np.linalg.qr(fixed)
    # Times in a few clusters cannot tell all four columns apart.
    fixed = basis[:, np.abs(np.diagonal(triangle)) > 1e-6 * len(times) ** 0.5] * len(times) ** 0.5
    centred = values - np.median(values)
    rest = centred - fixed @ (fixed.T @ centred) / len(times)
    if np.abs(rest).max() <= 1e-9 * np.abs(centred).max() + 1e-14 * np.abs(values).max():
        return None
    return _Part(times, centred / rest.std(), fixed, gap, 2.0)


# -- the search --------------------------------------------------------------------------------------------------------


def _search(part: _Part, candidates: Sequence[float], n_at_most: int, level: float, found: list[FoundPeriod]) -> None:
    """Append to `found` what is in these rows."""
    for old in found:
        part = part.with_waves(part.gap / old.period, old.n_harmonics)
    part, background = _without_outliers(part)
    for period in candidates:
        if len(found) < n_at_most and 2.0 <= period / part.gap <= 0.5 * part.span * (1 + 1e-9):
            new = _tested(part, part.gap / period)
            if new.log_p_value < np.log(level):
                found.append(new)
                part = part.with_waves(part.gap / new.period, new.n_harmonics)
                background = part.background()
    while len(found) < n_at_most:
        new_or_none = _best_period(part, background, [part.gap / old.period for old in found])
        if new_or_none is None or new_or_none.log_p_value >= np.log(level):
            return
        found.append(new_or_none)
        part = part.with_waves(part.gap / new_or_none.period, new_or_none.n_harmonics)
        background = part.background()


def _without_outliers(part: _Part) -> tuple[_Part, Background]:
    background = part.background()
    for _ in range(2):
        cleaned = clip_innovations(part.gaps, part.fixed, part.values, background)
        if (cleaned == part.values).all():
            break
        part = part._replace(values=cleaned)
        background = part.background()
    return part, background


def _gain(part: _Part, with_waves: Background, without: Background, n_waves: int) -> float:
    """Twice this is close to chi-squared also in few rows (Bartlett's factor)."""
    n_left = len(part.times) - part.fixed.shape[1]
    return (with_waves.log_posterior - without.log_posterior) * (1 - (n_waves / 2 + 1) / n_left)


def _tested(part: _Part, frequency: float) -> FoundPeriod:
    """Test a known period by all its harmonics at once."""
    waves = part.waves(frequency, part.most_harmonics(frequency))
    without, fitted = fit_backgrounds(part.gaps, part.fixed, part.values, [part.nothing, waves])
    gain = _gain(part, fitted, without, waves.shape[1])
    log_p = float(scipy.stats.chi2.logsf(2 * max(gain, 0.0), waves.shape[1]))
    gains = part.gains(fitted)
    # A period that is known pays the price of Akaike for a harmonic, one that is searched that of Schwarz.
    nested = gains.at(np.array([frequency]), part.most_harmonics(frequency))[0]
    n_helped = int((nested - 2 * np.arange(len(nested))).argmax()) + 1
    return FoundPeriod(part.gap / frequency, log_p, gain, _top(part, gains, frequency, n_helped, 0).sd, n_helped)


def _best_period(part: _Part, background: Background, known: Sequence[float]) -> FoundPeriod | None:
    """Return the period that gains most, whether it is significant or not; None if there is none to look at."""
    lowest, step = _FEWEST_TURNS / part.span, 0.25 / part.span
    count = int(min((1 / part.shortest - lowest) / step, _MOST_CELLS / len(part.times))) + 1
    if count < 3:
        return None
    peaks = _peaks(lowest, step, part.gains(background).on_grid(lowest, step, count), known, part.span)
    if not len(peaks):
        return None
    models = [part.nothing, *(part.waves(peak, 1) for peak in peaks)]
    without, *fitted = fit_backgrounds(part.gaps, part.fixed, part.values, models)
    best = int(np.argmax([fit.log_posterior for fit in fitted]))
    gains = part.gains(fitted[best])
    single = _top(part, gains, peaks[best], 1, 2)
    gain = _gain(part, fitted[best], without, 2) + float(single.gain - gains.at(peaks[best : best + 1], 1)[0, 0])
    n_searched = max(0.25 * count, 1.0)
    log_p = np.log(n_searched) + 0.5 * np.log(max(gain, 1.0)) - gain

    # A wave may be an overtone of a longer period.
    longer = single.frequency / np.arange(2, 5)
    parts_of_it = np.array([single.frequency, *longer[(longer >= lowest) & _is_new(longer, known, part.span)]])
    scores = _scores(part, gains, parts_of_it)
    first = int(np.argmax(scores.max(axis=1) - _BIC * (np.arange(len(scores)) > 0)))
    n_harmonics = int(scores[first].argmax()) + 1
    top = single
    if n_harmonics > 1:
        top = _top(part, gains, parts_of_it[first], n_harmonics, 2)
    top = _rounded(part, gains, top, n_harmonics)
    gain += top.gain - single.gain
    if n_harmonics > 1:
        log_joint = scipy.stats.chi2.logsf(2 * max(gain, 0.0), 2 * n_harmonics)
        log_p = min(log_p, np.log(n_searched * scores.size) + log_joint)
    return FoundPeriod(part.gap / top.frequency, min(float(log_p), 0.0), gain, top.sd, n_harmonics)


def _is_new(frequencies: Array, known: Sequence[float], span: float) -> NDArray[np.bool_]:
    """Whether the span tells frequencies from those known and their overtones."""
    taken = np.outer(known, np.arange(1, _MOST_HARMONICS + 1)).ravel()
    return np.all(np.abs(frequencies[:, None] - taken) * span > 1, axis=1)


def _peaks(lowest: float, step: float, gains: Array, known: Sequence[float], span: float) -> Array:
    """Return the frequencies of the highest peaks on the grid that the span tells apart."""
    frequencies = lowest + step * np.arange(len(gains))
    inner = np.flatnonzero((gains[1:-1] >= gains[:-2]) & (gains[1:-1] >= gains[2:])) + 1
    inner = np.union1d(inner, [0, len(gains) - 1])
    inner = inner[_is_new(frequencies[inner], known, span)]
    peaks: list[float] = []
    for i in inner[np.argsort(-gains[inner], kind="stable")]:
        if all(abs(frequencies[i] - other) * span > 1 for other in peaks):
            peaks.append(frequencies[i] + step * _vertex(gains[max(i - 1, 0) : i + 2])[0])
        if len(peaks) == _N_PEAKS:
            break
    return np.array(peaks)


def _vertex(three: Array) -> tuple[float, float]:
    """Return place, from the middle one in steps, and curvature of the parabola through three equidistant values."""
    if len(three) < 3:
        return 0.0, 0.0
    curvature = three[0] - 2 * three[1] + three[2]
    return (float(np.clip(0.5 * (three[0] - three[2]) / curvature, -1, 1)) if curvature < 0 else 0.0), float(curvature)


def _scores(part: _Part, gains: WaveGains, frequencies: Array) -> Array:
    """Gain less the price of the coefficients, of 1, 2 ... harmonics: Array[f k]; -inf where there are none so high."""
    most = np.array([part.most_harmonics(frequency) for frequency in frequencies])
    counts = np.arange(1, most.max() + 1)
    scores = gains.at(frequencies, len(counts)) - counts * np.log(len(part.times))
    return np.where(counts <= most[:, None], scores, -np.inf)


class _Top(NamedTuple):
    """Highest place of the gain near a frequency, the gain there, and the sd of the log frequency."""

    frequency: float
    gain: float
    sd: float


def _top(part: _Part, gains: WaveGains, frequency: float, n_harmonics: int, n_steps: int) -> _Top:
    """Refine a frequency so many times, each time to a tenth of the step."""
    step = 0.02 / part.span
    for _ in range(n_steps):
        grid = frequency + step * np.arange(-12, 13)
        heights = gains.at(grid, n_harmonics)[:, -1]
        middle = int(heights.argmax())
        frequency = grid[middle] + step * _vertex(heights[max(middle - 1, 0) : middle + 2])[0]
        step /= 10
    heights = gains.at(frequency + step * np.arange(-1, 2), n_harmonics)[:, -1]
    curvature = _vertex(heights)[1]
    return _Top(
        float(frequency),
        float(heights[1]),
        float(step / np.sqrt(-curvature) / frequency) if curvature < 0 else np.inf,
    )


def _rounded(part: _Part, gains: WaveGains, top: _Top, n_harmonics: int) -> _Top:
    """Take a round number of gaps of a regular grid where it cannot be told from what was found."""
    gap = part.regular_gap
    if gap is None:
        return top
    distances = np.log(_ROUND_CYCLES * gap * top.frequency)
    nearest = int(np.abs(distances).argmin())
    if abs(distances[nearest]) > min(2.5 * top.sd, 0.03):
        return top
    return _top(part, gains, 1 / (_ROUND_CYCLES[nearest] * gap), n_harmonics, 0)
