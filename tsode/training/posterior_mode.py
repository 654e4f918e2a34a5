"""Mode of the posterior of a linear model's parameters, by quasi-Newton steps on ever more of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tsode.core.batch import IrregularBatch
from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.errors import SolverError
from tsode.models.linear.rate_classes import RateClasses
from tsode.training.series_pieces import pieces_of

__all__ = ["PosteriorMode", "Searched"]

FIRST_EVENTS, GROWTH, MOST_EVENTS = 1000, 4, 16_000
"""Events that the first search is on, by how much each further one has more, and at most."""
ENOUGH = 8_000  # events, from which on no series is looked at a second time: rates differ between series
MUCH_MORE = 2  # times the events of a search that there are in all; otherwise it is on all of them
NARROW, ASIDE = 0.92, 0.4  # spread and mean of classes (see `RateClasses.lie`) that may not lie where series are
MOST_LAID = 3  # times that they are laid anew
FEW_STEPS = 15  # of the first search, after which it is asked whether to go on
MOST_STEPS = 100  # of a search
N_RECENT, WORTH = (
    5,
    1.0,
)  # a search ends where so many steps together gain less than so many nats: the posterior is wider
MOST_AWAY = 2  # steps that leave out a fold: from the mode of all it is not far
GRAIN = 256.0  # gaps of a search are within one part in so many: few are distinct, and each costs a matrix exponential
WORST = 1e10  # loss where it is not finite: line searches step back


class Searched(NamedTuple):
    """What a search has come to: its steps, the values it is on, and the negative log posterior of each, in nats."""

    n_steps: int
    n_values: int
    loss: float


@dataclass(frozen=True)
class _Search:
    """Where a search stands: parameters in units of their priors, and the inverse of the curvature there."""

    point: np.ndarray
    inverse: np.ndarray
    n_events: int


class PosteriorMode:
    """Fit of a `RateClasses` to whole series under its prior (`RateClasses.prior`).

    BFGS (Nocedal & Wright 2006, algorithm 6.1) on the log posterior, with the curvature that was found carried from a
    small part of the series to ever larger ones, so that most steps are cheap.

    Parameters
    ----------
    model : RateClasses
        As it was built: its parameters are the middle of their prior.
    series : sequence of Series
    n_events : int
        Most events of a piece; longer series are cut.
    folds : array[len(series)] of int or None
        Of each series, for `without`.
    generator : torch.Generator
        Draws which series come first.
    n_rows : int
        Pieces at once.
    """

    def __init__(
        self,
        model: RateClasses,
        series: Sequence[Series],
        n_events: int,
        generator: torch.Generator,
        folds: np.ndarray | None = None,
        n_rows: int = ROWS_AT_ONCE,
    ) -> None:
        self.model, self._n_rows = model, n_rows
        self._parameters = list(model.parameters())
        self._middle = parameters_to_vector(self._parameters).detach().clone()
        self._spread = torch.cat([sd.flatten() for sd in model.prior()])
        order = torch.randperm(len(series), generator=generator).tolist()
        self._pieces, self._folds = _in_turns({k: pieces_of(series[k], n_events) for k in order}), folds
        self._sizes = np.cumsum([len(piece.times) for _, piece in self._pieces])
        self._search = _Search(np.zeros(len(self._middle)), np.eye(len(self._middle)), 0)

    def stages(self) -> Iterator[Searched]:
        """Search on ever more of the data; tells of each search, and of the first early as well.

        Whoever iterates may stop: the model holds the best parameters so far.

        Raises
        ------
        SolverError
            If the likelihood is not finite from the start.
        """
        if not len(self._sizes):
            return
        wanted, ends = FIRST_EVENTS, []
        while MUCH_MORE * wanted < self._sizes[-1]:
            ends.append(int(np.searchsorted(self._sizes, wanted, side="left")) + 1)
            wanted *= GROWTH
        for place, end in enumerate([*ends, len(self._sizes)]):
            pieces = [piece for _, piece in self._pieces[:end]]
            if place == 0:
                yield self._run(pieces, FEW_STEPS)
            searched = self._run(pieces, MOST_STEPS)
            yield self._laid_anew(pieces, searched) if place == 0 else searched

    def _laid_anew(self, pieces: Sequence[Series], searched: Searched) -> Searched:
        """Search again from classes laid where series have been found, for as long as that is likelier.

        Classes are further apart than what tells two rates apart. Where they have been laid too far to one side, those
        there lose their weight, and to move all by the width of one is to cross a valley.
        """
        for _ in range(MOST_LAID):
            mean, spread = self.model.lie()
            if bool((spread > NARROW).all()) and bool((mean.abs() < ASIDE).all()):
                break
            before = self._search
            self.model.lay_anew()
            moved = parameters_to_vector(self._parameters).detach() - self._middle
            self._search = replace(before, point=(moved / self._spread).numpy())
            again = None
            try:
                again = self._run(pieces, MOST_STEPS)
            finally:  # after Ctrl-C too the better one stays
                if again is None or not again.loss < searched.loss:
                    self._search = before
                    self.restore()
            if self._search is before:
                break
            searched = again._replace(n_steps=searched.n_steps + again.n_steps)
        return searched

    def without(self, fold: int) -> None:
        """Move the model to the mode of all series but those of a fold, from that of all; `restore` takes it back."""
        assert self._folds is not None
        kept = [piece for k, piece in self._pieces if self._folds[k] != fold]
        search = self._search
        self._run(kept, MOST_AWAY)
        self._search = search

    def restore(self) -> None:
        """Move the model to the mode of all series."""
        self._place(self._search.point)

    def draws(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws (n d) of the posterior by Laplace's approximation, less its mode, with the curvature of the search."""
        inverse = torch.from_numpy(0.5 * (self._search.inverse + self._search.inverse.T))
        value, basis = torch.linalg.eigh(inverse)
        normal = torch.randn(n, len(value), generator=generator, dtype=value.dtype)
        return self._spread * ((normal * value.clamp(min=0.0).sqrt()) @ basis.mT)

    def _place(self, point: np.ndarray) -> None:
        vector_to_parameters(self._middle + self._spread * torch.from_numpy(point.copy()), self._parameters)

    def _run(self, pieces: Sequence[Series], n_steps: int) -> Searched:
        """Search on some pieces from where the last search ended; Ctrl-C leaves the best so far in the model."""
        loss = self._loss(pieces)
        n_events = sum(len(piece.times) for piece in pieces)
        inverse = self._search.inverse * (max(self._search.n_events, 1) / n_events if self._search.n_events else 1.0)
        values: list[float] = []
        best = self._search.point

        def keep(intermediate_result: OptimizeResult) -> None:
            nonlocal best
            best = intermediate_result.x.copy()
            values.append(float(intermediate_result.fun))
            if len(values) > N_RECENT and values[-N_RECENT - 1] - values[-1] < WORTH:
                raise StopIteration

        options = {"maxiter": n_steps, "gtol": 0.0, "hess_inv0": 0.5 * (inverse + inverse.T)}
        try:
            with np.errstate(all="ignore"):  # what is not finite is not taken
                found = minimize(loss, self._search.point, jac=True, method="BFGS", callback=keep, options=options)
        finally:
            self._place(best)
        if not values and not found.fun < WORST:
            raise SolverError(
                "The likelihood of the series is not finite where the search starts: their values or gaps are of too "
                "different sizes. Scale them, or leave out the gaps."
            )
        self._search = _Search(best, found.hess_inv if np.isfinite(found.hess_inv).all() else inverse, n_events)
        n_values = sum(int(np.isfinite(piece.values).sum()) for piece in pieces)
        return Searched(len(values), n_values, float(found.fun) / max(n_values, 1))

    def _loss(self, pieces: Sequence[Series]) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Negative log posterior, less a constant, and its slope in units of the prior."""
        like, batches = self._parameters[0], []
        ordered = sorted(pieces, key=lambda piece: len(piece.times))  # so that little is padded
        for k in range(0, len(ordered), self._n_rows):
            batches.append(collate(ordered[k : k + self._n_rows], like.dtype).to(like.device))

        def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
            self._place(point)
            total = 0.5 * float(point @ point)
            slope = point.copy()
            for batch in batches:
                value, of_batch = self._score(batch)
                total += value
                slope += (self._spread * of_batch).numpy()
            if not (np.isfinite(total) and np.isfinite(slope).all()):
                return WORST, np.zeros_like(slope)
            return total, slope

        return loss

    def _score(self, batch: IrregularBatch) -> tuple[float, Tensor]:
        """Negative log-likelihood of a batch and its slope."""
        value = -self.model.scored(batch)[0].sum()
        slopes = torch.autograd.grad(value, self._parameters, allow_unused=True)
        pairs = zip(self._parameters, slopes)
        return value.item(), torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def _in_turns(pieces: Mapping[int, Sequence[Series]]) -> list[tuple[int, Series]]:
    """A piece of each series, then another of each, so that any number of them is of as many series as can be.

    They end with `MOST_EVENTS`, or where series would come again after `ENOUGH`. Each series begins with another place
    of its own, lest all are early.
    """
    taken: list[tuple[int, Series]] = []
    n_events = 0
    for turn in range(max(map(len, pieces.values()), default=0)):
        for place, (k, own) in enumerate(pieces.items()):
            if turn >= len(own):
                continue
            piece = own[(turn + place) % len(own)]
            n_events += len(piece.times)
            if n_events > (ENOUGH if turn else MOST_EVENTS):
                return taken
            taken.append((k, _coarse(piece)))
    return taken


def _coarse(series: Series) -> Series:
    """The series with gaps of eight binary digits, so that equal ones are equal to the bit in sums and differences."""
    exact = np.union1d(series.times, series.input_times)
    digits, power = np.frexp(np.diff(exact))
    gaps = np.ldexp(np.round(digits * GRAIN) / GRAIN, power)
    start = np.round(exact[:1] * 2.0**20) / 2.0**20
    times = np.cumsum(np.concatenate([start, gaps]))
    seen, moved = (times[exact.searchsorted(at)] for at in (series.times, series.input_times))
    return replace(series, times=seen, input_times=moved)
