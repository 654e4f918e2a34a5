"""Inference of a population: what series share by any engine, or by maximum likelihood; then their effects."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from tsode._random import new_generator
from tsode._registry import lookup
from tsode.errors import ParameterError
from tsode.inference.draws import Posterior
from tsode.inference.evaluation import Effort
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.modes import Modes, Prior
from tsode.inference.population.draw_effects import MOST_ROWS, draw_effects
from tsode.inference.population.estimate import Estimate, maximum_likelihood
from tsode.inference.population.labels import label_problems
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS, Marginal
from tsode.inference.population.methods.stochastic import Stochastic
from tsode.inference.population.shrinkage import shrinkage
from tsode.inference.population.stochastic import maximum_by_chains
from tsode.inference.population.subjects import Subjects, normal_cells
from tsode.inference.population.support import far_from_priors, few_data, misfits
from tsode.inference.settings import Settings

__all__ = ["LIKELIHOOD", "choose_method", "infer_population"]

LIKELIHOOD = "likelihood"
MOST = {"n_prior": 128, "n_starts": 6, "n_importance": 512, "n_check": 64}  # of `Settings`
FEW_STARTS = 0.5  # of them at the best end, below which it is said
LARGE_SHRINKAGE = 0.3


def choose_method(joint: KnownDensity, name: str) -> Marginal:
    """The method of that name; "auto" is FOCEI where all noise is normal, and Laplace's with exact derivatives else."""
    if name != "auto":
        return lookup(METHODS, name, "marginal")()
    try:
        normal_cells(joint, "auto")
    except ParameterError:
        return METHODS["laplace"]()
    return METHODS["focei"]()


def infer_population(
    joint: KnownDensity,
    engine: str,
    marginal: str = "auto",
    seed: int = 0,
    settings: Settings | None = None,
    n_starts: int = 8,
    max_seconds: float | None = None,
    verbose: bool = False,
) -> tuple[Posterior, Estimate | None]:
    """Posterior in the coordinates of the joint density, of one problem, and the estimate where it is one.

    Parameters
    ----------
    joint : KnownDensity
        Of a system with random effects.
    engine : str
        "likelihood", or one of `tsode.inference.infer`, which is asked for the marginal posterior of what is shared.
    marginal : str
        How effects are integrated out: one of `METHODS`, or "auto".
    seed : int
    settings : Settings, optional
    n_starts : int
        Of maximum likelihood.
    max_seconds : float, optional
    verbose : bool
    """
    settings = settings or Settings()
    # each point is a search for the modes of all series
    settings = replace(settings, **{name: min(getattr(settings, name), most) for name, most in MOST.items()})
    density = MarginalDensity(joint, choose_method(joint, marginal))
    generator = new_generator(seed)
    if engine != LIKELIHOOD:
        found = infer(density, engine, seed, settings, None, max_seconds, verbose=verbose)
        found = found.with_problems([few_data(joint)])
        return _whole(joint, density, found, found.draws.flatten(1, 2), None, generator), None
    with tqdm(disable=not verbose, desc="likelihood", unit="call") as bar:

        def tell(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update()

        maximise = maximum_by_chains if isinstance(density.method, Stochastic) else maximum_likelihood
        estimate = maximise(density, generator, n_starts, tell=tell, max_seconds=max_seconds)
    covariance, problems = estimate.covariance, problems_of(estimate, density)
    n = settings.n_draws
    z = torch.randn(1, n, len(estimate.theta), generator=generator, dtype=torch.float64)
    spread = torch.zeros_like(covariance) if bool(covariance.isnan().any()) else covariance
    width, axes = torch.linalg.eigh(spread)
    theta = estimate.theta + (z * width.clamp(min=0.0).sqrt()) @ axes.mT
    found = _as_posterior(density, estimate, theta, settings, problems, generator)
    return _whole(joint, density, found, theta, estimate.eta, generator), estimate


def problems_of(estimate: Estimate, density: MarginalDensity) -> tuple[str, ...]:
    """What is wrong with an estimate, in words."""
    texts, priors = few_data(density.joint), density.joint.space.priors
    n_starts = len(estimate.ends)
    if estimate.why_stopped:
        texts.append(
            f"unfinished: {estimate.why_stopped}; estimates are the best so far and standard errors mean nothing: give "
            "it more time (max_seconds=), or better starts by narrower priors"
        )
    elif not bool(estimate.is_done[0]):
        texts.append(
            "not converged: the gradient does not vanish where the best start has stopped: take more starts "
            "(n_starts=), narrower priors, or fewer effects"
        )
    if n_starts > 2 and estimate.n_at_best < FEW_STARTS * n_starts:
        texts.append(
            f"several ends: {estimate.n_at_best} of {n_starts} starts came to the best objective "
            f"{estimate.ends[0]:.3f}, others to {', '.join(f'{x:.3f}' for x in estimate.other_ends())}"
        )
    texts += label_problems(estimate, density.names, priors)
    if bool(estimate.covariance.isnan().any()):
        flat = density.names[int(torch.linalg.eigh(estimate.hessian)[1][:, 0].abs().argmax())]
        texts.append(f"no standard errors: the likelihood is flat along {flat}")
    if not bool(estimate.is_found.all()):
        lost = (~estimate.is_found).nonzero()[:, 0].tolist()
        texts.append(f"individual modes not found of {len(lost)} series, the first {density.joint.data.ids[lost[0]]!r}")
    for key, share in shrinkage(estimate, density.joint).items():
        name = f"{key.removeprefix('occasion_')} on occasions" if key.startswith("occasion_") else key
        if share > LARGE_SHRINKAGE:
            texts.append(f"shrinkage of {name} {100 * share:.0f} %: individual values say little of how series differ")
    return (*texts, *far_from_priors(estimate, density.names, priors), *misfits(density.subjects, estimate))


def _as_posterior(
    density: MarginalDensity, estimate: Estimate, theta: Tensor, settings: Settings, problems: tuple[str, ...],
    generator: torch.Generator,
) -> Posterior:  # fmt: skip
    """Draws about an estimate, by its Hessian, as a posterior."""
    p = theta.shape[2]
    nothing = torch.full((1, p), torch.nan, dtype=torch.float64)
    draws = density.sample_prior(64, generator)
    quartiles = torch.quantile(draws, draws.new_tensor([0.25, 0.5, 0.75]), dim=1)
    prior = Prior(draws, quartiles[1], (quartiles[2] - quartiles[0]) / 1.349, torch.zeros(1, dtype=torch.float64))
    unit = torch.eye(p, dtype=torch.float64).expand(1, 1, p, p)
    modes = Modes(
        estimate.theta[None, None], torch.tensor([[-0.5 * estimate.objective]], dtype=torch.float64), unit,
        torch.tensor([[estimate.n_at_best]]), torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, dtype=torch.bool),
        torch.tensor([len(estimate.ends) - estimate.n_at_best]), nothing[:, 0], prior,
    )  # fmt: skip
    k = theta.shape[1]
    weights = theta.new_full((1, k), -math.log(k))
    chains = theta.reshape(1, settings.n_chains, -1, p)
    return Posterior(
        density.names, (density.method.name,), chains, theta, weights, modes, nothing[:, 0], nothing[:, 0], nothing,
        nothing, nothing, nothing[:, 0], torch.zeros(1, dtype=torch.float64), Effort(), (problems,),
    )  # fmt: skip


def _whole(
    joint: KnownDensity, density: MarginalDensity, found: Posterior, theta: Tensor, eta: Tensor | None,
    generator: torch.Generator,
) -> Posterior:  # fmt: skip
    """The posterior with effects of every series beside what they share."""
    g, k, _ = theta.shape
    s, q = joint.space.n_series, len(density.subjects.standard)
    n = g * s
    some = theta[:, : max(1, min(k, MOST_ROWS // n))]
    effects = some.new_full((n, some.shape[1], q), torch.nan)
    if bool(some.isfinite().all()):  # else there is no posterior, and whoever asked says why
        effects = draw_effects(density, some.repeat_interleave(s, dim=0), eta, generator)
    effects = effects.reshape(g, s, some.shape[1], q).transpose(1, 2)
    whole = Subjects(joint)
    again = torch.arange(k) % some.shape[1]
    draws = whole.points(some[:, again], effects[:, again])
    p = draws.shape[2]
    shape = found.draws.shape
    points = found.modes.point
    at_modes = whole.points(points, points.new_zeros(g, points.shape[1], s, q))

    def wider(x: Tensor, fill: float) -> Tensor:
        full = x.new_full((*x.shape[:-1], p), fill)
        return full.index_copy(-1, whole.shared_places, x)

    prior = found.modes.prior
    prior = Prior(
        wider(prior.draws, 0.0), wider(prior.centre, 0.0), wider(prior.scale, 1.0), prior.share_failed
    )  # fmt: skip
    covariance = wider(wider(found.modes.covariance, 0.0).mT, 0.0).mT
    return replace(
        found, names=joint.names, draws=draws.reshape(*shape[:3], p), nodes=draws,
        log_weights=draws.new_full((g, k), -math.log(k)),
        modes=replace(found.modes, point=at_modes, covariance=covariance, prior=prior),
        rhat=wider(found.rhat, torch.nan), ess_bulk=wider(found.ess_bulk, torch.nan),
        ess_tail=wider(found.ess_tail, torch.nan),
    )  # fmt: skip
