"""Cells whose errors are correlated: which they are, their laws given each other, and what frees them of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.errors import DataError, ParameterError
from tsode.inference.correlated_errors import CorrelatedErrors, correlated, name_of
from tsode.inference.noise.base import Noise
from tsode.inference.observations import Cells
from tsode.likelihoods.log_normal import LogNormal

__all__ = ["Links", "PairedCells", "at_cells", "both_ways", "given_partners", "links_of", "paired_cells"]


class PairedCells(NamedTuple):
    """Cells of one channel, ``j`` of them, each judged given the cell of another one at the same time.

    Parameters
    ----------
    parameter : str
        Their correlation.
    of, given : str
        Channels.
    at_of, at_given : Tensor[j], int64
        Places among the cells of each.
    series : Tensor[j], int64
    """

    parameter: str
    of: str
    given: str
    at_of: Tensor
    at_given: Tensor
    series: Tensor


class Links(NamedTuple):
    """Pairs of cells, ``j`` of them, among the cells of all channels side by side.

    Parameters
    ----------
    of, given : Tensor[j], int64
        Places; a cell is in one pair at most.
    rho : Tensor[b j]
        Correlation of their errors.
    """

    of: Tensor
    given: Tensor
    rho: Tensor

    def freed(self, x: Tensor) -> Tensor:
        """What cells have in units of their standard deviations, (b k ...), decorrelated: by a root of the inverse."""
        if not len(self.of):
            return x
        rho = self.rho.reshape(*self.rho.shape, *[1] * (x.dim() - 2))
        own = (x[:, self.of] - rho * x[:, self.given]) / (1.0 - rho.square()).sqrt()
        return x.index_copy(1, self.of, own)

    def log_root(self, like: Tensor) -> Tensor:
        """Logarithms (b k) by which the standard deviation of each cell given its partner differs from its own."""
        return torch.zeros_like(like).index_add(1, self.of, 0.5 * (-self.rho.square()).log1p())

    def of_widths(self, by_log_sd: Tensor) -> Tensor:
        """What pairs add to the information (b k q q) of widths, by their derivatives (b k q).

        Of ``V = D R D`` half the trace of ``(V^-1 dV)^2`` is twice the squares of the changes of ``log D``, and for
        each pair ``rho^2 / (1 - rho^2)`` times the square of their difference.
        """
        apart = by_log_sd[:, self.of] - by_log_sd[:, self.given]
        weight = (self.rho.square() / (1.0 - self.rho.square()))[..., None, None]
        none = by_log_sd.new_zeros(*by_log_sd.shape, by_log_sd.shape[-1])
        return none.index_add(1, self.of, weight * apart[..., :, None] * apart[..., None, :])

    def correlated(self, levels: Tensor) -> Tensor:
        """Independent uniform levels (b k), correlated."""
        return levels.index_copy(1, self.of, correlated(levels[:, self.of], levels[:, self.given], self.rho))


def paired_cells(errors: CorrelatedErrors, cells: Mapping[str, Cells], ids: Sequence[object]) -> list[PairedCells]:
    """Which cells have a partner: those of the two channels of a pair in one row of one series.

    The second channel is judged given the first, but a censored value given its partner, whichever it is.

    Raises
    ------
    DataError
        If both values of a pair are censored; it names the channels and the series.
    """
    found = []
    for pair in errors.correlation:
        first, second = (cells[channel] for channel in pair)
        width = 1 + max((int(one.column.max()) for one in (first, second) if len(one.column)), default=0)
        # cells stand in the order of series and column
        keys, others = (one.series * width + one.column for one in (first, second))
        at_second = torch.isin(others, keys).nonzero()[:, 0]
        at_first = torch.searchsorted(keys, others[at_second])
        series = second.series[at_second]
        is_turned = (first.is_below | first.is_above)[at_first]
        is_lost = is_turned & (second.is_below | second.is_above)[at_second]
        if bool(is_lost.any()):
            raise DataError(
                f"correlated_errors= has {pair!r}, and series {ids[int(series[is_lost][0])]!r} has a time when the "
                f"values of both are beyond a limit of quantification ({int(is_lost.sum())} such times): leave one of "
                "the two cells empty, or the pair out."
            )
        way = name_of(pair), pair[1], pair[0], at_second, at_first, series
        back = name_of(pair), pair[0], pair[1], at_first, at_second, series
        for (name, of, given, at_of, at_given, own), which in ((way, ~is_turned), (back, is_turned)):
            found.append(PairedCells(name, of, given, at_of[which], at_given[which], own[which]))
    return [one for one in found if len(one.series)]


def both_ways(pairs: Sequence[PairedCells], cells: Mapping[str, Cells]) -> list[PairedCells]:
    """The pairs, and as many in which the other cell is the one that is judged: each value given all others.

    Raises
    ------
    ParameterError
        If one of them is censored: then the law of the other is none of its family.
    """
    for pair in pairs:
        own = cells[pair.of]
        if bool((own.is_below | own.is_above)[pair.at_of].any()):
            raise ParameterError(
                f"Channel {pair.of!r} has values beyond a limit of quantification whose errors are correlated with "
                f"those of {pair.given!r}: a value of that cannot be left out alone. Leave out series (by='series')."
            )
    turned = [PairedCells(x.parameter, x.given, x.of, x.at_given, x.at_of, x.series) for x in pairs]
    return [*pairs, *turned]


def at_cells(value: Tensor, series: Tensor) -> Tensor:
    """A parameter (g b s) at cells of these `series` (k,) of all, (b k)."""
    return value.transpose(0, 1).flatten(1)[:, series]


def given_partners(
    pairs: Sequence[PairedCells], cells: Mapping[str, Cells], observed: Mapping[str, Noise],
    laws: Mapping[str, Tensor], values: Mapping[str, Tensor],
) -> dict[str, Tensor]:  # fmt: skip
    """Parameters (b k q) of the laws by which cells are judged: given the values of partners, where there are any.

    Parameters
    ----------
    pairs : sequence of PairedCells
    cells : mapping of str to Cells
    observed : mapping of str to Noise
    laws : mapping of str to Tensor[b k q]
        Of each cell by itself.
    values : mapping of str to Tensor[g b s]
    """
    found = dict(laws)
    for pair in pairs:
        rho = at_cells(values[pair.parameter], pair.series)
        value = cells[pair.given].values[pair.at_given]
        if isinstance(observed[pair.given].family, LogNormal):
            value = value.log()
        other, own = laws[pair.given][:, pair.at_given], laws[pair.of][:, pair.at_of]
        error = (value - other[..., 0]) * (-other[..., 1]).exp()
        mean = own[..., 0] + rho * own[..., 1].exp() * error
        log_sd = own[..., 1] + 0.5 * (-rho.square()).log1p()
        found[pair.of] = found[pair.of].index_copy(1, pair.at_of, torch.stack([mean, log_sd], dim=-1))
    return found


def links_of(
    pairs: Sequence[PairedCells], cells: Mapping[str, Cells], n_points: int, rho: Callable[[PairedCells], Tensor]
) -> Links:
    """The pairs among the cells of all channels side by side, whose correlations are (b j) for so many points."""
    widths = torch.tensor([len(of.series) for of in cells.values()])
    first = dict(zip(cells, (widths.cumsum(dim=0) - widths).tolist()))
    none, empty = torch.zeros(0, dtype=torch.int64), torch.zeros(n_points, 0, dtype=torch.float64)
    return Links(
        torch.cat([none, *(pair.at_of + first[pair.of] for pair in pairs)]),
        torch.cat([none, *(pair.at_given + first[pair.given] for pair in pairs)]),
        torch.cat([empty, *(rho(pair) for pair in pairs)], dim=1),
    )
