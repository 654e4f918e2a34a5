"""Supports of channels: a scaler that maps positive and bounded values to the real line before it scales them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tsode.core.transforms import Transform
from tsode.errors import DataError, TsodeWarning
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel
from tsode.frames.scaling import ChannelScaler, fit_scaler

__all__ = ["SupportScaler", "check_supports", "fit_support_scaler"]


@dataclass(frozen=True, eq=False)
class SupportScaler(ChannelScaler):
    """``scaled = (g(w) - shift) / scale`` with a map `g` for each channel, and ``w`` the value within its support.

    ``w`` is the value itself, its distance from a lower end, or its share of the way between two ends.

    Where training reached no end of the support its logarithm has no place on the scale. A later value at an end, or
    beyond one, is then read as if it stood half as far from it as the nearest value in training.

    Parameters
    ----------
    shift, scale : array[c], float64
        On the scales of `maps`.
    low, high : array[c]
        Ends of the supports, in the units of the data; infinite where there is none.
    maps : Transform
        Of each channel (c,).
    nearest : array[c]
        Least distance of ``w`` from an end in training; 0 where an end was reached, or there is none.
    guessed : array[c], bool
        Whether the support was found from the data, and not said by the user.
    """

    low: np.ndarray
    high: np.ndarray
    maps: Transform
    nearest: np.ndarray
    guessed: np.ndarray

    @property
    def origin(self) -> np.ndarray:
        """Value at which ``w`` is 0: array[c]."""
        return np.where(np.isfinite(self.low), self.low, 0.0)

    @property
    def width(self) -> np.ndarray:
        """Value of which ``w`` is the share: array[c]."""
        return np.where(np.isfinite(self.low) & np.isfinite(self.high), self.high - self.origin, 1.0)

    @property
    def is_plain(self) -> np.ndarray:
        """Channels whose values are only moved and stretched: array[c], bool."""
        return self.maps.is_identity.numpy()

    def transform(self, values: np.ndarray) -> np.ndarray:
        """See `ChannelScaler.transform`."""
        return super().transform(self.maps.forward(torch.from_numpy(self._within(values))).numpy())

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """See `ChannelScaler.inverse`; no value leaves the support."""
        w = self.maps.inverse(torch.from_numpy(super().inverse(values))).numpy()
        return np.clip(self.origin + self.width * w, self.low, self.high)

    def log_slopes(self, series: Sequence[np.ndarray]) -> np.ndarray:
        """See `ChannelScaler.log_slopes`."""
        slopes = [self.maps.log_slope(torch.from_numpy(self._within(values))).numpy() for values in series]
        # the slope of the identity is known also where nothing was seen
        inside = [np.where(np.isnan(values), 0.0, slope).sum() for values, slope in zip(series, slopes)]
        widths = replace(self, scale=self.scale * self.width)
        return np.array(inside) + ChannelScaler.log_slopes(widths, series)

    def _within(self, values: np.ndarray) -> np.ndarray:
        """``w`` of values (..., c)."""
        w, least = (values - self.origin) / self.width, 0.5 * self.nearest
        top = 1.0 - np.maximum(least, np.finfo(np.float64).eps)
        is_below, is_above = (w <= 0.0) & (least > 0.0), (w >= 1.0) & (least > 0.0) & np.isfinite(self.high)
        return np.where(is_below, least, np.where(is_above, top, w))

    def check(self, panel: Panel) -> None:
        check_supports(panel, self.low, self.high, self.guessed.tolist())

    def to_dict(self) -> dict[str, Any]:
        numbers = {name: getattr(self.maps, name).tolist() for name in ("code", "lam", "offset")}
        ends = {name: [_encode_end(end) for end in getattr(self, name)] for name in ("low", "high")}  # no infinity in JSON
        rest = {"nearest": self.nearest.tolist(), "guessed": self.guessed.tolist()}
        return super().to_dict() | {"support": numbers | ends | rest}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> ChannelScaler:
        """Undo `to_dict`, of this or of a plain scaler."""
        plain, support = ChannelScaler.from_dict(state), state.get("support")
        if support is None:
            return plain
        transform = Transform(
            *(torch.tensor(support[name], dtype=torch.float64) for name in ("code", "lam", "offset"))
        )
        ends = (
            np.array([none if end is None else end for end in support[name]], dtype=np.float64)
            for name, none in (("low", -np.inf), ("high", np.inf))
        )
        nearest, guessed = np.array(support["nearest"], dtype=np.float64), np.array(support["guessed"], dtype=bool)
        return cls(plain.shift, plain.scale, *ends, transform, nearest, guessed)


def fit_support_scaler(
    panel: Panel,
    method: str,
    low: np.ndarray,
    high: np.ndarray,
    transforms: Sequence[Transform],
    guessed: Sequence[bool],
) -> tuple[SupportScaler, Panel]:
    """Scaler of channels with these supports and maps, and the panel as mapped, before it is scaled.

    Parameters
    ----------
    method
        As of `fit_scaler`.
    low, high, transforms, guessed
        See `SupportScaler`; no value lies outside.
    """
    n, transform = panel.n_channels, Transform.stack(list(transforms))
    bare = SupportScaler(np.zeros(n), np.ones(n), low, high, transform, np.zeros(n), np.array(guessed, dtype=bool))
    pooled = bare._within(np.concatenate(list(panel.values)))
    distance = np.fmin(pooled, np.where(np.isfinite(high), 1.0 - pooled, np.inf))
    # only a logarithm without an offset has no place for an end
    has_no_end = ~bare.is_plain & (transform.lam == 0.0).numpy() & (transform.offset == 0.0).numpy()
    bare = replace(bare, nearest=np.where(has_no_end, np.nanmin(distance, axis=0), 0.0))
    mapped = replace(panel, values=[bare.transform(values) for values in panel.values])
    plain = fit_scaler(mapped, method)
    return replace(bare, shift=plain.shift, scale=plain.scale), mapped


def check_supports(panel: Panel, low: np.ndarray, high: np.ndarray, guessed: Sequence[bool]) -> None:
    """Look for values outside of the supports: an error where the user has said what they are, else a warning.

    Parameters
    ----------
    panel : Panel
    low, high, guessed
        See `SupportScaler`.

    Raises
    ------
    DataError
        That names the value, its series and its time.
    """
    pooled = np.concatenate([*panel.values, np.empty((0, panel.n_channels))])
    with np.errstate(invalid="ignore"):
        is_out = (pooled < low) | (pooled > high)
    for c in np.flatnonzero(is_out.any(axis=0)):
        at = int(is_out[:, c].argmax())
        ends = np.cumsum([len(times) for times in panel.times])
        row = int(np.searchsorted(ends, at, side="right"))
        number = at - int(ends[row]) + len(panel.times[row])
        time = restore_times(panel.times[row][number : number + 1], panel.layout.time_dtype)[0]
        whose = f" of series {panel.ids[row]!r}" if panel.layout.has_ids else ""
        what = (
            f"The value {pooled[at, c]:.6g} of {panel.channels[c]!r}{whose} at {time} lies outside of its support, from "
            f"{low[c]:g} to {high[c]:g}"
        )
        if not guessed[c]:
            raise DataError(f"{what}. Mend it, set it to NaN, or fit with support='real' for this channel.")
        warnings.warn(
            f"{what}, which support='auto' found in fit. It is read as if it stood at the end; no forecast will be as "
            "far out. If such values may come, fit with support='real' for this channel.",
            TsodeWarning,
            stacklevel=5,
        )


def _encode_end(end: float) -> float | None:
    return float(end) if np.isfinite(end) else None
