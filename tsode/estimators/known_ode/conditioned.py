"""Draws of a posterior for histories that it was not inferred from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode.errors import SolverError, TsodeWarning
from tsode.estimators.known_ode.histories import History
from tsode.estimators.known_ode.own_given_shared import OwnGivenShared
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.parameters import ParameterSpace
from tsode.inference.pareto import smooth_weights
from tsode.inference.settings import Settings
from tsode.inference.streams import key_of

__all__ = ["Ask", "Conditioning", "settings_for"]

N_SHARED = 64  # draws of shared parameters for which own ones are inferred anew
SMALL = Settings(
    n_prior=32, n_starts=2, n_importance=64, n_rounds=3, n_laws=3, n_chains=1, n_draws=16, enough=8.0, max_k=1.0
)  # of each of these small problems
MAX_K = 0.7


def settings_for(n_draws: int, segments: int | str | None = None) -> Settings:
    """Settings of an inference that so many draws are wanted of: fewer are the first of more."""
    plain = Settings()
    n_rounds = -(-max(n_draws, plain.n_draws) // plain.n_chains)
    return replace(plain, n_draws=n_rounds * plain.n_chains, segments=segments)


@dataclass(frozen=True, eq=False)
class Ask:
    """A history, and which of its rows the posterior knows already.

    Parameters
    ----------
    history : History
    known : array[m], bool
        Rows that fit has seen.
    """

    history: History
    known: np.ndarray

    @property
    def is_new(self) -> bool:
        """Whether it holds anything that fit has not seen."""
        return not bool(self.known.all())


@dataclass(frozen=True, eq=False)
class Conditioning:
    """How draws for other histories are found.

    Parameters
    ----------
    density_of : callable
        The density of some histories, each a problem of its own.
    density_with : callable
        The density of what fit has seen and of a history beside it, where nothing is a series' own.
    space : ParameterSpace
        Of one series by itself.
    shared : Tensor[k q]
        Draws of the coordinates that all series share, ``q`` may be 0.
    inference : str
    seed : int
    n_draws : int
    max_seconds : float or None
    segments : int, "auto" or None
    """

    density_of: Callable[[Sequence[History]], KnownDensity]
    density_with: Callable[[Ask], KnownDensity]
    space: ParameterSpace
    shared: Tensor
    inference: str
    seed: int
    n_draws: int
    max_seconds: float | None = None
    segments: int | str | None = None

    def draws(self, asks: Sequence[Ask]) -> Tensor:
        """Draws (n k p) for each of these histories."""
        has_own = bool(self.space.own)
        if not self.shared.shape[1]:
            return self._anew([ask.history for ask in asks])
        if has_own:
            return self._own_anew(asks)
        return torch.stack([self._reweighted(ask) if ask.is_new else self._all() for ask in asks])

    def _all(self) -> Tensor:
        return self.shared[: self.n_draws]

    def _anew(self, series: Sequence[History]) -> Tensor:
        """Nothing is shared: a posterior of each series' own."""
        settings = settings_for(self.n_draws, self.segments)
        density = self.density_of(series)
        found = infer(
            density, self.inference, self.seed, settings, [key_of(one.key) for one in series], self.max_seconds
        )
        for one, texts, draws in zip(series, found.problems, found.draws):
            if not bool(draws.isfinite().all()):
                raise SolverError(f"Series {one.key!r} has no posterior: {'; '.join(texts)}.")
            if texts:
                warnings.warn(f"The posterior of series {one.key!r}: {'; '.join(texts)}.", TsodeWarning, stacklevel=2)
        return found.draws.transpose(1, 2).flatten(1, 2)[:, : self.n_draws]

    def _own_anew(self, asks: Sequence[Ask]) -> Tensor:
        """Draws of what is shared stay; what is a series' own is inferred for each of them."""
        some = _spread_out(self.shared, N_SHARED)
        own, evidence = self._inferred([ask.history for ask in asks], some)
        with_new = [row for row, ask in enumerate(asks) if ask.is_new]
        log_weights = torch.zeros_like(evidence)
        if with_new:
            # what fit has seen of the series is in the draws already
            log_weights[with_new] = evidence[with_new]
            seen = [row for row in with_new if asks[row].known.any()]
            if seen:
                before = [asks[row] for row in seen]
                gain = log_weights[seen] - self._inferred([_rows(ask) for ask in before], some)[1]
                log_weights[seen] = gain.where(gain.isfinite(), -torch.inf)
        weights, k = smooth_weights(log_weights)
        draws = []
        for row, ask in enumerate(asks):
            if row in with_new:
                self._tell(ask.history.key, float(k[row]), weights[row])
                share = weights[row].exp()
            else:
                share = torch.full((len(some),), 1.0 / len(some), dtype=torch.float64)
            generator = torch.Generator().manual_seed((self.seed + key_of(ask.history.key)) % 2**63)
            chosen = _systematic(share, self.n_draws, generator)
            within = torch.randint(own.shape[2], (self.n_draws,), generator=generator)
            draws.append(own[row, chosen, within])
        return torch.stack(draws)

    def _inferred(self, series: Sequence[History], shared: Tensor) -> tuple[Tensor, Tensor]:
        """Draws (n k m p) of all coordinates, and log evidences (n k)."""
        n, k = len(series), len(shared)
        density = OwnGivenShared(self.density_of(series), shared.expand(n, -1, -1))
        keys = [(key_of(one.key) + i) % 2**31 for one in series for i in range(k)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TsodeWarning)
            found = infer(density, "importance", self.seed, SMALL, keys)
        own = found.draws.flatten(1, 2)
        is_lost = ~own.isfinite().flatten(1).all(dim=1).reshape(n, k)
        for one, lost in zip(series, is_lost):
            if bool(lost.all()):
                raise SolverError(
                    f"Series {one.key!r} has no posterior: with no draw of what is shared do its own parameters have a "
                    "finite density."
                )
        for one, k_of in zip(series, found.pareto_k.reshape(n, k)):
            if float(k_of.nanmedian()) > MAX_K:
                warnings.warn(
                    f"What series {one.key!r} has of its own was not inferred well from these rows (median Pareto k "
                    f"{float(k_of.nanmedian()):.2f}): fit with them, by update(..., refit=True).",
                    TsodeWarning,
                    stacklevel=2,
                )
        points = density.points(own.nan_to_num()).reshape(n, k, own.shape[1], -1)
        evidence = found.log_evidence.reshape(n, k).where(~is_lost, -torch.inf)
        order = is_lost.long().argsort(dim=1, stable=True)  # one without an answer gives way to the first with one
        points = points.where(~is_lost[..., None, None], points[torch.arange(n), order[:, 0]][:, None])
        return points, evidence.where(evidence.isfinite(), -torch.inf)

    def _reweighted(self, ask: Ask) -> Tensor:
        """Nothing is a series' own: draws by how probable they make what fit has not seen.

        Where few of them do, parameters are inferred anew from this and what fit has seen.
        """
        density = self.density_of([ask.history])
        with torch.no_grad():
            score = density.log_prob(self.shared[None])[0] - self.space.log_prior(self.shared[None])[0]
            if ask.known.any():
                before = self.density_of([_rows(ask)])
                score = score - before.log_prob(self.shared[None])[0] + self.space.log_prior(self.shared[None])[0]
        score = score.where(score.isfinite(), -torch.inf)
        if not bool(score.isfinite().any()):
            return self._with_fit(ask)
        weights, k = smooth_weights(score[None])
        if float(k[0]) > MAX_K:
            return self._with_fit(ask)
        generator = torch.Generator().manual_seed((self.seed + key_of(ask.history.key)) % 2**63)
        return self.shared[_systematic(weights[0].exp(), self.n_draws, generator)]

    def _with_fit(self, ask: Ask) -> Tensor:
        """Draws from what fit has seen and this history."""
        key = ask.history.key
        density, settings = self.density_with(ask), settings_for(self.n_draws)
        found = infer(density, self.inference, self.seed, settings, [key_of(key)], self.max_seconds)
        draws = found.draws[0].transpose(0, 1).flatten(0, 1)[: self.n_draws]
        if not bool(draws.isfinite().all()):
            raise SolverError(f"What was seen of series {key!r} and in fit has no posterior: {found.problems[0][0]}.")
        if found.problems[0]:
            warnings.warn(
                f"The posterior with what was seen of series {key!r}: {'; '.join(found.problems[0])}.",
                TsodeWarning,
                stacklevel=2,
            )
        return draws

    def _tell(self, key: Hashable, k: float, log_weights: Tensor) -> None:
        if k > MAX_K:
            n = float(1.0 / log_weights.exp().square().sum())
            warnings.warn(
                f"Series {key!r} has rows that the posterior did not expect (Pareto k {k:.2f}; {n:.0f} effective draws "
                f"of {len(log_weights)} of the shared parameters): add them by update(..., refit=True).",
                TsodeWarning,
                stacklevel=2,
            )


def _rows(ask: Ask) -> History:
    return ask.history.rows(ask.known)


def _spread_out(draws: Tensor, n: int) -> Tensor:
    """So many draws (n q) of many, evenly along their widest direction: averages over them err less."""
    if len(draws) <= n:
        return draws
    apart = draws - draws.mean(dim=0)
    widest = torch.linalg.svd(apart, full_matrices=False)[2][0]
    order = (apart @ widest).argsort(stable=True)
    return draws[order[((torch.arange(n) + 0.5) * len(draws) / n).long()]]


def _systematic(share: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Places of `n` draws by these shares, in random order."""
    total = share.cumsum(dim=0)
    ticks = (torch.arange(n) + torch.rand((), generator=generator, dtype=torch.float64)) / n * total[-1]
    chosen = torch.searchsorted(total, ticks).clamp(max=len(share) - 1)
    return chosen[torch.randperm(n, generator=generator)]
