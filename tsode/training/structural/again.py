"""Second fit of a channel, to more data of the same kind: components stand, parameters go on from where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from tsode.core.transforms import Transform
from tsode.models.structural.component import Component
from tsode.models.structural.evidence import quick_posteriors
from tsode.models.structural.given_errors import GivenErrors
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.problems import evaluate
from tsode.training.structural.recipe import (
    Settings,
    are_own,
    average,
    doubts_about,
    draws_for,
    minimise_problems,
    problem_of,
    some_of,
    span_of,
)  # fmt: skip
from tsode.training.structural.sample import Seen, sample_of

__all__ = ["fit_again", "scale_to_go_on"]

SETTINGS = Settings()
GROWN = 1.5  # times as long as before, that series may be: what is longer may show other components


def scale_to_go_on(fit: ChannelFit, series: Sequence[Seen], transforms: Mapping[str, Transform]) -> Transform | None:
    """Scale on which a fit goes on with data that allow these: that of its kind. None where it has to begin anew.

    So it has where there is much more to be seen, and where more than the parameters of components is to be learned.
    """
    if fit.effects is not None or fit.responses is not None or fit.changes:
        return None
    if span_of(series) > GROWN * fit.span:
        return None
    kind = fit.transform.code, fit.transform.lam
    return next((one for one in transforms.values() if (one.code, one.lam) == kind), None)


def fit_again(
    series: Sequence[Seen],
    transform: Transform,
    fit: ChannelFit,
    generator: torch.Generator,
    settings: Settings = SETTINGS,
) -> ChannelFit:
    """Learn the parameters of each member anew, from where they are; its weight stands.

    Parameters
    ----------
    series : sequence of Seen
    transform : Transform
        See `scale_to_go_on`.
    fit : ChannelFit
        Of earlier data, in the same unit of time.
    generator, settings
        See `fit_channel`.
    """
    span, some = span_of(series), some_of(series, settings.fine_rows, settings.most_values, generator)
    sample = sample_of(some, transform, span)
    sets = [tuple(_stretched(one, fit.span / span) for one in member.structure.components) for member in fit.members]
    mode = torch.nn.utils.rnn.pad_sequence([member.z[0] for member in fit.members], batch_first=True)
    if fit.limit is not None:
        k = fit.members.index(fit.likeliest)
        doubts = doubts_about(sample, problem_of(sets[k], sample), mode[k], fit.limit)
        sample = sample_of(some, transform, span, doubts)
    problems = [problem_of(components, sample) for components in sets]
    every = torch.arange(len(problems))
    value, _ = evaluate(problems, mode)
    # the curvature where it was is as good at the new mode, which is near
    found = quick_posteriors(
        lambda z, which: evaluate([problems[k] for k in which.tolist()], z), mode, value, are_own(problems), torch.inf
    )
    posterior = found.moved(*minimise_problems(problems, every, mode, inverse=found.covariance))
    weights = torch.tensor([member.weight for member in fit.members], dtype=torch.float64)
    members = average(
        [problem.structure for problem in problems], posterior, draws_for(series, settings), generator,
        weights.log() - posterior.evidence,
    )  # fmt: skip
    errors = None if fit.errors is None else GivenErrors(fit.errors.place, sample.given_ahead)
    return replace(
        fit,
        transform=transform,
        members=members,
        shift=sample.shift,
        spread=sample.spread,
        span=span,
        reach=sample.reach,
        errors=errors,
    )


def _stretched(component: Component, factor: float) -> Component:
    """With its period in other spans."""
    if not hasattr(component, "period"):
        return component
    return replace(component, period=component.period * factor)  # type: ignore[type-var]
