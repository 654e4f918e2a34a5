"""Moments of transformed normals: mean and variance of ``g^-1(Z)`` for a normal ``Z``."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.special import log_ndtr

from tsode.core.transforms import LEAST_LAM, Transform

__all__ = ["power_peak", "transformed_moments"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(11)
# A quadrature in normal scores is cut at these distances from where the integrand of a moment is largest: beyond the
# outermost it is less than e^-40 of that, since powers of the inverse of a transform are concave as logarithms ...
STEPS = (-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0)
# ... and at these, times the width of its turn, from where the inverse leaves an end or goes from one to the other.
LADDER = tuple(sign * 3.0**k for sign in (-1.0, 1.0) for k in range(-4, 17))
_AT_ONCE = 2**13  # elements of a quadrature


def transformed_moments(transform: Transform, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of ``g^-1(Z)``, element by element, ``Z`` normal; infinite where beyond the floating numbers.

    In closed form for the identity, logarithms and square roots, else by quadrature, to some ten digits.
    """
    numbers = torch.broadcast_tensors(location, scale, transform.code, transform.lam, transform.offset)
    location, scale, code, lam, offset = (number.reshape(-1) for number in numbers)
    transform = Transform(code, lam, offset)
    is_log = transform.is_box_cox & (lam < LEAST_LAM)
    is_root = transform.is_box_cox & (lam == 0.5)
    is_other = ~(is_log | is_root | transform.is_identity)
    mean, variance = location, scale**2
    for is_kind, moments in ((is_log, _log_moments), (is_root, _root_moments), (is_other, _quadrature)):
        at = is_kind.nonzero()[:, 0]
        if len(at):
            own = moments(transform[at], location[at], scale[at])
            mean, variance = mean.index_put((at,), own[0]), variance.index_put((at,), own[1])
    return mean.reshape(numbers[0].shape), variance.reshape(numbers[0].shape)


def power_peak(power: float, lam: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    """Normal score at which ``(g^-1(Z) + offset)^power`` times the normal density is largest, for a Box-Cox `g`."""
    start = 1.0 + lam * location
    root = torch.hypot(start, 2.0 * (lam * power).sqrt() * scale)
    least = torch.finfo(scale.dtype).tiny
    # the root of a quadratic equation, in the form that does not cancel
    falling = 0.5 * (root - start) / (lam * scale).clamp(min=least)
    return torch.where(start > 0.0, 2.0 * power * scale / (start + root).clamp(min=least), falling)


def _log_moments(transform: Transform, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Lognormal less an offset, and not below 0: the formula for the price of an option."""
    offset = transform.offset.clamp(min=torch.finfo(scale.dtype).tiny)
    score = (location - offset.log()) / scale
    mean, square = location + 0.5 * scale**2, 2.0 * location + 2.0 * scale**2

    def partial(sign: float) -> tuple[Tensor, Tensor]:
        share = log_ndtr(sign * score).exp()
        first = (mean + log_ndtr(sign * (score + scale))).exp()
        second = (square + log_ndtr(sign * (score + 2.0 * scale))).exp() - 2.0 * offset * first + offset**2 * share
        return first - offset * share, second

    variance = (square + (-torch.expm1(-(scale**2))).clamp(min=torch.finfo(scale.dtype).tiny).log()).exp()
    return _censored(score, mean.exp() - offset, variance, partial(1.0), partial(-1.0))


def _root_moments(transform: Transform, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Square of a normal less an offset, where the normal lies above the offset's root; 0 elsewhere."""
    offset = transform.offset
    end = offset.clamp(min=torch.finfo(scale.dtype).tiny).sqrt()
    mean, spread = 1.0 + 0.5 * location, 0.5 * scale
    score = (mean - end) / spread

    def partial(sign: float) -> tuple[Tensor, Tensor]:
        density = sign * spread * (-0.5 * score**2).exp() / math.sqrt(2.0 * math.pi)
        moments = [log_ndtr(sign * score).exp()]
        for n in range(1, 5):
            before = (n - 1) * spread**2 * moments[n - 2] if n > 1 else 0.0
            moments.append(mean * moments[n - 1] + before + end ** (n - 1) * density)
        square = moments[4] - 2.0 * offset * moments[2] + offset**2 * moments[0]
        return moments[2] - offset * moments[0], square

    whole = mean**2 + spread**2 - offset
    return _censored(score, whole, 4.0 * (mean * spread) ** 2 + 2.0 * spread**4, partial(1.0), partial(-1.0))


def _censored(
    score: Tensor, mean: Tensor, variance: Tensor, above: tuple[Tensor, Tensor], below: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Moments of a variable that is 0 where a normal score exceeds `score`.

    From the `mean` and `variance` without that, less the first two moments `below`, or from those `above` alone:
    whichever cancels less.
    """
    first, second = below[0], below[1].clamp(min=0.0)
    less = variance - second + 2.0 * mean * first - first**2
    mostly = torch.where(score > 0.0, less, above[1] - above[0] ** 2).clamp(min=0.0)
    return above[0].clamp(min=0.0), torch.where(variance.isinf() | above[1].isinf(), torch.inf, mostly)


def _quadrature(transform: Transform, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """By blocks, so that what a quadrature keeps stays small."""
    blocks = [slice(start, start + _AT_ONCE) for start in range(0, len(scale), _AT_ONCE)]
    moments = [_integrate(transform[block], location[block], scale[block]) for block in blocks]
    mean, variance = (torch.cat(each) for each in zip(*moments, strict=True))
    return mean, variance


def _integrate(transform: Transform, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre in normal scores between cuts that follow every feature of the integrands (n)."""
    with torch.no_grad():
        edges, empty, full = _edges(transform, location, scale)
    # moments about the median: neither is lost by cancellation
    centre = transform.inverse(location)
    first, second = empty * -centre + full * (1.0 - centre), empty * centre**2 + full * (1.0 - centre) ** 2
    for a, b in zip(edges[:-1].unbind(0), edges[1:].unbind(0)):
        if not bool((b > a).any()):
            continue
        half = 0.5 * (b - a)
        for node, weight in zip(NODES, WEIGHTS):
            score = 0.5 * (a + b) + half * node
            # far out a value may be beyond the numbers when it is squared, and the density 0
            root = (-0.25 * score**2).exp()
            deviation = (transform.inverse(location + scale * score) - centre) * root
            deviation = torch.where(half > 0.0, deviation, 0.0)  # between cuts that coincide it may be infinite
            share = weight / math.sqrt(2.0 * math.pi) * half
            first, second = first + share * deviation * root, second + share * deviation**2
    square = first**2
    return centre + first, torch.where(square.isinf() | second.isinf(), torch.inf, (second - square).clamp(min=0.0))


def _edges(transform: Transform, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts of the quadrature (m n), in order, and the chances of the lower end, 0, and of the upper, 1."""
    is_box_cox = transform.is_box_cox
    ends = (transform.forward(end(scale)) for end in (torch.zeros_like, torch.ones_like))
    low, high = ((end - location) / scale for end in ends)
    high = torch.where(is_box_cox, torch.inf, high)
    turn = torch.where(is_box_cox, low, -location / scale)
    # a power leaves its end by a branch point, near which cuts have to crowd
    width = torch.where(is_box_cox, 1.0 / low.abs().clamp(min=1.0), 27.0 / scale.clamp(min=1.0))
    cuts, peaks = [turn + step * width for step in (0.0, *LADDER)], []
    for power in (0.0, 1.0, 2.0):
        turned = torch.minimum(turn.clamp(min=0.0), power * scale)
        peak = torch.where(is_box_cox, power_peak(power, transform.lam, location, scale), turned)
        peaks.append(torch.maximum(peak, low))
        cuts += [peaks[-1] + step for step in STEPS]
    first, last = torch.maximum(low, peaks[0] - 9.0), torch.minimum(high, peaks[-1] + 9.0)
    edges = torch.stack(cuts).clamp(first, torch.maximum(first, last)).sort(dim=0).values
    full = torch.where(is_box_cox, 0.0, log_ndtr(-high.clamp(max=1e300)).exp())
    return edges, log_ndtr(low).exp(), full
