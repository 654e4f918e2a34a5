"""Exactness: likelihood, gradient, filter, smoother and forecast against the dense joint Gaussian in sixty digits.

The covariance of each component is written in closed form, as no filter knows it, and factored by mpmath: at gaps of a
million times the median the Gaussian in double precision has no digit that is right. Errors of log densities are
relative to them (at least to 1 nat), of means in standard deviations, of variances relative.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
import torch
from mpmath import mpf

from tests.benchmarks.structural_parts.report import Report
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural import (
    Component,
    Cycle,
    DampedSlope,
    DataScale,
    Level,
    LongOrnsteinUhlenbeck,
    Matern,
    OrnsteinUhlenbeck,
    Season,
    Slope,
)
from tsode.models.structural.carma import CARMA
from tsode.models.structural.component import FLAT
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.problems import Data, Problem, log_likelihoods
from tsode.models.structural.structure import LEAST_NOISE, NOISE, Structure

__all__ = ["run"]

SCALE = DataScale(gap=0.02, roughness=0.05)
PERIOD = 0.13
SETS: dict[str, tuple[Component, ...]] = {
    "level": (Level(),),
    "slope": (Slope(),),
    "damped slope": (DampedSlope(),),
    "season": (Season(PERIOD),),
    "frozen season": (Season(PERIOD, frozen=True),),
    "cycle": (Cycle(PERIOD),),
    "ou": (OrnsteinUhlenbeck(),),
    "long ou": (LongOrnsteinUhlenbeck(),),
    "matern": (Matern(),),
    "CARMA(2,1), whose truth is its spectral covariance": (CARMA(),),
    "level + slope + ou + season": (Level(known_start=True), Slope(), OrnsteinUhlenbeck(), Season(PERIOD)),
    "damped slope + ou + long ou + matern + cycle": (
        DampedSlope(),
        OrnsteinUhlenbeck(),
        LongOrnsteinUhlenbeck(),
        Matern(),
        Cycle(PERIOD),
    ),
}
Numbers = dict[str, Any]
STEP = mpf(10) ** -20  # of the differences that gradients are compared with


def covariance(component: Component, p: Numbers, s: Any, t: Any) -> Any:
    """Of a component at times s and t after the first observation, by its parameters."""
    first, last, apart = min(s, t), max(s, t), abs(s - t)
    exp, cos, turn = mpmath.exp, mpmath.cos, 2 * mpmath.pi
    if isinstance(component, Level):
        return (0 if component.known_start else FLAT) + p["rate"] * first
    if isinstance(component, Slope):
        return FLAT * (1 + s * t) + p["rate"] * (first**2 * last / 2 - first**3 / 6)
    if isinstance(component, DampedSlope):
        k = p["damping"]
        travel = (1 - exp(-k * s)) * (1 - exp(-k * t)) / k**2
        once = (exp(-k * s) + exp(-k * t)) * (exp(k * first) - 1) / k
        twice = exp(-k * (s + t)) * (exp(2 * k * first) - 1) / (2 * k)
        return FLAT * (1 + travel) + p["rate"] / k**2 * (first - once + twice)
    if isinstance(component, Season):
        grown = p["size"] * (1 + (0 if component.frozen else p["drift"]) * first)
        return sum(
            grown / k**2 * cos(turn * k * apart / mpf(component.period)) for k in range(1, component.n_harmonics + 1)
        )
    if isinstance(component, Cycle):
        return p["variance"] * exp(-apart / (p["coherence"] * p["period"])) * cos(turn * apart / p["period"])
    if isinstance(component, CARMA):
        return p["variance"] * _spectral(p, apart) / _spectral(p, mpf(0))
    x = apart / p["time"]
    return p["variance"] * exp(-x) * (1 + x if isinstance(component, Matern) else 1)


def _spectral(p: Numbers, apart: Any) -> Any:
    """Fourier transform of ``|1 + b s|^2 / |s^2 + 2 r s / time + 1 / time^2|^2`` at ``s = i w``, by its residues."""
    b = p["moving_average"] * p["time"]
    middle, half = -p["damping_ratio"] / p["time"], mpmath.sqrt(mpmath.mpc(p["damping_ratio"] ** 2 - 1)) / p["time"]
    total = 0
    for root in (middle + half, middle - half):
        slope, mirrored = 2 * (root - middle), (-root - middle) ** 2 - half**2
        total += (1 + b * root) * (1 - b * root) / (slope * mirrored) * mpmath.exp(root * apart)
    return total.real


class Dense:
    """The joint Gaussian of a structure at some times, in sixty digits."""

    def __init__(self, structure: Structure, z: Sequence[Any], times: Sequence[float], n_seen: int) -> None:
        values = {
            key: mpmath.exp(mpf(prior.log_median) + mpf(prior.log_sd) * z[k])
            for k, (key, prior) in enumerate(structure.priors.items())
        }
        self.noise = mpf(LEAST_NOISE) + values[NOISE, "variance"]
        since = [mpf(t) - mpf(times[0]) for t in times]
        n = len(times)
        self.cov = mpmath.matrix(n, n)
        for component in structure.components:
            own = {name: value for (of, name), value in values.items() if of == component.name}
            for i in range(n):
                for j in range(i + 1):
                    self.cov[i, j] = self.cov[j, i] = self.cov[i, j] + covariance(component, own, since[i], since[j])
        seen = self.cov[:n_seen, :n_seen] + self.noise * mpmath.eye(n_seen)
        self.root = mpmath.cholesky(seen)

    def white(self, vector: Any) -> Any:
        """What has to be multiplied by the root to give a vector."""
        n = self.root.rows
        out = mpmath.matrix(n, 1)
        for i in range(n):
            out[i] = (vector[i] - sum(self.root[i, j] * out[j] for j in range(i))) / self.root[i, i]
        return out

    def log_density(self, y: Any) -> Any:
        n, white = self.root.rows, self.white(y)
        log_root = sum(mpmath.log(self.root[i, i]) for i in range(n))
        return -sum(white[i] ** 2 for i in range(n)) / 2 - log_root - n * mpmath.log(2 * mpmath.pi) / 2

    def given(self, y: Any, place: int, n: int) -> tuple[Any, Any]:
        """Mean and variance of the value that would be observed at a place, given the first n values."""
        white, gain = self.white(y), self.white([self.cov[i, place] for i in range(self.root.rows)])
        mean = sum(gain[i] * white[i] for i in range(n))
        return mean, self.cov[place, place] + self.noise - sum(gain[i] ** 2 for i in range(n))


def times_of(generator: np.random.Generator, n: int = 24) -> np.ndarray:
    """Gaps from a millionth of the median to a million of it, in any order but for the greatest, which come late."""
    gaps = SCALE.gap * np.concatenate([10.0 ** generator.uniform(-0.3, 0.3, n - 9), [1e-6, 1e-4, 1e-2, 0.0, 1e2]])
    gaps = np.concatenate([generator.permutation(gaps), SCALE.gap * np.array([1e4, 1.0, 1e6, 1e-6])])
    return np.cumsum(gaps)


def errors_of(components: tuple[Component, ...]) -> dict[str, float]:
    """Greatest error of each answer of a structure."""
    structure = Structure(components, SCALE)
    generator = np.random.default_rng(structure.n_parameters)
    z = 0.5 * generator.standard_normal(structure.n_parameters)
    seen = times_of(generator)
    n = len(seen)
    # between rows, in the long silence and after the end
    asked = np.concatenate(
        [seen[4:6] + 0.4 * SCALE.gap, [(seen[-4] + seen[-3]) / 2], seen[-1] + SCALE.gap * np.array([0.5, 1e6])]
    )
    dense = Dense(structure, [mpf(x) for x in z], [*seen, *asked], n)
    white = mpmath.matrix(generator.standard_normal(n).tolist())
    y = np.array([float(x) for x in dense.root * white])
    exact = [mpf(x) for x in y]
    data = Data.of(torch.from_numpy(seen)[:, None], torch.from_numpy(y)[:, None], torch.ones(n, 1).double())
    found = log_likelihoods([Problem(structure, data)], torch.from_numpy(z)[None])
    truth = dense.log_density(exact)
    errors = {"log-likelihood": float(abs(mpf(found.item()) - truth) / max(1, abs(truth)))}
    errors["gradient"] = gradient_error(structure, z, seen[:-3], y[:-3])
    errors["gradient across the longest silence"] = gradient_error(structure, z, seen, y)

    model = StructuralModel(1)
    member = Member(structure, 1.0, torch.from_numpy(z)[None])
    model.set_channels([ChannelFit((member,), Transform.identity(), 0.0, 1.0, 1.0)])
    batch = IrregularBatch.from_arrays([seen], [y[:, None]], torch.float64)
    first_of_time = np.concatenate([[True], np.diff(seen) > 0.0])
    queries = torch.from_numpy(seen[first_of_time])[None]
    places = np.flatnonzero(first_of_time)
    passed = model.forecast(batch, queries)
    filtered = [dense.given(exact, k, k) for k in places]
    errors["filter"] = _worst(passed, filtered)
    queries = torch.from_numpy(asked)[None]
    ahead = model.forecast(batch, queries)
    errors["forecast"] = _worst(
        ahead, [dense.given(exact, n + k, int(np.searchsorted(seen, t))) for k, t in enumerate(asked)]
    )
    errors["smoother"] = _worst(model.fill(batch, queries), [dense.given(exact, n + k, n) for k in range(len(asked))])
    return errors


def gradient_error(structure: Structure, z: np.ndarray, times: np.ndarray, y: np.ndarray) -> float:
    """Of the log-likelihood, relative to its greatest slope."""
    truth = []
    for k in range(len(z)):
        sides = []
        for sign in (1, -1):
            point = [mpf(x) for x in z]
            point[k] += sign * STEP
            sides.append(Dense(structure, point, times.tolist(), len(times)).log_density([mpf(x) for x in y]))
        truth.append(float((sides[0] - sides[1]) / (2 * STEP)))
    exact = np.array(truth)
    data = Data.of(*(torch.from_numpy(x)[:, None] for x in (times, y, np.ones(len(y)))))
    point = torch.from_numpy(z)[None].requires_grad_()
    (found,) = torch.autograd.grad(log_likelihoods([Problem(structure, data)], point).sum(), point)
    return float(np.abs(found[0].numpy() - exact).max() / max(1.0, np.abs(exact).max()))


def _worst(forecast: Any, truth: Sequence[tuple[Any, Any]]) -> float:
    worst = 0.0
    for k, (mean, variance) in enumerate(truth):
        off = abs(mpf(forecast.mean[0, k, 0].item()) - mean) / mpmath.sqrt(variance)
        spread = abs(mpf(forecast.variance[0, k, 0].item()) / variance - 1)
        worst = max(worst, float(off), float(spread))
    return worst


def run(report: Report) -> None:
    answers = ("log-likelihood", "filter", "smoother", "forecast")
    bars = dict.fromkeys(answers, 1e-9) | dict.fromkeys(("gradient", "gradient across the longest silence"), 1e-8)
    with mpmath.workdps(60):
        for name, components in SETS.items():
            errors = errors_of(components)
            for what, bar in bars.items():
                report.at_most(f"{name}: {what} against the dense Gaussian", errors[what], bar)
    if importlib.util.find_spec("statsmodels") is None:
        report.skip("statsmodels is not installed: its UnobservedComponents were not compared")
        return
    for name, (components, build) in NEIGHBOURS.items():
        report.at_most(f"{name}: log-likelihood against statsmodels", _against_statsmodels(components, build), 1e-6)


def _of_level(model: Any, p: Numbers, gap: float) -> None:
    model.update([p[NOISE, "variance"] + LEAST_NOISE, p["level", "rate"] * gap])


def _of_level_and_season(model: Any, p: Numbers, gap: float) -> None:
    drift = p["season", "size"] * p["season", "drift"] * gap
    model.update([p[NOISE, "variance"] + LEAST_NOISE, p["level", "rate"] * gap, drift])


def _of_level_cycle_and_ou(model: Any, p: Numbers, gap: float) -> None:
    period = p["cycle", "period"]
    damping = np.exp(-gap / (period * p["cycle", "coherence"]))
    decay = np.exp(-gap / p["ou", "time"])
    cycle = [p["cycle", "variance"] * (1 - damping**2), 2 * np.pi * gap / period, damping]
    ou = [decay, p["ou", "variance"] * (1 - decay**2)]
    # as statsmodels has them: variances of noise, level, cycle and autoregression, then their shapes
    model.update(
        [p[NOISE, "variance"] + LEAST_NOISE, p["level", "rate"] * gap, cycle[0], ou[1], cycle[1], cycle[2], ou[0]]
    )


def _of_slope(model: Any, p: Numbers, gap: float) -> None:
    """The two noises of the integrated motion are correlated, which its parameters cannot say: its matrices can."""
    rate = p["slope", "rate"]
    model.update([p[NOISE, "variance"] + LEAST_NOISE, 1.0, 1.0])
    model.ssm["state_cov"] = rate * np.array([[gap**3 / 3, gap**2 / 2], [gap**2 / 2, gap]])
    model.ssm["transition"] = np.array([[1.0, gap], [0.0, 1.0]])


Build = Callable[[Any, Numbers, float], None]
NEIGHBOURS: dict[str, tuple[tuple[Component, ...], Build]] = {
    "level": ((Level(),), _of_level),
    "slope": ((Slope(),), _of_slope),
    "level + season of one harmonic": ((Level(), Season(PERIOD, n_harmonics=1)), _of_level_and_season),
    "level + cycle + ou": ((Level(), Cycle(PERIOD), OrnsteinUhlenbeck()), _of_level_cycle_and_ou),
}


def _against_statsmodels(components: tuple[Component, ...], build: Build) -> float:
    """Greatest error of the log-likelihood of some parameters, relative, on a regular grid with a gap in the values."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    structure, n, gap = Structure(components, SCALE), 150, SCALE.gap
    generator = np.random.default_rng(3)
    times = gap * np.arange(n)
    y = np.sin(40.0 * times) + 0.3 * generator.standard_normal(n)
    mask = np.ones(n)
    mask[60:80] = 0.0
    kinds = {type(component) for component in components}
    settings: dict[str, Any] = {"level": "lltrend" if Slope in kinds else "llevel"}
    if Season in kinds:
        settings |= {"freq_seasonal": [{"period": PERIOD / gap, "harmonics": 1}]}
    if Cycle in kinds:
        settings |= {"cycle": True, "stochastic_cycle": True, "damped_cycle": True, "autoregressive": 1}
    model = UnobservedComponents(np.where(mask > 0, y, np.nan), **settings)
    model.ssm.loglikelihood_burn = 0
    data = Data.of(*(torch.from_numpy(x)[:, None] for x in (times, y, mask)))
    worst = 0.0
    for _ in range(5):
        z = 0.5 * generator.standard_normal(structure.n_parameters)
        point = torch.from_numpy(z)[None]
        ours = float(log_likelihoods([Problem(structure, data)], point))
        numbers = {key: float(value) for key, value in structure.parameters(point).items()}
        build(model, numbers, gap)
        start = structure.parts(point, torch.zeros(1, 1).double()).start[0].numpy()
        own = np.concatenate([start[structure.places[component.name]] for component in components])
        model.ssm.initialize_known(np.zeros(len(own)), np.diag(own))
        theirs = float(model.ssm.loglike())
        worst = max(worst, abs(ours - theirs) / max(1.0, abs(theirs)))
    return worst
