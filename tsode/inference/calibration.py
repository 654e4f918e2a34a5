"""Calibration by simulation: true parameters must rank anywhere among the draws of their posterior."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode._random import RandomState, new_generator
from tsode.inference.density import Density
from tsode.inference.draws import Posterior
from tsode.inference.infer import infer
from tsode.inference.settings import Settings

__all__ = ["Calibration", "calibrate", "rank_truth"]

N_RANKED = 99  # draws that the truth is ranked among: ranks 0 to 99 fall evenly into bins
N_BINS = 20


@dataclass(frozen=True)
class Calibration:
    """Ranks of true parameters among draws of their posteriors, over simulated data sets.

    Attributes
    ----------
    names : tuple of str
    ranks : Tensor[n p], int64
        From 0 to 99, of the data sets that had an answer.
    n_failed : int
        Data sets without an answer, which are not among the ranks: if there are many, these say little.
    engines, problems : dict
        Of how many data sets each engine gave the answer, and how many had each kind of problem.
    """

    names: tuple[str, ...]
    ranks: Tensor
    n_failed: int
    engines: dict[str, int]
    problems: dict[str, int]

    def histogram(self, n_bins: int = N_BINS) -> Tensor:
        """Numbers of ranks in bins of equal width: (p n_bins)."""
        bins = torch.div(self.ranks * n_bins, N_RANKED + 1, rounding_mode="floor")
        return torch.nn.functional.one_hot(bins, n_bins).sum(dim=0)

    def chi_square(self, n_bins: int = N_BINS) -> Tensor:
        """Chance that even ranks are as uneven by chi-square, (p)."""
        expected = len(self.ranks) / n_bins
        statistic = (self.histogram(n_bins) - expected).square().sum(dim=1) / expected
        degrees = torch.tensor(0.5 * (n_bins - 1), dtype=torch.float64)
        return torch.special.gammaincc(degrees, 0.5 * statistic)

    @property
    def lean(self) -> Tensor:
        """Standard scores of the mean rank, (p): positive where posteriors lie too low."""
        share = (self.ranks + 0.5) / (N_RANKED + 1) - 0.5
        return share.double().mean(dim=0) * (12.0 * len(share)) ** 0.5

    @property
    def spread(self) -> Tensor:
        """Standard scores of the ranks' variance, (p): positive where posteriors are too narrow.

        It sees what chi-square, which looks for anything at all, sees only with many more data sets.
        """
        share = ((self.ranks + 0.5) / (N_RANKED + 1) - 0.5).double()
        return (share.square().mean(dim=0) - 1.0 / 12.0) * (180.0 * len(share)) ** 0.5

    def is_rejected(self, level: float = 0.01) -> bool:
        """Whether any coordinate's ranks are uneven by chi-square, mean or variance, at a level for all together."""
        p_values = torch.stack([self.chi_square(), _two_sided(self.lean), _two_sided(self.spread)])
        return bool((p_values < level / p_values.numel()).any())


def calibrate(
    sample_prior: Callable[[int, torch.Generator], Tensor],
    simulate: Callable[[Tensor, torch.Generator], Density],
    n: int,
    random_state: RandomState = None,
    engine: str = "auto",
    settings: Settings | None = None,
    at_once: int = 100,
    change: Callable[[Posterior], Posterior] | None = None,
) -> Calibration:
    """Simulation-based calibration: draw parameters, simulate data, infer, and rank (Talts et al. 2018).

    Parameters
    ----------
    sample_prior : callable
        Number and generator -> true parameters (n p), in the coordinates of the density.
    simulate : callable
        True parameters (g p) and generator -> the density of `g` problems, one a data set.
    n : int
        Data sets.
    random_state : int, generator or None
    engine, settings
        See `infer`.
    at_once : int
        Data sets that are one call of the density.
    change : callable or None
        Of each posterior before it is ranked, to see that a wrong one is found out.
    """
    generator = new_generator(random_state)
    truth = sample_prior(n, generator).to(torch.float64)
    ranks: list[Tensor] = []
    engines: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    names: tuple[str, ...] = ()
    for first in range(0, n, at_once):
        some = truth[first : first + at_once]
        density = simulate(some, generator)
        keys = range(first, first + len(some))
        posterior = infer(density, engine, generator, settings, keys=keys)
        posterior = posterior if change is None else change(posterior)
        names = posterior.names
        engines.update(posterior.engine)
        problems.update(text.split(":")[0] for found in posterior.problems for text in found)
        ranks.append(rank_truth(some, posterior, generator))
    found = torch.cat(ranks)
    is_answered = (found >= 0).all(dim=1)
    return Calibration(names, found[is_answered], int((~is_answered).sum()), dict(engines), dict(problems))


def rank_truth(truth: Tensor, posterior: Posterior, generator: torch.Generator) -> Tensor:
    """Ranks of true parameters (g p) among draws taken at random, from 0 to 99; -1 where there is no answer."""
    draws = posterior.draws.flatten(1, 2)
    order = torch.rand(draws.shape[:2], generator=generator, dtype=torch.float64).argsort(dim=1)[:, :N_RANKED]
    draws = draws.gather(1, order[..., None].expand(-1, -1, draws.shape[-1]))
    rank = (draws < truth[:, None]).sum(dim=1)
    return rank.where(draws.isfinite().all(dim=1), -1)


def _two_sided(score: Tensor) -> Tensor:
    return 2.0 * torch.special.ndtr(-score.abs())
