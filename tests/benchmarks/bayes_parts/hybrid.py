"""Hybrids of physics and a network: a term of the rates that is found from data, and a residual that nothing needs.

Predators and prey at 30 uneven times over a period and a half (15 years), with one per cent of noise. The whole of what
predators eat, ``beta x y``, is left to a network of both states: prey lose it, and a share of it feeds the predators;
or all is known, and a residual is added. A single shoot gets stuck here, so modes are sought by segments.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import scipy.integrate
import torch
from torch import Tensor

from tests.benchmarks.bayes_parts.answers import tell_cost
from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import numbers, observations
from tsode.inference.draws import Posterior
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.noise import LogNormalNoise
from tsode.inference.observations import Observations
from tsode.inference.parameters import Parameters
from tsode.inference.priors import LogNormal
from tsode.inference.residual_scales import with_found_scales
from tsode.inference.settings import Settings
from tsode.numerics.dopri5 import Dopri5

__all__ = ["known", "open_term", "run", "simulate"]

ALPHA, BETA, GAMMA, DELTA = 0.55, 0.028, 0.8, 0.024
START, SPAN, NOISE, N_TIMES = (34.0, 6.0), 15.0, 0.01, 30
SIZES = (60.0, 40.0)
EATEN = NeuralTerm("eaten", SIZES, scale=40.0, n_hidden=24)  # a year
# a tenth of what goes on
RESIDUAL = {name: NeuralTerm(f"more_{name}", SIZES, scale=2.0, n_hidden=8) for name in ("prey", "predator")}
FEW = Settings(n_prior=512, n_starts=16, segments="auto")
CLOSE = Dopri5(rtol=3e-7, atol=3e-7)  # noise is small, and curvatures are differences
N_SEEDS, N_DRAWS = 3, 200


def truth(times: np.ndarray) -> np.ndarray:
    """Animals (m 2) at these times."""

    def field(t: float, z: np.ndarray) -> list[float]:
        return [(ALPHA - BETA * z[1]) * z[0], (DELTA * z[0] - GAMMA) * z[1]]

    return scipy.integrate.solve_ivp(field, (0, SPAN), START, "DOP853", times, rtol=1e-10, atol=1e-10).y.T


def simulate(seed: int) -> Observations:
    generator = np.random.default_rng(seed)
    times = np.sort(generator.uniform(0.0, SPAN, N_TIMES))
    return observations(times, truth(times) * np.exp(NOISE * generator.standard_normal((N_TIMES, 2))))


def _system(rates: Any, parameters: dict[str, Any], **others: Any) -> KnownSystem:
    shared = {name: LogNormal(log(0.7), 0.5) for name in ("alpha", "gamma")}
    initial = {"prey": LogNormal(log(30.0), 0.5), "predator": LogNormal(log(10.0), 0.5)}
    observed = {name: LogNormalNoise(name, sd="sd") for name in initial}
    parameters = {**shared, "sd": LogNormal(log(0.05), 1.0), **parameters}
    return KnownSystem(rates, list(initial), parameters, initial, observed, solver=CLOSE, **others)


def open_term() -> KnownSystem:
    """The system that does not know how much predators eat."""

    def rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
        prey, predator = z.unbind(-1)
        lost = EATEN(z, p)
        return p.alpha * prey - lost, p.share * lost - p.gamma * predator

    return _system(rates, {"share": LogNormal(0.0, 0.5), **EATEN.parameters()})


def known() -> KnownSystem:
    """The whole system, with a residual."""

    def rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
        prey, predator = z.unbind(-1)
        return (p.alpha - p.beta * predator) * prey, (p.delta * prey - p.gamma) * predator

    more = {name: LogNormal(log(0.03), 0.5) for name in ("beta", "delta")}
    return _system(rates, more, residual=RESIDUAL)


def run(report: Report) -> None:
    visited = numbers(truth(np.linspace(0.0, SPAN, 200)))
    for seed in range(report.count(N_SEEDS)):
        data = simulate(seed)
        density, posterior = _fit(report, f"open term, seed {seed}", open_term(), data)
        rows, p = _rows(density, posterior, visited)
        exact = BETA * visited.prod(dim=-1)
        error = _rms(_mean(EATEN(rows, p)) - exact) / _rms(exact)
        report.at_most(f"seed {seed}: error of beta x y on the way, relative", error, 0.05)

        density, posterior = _fit(report, f"all known, seed {seed}", known(), data)
        rows, p = _rows(density, posterior, visited)
        drift = _mean(density.system.known_derivatives(torch.zeros_like(rows[:, 0]), rows, p))
        for k, name in enumerate(density.system.states):
            share = _rms(_mean(density.system.residual[name](rows, p))) / _rms(drift[:, k])
            report.at_most(f"seed {seed}: residual of {name}, in parts of the known drift", share, 0.05)


def _fit(report: Report, what: str, system: KnownSystem, data: Observations) -> tuple[KnownDensity, Posterior]:
    density = with_found_scales(KnownDensity(system, data), 0, FEW)
    posterior = infer(density, "laplace", 0, FEW)
    tell_cost(report, what, posterior)
    return density, posterior


def _rows(density: KnownDensity, posterior: Posterior, visited: Tensor) -> tuple[Tensor, Parameters]:
    """The states that were visited with the parameters of every draw, as rows."""
    draws = posterior.draws.flatten(1, 2)[:, :N_DRAWS]
    values = density.space.unpack(draws).values
    n = len(visited)
    p = Parameters({name: value[0, :, 0].repeat_interleave(n) for name, value in values.items()})
    return visited.repeat(N_DRAWS, 1), p


def _mean(rows: Tensor) -> Tensor:
    """Mean over draws, state by state."""
    return rows.unflatten(0, (N_DRAWS, -1)).mean(dim=0)


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
