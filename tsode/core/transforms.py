"""Transforms of positive and bounded quantities: monotone maps from what is observed to the real line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.errors import DataError, ParameterError

__all__ = ["SUPPORTS", "Transform", "choose_transforms"]

SUPPORTS = ("real", "positive", "unit", "auto")
BOX_COX, LOGIT, IDENTITY = 0.0, 1.0, 2.0
LEAST_LAM = 1e-30  # below it the map is the logarithm to the last digit, and a product with it might underflow


@dataclass(frozen=True)
class Transform:
    """Map `g`, increasing, of a kind that may differ from element to element.

    - Identity: any real ``y``, ``g(y) = y``.
    - Box-Cox: ``y >= 0``, ``g(y) = ((y + offset)^lam - 1) / lam`` with ``lam`` in [0, 1]: 0 is the logarithm, 1/2 the
      square root, 1 the value itself but for a constant (and, unlike the identity, never below 0).
    - Logit: ``0 <= y <= 1``, ``g(y) = log((y + offset) / (1 - y + offset))``.

    An offset above 0 keeps the values at the ends of the support finite. What the ends of the support are mapped to may
    lie inside the real line; the inverse takes all that lies beyond to the end itself: no value leaves the support.

    Make one by `identity`, `box_cox` or `logit`, one of many elements by `stack`.

    Attributes
    ----------
    code, lam, offset : Tensor[...]
        Kind, power and offset of each element; they broadcast against the values, in the dtype of the values.
    """

    code: Tensor
    lam: Tensor
    offset: Tensor

    @classmethod
    def identity(cls) -> Transform:
        return cls._of(IDENTITY, 1.0, 0.0)

    @classmethod
    def box_cox(cls, lam: float, offset: float = 0.0) -> Transform:
        """Box-Cox transform with ``lam`` in [0, 1] and an offset >= 0 in the units of the values."""
        return cls._of(BOX_COX, lam, offset)

    @classmethod
    def logit(cls, offset: float = 0.0) -> Transform:
        return cls._of(LOGIT, 0.0, offset)

    @classmethod
    def _of(cls, code: float, lam: float, offset: float) -> Transform:
        if not 0.0 <= lam <= 1.0:
            raise ParameterError(f"`lam` of a Box-Cox transform is {lam}, but must lie in [0, 1].")
        if not 0.0 <= offset < np.inf:
            raise ParameterError(f"`offset` of a transform is {offset}, but must be 0 or a positive number.")
        return cls(*(torch.tensor(float(number), dtype=torch.float64) for number in (code, lam, offset)))

    @classmethod
    def stack(cls, transforms: Sequence[Transform]) -> Transform:
        """One transform of many elements, along a new last axis: one for each channel, say."""
        each = [(one.code, one.lam, one.offset) for one in transforms]
        return cls(*(torch.stack(numbers, dim=-1) for numbers in zip(*each, strict=True)))

    def __getitem__(self, index: Any) -> Transform:
        """Transform of the elements at `index`, as of a tensor."""
        return Transform(self.code[index], self.lam[index], self.offset[index])

    @property
    def is_identity(self) -> Tensor:
        return self.code > 0.5 * (LOGIT + IDENTITY)

    @property
    def is_box_cox(self) -> Tensor:
        return self.code < 0.5 * (BOX_COX + LOGIT)

    @property
    def name(self) -> str:
        """Name of a single one: "identity", "logit", "log", "sqrt", or "power" of any other."""
        if bool(self.is_identity):
            return "identity"
        if not bool(self.is_box_cox):
            return "logit"
        return {0.0: "log", 0.5: "sqrt"}.get(float(self.lam), "power")

    @property
    def low(self) -> Tensor:
        """Lower end of the support: 0, or minus infinity."""
        return torch.where(self.is_identity, -torch.inf, torch.zeros_like(self.code))

    @property
    def high(self) -> Tensor:
        """Upper end of the support: 1, or infinity."""
        return torch.where(self.is_identity | self.is_box_cox, torch.inf, torch.ones_like(self.code))

    def forward(self, y: Tensor) -> Tensor:
        """Image of `y`; of a value beyond the support, that of its end."""
        below, above = self._logarithms(y)
        is_log = self.lam < LEAST_LAM
        lam = torch.where(is_log, 1.0, self.lam)
        power = torch.where(is_log, below, torch.expm1(lam * below) / lam)
        return torch.where(self.is_identity, y, torch.where(self.is_box_cox, power, below - above))

    def log_slope(self, y: Tensor) -> Tensor:
        """Logarithm of the slope of `forward` inside the support: the log Jacobian of each element."""
        below, above = self._logarithms(y)
        logit = torch.log1p(2.0 * self.offset) - below - above
        slope = torch.where(self.is_box_cox, (self.lam - 1.0) * below, logit)
        return torch.where(self.is_identity, 0.0, slope)

    def inverse(self, z: Tensor) -> Tensor:
        """Value whose image is `z`, or the end of the support beyond which it would lie."""
        # what another kind has to bear is replaced before it is computed, so that no gradient becomes NaN
        grown = torch.where(self.is_box_cox, self.lam * z, 0.0)
        is_end = grown <= -1.0
        is_log = self.lam < LEAST_LAM
        root = torch.log1p(torch.where(is_end, 0.0, grown)) / torch.where(is_log, 1.0, self.lam)
        root = torch.where(is_log & self.is_box_cox, z, root)
        positive = torch.where(is_end, 0.0, root.exp()) - self.offset
        # of functions that round alike wherever an element stands, as `torch.sigmoid` does not
        sigmoid = z.clamp(max=0.0).exp() / (1.0 + (-z.abs()).exp())
        bounded = (1.0 + 2.0 * self.offset) * sigmoid - self.offset
        inside = torch.where(self.is_box_cox, positive.clamp(min=0.0), bounded.clamp(0.0, 1.0))
        return torch.where(self.is_identity, z, inside)

    def _logarithms(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of ``y + offset`` and, for a logit, of ``1 - y + offset``, finite everywhere."""
        least = torch.finfo(y.dtype).tiny
        inside = torch.where(self.is_identity, 0.5, y).clamp(min=0.0)
        share = torch.where(self.is_box_cox, 0.5, inside).clamp(max=1.0)
        inside = torch.where(self.is_box_cox, inside, share)
        return (inside + self.offset).clamp(min=least).log(), (1.0 - share + self.offset).clamp(min=least).log()


def choose_transforms(values: np.ndarray, support: str, channel: object = "value") -> dict[str, Transform]:
    """Candidate transforms of one channel, by name.

    "real" leaves values as they are: ``identity``. "positive" offers ``sqrt`` and ``log``, "unit" ``logit``. "auto"
    offers ``identity``, and where all values are >= 0 and some > 0 also ``sqrt`` and ``log``.

    Where there are zeros, ``sqrt`` and ``log`` are of ``y + offset``: half the 5 % quantile of the positive values, or
    1 if there are none. Where there are zeros or ones, the offset of ``logit`` is half the 5 % quantile of the
    distances of the others from the nearer end, or 1/2 if there are none.

    Parameters
    ----------
    values : ndarray
        What was seen of the channel, of any shape; NaN where nothing was.
    support : {"real", "positive", "unit", "auto"}
    channel : object
        Name of the channel, for messages.

    Raises
    ------
    DataError
        If a value lies outside the support.
    ParameterError
        If `support` is none of the names.
    """
    if support not in SUPPORTS:
        raise ParameterError(f"`support` is {support!r}, but must be one of {', '.join(map(repr, SUPPORTS))}.")
    seen = np.asarray(values, dtype=np.float64)
    seen = seen[np.isfinite(seen)]
    if support == "positive" and (seen < 0.0).any():
        raise DataError(
            f"Channel {channel!r} has the value {seen.min():.6g}, but support='positive' asks for values >= 0. "
            "Use support='real' or 'auto', or correct the data."
        )
    if support == "unit":
        return {"logit": Transform.logit(_unit_offset(seen, channel))}
    candidates = {} if support == "positive" else {"identity": Transform.identity()}
    is_positive = (seen >= 0.0).all() and (seen > 0.0).any()
    if support == "positive" or (support == "auto" and is_positive):
        offset = _offset(seen) if (seen == 0.0).any() else 0.0
        candidates |= {"sqrt": Transform.box_cox(0.5, offset), "log": Transform.box_cox(0.0, offset)}
    return candidates


def _offset(distances: np.ndarray, otherwise: float = 1.0) -> float:
    """Half the 5 % quantile of the distances above 0."""
    apart = distances[distances > 0.0]
    return 0.5 * float(np.quantile(apart, 0.05)) if len(apart) else otherwise


def _unit_offset(seen: np.ndarray, channel: object) -> float:
    distances = np.minimum(seen, 1.0 - seen)
    if (distances < 0.0).any():
        raise DataError(
            f"Channel {channel!r} has the value {seen[distances.argmin()]:.6g}, but support='unit' asks for values "
            "from 0 to 1. Divide by the largest possible value, or use support='positive' or 'real'."
        )
    return _offset(distances, 0.5) if (distances == 0.0).any() else 0.0
