"""Brownian motion that can be evaluated at any time, in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsode.numerics.counted_normals import counted_normals

__all__ = ["Brownian", "BrownianPath"]

# Halvings of a cell; and how near to a stored value a time counts as being there, in units of their distance.
_DEPTH, _ROUNDING = 20, 1e-6

Brownian = Callable[[Tensor], Tensor]
"""Value of each row's path at its own times: ``t`` (b,) or (b m), float64 -> (b k) or (b m k)."""


@dataclass(frozen=True)
class BrownianPath:
    """Paths of Brownian motion as a function of fixed normals and of the time since a row's origin.

    Time is cut into cells with independent increments. Inside a cell stands Levy's construction: a bridge of hat
    functions, halved again and again, of which one a level is not zero at any time. The normals of the first `depth`
    halvings are stored, those of the finer ones follow from them by a rule (`counted_normals`). The values at multiples
    of ``cell / 2**20`` have exactly the law of Brownian motion; between two of these the path is straight, so that it
    can be evaluated at rounded times. Because the value at a time depends on that time alone, any two solvers, and a
    solver with any two steps, see the same path, whatever its steps are.

    Parameters
    ----------
    knots : Tensor[p j+1 k]
        Values of `p` paths at the ends of the cells.
    bridges : Tensor[p j q k]
        The cells' normals, ``q = 2**depth``; the first of each is that of its whole, and the key of the finer ones.
    cell : float
        Length of a cell. A power of two keeps the ends of cells exact.
    origin : Tensor[b] or None, float64
        When each row's path starts, at zero.
    rows : Tensor[b] or None, int64
        Which of the paths each row follows. None: row ``i`` follows path ``i``, or all follow the only one.

    References
    ----------
    Karatzas and Shreve, *Brownian Motion and Stochastic Calculus*, section 2.3.
    """

    knots: Tensor
    bridges: Tensor
    cell: float
    origin: Tensor | None = None
    rows: Tensor | None = None

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        n_paths: int,
        n_noise: int,
        reach: float,
        cell: float = 0.25,
        depth: int = 4,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> BrownianPath:
        """Draw paths that reach at least from 0 to `reach`.

        A longer reach goes on with the same paths: from a generator in the same state, the first cells are the same.
        """
        n_cells = max(1, -int(-reach // cell))
        # One draw a cell: the numbers of a larger draw would not begin with those of a smaller one.
        normals = torch.stack(
            [torch.randn(n_paths, 2**depth, n_noise, generator=generator, dtype=dtype) for _ in range(n_cells)], dim=1
        ).to(device)
        normals = normals * cell**0.5
        knots = torch.nn.functional.pad(normals[:, :, 0].cumsum(dim=1), (0, 0, 1, 0))
        return cls(knots, normals, cell)

    @property
    def n_noise(self) -> int:
        return self.knots.shape[2]

    def starting_at(self, origin: Tensor, rows: Tensor | None = None) -> BrownianPath:
        """The same paths, started at ``origin`` (b,) and followed by these rows."""
        return replace(self, origin=origin, rows=rows)

    def antithetic(self) -> BrownianPath:
        """These paths and, after them, their reflections."""
        both = [torch.cat([x, -x]) for x in (self.knots, self.bridges)]
        return replace(self, knots=both[0], bridges=both[1])

    def __call__(self, times: Tensor) -> Tensor:
        """Values at ``times`` (b,) or (b m): Tensor[b k] or Tensor[b m k]; NaN past the reach."""
        if times.dim() == 1:
            return self(times[:, None])[:, 0]
        assert self.origin is not None, "a path needs an origin before it can be evaluated: use starting_at."
        p, n_cells, q, k = self.bridges.shape
        share = (times - self.origin[:, None]) / self.cell
        # The last knot belongs to the last cell.
        index = share.floor().clamp(min=0, max=n_cells - 1)
        inside = torch.where((share >= 0) & (share <= n_cells), share - index, torch.nan)
        rows = self.rows
        if rows is None:
            rows = torch.arange(len(times), device=times.device) if p > 1 else torch.zeros_like(times[:, 0]).long()
        cells = rows[:, None] * n_cells + index.nan_to_num().long()

        knots = self.knots.reshape(-1, k)
        left = cells + rows[:, None]  # a path has one knot more than cells
        start, end = (knots.index_select(0, at.reshape(-1)).reshape(*times.shape, k) for at in (left, left + 1))
        value = torch.lerp(start, end, inside[..., None].to(start.dtype))
        bridges = self.bridges.reshape(-1, k)
        for level in range(q.bit_length() - 1):
            scaled = inside * 2**level
            node = scaled.floor().nan_to_num().clamp(max=2**level - 1)
            # A hat of height 1/2 at the middle of the node's interval, scaled by the root of its length.
            hat = (0.5 - (scaled - node - 0.5).abs()) * 2.0 ** (-0.5 * level)
            which = cells * q + 2**level + node.long()
            bridge = bridges.index_select(0, which.reshape(-1)).reshape(*times.shape, k)
            value = torch.addcmul(value, hat[..., None].to(bridge.dtype), bridge)
        return self._refined(value, inside, bridges, cells)

    def _refined(self, value: Tensor, inside: Tensor, bridges: Tensor, cells: Tensor) -> Tensor:
        """Values (b m k) with the halvings that are not stored, at times that lie between the stored ones."""
        q = self.bridges.shape[2]
        scaled = inside * q
        is_between = ((scaled - scaled.round()).abs() >= _ROUNDING) & scaled.isfinite()
        if not is_between.any():
            return value
        # at the others all finer hats are zero
        refined, inside, cells = value[is_between], inside[is_between][:, None], cells[is_between]
        first = bridges.index_select(0, cells * q).double()
        keys, sign = first.abs().view(torch.int64), first.sign()  # a path that is reflected, is so in its finer parts
        for level in range(q.bit_length() - 1, _DEPTH):
            scaled = inside * 2**level
            node = scaled.floor()
            hat = (0.5 - (scaled - node - 0.5).abs()) * 2.0 ** (-0.5 * level) * self.cell**0.5
            normals = sign * counted_normals(keys, 2**level + node.long())
            refined = torch.addcmul(refined, hat.to(value), normals.to(value))
        value[is_between] = refined
        return value
