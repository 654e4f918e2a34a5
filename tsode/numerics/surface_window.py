"""Window of a step: what samples of the surface functions say of their signs between the samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsode.numerics.chebyshev import N_PARTS, chebyshev_fit, chebyshev_points

__all__ = ["Glance", "Window", "WindowReader"]

_N_TAIL = 5  # coefficients of highest order, which tell the error of the polynomial between the points
_TAIL = 30.0  # how many times the last coefficients this error may be
_SMOOTH = 3e-3  # share of the spread below which the tail is that of a function with kinks at most
_CALM = 1e-7  # and below which a window of twice the length is as easy
_FAR = 100.0  # so many spreads from zero nothing is missed
_NEAR = 0.1  # share of what a function moves beside its turning point: one that comes closer may pass
_STEP = 0.8  # share of all movement that happens in one part where the function jumps
_NOISE = 10.0  # times the last coefficients
_N_TURNS = 6  # of a function that swings, not one that jumps or bends
_N_ULPS = 32  # rounding errors, in units of the last place of a function's usual size


class Window(NamedTuple):
    """What is known of the surface functions in a window of each row.

    Parameters
    ----------
    sign : Tensor[b n+1 e]
        At the points; where a value is zero up to rounding errors, the sign before it.
    is_change : Tensor[b n e]
        The parts in which the sign changes.
    is_resolved, is_smooth, is_step, is_swinging : Tensor[b e], bool
        Whether no change of sign can be missing; whether the function is smooth but for kinks, so that a window half as
        long may be resolved; whether there is one jump; whether the function turns many times.
    is_dip : Tensor[b n-1 e], bool
        The inner points beside which a function turns so close to zero that it may pass it.
    turn : Tensor[b n-1 e]
        Shares of the window at which it turns there.
    typical, noise : Tensor[b e]
        Median size of the functions, and rounding error of their values.
    """

    sign: Tensor
    is_change: Tensor
    is_resolved: Tensor
    is_smooth: Tensor
    is_step: Tensor
    is_swinging: Tensor
    is_dip: Tensor
    turn: Tensor
    typical: Tensor
    noise: Tensor


class Glance(NamedTuple):
    """What is plain of a window.

    Parameters
    ----------
    is_quiet : Tensor[b], bool
        Whether no function comes near a change of sign.
    is_calm : Tensor[b e], bool
        Whether a window of twice the length would be resolved.
    tail, spread : Tensor[b e]
        Size of the last coefficients of the polynomial through the samples, and width of their range.
    """

    is_quiet: Tensor
    is_calm: Tensor
    tail: Tensor
    spread: Tensor


class WindowReader:
    """Reads windows whose surface functions were sampled at the `chebyshev_points`.

    A function is resolved where the polynomial through its samples cannot be wrong about a sign: by its last
    coefficients, the polynomial is off by less than what is left to zero at the samples. What no sample sees is missed:
    a pulse shorter than the parts of the window. Rounding errors are those of the states' `dtype`.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._eps = _N_ULPS * torch.finfo(dtype).eps
        points = chebyshev_points()
        left, right = points[1:-1] - points[:-2], points[2:] - points[1:-1]
        self.points = points.to(device)
        self._tail = chebyshev_fit()[-_N_TAIL:].to(device)
        self._left, self._right = left.to(device)[:, None], right.to(device)[:, None]
        # a turning point belongs to the nearest inner point, the last part to the last
        self._first = -0.75 * self._left
        self._last = torch.cat([0.75 * self._right[:-1], self._right[-1:]])

    def glance(self, value: Tensor, first: Tensor) -> Glance:
        """Take the short look that is enough for most windows."""
        # sums along the last axis round alike however many rows there are
        tail = (value.mT.contiguous()[:, :, None] * self._tail).sum(dim=-1).abs().amax(dim=-1)
        spread = value.amax(dim=1) - value.amin(dim=1)
        is_blank = ~value.isfinite().any(dim=1)  # outside of the function's domain there is nothing to be seen
        tail, spread = tail.masked_fill(is_blank, 0.0), spread.masked_fill(is_blank, 0.0)
        least = (value * first[:, None]).amin(dim=1)  # NaN and a sign of zero are not quiet
        is_quiet = (least > 2.0 * value.diff(dim=1).abs().amax(dim=1)) & (_TAIL * tail < least) & (least < torch.inf)
        is_quiet = is_quiet & ((tail <= _SMOOTH * spread) | (least > _FAR * spread))
        is_calm = tail <= torch.maximum(_CALM * spread, self._eps * value.abs().amin(dim=1))
        return Glance(is_quiet.all(dim=1), is_calm | is_blank, tail, spread)

    def read(self, value: Tensor, first: Tensor, glance: Glance, rounding: Tensor) -> Window:
        """Read samples.

        Parameters
        ----------
        value : Tensor[b n+1 e], float64
        first : Tensor[b e]
            Sign at the first point.
        glance : Glance
            At the same samples.
        rounding : Tensor[b e]
            Rounding error of the functions as far as it is known.
        """
        is_calm, tail, spread = (
            glance.is_calm,
            glance.tail,
            glance.spread,
        )  # a sample that is not finite is not resolved
        value = value.nan_to_num(nan=0.0, posinf=1e300, neginf=-1e300)
        size = value.abs()
        typical = size.median(dim=1).values  # not the largest: that is without bound beside a pole
        noise = rounding.maximum(self._eps * typical)
        # the last coefficients of a smooth function are rounding errors
        noise = torch.where(is_calm, noise.maximum(_NOISE * tail), noise)
        least = noise[:, None]  # what is smaller has no sign

        sign = torch.where(size > least, value.sign(), 0.0)
        sign = torch.cat([first[:, None], sign[:, 1:]], dim=1)
        index = torch.arange(N_PARTS + 1, device=sign.device)[:, None]
        sign = sign.gather(1, torch.where(sign != 0, index, 0).cummax(dim=1).values)
        is_change = (sign[:, 1:] != sign[:, :-1]) & (sign[:, :-1] != 0)

        change = value.diff(dim=1)
        move = change.abs()
        is_beside = torch.cat([is_change[:, :-1] | is_change[:, 1:], is_change[:, -1:]], dim=1)
        left_over = torch.where(is_beside | (size <= least)[:, 1:], torch.inf, size[:, 1:]).amin(dim=1)
        left_over = left_over.minimum(torch.where(is_change, move, torch.inf).amin(dim=1))
        is_smooth = tail <= _SMOOTH * spread
        is_far = size[:, 1:].amin(dim=1) > _FAR * spread
        is_resolved = (tail <= noise) | ((_TAIL * tail < left_over) & (is_smooth | is_far))

        # the parabola through each inner point and its neighbours
        before, behind = change[:, :-1] / self._left, change[:, 1:] / self._right
        bend = (behind - before) / (self._left + self._right)
        slope = before + bend * self._left
        middle = sign[:, 1:-1]
        turn = -slope / torch.where(bend == 0, torch.inf, 2.0 * bend)
        at_turn = middle * value[:, 1:-1] - slope.square() / torch.where(bend == 0, torch.inf, 4.0 * bend.abs())
        beside = move[:, 1:] + move[:, :-1]
        is_dip = (sign[:, :-2] == middle) & (sign[:, 2:] == middle) & (middle * bend > 0)
        is_dip = is_dip & (turn >= self._first) & (turn <= self._last)
        is_dip = is_dip & (at_turn < _NEAR * beside) & (beside > 4.0 * least)
        way = change.sign()
        return Window(
            sign=sign,
            is_change=is_change,
            is_resolved=is_resolved,
            is_smooth=is_smooth,
            is_step=move.amax(dim=1) >= _STEP * move.sum(dim=1),
            is_swinging=(way[:, 1:] * way[:, :-1] < 0).sum(dim=1) >= _N_TURNS,
            is_dip=is_dip,
            turn=self.points[1:-1, None] + turn,
            typical=typical,
            noise=noise,
        )
