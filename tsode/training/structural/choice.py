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
from tsode.models.structural.level import Level
from tsode.models.structural.matern import Matern
from tsode.models.structural.ornstein_uhlenbeck import LongOrnsteinUhlenbeck, OrnsteinUhlenbeck
from tsode.models.structural.registry import COMPONENTS
from tsode.models.structural.season import Season
from tsode.models.structural.slope import Slope
from tsode.training.structural.recipe import Choice

__all__ = ["FEWEST_TURNS", "PeriodCandidate", "automatic", "named"]

MOST_HARMONICS = 6
GAIN_OF_SEASON = 3.0  # nats beyond its price, for a season to be taken by "auto"
FEWEST_TURNS = 2.2


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
    """Every trend with a rough texture, and with a smooth one as well, and the seasons that there may be."""
    short, long, smooth = OrnsteinUhlenbeck(), LongOrnsteinUhlenbeck(), Matern()
    trends = [
        (Level(), short),
        (Level(known_start=True), Slope(), short),
        (Slope(), short, long),
        (DampedSlope(), short, long),
    ]
    sets: list[tuple[Component, ...]] = [(*parts, *more) for more in ((), (smooth,)) for parts in trends]
    seasons, prices = [], []
    instead: list[tuple[Component, float, tuple[Component, ...]]] = []
    for candidate in candidates:
        period = candidate.period / span
        if FEWEST_TURNS * period > 1.0 or period < 2.0 * scale.gap:
            continue
        seasons.append(Season(period, harmonics(period, scale), name=candidate.label))
        prices.append(GAIN_OF_SEASON + candidate.price)
        if candidate.is_found:
            cycle = Cycle(period)
            others = [(Level(), short, cycle), (short, long, cycle), (Level(), smooth, cycle)]
            instead += [(seasons[-1], candidate.price, one) for one in others]
    return Choice(sets, seasons, prices, [(short, long)], instead)


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
        If two components cannot be told apart.
    DataError
        If a period is longer than the data, or none is known.
    """
    made: list[Component] = []
    unused = list(candidates)
    for place, spec in enumerate(components):
        sizes = {}
        if class_of(COMPONENTS, spec, "component") in (Season, Cycle):
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
    for k, one in enumerate(made):
        for other in made[:k]:
            is_same = type(one) is type(other)
            if is_same and isinstance(one, Season | Cycle) and isinstance(other, Season | Cycle):
                is_same = abs(one.period / other.period - 1.0) < 1e-3
            if is_same:
                raise ParameterError(
                    f"components= has {one.name!r} twice, which cannot be told apart: leave one out"
                    + (", or give them other periods." if isinstance(one, Season | Cycle) else ".")
                )
