"""Posteriors without a variance: named where a prior without one is left alone by data, and nowhere else."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from tests.estimators.known_ode.test_known_ode import decay, frame
from tsode import KnownODEForecaster
from tsode.inference import AdditiveNoise, Cauchy, InverseGamma, LogNormal, StudentT
from tsode.inference.pareto import tail_shape

TIMES = np.linspace(0.5, 6.0, 12)


def michaelis_menten(seed: int, start: float) -> KnownODEForecaster:
    """Removal that saturates, of 10 at first: where all is far below saturation, only a ratio is known."""
    generator = np.random.default_rng(seed)
    levels = start * np.exp(-0.3 * TIMES) + 0.02 * start * generator.standard_normal(len(TIMES))
    model = KnownODEForecaster(
        lambda t, z, p: (-p.vmax * z[:, 0] / (p.km + z[:, 0]),), states=["s"],
        parameters={name: Cauchy(0.0, 5.0, lower=0.0) for name in ("vmax", "km")}, initial={"s": start},
        observed={"y": AdditiveNoise("s", sd=0.02 * start)}, initial_time=0.0, inference="auto", random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(pd.DataFrame({"unique_id": "a", "ds": TIMES, "y": levels}))


def named(model: KnownODEForecaster) -> list[str]:
    return [text.split()[4] for text in model.problems_ if text.startswith("no variance: draws of ")]


def test_the_shape_of_a_tail_is_that_of_its_law():
    # six standard errors, (1 + k) / sqrt(n) each; a Student t of df degrees has tails of shape 1 / df
    n = 2**16
    level = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for shape in (0.3, 1.0):
        found, n_tail = tail_shape((1.0 - level) ** -shape)
        assert float(found) == pytest.approx(shape, abs=6 * (1 + shape) / n_tail**0.5)
    assert float(tail_shape(torch.special.ndtri(level))[0]) < 0.0
    assert float(tail_shape(torch.zeros(100, dtype=torch.float64))[0]) < 0.5


@pytest.mark.slow
def test_a_ratio_alone_leaves_both_of_its_parts_without_a_variance_and_that_is_named():
    # along the ridge the density falls as x^-2 x^-2 x: a tail of shape .5, from which on there is no variance
    assert named(michaelis_menten(0, 10.0)) == ["km", "vmax"]


def test_a_cauchy_prior_is_no_matter_where_data_tell():
    values = {"parameters": {"k": Cauchy(0.5, 1.0, lower=0.0)}, "observed": {"level": AdditiveNoise("drug", sd=0.1)}}
    assert named(decay(**values).fit(frame(["a"]))) == []


def test_a_prior_with_a_variance_leads_to_no_such_word_even_where_data_say_nothing():
    assert [p.has_variance for p in (Cauchy(0, 1), StudentT(2, 0, 1), InverseGamma(2, 1))] == [False] * 3
    assert [p.has_variance for p in (Cauchy(0, 1, lower=0, upper=9), StudentT(3, 0, 1), LogNormal(0, 3))] == [True] * 3
