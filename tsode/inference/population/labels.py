"""Labels that can be exchanged: ends of a search that are equally good, and whether one is another by other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from tsode.inference.population.estimate import SAME, Estimate
from tsode.inference.priors import Prior

__all__ = ["EqualEnd", "equal_ends", "label_problems"]

APART = 0.5  # standard errors from which two ends are not the same; a quadratic gain of `SAME` is a tenth of one
CLOSE = 0.2  # of them within which two numbers are taken to be exchanged
LEAST_WIDTH = 0.05  # where standard errors are smaller than a search is exact
MOST_NAMED = 6
NO_SPREAD = 0.02  # of effects on the line, below which two are alike: series do not differ


@dataclass(frozen=True)
class EqualEnd:
    """An end with the best objective at another point.

    Parameters
    ----------
    n_starts : int
        That have come to it.
    differs : dict of str to tuple of float
        Parameters that differ, at the best end and at this one.
    swapped : tuple of tuple of str
        Pairs of names by whose exchange one is the other; empty if it is not.
    """

    n_starts: int
    differs: Mapping[str, tuple[float, float]]
    swapped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        starts = f"{self.n_starts} start{'s' * (self.n_starts > 1)} came"
        if self.swapped:
            pairs = ", ".join(f"{a}<->{b}" for a, b in self.swapped)
            return (
                f"labels can be swapped: {starts} to the best objective with names exchanged ({pairs}), so data do not "
                "say which is which: order them (one as another plus a positive difference)"
            )
        shown = [f"{name} {a:.4g} or {b:.4g}" for name, (a, b) in self.differs.items()]
        rest = ", ..." if len(shown) > MOST_NAMED else ""
        return (
            f"not one point: {starts} to the best objective elsewhere ({', '.join(shown[:MOST_NAMED])}{rest}), so data "
            "do not tell these apart: fix a parameter, or bind some together"
        )


def label_problems(estimate: Estimate, names: Sequence[str], priors: Mapping[str, Prior]) -> list[str]:
    """The ends that are as good as the best, in words."""
    return [str(end) for end in equal_ends(estimate, names, priors)]


def equal_ends(estimate: Estimate, names: Sequence[str], priors: Mapping[str, Prior]) -> list[EqualEnd]:
    """Ends that are as good as the best, each once.

    Parameters
    ----------
    estimate : Estimate
    names : sequence of str
        Of its coordinates.
    priors : mapping of str to Prior
    """
    se = estimate.covariance.diagonal().sqrt()
    unit = torch.where(se.isfinite(), se, 1.0).clamp(max=1.0)  # coordinates are of order one in the prior
    is_best = (estimate.ends < estimate.ends[0] + SAME) & estimate.is_done
    kinds: list[tuple[Tensor, int]] = [(estimate.points[0], 0)]
    for point in estimate.points[1:][is_best[1:]]:
        place = next((k for k, (other, _) in enumerate(kinds) if _is_same(point, other, unit)), None)
        if place is None:
            kinds.append((point, 1))
        else:
            kinds[place] = kinds[place][0], kinds[place][1] + 1
    best = _natural(estimate.points[0], names, priors)
    found = []
    for point, n in kinds[1:]:
        other = _natural(point, names, priors)
        moved = ((point - estimate.points[0]).abs() > APART * unit).tolist()
        differs = {
            name: (best[name], other[name])
            for name, has_moved in zip(names, moved)
            if has_moved and not (name.startswith("omega_") and max(best[name], other[name]) < NO_SPREAD)
        }
        if not differs:
            continue
        found.append(EqualEnd(n, differs, _exchange(best, other, _widths(names, unit, priors))))
    return found


def _is_same(point: Tensor, other: Tensor, unit: Tensor) -> bool:
    return bool(((point - other).abs() <= APART * unit).all())


def _natural(point: Tensor, names: Sequence[str], priors: Mapping[str, Prior]) -> dict[str, float]:
    return {name: float(priors[name].constrain(u)[0]) for name, u in zip(names, point)}


def _widths(names: Sequence[str], unit: Tensor, priors: Mapping[str, Prior]) -> dict[str, float]:
    """Standard errors on the line, of the logarithm of a positive parameter."""
    return {name: priors[name].width * float(x) for name, x in zip(names, unit)}


def _exchange(
    best: Mapping[str, float], other: Mapping[str, float], width: Mapping[str, float]
) -> tuple[tuple[str, str], ...]:
    """Pairs of names whose exchange makes one point the other."""
    names = [name for name in best if not name.startswith("corr_")]  # partial ones are others in another order

    def is_near(a: str, b: str) -> bool:
        is_spread = a.startswith("omega_"), b.startswith("omega_")
        room = CLOSE * max(width[a], width[b], LEAST_WIDTH)
        return is_spread[0] == is_spread[1] and abs(_place(best[a]) - _place(other[b])) <= room

    pairs = {a: [b for b in names if b != a and is_near(a, b) and is_near(b, a)] for a in names}
    stays = {name for name in names if is_near(name, name)}
    found = next((pairing for pairing in _pairings(names, pairs, stays) if pairing), [])
    return tuple(pair for pair in found if not pair[0].startswith("omega_"))


def _pairings(
    left: Sequence[str], pairs: Mapping[str, Sequence[str]], stays: set[str]
) -> Iterator[list[tuple[str, str]]]:
    """Ways to pair names up, in which those that stay need no other."""
    if not left:
        yield []
        return
    first, rest = left[0], list(left[1:])
    if first in stays:
        yield from _pairings(rest, pairs, stays)
    for other in pairs[first]:
        if other in rest:
            for more in _pairings([name for name in rest if name != other], pairs, stays):
                yield [(first, other), *more]


def _place(x: float) -> float:
    """On a line on which positive numbers are logarithms."""
    return log(x) if x > 0 else x
