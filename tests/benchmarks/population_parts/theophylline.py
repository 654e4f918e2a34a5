"""Theophylline in twelve people, by all methods: objectives, estimates, standard errors; FOCEI from twenty starts."""

from __future__ import annotations

import math
import time

import torch

from tests.benchmarks.structural_parts.report import Report
from tests.inference.population.known_populations import theophylline
from tsode.inference.known_density import KnownDensity
from tsode.inference.population.estimate import Estimate, maximum_likelihood
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.methods.stochastic import Stochastic
from tsode.inference.population.stochastic import maximum_by_chains
from tsode.inference.population.subjects import LOG_2PI

__all__ = ["run"]

N_STARTS, WITHIN = 20, math.log(3.0)  # starts within a factor of 3 of the middle of the priors
ROUGH = {"ka": 3.0, "cl": 1.5, "v": 50.0, "sd": 2.0, "omega_ka": 0.3, "omega_cl": 0.3, "omega_v": 0.3}
MIDDLE = {"ka": 1.5, "cl": 3.0, "v": 30.0, "sd": 1.0, "omega_ka": 0.3, "omega_cl": 0.3, "omega_v": 0.3}
FLIPPED = {**MIDDLE, "ka": 0.085, "cl": 2.7, "v": 1.7}
# nlmixr2 7.0.1 by FOCEI, and standard errors of its sandwich
PUBLISHED = {"ka": math.exp(0.464451), "cl": math.exp(1.012047), "v": math.exp(3.459973), "sd": 0.693839,
             "omega_ka": 0.404625**0.5, "omega_cl": 0.068796**0.5, "omega_v": 0.019222**0.5}  # fmt: skip
ERRORS = {"ka": 0.198, "cl": 0.0756, "v": 0.0429, "sd": 0.0925}
FOCEI, EXACT, MOST_SECONDS = 116.804, 118.101, 30.0


def run(report: Report) -> None:
    joint = theophylline()
    for name in METHODS:
        density = MarginalDensity(joint, METHODS[name]())
        started = time.process_time()
        found = _fit(density, [ROUGH])
        seconds = time.process_time() - started
        values = dict(zip(density.names, _natural(joint, density, found.theta)))
        shown = "  ".join(f"{key} {values[key]:.4f}" for key in PUBLISHED)
        report.note(f"{name:<10} {found.objective:9.4f}  {shown}   {seconds:.1f} CPU-s")
        if name == "focei":
            report.at_most(f"focei: distance of the objective from {FOCEI}", abs(found.objective - FOCEI), 0.01)
            off = max(abs(values[key] / PUBLISHED[key] - 1.0) for key in PUBLISHED)
            # variances of effects count as such, twice as far off as their roots
            report.at_most("focei: estimates off the published, relative: worst", off, 0.01)
            report.at_most("focei: CPU seconds from a rough start", seconds, MOST_SECONDS)
            _errors(report, joint, density, found, values)
        if name in ("quadrature", "stochastic"):  # the second has an objective with errors of sampling, of about .01
            objective = _exact(joint, found.theta)
            report.at_most(f"{name}: exact objective at its end off {EXACT}", abs(objective - EXACT), 0.02)
    _starts(report, joint)


def _fit(density: MarginalDensity, starts: list[dict[str, float]]) -> Estimate:
    points = [density.joint.space.pack({**{f"eta_{k}": 0.0 for k in ("ka", "cl", "v")}, **start}) for start in starts]
    start = torch.cat(points, dim=1)[0][:, density.shared_places]
    maximise = maximum_by_chains if isinstance(density.method, Stochastic) else maximum_likelihood
    return maximise(density, torch.Generator().manual_seed(0), start=start)


def _exact(joint: KnownDensity, theta: torch.Tensor) -> float:
    """Objective at shared coordinates (p,) by quadrature."""
    density = MarginalDensity(joint, METHODS["quadrature"]())
    n, n_values = density.subjects.shape[0], len(joint.cells["level"].values)
    value = density.answer(theta.expand(n, 1, -1)).value.sum()
    return float(-2.0 * value) - n_values * LOG_2PI


def _natural(joint: KnownDensity, density: MarginalDensity, theta: torch.Tensor) -> list[float]:
    return [float(joint.space.priors[name].constrain(u)[0]) for name, u in zip(density.names, theta)]


def _errors(
    report: Report, joint: KnownDensity, density: MarginalDensity, found: Estimate, values: dict[str, float]
) -> None:
    off = 0.0
    for kind, covariance in (("sandwich", found.sandwich), ("Hessian", found.covariance)):
        width = covariance.diagonal().sqrt().tolist()
        se = {name: joint.space.priors[name].width * x for name, x in zip(density.names, width)}
        se["sd"] *= values["sd"]  # the others are of logarithms
        report.note(f"  standard errors, {kind}: " + "  ".join(f"{name} {se[name]:.4f}" for name in ERRORS))
        if kind == "sandwich":
            off = max(abs(se[name] / ERRORS[name] - 1.0) for name in ERRORS)
    report.at_most("focei: sandwich errors off the published, relative: worst", off, 0.05)


def _starts(report: Report, joint: KnownDensity) -> None:
    n = report.count(N_STARTS)
    generator = torch.Generator().manual_seed(1)
    density = MarginalDensity(joint, METHODS["focei"]())
    factors = torch.exp(WITHIN * (2.0 * torch.rand(n, len(MIDDLE), generator=generator, dtype=torch.float64) - 1.0))
    starts = [dict(zip(MIDDLE, (torch.tensor(list(MIDDLE.values())) * row).tolist())) for row in factors]
    started = time.process_time()
    found = _fit(density, starts)
    n_there = int((found.ends - FOCEI).abs().lt(0.01).sum())
    report.at_least(f"focei: starts that end at {FOCEI}, of {n}", n_there, float(n))
    report.note(f"{time.process_time() - started:.1f} CPU-s for {n} starts side by side; others end at "
                f"{[round(x, 3) for x in found.ends.tolist() if abs(x - FOCEI) >= 0.01] or 'no place'}")  # fmt: skip
    flipped = _fit(density, [FLIPPED])
    report.note(f"absorption slower than elimination is another mode, lower still: {flipped.objective:.3f}")
