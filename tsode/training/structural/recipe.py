"""Automatic recipe: which components, on which scale, and with what weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.models.structural.changepoints import change_features
from tsode.models.structural.component import Component, DataScale
from tsode.models.structural.event_responses import Responses
from tsode.models.structural.evidence import Posterior, normals, quick_posteriors
from tsode.models.structural.given_errors import GivenErrors, noise_of_errors
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.problems import Doubts, Problem, evaluate
from tsode.models.structural.random_effects import History, learn_effects
from tsode.models.structural.reweighting import STANDS_OUT, judge, ordinary_limit
from tsode.models.structural.structure import Structure
from tsode.numerics.quasi_newton import minimise
from tsode.training.structural.held_out import by_held_out
from tsode.training.structural.sample import Sample, Seen, sample_of

__all__ = [
    "LONG",
    "Choice",
    "Settings",
    "are_own",
    "average",
    "doubts_about",
    "draws_for",
    "fit_channel",
    "fit_problems",
    "minimise_problems",
    "problem_of",
    "scale_and_seasons",
    "sets_of",
    "some_of",
    "span_of",
]

LEAST_WEIGHT = 0.01
MOST_OWN = 2  # members, where every series has parameters of its own
LONG = 1000  # rows of a history, from which on fewer draws of the parameters are carried, at least a quarter
REFINED = 12.0  # nats behind the best without their curvatures, up to which these are looked at
# nats that a step still brings when a comparison is good enough, a fit to some of the rows, and one to all
SEARCHED, SAMPLED, LEARNED = 0.02, 0.005, 1e-4
REWEIGHTED_AT_MOST = 3  # times
PRICE_OF_DOUBT = 4.0  # nats that a scale pays for each value which stands out on it


@dataclass(frozen=True)
class Settings:
    """How much is done.

    Parameters
    ----------
    n_starts : int
        Of each structure: the priors' centre and random ones.
    n_draws : int
        Of the parameters, shared by the members as they weigh.
    most_rows : int
        Structures are compared on so many observations of a series, half of them the last.
    fine_rows : int
        The parameters of those that come near the best are learned from so many.
    most_values : int
        Parameters are learned from so many values; where there are more, from some of the series.
    """

    n_starts: int = 2
    n_draws: int = 60
    most_rows: int = 600
    fine_rows: int = 2000
    most_values: int = 20_000


@dataclass(frozen=True)
class Choice:
    """What is to be fitted of a channel.

    Parameters
    ----------
    sets : sequence of tuples of Component
        Trends and what is left, of which the fit is an average.
    seasons : sequence of Season
        Each is taken only if it earns its price.
    prices : sequence of float
        Nats that each season must bring; minus infinity for one that is asked for.
    without : sequence of tuples of Component
        More sets, for a series that gets no season.
    instead : sequence of (season, price, components)
        Sets of their own, in which cycles stand in the place of a season, or of none, and the nats they must bring.
    """

    sets: Sequence[tuple[Component, ...]]
    seasons: Sequence[Component] = ()
    prices: Sequence[float] = ()
    without: Sequence[tuple[Component, ...]] = ()
    instead: Sequence[tuple[Component | None, float, tuple[Component, ...]]] = ()


def fit_channel(
    series: Sequence[Seen],
    transforms: dict[str, Transform],
    choose: Callable[[DataScale, float], Choice],
    generator: torch.Generator,
    settings: Settings = Settings(),
    per_series: bool = False,
    changes: tuple[float, ...] = (),
    is_robust: bool = False,
    place_of_errors: int | None = None,
    responses: Responses | None = None,
    search_seconds: float = math.inf,
) -> ChannelFit:
    """Fit one channel: choose its scale and its seasons, then average over sets of components by their evidence.

    Parameters
    ----------
    series : sequence of Seen
    transforms : dict of name to Transform
    choose : callable
        The scale of the data, and the span in model time -> what is to be fitted.
    per_series : bool
        Whether parameters differ between series: how they do is learned too.
    changes : tuple of float
        Changepoints, in model time.
    is_robust : bool
        Whether values that stand out are doubted.
    place_of_errors : int, optional
        Of the column of standard errors, where there is one, among those that are read.
    responses : Responses, optional
        To events, which are the last of the features.
    search_seconds : float
        Parameters are learned from more rows only where it has not taken so long to compare structures.
    """
    begun = time.perf_counter()
    n_draws, span = draws_for(series, settings), span_of(series)
    if changes:
        steps = [change_features(torch.from_numpy(t), changes, span).numpy() for t, *_ in series]
        series = [
            one._replace(features=np.concatenate([one.features, more], axis=1)) for one, more in zip(series, steps)
        ]
    everything, series = series, some_of(series, settings.most_rows, settings.most_values, generator)
    samples = {name: sample_of(series, one, span) for name, one in transforms.items()}
    choice = choose(next(iter(samples.values())).scale, span)
    chosen, name = tuple(choice.seasons), next(iter(samples))
    best: dict[str, tuple[Problem, Tensor, Tensor]] = {}
    is_open = len(samples) > 1 or any(price > -np.inf for price in choice.prices)
    if is_robust or is_open:
        name, chosen, best, found = scale_and_seasons(samples, choice, generator)
        for _ in range(REWEIGHTED_AT_MOST if is_robust else 0):
            doubts = {of: doubts_about(samples[of], *best[of][:2], _limit(samples[of])) for of in samples}
            if all(_same(samples[of].doubts, doubts[of]) for of in samples):
                break
            samples = {of: sample_of(series, one, span, doubts[of]) for of, one in transforms.items()}
            name, chosen, best, found = scale_and_seasons(samples, choice, generator, found)
    sample = samples[name]
    limit = _limit(sample)
    sets, prices = sets_of(choice, chosen)
    problems = [problem_of(components, sample) for components in sets]
    is_long = max(len(t) for t, *_ in everything) > settings.most_rows
    begin = _begin(problems, *best[name]) if is_open else None
    posterior = fit_problems(problems, settings.n_starts, generator, prices, is_long, begin)
    if is_long and time.perf_counter() - begun < search_seconds:
        finer = some_of(everything, settings.fine_rows, settings.most_values, generator)
        more = sample_of(finer, transforms[name], span, like=sample)
        if is_robust:
            limit = _limit(more) if sample.doubts is None else limit
            more = sample_of(finer, transforms[name], span, doubts_about(more, *best[name][:2], limit), sample)
            limit = min(limit, _limit(more))
        problems, posterior = _refined(sets, posterior, more, prices)
    members = average(
        [problem.structure for problem in problems], posterior, n_draws, generator, by_held_out(problems, posterior)
    )
    most = limit if is_robust else None
    errors = None if place_of_errors is None else GivenErrors(place_of_errors, sample.given_ahead)
    fit = ChannelFit(
        members,
        transforms[name],
        sample.shift,
        sample.spread,
        span,
        None,
        changes,
        most,
        sample.reach,
        errors,
        responses,
    )
    if not per_series or len(series) < 2:
        return fit
    members = members[:MOST_OWN]
    total = sum(member.weight for member in members)
    members = tuple(replace(member, weight=member.weight / total) for member in members)
    scaled = [_history(fit, one) for one in series]
    about = None if sample.doubts is None else sample.doubts.scaled(sample.spread**-2)
    return replace(fit, members=members, effects=tuple(learn_effects(one, scaled, span, about) for one in members))


def draws_for(series: Sequence[Seen], settings: Settings) -> int:
    """How many draws of the parameters are carried over histories of this length."""
    longest = max(len(t) for t, *_ in series)
    return max(min(settings.n_draws, settings.n_draws * LONG // longest), settings.n_draws // 4)


def span_of(series: Sequence[Seen]) -> float:
    """Median span of the series, in model time; 1 where none has one."""
    return float(np.median([t[-1] - t[0] for t, *_ in series if len(t) > 1] or [0.0])) or 1.0


def _history(fit: ChannelFit, seen: Seen) -> History:
    values, errors = torch.from_numpy(seen.values), torch.from_numpy(seen.errors)
    noise = noise_of_errors(errors, values, fit.transform, fit.spread)
    return History(seen.times, fit.scaled(values).numpy(), seen.features, noise.numpy())


def sets_of(choice: Choice, chosen: tuple[Component, ...]) -> tuple[list[tuple[Component, ...]], list[float]]:
    """All that is averaged, with the seasons that were chosen, and the nats that each must bring."""
    sets = [components + chosen for components in choice.sets]
    sets += choice.without if not chosen else ()
    searched = {season: price for season, price, _ in choice.instead if season in chosen}
    paid = sum(searched.values())
    prices = [paid] * len(sets) + [price if season else paid + price for season, price, _ in choice.instead]
    sets += [components + tuple(one for one in chosen if one is not season) for season, _, components in choice.instead]
    return sets, prices


def some_of(series: Sequence[Seen], most_rows: int, most_values: int, generator: torch.Generator) -> list[Seen]:
    """Some rows of so many series that a fit takes a bounded time."""
    cut = [one.at(_rows(len(one.times), most_rows)) for one in series if len(one.times)]
    longest = max(len(t) for t, *_ in cut)
    most = max(1, most_values // longest)
    chosen = torch.randperm(len(cut), generator=generator)[:most].sort().values.tolist()
    return [cut[k] for k in chosen]


def _rows(n: int, most: int) -> np.ndarray:
    """At most so many of `n` rows: the last half as they are, for what is quick, the others evenly from before."""
    if n <= most:
        return np.arange(n)
    last = n - most // 2
    return np.concatenate([np.linspace(0, last - 1, most - most // 2).astype(int), np.arange(last, n)])


def scale_and_seasons(
    samples: dict[str, Sample], choice: Choice, generator: torch.Generator, before: Posterior | None = None
) -> tuple[str, tuple[Component, ...], dict[str, tuple[Problem, Tensor, Tensor]], Posterior]:
    """The transform and the seasons of highest evidence beside one trend, seasons at their prices.

    And for each transform its best problem, its mode and covariance, and the posterior of all that was tried. The one
    that was found `before`, of nearly the same samples, is where the search begins, and its curvature stands.
    """
    base = choice.sets[min(1, len(choice.sets) - 1)]
    always = tuple(s for s, price in zip(choice.seasons, choice.prices) if price == -np.inf)
    free = {s: price for s, price in zip(choice.seasons, choice.prices) if price > -np.inf}
    tried = [
        (name, chosen, problem_of(base + always + chosen, sample))
        for name, sample in samples.items()
        for chosen in _choices(tuple(free))
    ]
    problems = [problem for _, _, problem in tried]
    prices = [
        sum(free[season] for season in chosen) + PRICE_OF_DOUBT * samples[name].n_doubts - samples[name].log_slope
        for name, chosen, _ in tried
    ]
    if before is None:
        found = fit_problems(problems, 1, generator, prices, is_search=True)
    else:
        found = _moved(problems, [name for name, _, _ in tried], before, torch.tensor(prices))
    best = {}
    for k in found.evidence.argsort().tolist():
        best[tried[k][0]] = tried[k][2], found.mode[k], found.covariance[k]
    name, chosen, _ = tried[int(found.evidence.argmax())]
    return name, always + chosen, best, found


def _moved(problems: Sequence[Problem], names: Sequence[str], before: Posterior, prices: Tensor) -> Posterior:
    """The posterior of problems whose samples have changed a little: of those near the best of their name anew."""
    point = before.mode.clone()
    value, _ = evaluate(problems, point)
    evidence = before.moved(point, value + prices).evidence
    of = torch.tensor([names.index(name) for name in names])
    best = torch.stack([evidence[of == k].max() for k in of.tolist()])
    near = (evidence > best - REFINED).nonzero()[:, 0]
    point[near], value[near] = minimise_problems(problems, near, point[near], SEARCHED, before.covariance[near])
    return before.moved(point, value + prices)


def doubts_about(sample: Sample, problem: Problem, mode: Tensor, limit: float) -> Doubts | None:
    """Doubts about the values of a sample, in squared units of what was transformed."""
    structure = problem.structure
    verdict = judge(structure, mode[: structure.n_parameters], sample.plain, limit)
    return verdict.doubts.scaled(sample.spread**2) if any(x.any() for x in verdict.doubts) else None


def _limit(sample: Sample) -> float:
    return ordinary_limit(int(sample.data.mask.sum())) if sample.doubts is None else STANDS_OUT


def _same(one: Doubts | None, other: Doubts | None) -> bool:
    """Whether they are about the same values."""
    if one is None or other is None:
        return one is other
    return all(torch.equal(a > 0.0, b > 0.0) for a, b in zip(one, other))


def problem_of(components: tuple[Component, ...], sample: Sample) -> Problem:
    """The problem of fitting some components to a sample."""
    return Problem(Structure(components, sample.scale, sample.data.features.shape[-1]), sample.data)


def _choices(seasons: Sequence[Component]) -> list[tuple[Component, ...]]:
    """Sets of seasons to compare: all, all but one, one, none."""
    every = tuple(seasons)
    but_one = [tuple(s for s in seasons if s is not left) for left in seasons]
    return list(dict.fromkeys([every, *but_one, *((s,) for s in seasons), ()]))


def fit_problems(
    problems: Sequence[Problem], n_starts: int, generator: torch.Generator, prices: Sequence[float] | None = None,
    is_search: bool = False, begin: tuple[Tensor, Tensor] | None = None,
) -> Posterior:  # fmt: skip
    """Best of several starts of each problem, and the posterior about it, its evidence less a price.

    In a search, which is gone on from, it is only near the mode.

    All begin at the centre of the priors, or at the points (k p) with the covariances (k p p) that are given. Random
    starts are for those that have a period of their own, for no other has been seen to have several maxima, and for one
    that is alone.
    """
    is_own = are_own(problems)
    every = torch.arange(len(problems))
    first, metric = (torch.zeros(is_own.shape, dtype=torch.float64), None) if begin is None else begin
    is_wavy = torch.tensor([_is_wavy(problem) for problem in problems])
    again = every[is_wavy | (len(problems) == 1)].repeat_interleave(n_starts - 1)
    start = 0.8 * torch.randn(len(again), is_own.shape[1], generator=generator, dtype=torch.float64)
    which = torch.cat([every, again])
    starts = torch.cat([first, torch.where(is_own[again], start, 0.0)])
    if metric is not None:
        metric = torch.cat([metric, torch.eye(is_own.shape[1], dtype=torch.float64).expand(len(again), -1, -1)])
    points, values = minimise_problems(problems, which, starts, SEARCHED if is_search else LEARNED, metric)
    best = torch.stack([torch.where(which == k, values, torch.inf).argmin() for k in every])
    point, value = points[best], values[best]
    cost = torch.tensor(prices or [0.0] * len(problems), dtype=torch.float64)
    return _posteriors(problems, point, value + cost)


def _is_wavy(problem: Problem) -> bool:
    return any(one.has_own_period for one in problem.structure.components)


def are_own(problems: Sequence[Problem]) -> Tensor:
    """Which parameters each problem has, of as many as any has: Tensor[k p]."""
    n = torch.tensor([problem.structure.n_parameters for problem in problems])
    return torch.arange(int(n.max())) < n[:, None]


def _begin(problems: Sequence[Problem], like: Problem, mode: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Points (k p) where problems begin, and covariances (k p p): those of one like them in what they share with it.

    What has periods of its own has several maxima, and begins at the centre of the priors.
    """
    size = are_own(problems).shape[1]
    starts = torch.zeros(len(problems), size, dtype=torch.float64)
    metric = torch.eye(size, dtype=torch.float64).repeat(len(problems), 1, 1)
    known = {name: k for k, name in enumerate(like.structure.priors)}
    for k, problem in enumerate(problems):
        if not _is_wavy(problem):
            shared = [(j, known[name]) for j, name in enumerate(problem.structure.priors) if name in known]
            to, of = torch.tensor(shared).T
            starts[k, to] = mode[of]
            metric[k, to[:, None], to] = covariance[of[:, None], of]
    return starts, metric


def _refined(
    sets: Sequence[tuple[Component, ...]], rough: Posterior, sample: Sample, prices: Sequence[float]
) -> tuple[list[Problem], Posterior]:
    """Problems that come near the best and their posteriors from more of the data, on from where they are."""
    near = (rough.evidence > rough.evidence.max() - REFINED).nonzero()[:, 0]
    problems = [problem_of(sets[k], sample) for k in near.tolist()]
    size = are_own(problems).shape[1]
    start, metric = rough.mode[near, :size], rough.covariance[near, :size, :size]
    point, value = minimise_problems(problems, torch.arange(len(problems)), start, SAMPLED, metric)
    return problems, _posteriors(problems, point, value + torch.tensor(prices)[near])


def _posteriors(problems: Sequence[Problem], point: Tensor, value: Tensor) -> Posterior:
    every = torch.arange(len(problems))
    return quick_posteriors(partial(_evaluate, problems, every), point, value, are_own(problems), REFINED)


def minimise_problems(
    problems: Sequence[Problem],
    which: Tensor,
    start: Tensor,
    tolerance: float = LEARNED,
    inverse: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Modes and values from starts of some of the problems, to within so many nats; see `quasi_newton.minimise`."""
    return minimise(partial(_evaluate, problems, which), start, tolerance=tolerance, inverse=inverse)[:2]


def _evaluate(problems: Sequence[Problem], of: Tensor, z: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    return evaluate([problems[k] for k in of[which].tolist()], z)


def average(
    structures: Sequence[Structure], posterior: Posterior, n_draws: int, generator: torch.Generator,
    log_scores: Tensor | float = 0.0,
) -> tuple[Member, ...]:  # fmt: skip
    """Members that weigh something, with draws of their parameters."""
    evidence = posterior.evidence + log_scores
    weights = (evidence - evidence.max()).exp()
    weights = torch.where(weights / weights.sum() < LEAST_WEIGHT, 0.0, weights)
    weights = weights / weights.sum()
    members = []
    for k in weights.argsort(descending=True).tolist():
        weight = float(weights[k])
        if not weight:
            continue
        p = structures[k].n_parameters
        n = max(4, round(weight * n_draws))
        members.append(Member(structures[k], weight, posterior.draws(k, normals(n, p, generator))))
    return tuple(members)
