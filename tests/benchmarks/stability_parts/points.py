"""Fixed points, manifolds, Hopf points, folds and cycles beside closed forms and published values."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.stability_parts.systems import brusselator, lienard, lorenz, predators, van_der_pol
from tests.benchmarks.structural_parts.report import Report
from tsode.stability import (
    continuation,
    fixed_points,
    invariant_manifold,
    limit_cycle,
    normal_form,
    predictability_class,
)

__all__ = ["run"]

# By twenty digits of the characteristic polynomials, rounded.
EIGENVALUES = {"origin": [11.827723, -8 / 3, -22.827723], "wings": [0.093956 + 10.194505j, 0.093956 - 10.194505j,
                                                                   -13.854578]}  # fmt: skip
RHO = 470 / 19  # of the Hopf points of Lorenz' equations
WING = math.sqrt(8 / 3 * (RHO - 1))
HOPF = {
    "Lorenz at 470/19": (lorenz(RHO), [WING, WING, RHO - 1], "subcritical"),
    "Brusselator at b = 1 + a^2": (brusselator, [1.0, 2.0], "supercritical"),
    "van der Pol, Lienard's form": (lienard, [0.0, 0.0], "supercritical"),
    "Rosenzweig and MacArthur's predators": (predators, [1.0, 4 / 3], "supercritical"),
}
PERIODS = {1.0: 6.663286859, 10.0: 19.078369567}


def run(report: Report) -> None:
    points = fixed_points(lorenz(), box=[(-30, 30), (-30, 30), (0, 50)], n_starts=60)
    report.within("Lorenz: fixed points", len(points), 3, 3)
    found = points.filter(like="eigenvalue").to_numpy()
    truth = np.array([EIGENVALUES["wings"], EIGENVALUES["wings"], EIGENVALUES["origin"]])
    report.at_most("Lorenz: eigenvalues of its fixed points", np.abs(found - truth).max(), 1e-6)
    wing = math.sqrt(8 / 3 * 27)
    places = np.sort(points["z1"].to_numpy())
    report.at_most("Lorenz: their places", np.abs(places - [-wing, 0.0, wing]).max(), 1e-9)
    manifold(report)
    for name, (system, point, kind) in HOPF.items():
        found_kind = normal_form(system, point)
        value = float(found_kind["first_lyapunov_coefficient"])
        report.at_least(f"{name}: {kind}, l1 = {value:.4g}", float(found_kind["kind"] == kind), 1)
    fold(report)
    classes(report)
    for mu, period in PERIODS.items():
        cycle = limit_cycle(van_der_pol(mu), [2.0, 0.1]).attrs
        report.at_most(f"van der Pol, mu = {mu:g}: period from {period}", abs(cycle["period"] - period), 1e-8)
        product = float(np.prod(np.array(cycle["multipliers"])).real)
        gap = abs(product - math.exp(cycle["divergence"]))
        report.at_most(f"van der Pol, mu = {mu:g}: product of multipliers from exp of the divergence", gap, 1e-6)
        gap = abs(sum(cycle["log_multipliers"]) / cycle["divergence"] - 1)
        report.at_most(f"van der Pol, mu = {mu:g}: the same of their logarithms, relative", gap, 1e-6)
        report.at_most(f"van der Pol, mu = {mu:g}: multiplier along the cycle from 1", cycle["trivial_error"], 1e-6)


def manifold(report: Report) -> None:
    """``y = x**2 / 3`` of ``x' = x, y' = -y + x**2``."""

    def field(t: Tensor, z: Tensor) -> Tensor:
        return torch.stack([z[:, 0], -z[:, 1] + z[:, 0] ** 2], dim=1)

    series = invariant_manifold(field, [0.0, 0.0], order=8)
    truth = np.zeros((9, 2))
    truth[1, 0], truth[2, 1] = 1.0, 1 / 3
    report.at_most("manifold y = x^2 / 3: coefficients to order 8", np.abs(series.to_numpy() - truth).max(), 1e-12)
    report.at_most("manifold y = x^2 / 3: miss of the invariance equation", series.attrs["residual"], 1e-12)


def fold(report: Report) -> None:
    """Of ``p + x - x**3``, at ``x = 1 / sqrt(3)``."""

    def cubic(t: Tensor, z: Tensor, p: Tensor) -> Tensor:
        return p[:, None] + z - z**3

    branch = continuation(cubic, [-1.3], (-1.0, 1.0))
    folds = branch[branch["event"] == "fold"]
    report.within("cubic: folds", len(folds), 2, 2)
    truth = 2 / (3 * math.sqrt(3))
    report.at_most("cubic: folds, their parameter", np.abs(np.sort(folds["p"]) - [-truth, truth]).max(), 1e-6)
    state = 1 / math.sqrt(3)
    report.at_most("cubic: folds, their state", np.abs(np.sort(folds["z1"]) - [-state, state]).max(), 1e-6)


def classes(report: Report) -> None:
    """Classes of Lorenz' equations by Wernecke, Sandor and Gros (2017)."""
    for rho, run, kind in (
        (28.0, {"transient": 20.0}, "chaotic"),
        (180.78, {}, "partially predictable"),
        (181.10, {"transient": 60.0}, "regular"),
    ):
        row = predictability_class(lorenz(rho), [1.0, 1.0, 20.0], n_pairs=20, **run).iloc[0]
        exponent, correlation = float(row["cross_distance_exponent"]), float(row["cross_correlation"])
        report.note(f"Lorenz, rho = {rho:g}: distances by the power {exponent:.3f}, correlation {correlation:.4f}")
        report.at_least(f"Lorenz, rho = {rho:g}: {kind}", float(row["class"] == kind), 1)
