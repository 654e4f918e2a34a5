"""Space of the parameters of many structures side by side, each of which knows some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsode.inference.parameters import ParameterSpace
from tsode.inference.priors import Prior
from tsode.inference.streams import key_of

__all__ = ["StructuresSpace"]


@dataclass(frozen=True, eq=False)
class StructuresSpace(ParameterSpace):
    """Coordinates of problems that differ in which parameters are known; each has equally many coordinates.

    Parameters
    ----------
    priors : dict of str to Prior
        Of all parameters that any of the problems does not know.
    fixed : dict of str to Tensor[g 1 s] or Tensor[g 1 1]
        Of all parameters that any of the problems knows.
    place : dict of str to Tensor[g], int64
        Of each prior, the first coordinate in each problem; -1: the problem knows it.
    """

    place: dict[str, Tensor]

    @classmethod
    def of(cls, spaces: Sequence[ParameterSpace]) -> StructuresSpace:
        """Spaces with equally many coordinates, problems and series, one after the other."""
        first = spaces[0]
        g = first.n_problems
        priors = {name: prior for space in spaces for name, prior in space.priors.items()}
        place, fixed = {}, {}
        for name in sorted(priors):
            starts = [next((start for n, _, start, _ in space._blocks() if n == name), -1) for space in spaces]
            place[name] = torch.tensor(starts).repeat_interleave(g)
        for name in {name for space in spaces for name in space.fixed}:
            parts = [space.fixed.get(name, torch.zeros(1, 1, 1, dtype=torch.float64)) for space in spaces]
            width = max(part.shape[2] for part in parts)
            fixed[name] = torch.cat([part.expand(g, 1, width) for part in parts])
        own = frozenset().union(*(space.own for space in spaces))
        names = tuple(f"coordinate {k}" for k in range(len(first.names)))
        sorted_priors = {name: priors[name] for name in sorted(priors)}
        return cls(sorted_priors, fixed, own, g * len(spaces), first.n_series, names, place)

    def select(self, problems: Tensor) -> StructuresSpace:
        fixed = {name: value[problems] for name, value in self.fixed.items()}
        place = {name: start[problems] for name, start in self.place.items()}
        return replace(self, fixed=fixed, place=place, n_problems=len(problems))

    def _parts(self, u: Tensor) -> Iterator[tuple[str, Prior, Tensor, Tensor | None]]:
        for name, prior in self.priors.items():
            is_free = (self.place[name] >= 0)[:, None, None]
            yield name, prior, torch.where(is_free, u.gather(2, self._where(name, u.shape[1])), 0.0), is_free

    def _where(self, name: str, n: int) -> Tensor:
        """Coordinates (g n w) of a parameter; those of another where the problem knows it."""
        width = self.n_series if name in self.own else 1
        at = self.place[name].clamp(min=0)[:, None] + torch.arange(width)
        return at.clamp(max=len(self.names) - 1)[:, None].expand(-1, n, -1)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws of the coordinates, (g n p), of each parameter the same in all problems that do not know it."""
        u = torch.zeros(self.n_problems, n, len(self.names), dtype=torch.float64)
        seed = int(torch.randint(2**62, (), generator=generator))
        for name, prior in self.priors.items():
            width = self.n_series if name in self.own else 1
            own = torch.Generator().manual_seed((seed + key_of(name)) % 2**63)
            draws = prior.unconstrain(prior.sample((n, width), own))
            free = (self.place[name] >= 0).nonzero().squeeze(1)
            where = self._where(name, n)[free]
            u[free] = u[free].scatter(2, where, draws.expand(len(free), -1, -1))
        return u
