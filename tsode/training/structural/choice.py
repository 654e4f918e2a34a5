"""Choice of components: what "auto" tries, and what names and settings mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tsode._registry import Part, as_part, build, class_of, name_of
from tsode.errors import DataError, ParameterError
from tsode.models.structural.component import Component, DataScale
from tsode.models.structural.cycle import Cycle
from tsode.models.structural.damped_slope import DampedSlope
from tsode.models.structural.decomposition import FIT
from tsode.models.structural.level import Level
from tsode.models.structural.matern import Matern
from tsode.models.structural.ornstein_uhlenbeck import LongOrnsteinUhlenbeck, OrnsteinUhlenbeck
from tsode.models.structural.registry import COMPONENTS
from tsode.models.structural.season import Season
from tsode.models.structural.slope import Slope
from tsode.models.structural.structure import NOISE, REGRESSORS, Structure
from tsode.training.structural.recipe import Choice

__all__ = ["FEWEST_TURNS", "PeriodCandidate", "affordable", "automatic", "named"]

MOST_HARMONICS = 6
GAIN_OF_SEASON = 3.0  # nats beyond its price, for a season to be taken by "auto"
FEWEST_TURNS = 2.2
APART = 1e-3  # of each other, that the periods of two waves at least differ by
TURNS_APART = 0.05  # over the data
FREE_CYCLES = ((0.12, 0.7), (0.04, 0.5))  # periods in spans of the data, and how far their logarithms may be from them
FEWEST_GAPS = 8.0  # in the period of a free cycle
TAKEN = (FIT, "trend", "rest", REGRESSORS, NOISE)  # names of what is not a component


@dataclass(frozen=True)
class PeriodCandidate:
    """A period that a series may have.

    Parameters
    ----------
    period : float
        In model time.
    label : str
        By which the season is called.
    price : float
        Nats that it has to bring for having been searched for.
    is_found : bool
        Whether it comes from the data: then it may be a cycle, whose phase is forgotten.
    """

    period: float
    label: str = "season"
    price: float = 0.0
    is_found: bool = False


def automatic(scale: DataScale, span: float, candidates: Sequence[PeriodCandidate]) -> Choice:
    """Every trend with a rough texture, and with a smooth one too, free cycles, and the seasons that there may be."""
    short, long, smooth = OrnsteinUhlenbeck(), LongOrnsteinUhlenbeck(), Matern()
    trends = [
        (Level(), short),
        (Level(known_start=True), Slope(), short),
        (Slope(), short, long),
        (DampedSlope(), short, long),
    ]
    sets: list[tuple[Component, ...]] = [(*parts, *more) for more in ((), (smooth,)) for parts in trends]
    free = tuple(
        Cycle(period, sd, name=f"free_cycle_{k}")
        for k, (period, sd) in enumerate(FREE_CYCLES, start=1)
        if period >= FEWEST_GAPS * scale.gap
    )
    seasons, prices = [], []
    instead: list[tuple[Component | None, float, tuple[Component, ...]]] = []
    if free:
        instead += [(None, len(free) * GAIN_OF_SEASON, one) for one in ((short, *free), (short, smooth, *free))]
    for candidate in candidates:
        period = candidate.period / span
        if not _is_shown(period, scale):
            continue
        seasons.append(Season(period, harmonics(period, scale), name=candidate.label))
        prices.append(GAIN_OF_SEASON + candidate.price)
        if candidate.is_found:
            cycle = Cycle(period)
            others = [(Level(), short, cycle), (short, long, cycle), (Level(), smooth, cycle)]
            instead += [(seasons[-1], candidate.price, one) for one in others]
    return Choice(sets, seasons, prices, [(short, long)], instead)


def _is_shown(period: float, scale: DataScale) -> bool:
    """Whether the data span a period, in spans of them, often enough, and their gaps show it."""
    return FEWEST_TURNS * period <= 1.0 and period >= 2.0 * scale.gap


def harmonics(period: float, scale: DataScale) -> int:
    """As many as the gaps can show."""
    return max(1, min(MOST_HARMONICS, int(0.5 * period / scale.gap + 1e-6)))


def named(
    components: Any, scale: DataScale, span: float, periods: dict[int, float], candidates: Sequence[PeriodCandidate]
) -> Choice:
    """The one set that names and settings mean.

    Parameters
    ----------
    components : sequence of name or part
    periods : dict
        Period, in model time, of the components that were given one, by place.
    candidates : sequence of PeriodCandidate
        For those that were not.

    Raises
    ------
    ParameterError
        If two components cannot be told apart, or one has the name of something else.
    DataError
        If a period is longer than the data, or none is known.
    """
    made: list[Component] = []
    unused = [one for one in candidates if _is_shown(one.period / span, scale)]
    for place, spec in enumerate(components):
        sizes = {}
        if issubclass(class_of(COMPONENTS, spec, "component"), Season | Cycle):
            if place not in periods and not unused:
                raise DataError(
                    f"No period was found for components[{place}] = {spec!r}: give one, as in "
                    f"part({name_of(spec)!r}, period='365.25D') or, for numeric times, period=1.0."
                )
            period = periods[place] if place in periods else unused.pop(0).period
            if period > span:
                raise DataError(
                    f"The period of components[{place}] = {spec!r} is {period / span:.3g} times as long as the data: "
                    "give a longer history, or leave the component out."
                )
            sizes = {"period": period / span}
        component: Component = build(COMPONENTS, _without_period(spec), "component", **sizes)
        if isinstance(component, Season) and "n_harmonics" not in dict(as_part(spec).settings):
            component = replace(component, n_harmonics=harmonics(component.period, scale))
        if component.name in TAKEN:
            raise ParameterError(
                f"components[{place}] = {spec!r} has a name that means something else: give a name other than "
                f"{', '.join(map(repr, TAKEN))}."
            )
        made.append(component)
    _check_apart(made)
    if any(isinstance(one, Slope | DampedSlope) for one in made):  # which have a level of their own
        made = [replace(one, known_start=True) if isinstance(one, Level) else one for one in made]
    names: dict[str, int] = {}
    for k, one in enumerate(made):
        count = names[one.name] = names.get(one.name, 0) + 1
        if count > 1:
            made[k] = replace(one, name=f"{one.name}_{count}")  # type: ignore[type-var]
    seasons = [one for one in made if isinstance(one, Season)]
    rest = tuple(one for one in made if not isinstance(one, Season))
    return Choice([rest], seasons, [float("-inf")] * len(seasons))


def _without_period(spec: Any) -> Any:
    if not isinstance(spec, Part):
        return spec
    return Part(spec.name, tuple((name, value) for name, value in spec.settings if name != "period"))


def _check_apart(made: Sequence[Component]) -> None:
    for k, other in enumerate(made):
        for one in made[:k]:
            if isinstance(one, Season) and isinstance(other, Season):
                _check_harmonics(one, other)
                continue
            if isinstance(one, Slope | DampedSlope) and isinstance(other, Slope | DampedSlope):
                names = "a slope" if type(one) is not type(other) else repr(one.name)
            elif type(one) is not type(other) or (isinstance(one, Cycle) and not _is_alike(one.period, other.period)):  # type: ignore[attr-defined]
                continue
            else:
                names = repr(one.name)
            raise ParameterError(
                f"components= has {names} twice, which cannot be told apart: leave one out"
                + (", or give them other periods." if isinstance(one, Cycle) else ".")
            )


def _check_harmonics(one: Season, other: Season) -> None:
    for j in range(1, one.n_harmonics + 1):
        for k in range(1, other.n_harmonics + 1):
            if not _is_alike(one.period / j, other.period / k):
                continue
            if j == k == 1:
                raise ParameterError(
                    f"components= has {one.name!r} twice, which cannot be told apart: leave one out, or give them "
                    "other periods."
                )
            raise ParameterError(
                f"Harmonic {j} of a season in components= has the period of harmonic {k} of another, so they cannot be "
                f"told apart: give the longer one fewer harmonics, as in part('season', period=..., "
                f"n_harmonics={(j if one.period > other.period else k) - 1}), or leave one out."
            )


def _is_alike(one: float, other: float) -> bool:
    """Whether two periods, in spans of the data, are one as far as the data can tell."""
    return abs(one / other - 1.0) < max(APART, TURNS_APART * one)


def affordable(choice: Choice, scale: DataScale, n_values: int) -> Choice:
    """What has no more parameters than there are values: where nothing has, a level and noise."""

    def is_few(*components: Component) -> bool:
        return Structure(components, scale).n_parameters <= n_values

    asked = [one for one, price in zip(choice.seasons, choice.prices) if price == float("-inf")]
    sets = [one for one in choice.sets if is_few(*one, *asked)]
    if not sets:
        return Choice([(Level(),)])
    pairs = [
        (one, price)
        for one, price in zip(choice.seasons, choice.prices)
        if one in asked or all(is_few(*parts, *asked, one) for parts in sets)
    ]
    seasons = [one for one, _ in pairs]
    instead = [one for one in choice.instead if one[0] in (None, *seasons) and is_few(*one[2])]
    without = [parts for parts in choice.without if is_few(*parts)]
    prices = [price for _, price in pairs]
    return replace(choice, sets=sets, seasons=seasons, prices=prices, without=without, instead=instead)
