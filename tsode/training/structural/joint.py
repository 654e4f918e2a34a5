"""Joint recipe: one structure for several channels, learned from each by itself and then from all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.errors import ParameterError
from tsode.models.structural.component import Component, DataScale
from tsode.models.structural.event_responses import Responses
from tsode.models.structural.evidence import Posterior
from tsode.models.structural.joint import MOST_STATES, JointStructure
from tsode.models.structural.member import ChannelFit, of_channels
from tsode.models.structural.problems import Data, Problem
from tsode.models.structural.structure import Structure
from tsode.training.structural.recipe import (
    LONG,
    Choice,
    Settings,
    average,
    fit_problems,
    scale_and_seasons,
    sets_of,
    some_of,
)  # fmt: skip
from tsode.training.structural.sample import Sample, Seen, sample_of

__all__ = ["fit_joint"]

SETTINGS = Settings()
MOST_TOGETHER = 3  # sets of components that are fitted to all channels together: those likeliest for each by itself


def fit_joint(
    series: Sequence[Seen],
    transforms: Sequence[dict[str, Transform]],
    choose: Callable[[DataScale, float], Choice],
    generator: torch.Generator,
    settings: Settings = SETTINGS,
    responses: Responses | None = None,
) -> list[ChannelFit]:
    """Fit channels with common parameters and correlated innovations.

    Each channel by itself tells its scale, its seasons, of which all are taken, and how well each set of components
    does; the best sets are then fitted to all channels together, on from there.

    Parameters
    ----------
    series : sequence of Seen
        Values are (n c), with NaN where a channel was not seen; see `fit_channel`.
    transforms : sequence of dict of name to Transform
        Of each channel.
    choose, generator, settings, responses
        See `fit_channel`.

    Raises
    ------
    ParameterError
        If there are too many states.
    """
    n_channels = len(transforms)
    longest = max(int(np.isfinite(one.values).sum()) for one in series)
    n_draws = settings.n_draws // 2 if longest <= LONG else settings.n_draws // 4
    span = float(np.median([t[-1] - t[0] for t, *_ in series if len(t) > 1] or [0.0])) or 1.0
    n_values = sum(np.isfinite(one.values).sum() for one in series)
    a_time = max(1.0, n_values / sum(len(t) for t, *_ in series))  # values seen
    series = some_of(series, int(settings.most_rows / a_time), int(settings.most_values / a_time), generator)
    columns = [_column(series, c) for c in range(n_channels)]
    samples = [{name: sample_of(x, one, span) for name, one in each.items()} for x, each in zip(columns, transforms)]
    scale = _common([next(iter(each.values())).scale for each in samples])
    choice = choose(scale, span)
    names, seasons = zip(*(scale_and_seasons(each, choice, generator)[:2] for each in samples))
    chosen = tuple(season for season in choice.seasons if any(season in of_channel for of_channel in seasons))
    sets, prices = sets_of(choice, chosen)
    _check_size(sets, scale, n_channels)
    own = [replace(each[name], scale=scale) for each, name in zip(samples, names)]
    structures = [Structure(components, scale, own[0].data.features.shape[-1]) for components in sets]
    apart = [fit_problems([Problem(one, sample.data) for one in structures], 1, generator, prices) for sample in own]
    best = sum(posterior.evidence for posterior in apart).argsort(descending=True)[:MOST_TOGETHER].tolist()
    data = _together(series, own, [each[name] for each, name in zip(transforms, names)], span)
    joint = [JointStructure(sets[k], scale, structures[k].n_regressors, n_channels) for k in best]
    start = [_start(one, [(posterior, k) for posterior in apart]) for one, k in zip(joint, best)]
    centre = torch.nn.utils.rnn.pad_sequence(start, batch_first=True)
    eye = torch.eye(centre.shape[1], dtype=torch.float64).repeat(len(best), 1, 1)
    posterior = fit_problems(
        [Problem(one, data) for one in joint], 1, generator, [prices[k] for k in best], begin=(centre, eye)
    )
    members = average(joint, posterior, n_draws, generator)
    units = [
        (each[name], sample.shift, sample.spread, sample.reach) for each, name, sample in zip(transforms, names, own)
    ]
    return of_channels(members, units, span, responses)


def _column(series: Sequence[Seen], c: int) -> list[Seen]:
    """What was seen of one channel."""
    rows = [np.isfinite(one.values[:, c]) for one in series]
    return [one.at(seen)._replace(values=one.values[seen, c]) for seen, one in zip(rows, series) if seen.any()]


def _common(scales: Sequence[DataScale]) -> DataScale:
    gap, roughness = np.exp(np.log([(one.gap, one.roughness) for one in scales]).mean(axis=0)).tolist()
    return DataScale(gap, roughness)


def _check_size(sets: Sequence[tuple[Component, ...]], scale: DataScale, n_channels: int) -> None:
    n_states = n_channels * max(Structure(components, scale).n_states for components in sets)
    if n_states > MOST_STATES:
        raise ParameterError(
            f"channels='joint' of {n_channels} channels would have {n_states} states, of which {MOST_STATES} are the "
            "most: use channels='own', fewer components or fewer channels in target=."
        )


def _together(series: Sequence[Seen], own: Sequence[Sample], transforms: Sequence[Transform], span: float) -> Data:
    """Rows of one value each, by time and then by channel, padded to one length."""
    unrolled = []
    for t, x, f, _ in series:
        at, channel = np.isfinite(x).nonzero()
        value = np.empty(len(at))
        for c, (sample, transform) in enumerate(zip(own, transforms)):
            scaled = transform.forward(torch.from_numpy(x[at[channel == c], c])).numpy()
            value[channel == c] = (scaled - sample.shift) / sample.spread
        unrolled.append((t[at] / span, value, f[at], channel))
    n = max(len(t) for t, *_ in unrolled)
    padded = [[np.pad(x, [(0, n - len(x))] + [(0, 0)] * (x.ndim - 1), mode="edge") for x in one] for one in unrolled]
    times, values, features, channels = (torch.from_numpy(np.stack(part, axis=1)) for part in zip(*padded))
    is_seen = torch.arange(n)[:, None] < torch.tensor([len(t) for t, *_ in unrolled])
    return replace(Data.of(times, values, is_seen.double(), features=features.double()), channel=channels)


def _start(joint: JointStructure, apart: Sequence[tuple[Posterior, int]]) -> Tensor:
    """Where a joint fit begins: at the mean of what channels say by themselves, without correlation: Tensor[p]."""
    modes = torch.stack([posterior.mode[k] for posterior, k in apart])
    n, f = joint.copy.n_parameters, joint.n_regressors
    noise = modes[:, n - 1]  # the last but the coefficients
    zeros = modes.new_zeros(joint.n_parameters - n - (joint.n_channels - 1) - joint.n_channels * f)
    return torch.cat([modes[:, : n - 1].mean(dim=0), noise, zeros, modes[:, n : n + f].flatten()])
