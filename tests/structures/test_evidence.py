"""Evidence of structures against closed forms and quadrature, and all side by side against each alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import dblquad, quad
from scipy.stats import multivariate_normal

import tsode
from tests.structures.networks import EDGES, data, forecaster
from tsode.inference.noise import AdditiveNoise
from tsode.inference.priors import LogNormal, Normal
from tsode.structures.compare import _members, _read, _with_system
from tsode.structures.edges import enumerate_structures, read_edges
from tsode.structures.evidence import fit_structures

TIMES = np.array([0.3, 0.7, 1.1, 1.6, 2.0])
SD = 0.2


def polynomial(n_terms):
    """Rates that are a sum of powers of time: states are linear in the parameters."""
    names = [f"k{n}" for n in range(n_terms)]
    return tsode.KnownODEForecaster(
        lambda t, z, p: sum(p[name] * t**n for n, name in enumerate(names))[:, None],
        states=["x"],
        parameters={name: Normal(0.5 * n, 1.0 + n) for n, name in enumerate(names)},
        initial={"x": 0.0},
        observed={"x": AdditiveNoise("x", sd=SD)},
        initial_time=0.0,
    )


@pytest.mark.slow
def test_evidences_of_linear_normal_structures_are_those_of_the_closed_form():
    """All 16 subsets of four terms."""
    rng = np.random.default_rng(0)
    x = 0.8 * TIMES - 0.3 * TIMES**3 + SD * rng.standard_normal(len(TIMES))
    rows = pd.DataFrame({"unique_id": "a", "ds": TIMES, "x": x})
    found = tsode.compare_structures(polynomial(4), {f"t{n}": f"k{n}" for n in range(4)}, rows, random_state=0).table
    for present in itertools.product([False, True], repeat=4):
        terms = [n for n in range(4) if present[n]]
        basis = np.stack([TIMES ** (n + 1) / (n + 1) for n in terms], 1) if terms else np.zeros((len(TIMES), 0))
        mean = basis @ np.array([0.5 * n for n in terms])
        covariance = basis @ np.diag([(1.0 + n) ** 2 for n in terms]) @ basis.T + SD**2 * np.eye(len(TIMES))
        truth = multivariate_normal(mean, covariance).logpdf(x)
        own = found.loc[" + ".join(f"t{n}" for n in terms) or "none"]
        # the solver's tolerance moves a log evidence by far less than .001
        assert abs(own["log_evidence"] - truth) <= 4.0 * own["log_evidence_se"] + 1e-3
        assert own["log_evidence_se"] < 0.05
        assert own["n_parameters"] == len(terms)


def saturating(values):
    """Decay at a rate that saturates, from 1; with `half` at infinity it is exponential."""
    rate, half = values
    step = 2.0 / 20
    x, path = 1.0, [1.0]

    def slope(x):
        return -rate * x / (1.0 + half * x)

    for _ in range(20):
        a = slope(x)
        b = slope(x + 0.5 * step * a)
        c = slope(x + 0.5 * step * b)
        d = slope(x + step * c)
        x += step * (a + 2 * b + 2 * c + d) / 6.0
        path.append(x)
    return np.array(path)[(TIMES / step).round().astype(int)]


def test_evidences_over_one_and_two_parameters_are_those_of_quadrature():
    rng = np.random.default_rng(1)
    x = saturating((1.5, 1.0)) + 0.1 * rng.standard_normal(len(TIMES))
    model = tsode.KnownODEForecaster(
        lambda t, z, p: -(p.rate * z[:, 0] / (1.0 + p.half * z[:, 0]))[:, None],
        states=["x"],
        parameters={"rate": LogNormal(0.0, 0.5), "half": LogNormal(0.0, 0.7)},
        initial={"x": 1.0},
        observed={"x": AdditiveNoise("x", sd=0.1)},
        initial_time=0.0,
    )
    rows = pd.DataFrame({"unique_id": "a", "ds": TIMES, "x": x})
    found = tsode.compare_structures(model, {"saturation": "half"}, rows, random_state=0).table

    def likelihood(rate, half):
        apart = (saturating((rate, half)) - x) / 0.1
        return math.exp(-0.5 * float(apart @ apart)) / (0.1 * math.sqrt(2.0 * math.pi)) ** len(x)

    def prior(u, sd):
        """Density of the logarithm."""
        return math.exp(-0.5 * (u / sd) ** 2) / (sd * math.sqrt(2.0 * math.pi))

    one = quad(lambda u: likelihood(math.exp(u), 0.0) * prior(u, 0.5), -2.5, 2.5, epsabs=1e-10)[0]
    two = dblquad(
        lambda u, v: likelihood(math.exp(u), math.exp(v)) * prior(u, 0.5) * prior(v, 0.7),
        -3.5, 3.5, -2.0, 3.0, epsabs=1e-5, epsrel=1e-4,
    )[0]  # fmt: skip
    assert found.loc["none", "log_evidence"] == pytest.approx(np.log(one), abs=1e-4)
    with_it = found.loc["saturation"]
    assert abs(with_it["log_evidence"] - np.log(two)) <= 4.0 * with_it["log_evidence_se"] + 1e-3


@pytest.mark.slow
def test_structures_side_by_side_have_the_evidence_of_each_alone():
    model, _, _, seen = _read(forecaster(sd=0.05), data({"xy": 0.8}, sd=0.05, n=5), None, None, None, None)
    edges = read_edges({name: EDGES[name] for name in ("x->y", "y->x")}, model._said())

    def build(system, data, n_problems):
        return _with_system(model, system)._build_density(data.ids, data, n_problems)

    members = _members(enumerate_structures(edges), edges, model, model._said(), seen, build)
    together = fit_structures(members, "importance", 3)
    alone = fit_structures(members, "importance", 3, is_alone=True)
    assert [one.log_evidence for one in together] == pytest.approx([one.log_evidence for one in alone], abs=1e-6)
    torch.testing.assert_close(together[3].found.draws, alone[3].found.draws, rtol=1e-5, atol=1e-5)


def test_series_that_share_nothing_have_the_sum_of_their_evidences():
    """The parameter of each series' own is integrated out series by series."""
    model = polynomial(2)
    model.per_series = ["k0", "k1"]
    rng = np.random.default_rng(2)
    rows = pd.concat([
        pd.DataFrame({"unique_id": key, "ds": TIMES, "x": k * TIMES + SD * rng.standard_normal(len(TIMES))})
        for key, k in (("a", 0.5), ("b", -1.0))
    ])  # fmt: skip
    found = tsode.compare_structures(model, {"constant": "k0", "slope": "k1"}, rows, random_state=0).table
    for name, terms in {"none": [], "constant": [0], "constant + slope": [0, 1]}.items():
        basis = np.stack([TIMES ** (n + 1) / (n + 1) for n in terms], 1) if terms else np.zeros((len(TIMES), 0))
        mean = basis @ np.array([0.5 * n for n in terms])
        covariance = basis @ np.diag([(1.0 + n) ** 2 for n in terms]) @ basis.T + SD**2 * np.eye(len(TIMES))
        law = multivariate_normal(mean, covariance)
        truth = sum(law.logpdf(own["x"].to_numpy()) for _, own in rows.groupby("unique_id"))
        own = found.loc[name]
        assert abs(own["log_evidence"] - truth) <= 4.0 * own["log_evidence_se"] + 1e-3
        assert own["n_parameters"] == 2 * len(terms)
