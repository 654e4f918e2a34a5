"""Spread of a population's forecasts in three parts: noise, what is a series' own, and what all share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from tsode.estimators.forecasters.predictive import Measure, Predictive, spread_measure
from tsode.estimators.known_ode.laws import MixedPredictive

__all__ = ["population_spread_measure"]


def population_spread_measure(channels: Sequence[Hashable]) -> Measure:
    """What `spread_measure` has, with the epistemic part as ``channel-sd-individual`` and ``channel-sd-population``."""
    plain = spread_measure(channels)
    width = len(plain.labels) // len(channels)

    def of(answer: Predictive) -> np.ndarray:
        assert isinstance(answer, MixedPredictive)
        epistemic = answer.variances[1]
        shared = np.minimum(answer.shared_variance, epistemic)
        parts = np.sqrt(np.stack([np.maximum(epistemic - shared, 0.0), shared], axis=2))
        both = [plain.of(answer).reshape(len(answer.at), len(channels), width), parts]
        return np.concatenate(both, axis=2).reshape(len(answer.at), -1)

    labels: list[Hashable] = []
    for place, name in enumerate(channels):
        labels += plain.labels[place * width : (place + 1) * width]
        labels += [f"{name}-sd-individual", f"{name}-sd-population"]
    return Measure(labels, of, 2 * plain.n_numbers)
