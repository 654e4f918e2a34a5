"""Supports of channels: a scaler that maps positive and bounded values to the real line before it scales them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from tsode.core.transforms import Transform
from tsode.errors import DataError, TsodeWarning
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel
from tsode.frames.scaling import ChannelScaler, fit_scaler

__all__ = ["SupportScaler", "Supports", "check_supports", "fit_support_scaler"]


class Supports(NamedTuple):
    """What values the channels may have.

    Parameters
    ----------
    low, high : array[c], float64
        Ends, in the units of the data; infinite where there is none.
    guessed : array[c], bool
        Whether they were found from the data, and not said by the user.
    """

    low: np.ndarray
    high: np.ndarray
    guessed: np.ndarray

    @property
    def origin(self) -> np.ndarray:
        """Lower end, or 0 where there is none: array[c]."""
        return np.where(np.isfinite(self.low), self.low, 0.0)

    @property
    def width(self) -> np.ndarray:
        """Distance of two ends, or 1: array[c]."""
        return np.where(np.isfinite(self.low) & np.isfinite(self.high), self.high - self.origin, 1.0)

    def within(self, values: np.ndarray) -> np.ndarray:
        """Values (..., c) less the origin, in widths: from 0, or from 0 to 1, or as they are."""
        return (values - self.origin) / self.width

    def first(self, n: int) -> Supports:
        """Those of the first channels."""
        return Supports(*(part[:n].copy() for part in self))


@dataclass(frozen=True, eq=False)
class SupportScaler(ChannelScaler):
    """``scaled = (g(w) - shift) / scale`` with a map `g` for each channel, and ``w`` the value `within` its support.

    Where training reached no end of the support its logarithm has no place on the scale. A later value at an end, or
    beyond one, is then read as if it stood half as far from it as the nearest value in training.

    Parameters
    ----------
    shift, scale : array[c], float64
        On the scales of `maps`.
    supports : Supports
    maps : Transform
        Of each channel (c,).
    nearest : array[c]
        Least distance of ``w`` from an end in training, where the map has no place for the end itself; else 0.
    """

    supports: Supports
    maps: Transform
    nearest: np.ndarray

    def first(self, n: int) -> SupportScaler:
        """That of the first channels."""
        parts = self.shift[:n], self.scale[:n], self.supports.first(n), self.maps[:n], self.nearest[:n]
        return SupportScaler(*parts)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """See `ChannelScaler.transform`."""
        return super().transform(self.maps.forward(self._within(values)).numpy())

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """See `ChannelScaler.inverse`; no value leaves its support."""
        return self.unscale(torch.from_numpy(values)).numpy()

    def unscale(self, scaled: torch.Tensor) -> torch.Tensor:
        """`inverse` of a tensor (..., c), which may be differentiated."""
        shift, scale, low, high, origin, width = (
            torch.from_numpy(np.array(part))
            for part in (self.shift, self.scale, *self.supports[:2], self.supports.origin, self.supports.width)
        )
        w = self.maps.inverse(scaled * scale + shift)
        return torch.minimum(torch.maximum(origin + width * w, low), high)

    def slopes(self, values: np.ndarray) -> np.ndarray:
        """See `ChannelScaler.slopes`; 0 where a value is read as if it stood elsewhere."""
        w, place = self.supports.within(values), self._within(values)
        slope = self.maps.log_slope(place).exp().numpy() / (self.supports.width * self.scale)
        is_moved = (place.numpy() != w) | (values < self.supports.low) | (values > self.supports.high)
        return np.where(np.isnan(values), np.nan, np.where(is_moved, 0.0, slope))

    def log_slopes(self, series: Sequence[np.ndarray]) -> np.ndarray:
        """See `ChannelScaler.log_slopes`."""
        slopes = [self.maps.log_slope(self._within(values)).numpy() for values in series]
        # the slope of the identity is known also where nothing was seen
        inside = [np.where(np.isnan(values), 0.0, slope).sum() for values, slope in zip(series, slopes)]
        outside = ChannelScaler(self.shift, self.scale * self.supports.width)
        return np.array(inside) + outside.log_slopes(series)

    def check(self, panel: Panel) -> None:
        """See `check_supports`."""
        check_supports(panel, self.supports)

    def to_dict(self) -> dict[str, Any]:
        maps = {name: getattr(self.maps, name).tolist() for name in ("code", "lam", "offset")}
        ends = {  # JSON has no infinity
            name: [end if np.isfinite(end) else None for end in getattr(self.supports, name).tolist()]
            for name in ("low", "high")
        }
        rest = {"guessed": self.supports.guessed.tolist(), "nearest": self.nearest.tolist()}
        return super().to_dict() | {"support": maps | ends | rest}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> ChannelScaler:
        """Undo `to_dict`, of this or of a plain scaler."""
        plain, support = ChannelScaler.from_dict(state), state.get("support")
        if support is None:
            return plain
        maps = [torch.tensor(support[name], dtype=torch.float64) for name in ("code", "lam", "offset")]
        low, high = (
            np.array([none if end is None else end for end in support[name]], dtype=np.float64)
            for name, none in (("low", -np.inf), ("high", np.inf))
        )
        supports = Supports(low, high, np.array(support["guessed"], dtype=bool))
        nearest = np.array(support["nearest"], dtype=np.float64)
        return cls(plain.shift, plain.scale, supports, Transform(*maps), nearest)

    def _within(self, values: np.ndarray) -> torch.Tensor:
        """``w`` of values (..., c), off the ends that have no place."""
        w, least = self.supports.within(values), 0.5 * self.nearest
        top = 1.0 - np.maximum(least, np.finfo(np.float64).eps)
        is_below = (w <= 0.0) & (least > 0.0)
        is_above = (w >= 1.0) & (least > 0.0) & np.isfinite(self.supports.high)
        return torch.from_numpy(np.where(is_below, least, np.where(is_above, top, w)))


def fit_support_scaler(
    panel: Panel, method: str, supports: Supports, maps: Sequence[Transform]
) -> tuple[SupportScaler, Panel]:
    """Scaler of channels with these supports and maps, and the panel as mapped, before it is scaled.

    Parameters
    ----------
    panel : Panel
        Of which no value lies outside.
    method
        As of `fit_scaler`.
    supports, maps
        See `SupportScaler`; a map for each channel.
    """
    n, every = panel.n_channels, Transform.stack(list(maps))
    pooled = supports.within(np.concatenate(list(panel.values)))
    distance = np.fmin(pooled, np.where(np.isfinite(supports.high), 1.0 - pooled, np.inf))
    # only a logarithm without an offset has no place for an end
    has_no_end = (~every.is_identity & (every.lam == 0.0) & (every.offset == 0.0)).numpy()
    nearest = np.where(has_no_end, np.nanmin(distance, axis=0), 0.0)
    bare = SupportScaler(np.zeros(n), np.ones(n), supports, every, nearest)
    mapped = replace(panel, values=[bare.transform(values) for values in panel.values])
    plain = fit_scaler(mapped, method)
    return replace(bare, shift=plain.shift, scale=plain.scale), mapped


def check_supports(panel: Panel, supports: Supports) -> None:
    """Look for values outside of the supports: an error where the user has said what they are, else a warning.

    Raises
    ------
    DataError
        That names the value, its series and its time.
    """
    pooled = np.concatenate([*panel.values, np.empty((0, panel.n_channels))])
    is_out = (pooled < supports.low) | (pooled > supports.high)
    for c in np.flatnonzero(is_out.any(axis=0)).tolist():
        at = int(is_out[:, c].argmax())
        ends = np.cumsum([len(times) for times in panel.times])
        row = int(np.searchsorted(ends, at, side="right"))
        number = at - int(ends[row]) + len(panel.times[row])
        time = restore_times(panel.times[row][number : number + 1], panel.layout.time_dtype)[0]
        whose = f" of series {panel.ids[row]!r}" if panel.layout.has_ids else ""
        what = (
            f"The value {pooled[at, c]:.6g} of {panel.channels[c]!r}{whose} at {time} lies outside of its support, "
            f"from {supports.low[c]:g} to {supports.high[c]:g}"
        )
        if not supports.guessed[c]:
            raise DataError(f"{what}. Mend it, set it to NaN, or fit with support='real' for this channel.")
        warnings.warn(
            f"{what}, which support='auto' found in fit. It is read as if it stood at the end, and no forecast goes as "
            "far. If such values may come, fit with support='real' for this channel.",
            TsodeWarning,
            stacklevel=5,
        )
