"""Random numbers of each problem's own, which do not depend on the problems beside it."""

from __future__ import annotations

import zlib
from collections.abc import Hashable

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from tsode.numerics.counted_normals import counted_normals

__all__ = ["Streams", "key_of"]


def key_of(label: Hashable) -> int:
    """Key for the random numbers of a series, by its label, so that they do not depend on who is asked beside it."""
    return zlib.crc32(repr(label).encode())


LEAP = 6364136223846793005  # odd: keys of neighbours are far apart


class Streams:
    """Normals and uniforms in an endless row for each problem, by a seed and the problem's key.

    Parameters
    ----------
    seed : int
    keys : Tensor[g], int64
        Problems of one key and seed get the same numbers.
    """

    def __init__(self, seed: int, keys: Tensor) -> None:
        self.seed, self.keys = seed, keys
        self._mixed = (keys + 1) * LEAP + seed  # integers of torch wrap around
        self._n_drawn = 0

    def select(self, problems: Tensor) -> Streams:
        """The streams of some problems, from their beginning."""
        return Streams(self.seed, self.keys[problems])

    def branch(self, name: str) -> Streams:
        """Streams for one purpose, from their beginning: other purposes do not move them."""
        return Streams((self.seed * 31 + zlib.crc32(name.encode())) % 2**62, self.keys)

    def generator(self) -> torch.Generator:
        """A generator that all problems share."""
        return torch.Generator().manual_seed(self.seed)

    def normal(self, *shape: int) -> Tensor:
        """Standard normals: (g *shape)."""
        n = int(torch.Size(shape).numel())
        counter = self._n_drawn + torch.arange(n, dtype=torch.long)
        self._n_drawn += n
        return counted_normals(self._mixed[:, None], counter[None]).reshape(-1, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in (0, 1): (g *shape)."""
        return torch.special.ndtr(self.normal(*shape)).clamp(1e-16, 1.0 - 1e-16)

    def even(self, n: int, n_axes: int) -> Tensor:
        """Uniform points that fill the cube evenly: (g n n_axes), Sobol's with a random shift (Owen 2013, ch. 17).

        Each is uniform by itself, and averages over them err less than over independent ones.
        """
        points = SobolEngine(n_axes).draw(n, dtype=torch.float64)
        return ((points + self.uniform(1, n_axes)) % 1.0).clamp(1e-12, 1.0 - 1e-12)
