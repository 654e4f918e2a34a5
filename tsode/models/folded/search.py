"""Period search in one series of several channels: periodogram, peaks, aliases, and a ranking by harmonic fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsode.models.folded.harmonics import fit_harmonics
from tsode.models.folded.observations import Observations

__all__ = ["Periodogram", "find_frequencies", "short_gap"]

LOWEST = 1.5  # cycles a span: fewer are a trend
PER_SPAN = 6  # points of the grid for each cycle a span
BLOCK = 256  # points of the grid that one base serves
MOST_WORK = 2e8  # values times points of the grid
REACH = 10.0  # cycles in a short gap, at most
REACH_OF_ALIAS = 5.0  # frequencies of the sampling itself, at most
N_PEAKS, N_ALIASES, N_RANKED = 30, 5, 30
STRONG = 0.5  # amplitude of the sampling's spectrum from which on it makes aliases
EXACT = 0.999  # from which on frequencies beyond half of it cannot be told from those below
SIGNAL = 10.0  # a strong ridge, so that phases without data do not buy an evidence


@dataclass(frozen=True)
class Periodogram:
    """Lomb-Scargle periodogram of several channels, each with its own mean, amplitude and phase.

    Parameters
    ----------
    frequencies : array[f]
        In cycles a span, evenly spaced.
    gain : array[f]
        Log likelihood ratio against constant channels.
    window : array[f]
        Amplitude of the spectrum of the sampling times, from 0 to 1.
    """

    frequencies: np.ndarray
    gain: np.ndarray
    window: np.ndarray

    @classmethod
    def of(cls, data: Observations, highest: float) -> Periodogram:
        """That of frequencies up to `highest`.

        Sums of exp(2 pi i f t) come block by block: a base times the turns within a block, as a product of matrices.
        """
        n_blocks = max(int(np.ceil((highest - LOWEST) * PER_SPAN / BLOCK)), 1)
        frequencies = LOWEST + np.arange(n_blocks * BLOCK) / PER_SPAN
        base = np.exp(2j * np.pi * frequencies[::BLOCK, None] * data.times)
        turn = np.exp(2j * np.pi * data.times[:, None] * np.arange(BLOCK) / PER_SPAN)
        base2, turn2 = (base**2).astype(np.complex64), (turn**2).astype(np.complex64)
        base, turn = base.astype(np.complex64), turn.astype(np.complex64)
        values = np.clip(data.values, -4.0, 4.0).astype(np.float32)
        gain = np.zeros(len(frequencies), dtype=np.float32)
        total = np.zeros(len(frequencies), dtype=np.complex64)
        for start, n in zip(data.starts, data.counts, strict=True):
            at = slice(start, start + n)
            z = values[at] - values[at].mean()
            once = (base[:, at] @ turn[at]).ravel()
            twice = (base2[:, at] @ turn2[at]).ravel()
            cross = ((base[:, at] * z) @ turn[at]).ravel()
            total += once
            # the 2 x 2 normal equations with the mean taken out; the added thousandth keeps them regular
            cc = 0.5 * (n + twice.real) - once.real**2 / n + 1e-3 * n
            ss = 0.5 * (n - twice.real) - once.imag**2 / n + 1e-3 * n
            cs = 0.5 * twice.imag - once.real * once.imag / n
            explained = cross.real**2 * ss + cross.imag**2 * cc - 2.0 * cross.real * cross.imag * cs
            share = explained / ((cc * ss - cs * cs) * (z @ z + 1e-6))
            gain -= 0.5 * n * np.log1p(-np.minimum(share, 0.999))
        return cls(frequencies, gain, np.abs(total) / len(values))

    def below(self, highest: float) -> Periodogram:
        """The part below a frequency."""
        n = int(np.searchsorted(self.frequencies, highest))
        return Periodogram(self.frequencies[:n], self.gain[:n], self.window[:n])


def peaks(heights: np.ndarray, n: int) -> np.ndarray:
    """Places of the `n` highest local maxima, highest first."""
    inner = np.flatnonzero((heights[1:-1] >= heights[:-2]) & (heights[1:-1] > heights[2:])) + 1
    return inner[np.argsort(-heights[inner], kind="stable")[:n]]


def short_gap(data: Observations) -> float:
    """A tenth of the gaps between values of a channel are shorter, in spans."""
    gaps = np.diff(data.times)
    gaps = gaps[gaps > 0]  # negative where the next channel begins
    return float(np.quantile(gaps, 0.1)) if len(gaps) else 1.0


def find_frequencies(data: Observations, n_harmonics: int, n_best: int) -> np.ndarray:
    """Frequencies that fit best, in cycles a span, best first: array[f], f <= n_best; none for constant values.

    Frequencies reach up to ten cycles in a short gap between values. Where the times of sampling have a strong
    frequency of their own (nights), they reach up to five of it, and peaks moved by it are looked at too: nothing
    needs to be told of days.
    """
    gap = short_gap(data)
    spectrum = Periodogram.of(data, min(REACH / gap, MOST_WORK / (PER_SPAN * len(data.times))))
    aliases = _aliases(data, spectrum, 0.1 / gap)
    if len(aliases):
        exact = np.abs(np.exp(2j * np.pi * aliases.min() * data.times).mean()) > EXACT
        spectrum = spectrum.below((0.5 if exact else REACH_OF_ALIAS) * aliases.min())
    found = spectrum.frequencies[peaks(spectrum.gain, N_PEAKS)]
    moved = np.abs(found[:, None] + np.concatenate([aliases, -aliases])).ravel()
    found = np.concatenate([found, found / 2.0, found * 2.0, moved])
    found = np.unique(found[(found >= LOWEST) & (found <= spectrum.frequencies[-1])])
    if not len(found):
        return found
    found, _ = refine(data, found, 3, 0.04 * np.arange(-5, 6), n_rounds=0)
    found, _ = refine(data, found[:N_RANKED], min(n_harmonics, 5), 0.02 * np.arange(-3, 4), n_rounds=2)
    return found[:n_best]


def _aliases(data: Observations, spectrum: Periodogram, lowest: float) -> np.ndarray:
    """Frequencies of the sampling itself: array[a]; none where it has no rhythm."""
    window = np.where(spectrum.frequencies > lowest, spectrum.window, 0.0)
    places = peaks(window, N_ALIASES)
    places = places[window[places] > np.maximum(STRONG, 0.9 * window.max())]
    near = spectrum.frequencies[places, None] + np.linspace(-1.0, 1.0, 41) / PER_SPAN
    height = np.abs(np.exp(2j * np.pi * near[..., None] * data.times).mean(axis=-1))
    return np.take_along_axis(near, height.argmax(axis=1)[:, None], 1)[:, 0]


def refine(
    data: Observations, frequencies: np.ndarray, n_harmonics: int, offsets: np.ndarray, n_rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Best frequencies at `offsets` from each, best first, and their evidences; of two that meet the better one."""
    near = frequencies[:, None] + offsets
    evidence = fit_harmonics(data, near.ravel(), n_harmonics, SIGNAL, n_rounds).evidence.reshape(near.shape)
    best = evidence.argmax(axis=1)[:, None]
    order = np.argsort(-evidence.max(axis=1), kind="stable")
    moved = np.take_along_axis(near, best, 1)[order, 0]
    earlier = np.tril(np.abs(moved[:, None] - moved) < 0.1, -1)
    keep = ~earlier.any(axis=1)
    return moved[keep], evidence.max(axis=1)[order][keep]
