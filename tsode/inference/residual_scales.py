"""Scales of residuals by their marginal density: next to nothing where equations say it all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsode._random import RandomState, new_generator
from tsode.inference.ascent import along_axes
from tsode.inference.engines.mode import Search, Starts, find_modes
from tsode.inference.evaluation import Evaluator, Stopped
from tsode.inference.homotopy import search_by_segments
from tsode.inference.known_density import KnownDensity
from tsode.inference.modes import Modes, Prior
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.settings import Settings
from tsode.inference.streams import Streams

__all__ = ["Bell", "best_factors", "with_found_scales"]

LEAST, MOST, STEP = -4.0, 1.5, 0.1  # of the log of the factor by which a scale changes in a round
MOST_ROUNDS, MOST_SWEEPS = 5, 20
SAME = 0.15  # of that log, with which a scale is found
N_PRIOR = 256  # draws by which later rounds know the units of coordinates


@dataclass(frozen=True)
class Bell:
    """Normal approximation at the best mode of each problem.

    Parameters
    ----------
    point : Tensor[g p]
    precision : Tensor[g p p]
    """

    point: Tensor
    precision: Tensor

    def with_prior(self, factor: Tensor) -> tuple[Tensor, Tensor]:
        """The mode (... g p) and precision if the standard normal priors had these sds (... p), NaN where it has none.

        What the data say of a coordinate stays: what the prior of sd 1 has said is exchanged.
        """
        precision = self.precision + torch.diag_embed(factor**-2 - 1.0)[..., None, :, :]
        pull = (self.precision @ self.point[..., None]).expand(*precision.shape[:-1], 1)
        root, is_bad = torch.linalg.cholesky_ex(precision)
        root = root.where((is_bad == 0)[..., None, None], torch.nan)
        return torch.cholesky_solve(pull, root)[..., 0], precision

    def log_evidence(self, factor: Tensor) -> Tensor:
        """Log of the evidence with these sds (... p) over that with sds of 1, of all problems together (...)."""
        mode, precision = self.with_prior(factor)
        pull = (self.precision @ self.point[..., None])[..., 0]
        gain = 0.5 * (pull * (mode - self.point)).sum(dim=-1)
        volume = 0.5 * (torch.linalg.slogdet(self.precision)[1] - torch.linalg.slogdet(precision)[1])
        return (gain + volume - factor.log().sum(dim=-1)[..., None]).sum(dim=-1)


def with_found_scales(
    density: KnownDensity,
    random_state: RandomState = None,
    settings: Settings | None = None,
    max_seconds: float | None = None,
) -> KnownDensity:
    """The density whose residuals have the most probable scales, given the data and half-Cauchy priors.

    A residual of a fixed scale takes what noise there is for itself, and the more units it has the more. Its scale as a
    parameter would be at its best beside weights that fit the noise: so weights are integrated out first, by Laplace's
    approximation, and the scale is where its logarithm has the largest density of what is left (MacKay 1992). That of
    a residual that nothing needs is about as large as data could still not see; it is never zero. The median of the
    half-Cauchy law is the scale that a term comes with: heavy tails let data choose one many times as large.

    Where time is up the scales so far are kept.

    Parameters
    ----------
    density : KnownDensity
    random_state : int, generator or None
    settings : Settings or None
        Of the search for modes.
    max_seconds : float or None

    References
    ----------
    MacKay, "Bayesian interpolation", Neural Computation 4, 1992; Gelman, "Prior distributions for variance parameters
    in hierarchical models", Bayesian Analysis 1, 2006.
    """
    terms = list(density.system.residual.values())
    if not terms:
        return density
    settings = settings or Settings()
    seed = int(torch.randint(0, 2**62, (), generator=new_generator(random_state)))
    evaluator = Evaluator(density, Streams(seed, torch.arange(density.n_problems)), max_seconds)
    search: Search | None = None if settings.segments is None else search_by_segments
    members = _members(terms, density)
    ratio = torch.zeros(len(terms), dtype=torch.float64)  # log of each scale over the one that the term came with
    for _ in range(MOST_ROUNDS):
        try:
            modes = find_modes(evaluator, settings, search)
        except Stopped:
            break
        bell = _best(modes)
        if bell is None:
            break
        change = best_factors(bell, members, ratio)
        ratio = ratio + change
        density = _rescaled(density, terms, ratio)
        if float(change.abs().max()) < SAME or evaluator.why_stopped:
            break
        settings = replace(settings, n_prior=N_PRIOR, n_starts=1)
        evaluator, search = evaluator.of(density), _from(bell, members, change)
    return density


def best_factors(bell: Bell, members: Tensor, ratio: Tensor) -> Tensor:
    """Log factors (k) of the scales of ``k`` terms with the largest density, by turns.

    Parameters
    ----------
    bell : Bell
    members : Tensor[k p]
        1 for the weights of each term, 0 elsewhere.
    ratio : Tensor[k]
        Log of each scale so far over the median of its prior.
    """
    steps = torch.arange(round(LEAST / STEP), round(MOST / STEP) + 1, dtype=ratio.dtype) * STEP
    best = torch.zeros_like(ratio)
    for _ in range(MOST_SWEEPS):
        before = best.clone()
        for k in range(len(best)):
            tried = best.repeat(len(steps), 1)
            tried[:, k] = steps
            size = ratio + tried
            prior = (size - torch.nn.functional.softplus(2.0 * size)).sum(dim=1)  # half-Cauchy, of the logarithm
            score = prior + bell.log_evidence((tried @ members).exp())
            best[k] = steps[score.nan_to_num(nan=-torch.inf).argmax()]
        if bool((best == before).all()):
            break
    return best


def _members(terms: Sequence[NeuralTerm], density: KnownDensity) -> Tensor:
    parameters = [density.space.parameter_of(name) for name in density.names]
    return torch.tensor([[float(name in term.weights) for name in parameters] for term in terms], dtype=torch.float64)


def _best(modes: Modes) -> Bell | None:
    """The heaviest mode of each problem; None where one has none."""
    if not bool(modes.log_prob[:, 0].isfinite().all()):
        return None
    rows, place = torch.arange(len(modes.point)), modes.weight.argmax(dim=1)
    return Bell(modes.point[rows, place], torch.linalg.inv(modes.covariance[rows, place]))


def _rescaled(density: KnownDensity, terms: Sequence[NeuralTerm], ratio: Tensor) -> KnownDensity:
    residual: Mapping[str, NeuralTerm] = {
        state: replace(term, scale=term.scale * math.exp(size))
        for state, term, size in zip(density.system.residual, terms, ratio.tolist())
    }
    return KnownDensity(replace(density.system, residual=residual), density.data, density.n_problems)


def _from(bell: Bell, members: Tensor, change: Tensor) -> Search:
    """Search that starts where the best mode must be when scales have changed: weights are in units of theirs."""
    factor = (change @ members).exp()
    mode, precision = bell.with_prior(factor)

    def search(evaluator: Evaluator, prior: Prior, settings: Settings) -> Starts:
        unit = prior.scale * factor
        curvature = precision * unit[:, :, None] * unit[:, None]
        return Starts(
            (mode / unit)[:, None], along_axes(curvature)[:, None], torch.full_like(prior.share_failed, torch.nan)
        )

    return search
