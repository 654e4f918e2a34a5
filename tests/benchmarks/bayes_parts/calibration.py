"""Calibration over simulated data sets: ranks of the truth, and how often predictive intervals hold.

Decay and a damped oscillator, both with noise of unknown width. All data sets are problems of one density.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import numbers
from tsode.inference.calibration import Calibration, calibrate
from tsode.inference.draws import Posterior
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise
from tsode.inference.observations import Observations
from tsode.inference.priors import LogNormal, Normal
from tsode.inference.settings import Settings
from tsode.systems import damped_oscillator

__all__ = ["run"]

N_DATA_SETS, N_SERIES, AT_ONCE = 300, 500, 100
LEVEL, BAR = 0.01, (0.88, 0.92)
SHRUNK = 0.8
# a call has a hundred problems
FEW = Settings(n_prior=512, n_starts=8, n_importance=1024, n_rounds=4, n_chains=16, n_check=64, n_draws=1024)


class Simulator:
    """Data sets of a system, each one series seen at the same times.

    Parameters
    ----------
    system : KnownSystem
        All of whose parameters each series has its own; one channel with additive noise ``sd``.
    times : sequence of float
    later : float
        When a forecast is asked for.
    """

    def __init__(self, system: KnownSystem, times: list[float], later: float) -> None:
        own = [name for name in system.parameters if not name.endswith("_initial")]
        self.system, self.times, self.later = replace(system, per_series=own), numbers(times), later

    def density(self, values: Tensor) -> KnownDensity:
        """Density given the values (g m)."""
        g = len(values)
        data = Observations(range(g), self.times.new_zeros(g), self.times.expand(g, -1), values[..., None])
        return KnownDensity(self.system, data, n_problems=g)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        return self.density(self.times.new_zeros(1, len(self.times))).sample_prior(n, generator)[0]

    def draw(self, truth: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        """Values (g m) of the channel at true coordinates (g p)."""
        density = self.density(self.times.new_zeros(len(truth), len(self.times)))
        (law,) = density.predictive(truth[:, None], times.expand(len(truth), -1)).values()
        level = torch.rand(law.is_fine.shape, generator=generator, dtype=torch.float64)
        return law.family.quantile(law.params, level)[:, 0, 0]

    def simulate(self, truth: Tensor, generator: torch.Generator) -> KnownDensity:
        return self.density(self.draw(truth, self.times, generator))


def decay() -> Simulator:
    system = KnownSystem(
        lambda t, z, p: -p.k[:, None] * z,
        ["drug"],
        {"k": LogNormal(np.log(0.5), 0.5), "sd": LogNormal(np.log(0.5), 0.5)},
        {"drug": Normal(10.0, 2.0)},
        {"level": AdditiveNoise("drug", sd="sd")},
    )
    return Simulator(system, [0.5, 1.0, 1.5, 2.5, 4.0, 6.0], 8.0)


def oscillator() -> Simulator:
    times = np.cumsum(0.15 + 0.25 * np.random.default_rng(0).random(14))
    return Simulator(damped_oscillator(period=1.5, amplitude=1.0, spread=0.25), times.tolist(), float(times[-1]) + 0.5)


def shrink(posterior: Posterior) -> Posterior:
    mean = posterior.draws.mean(dim=(1, 2), keepdim=True)
    return replace(posterior, draws=mean + SHRUNK * (posterior.draws - mean))


def run(report: Report) -> None:
    for name, simulator in {"decay": decay(), "oscillator": oscillator()}.items():
        n = report.count(N_DATA_SETS)
        started = time.process_time()
        found = calibrate(simulator.sample_prior, simulator.simulate, n, 0, "auto", FEW, AT_ONCE)
        _tell(report, name, found, time.process_time() - started)
        report.at_least(
            f"{name}: chance of ranks as uneven, the least of {len(found.names)} parameters",
            1.0 - (1.0 - float(found.chi_square().min())) ** len(found.names), LEVEL,
        )  # fmt: skip
        report.at_most(f"{name}: rejected at {LEVEL:g}", float(found.is_rejected(LEVEL)), 0.0)
        report.at_most(f"{name}: data sets without an answer", found.n_failed, 0.0)
        wrong = calibrate(simulator.sample_prior, simulator.simulate, n, 0, "importance", FEW, AT_ONCE, change=shrink)
        report.at_least(f"{name}: rejected with standard deviations times {SHRUNK}", float(wrong.is_rejected()), 1.0)
        share, seconds = _share_held(simulator, report.count(N_SERIES))
        report.within(f"{name}: share of 90 % predictive intervals that hold", share, *BAR)
        report.note(f"{name}: {seconds:.1f} CPU-s for the intervals")


def _tell(report: Report, name: str, found: Calibration, seconds: float) -> None:
    report.note(
        f"{name}: {seconds:.1f} CPU-s for {len(found.ranks)} data sets; engines {found.engines}; "
        f"problems {found.problems or 'none'}"
    )
    for parameter, chance, lean, spread in zip(found.names, found.chi_square(), found.lean, found.spread):
        report.note(f"  {parameter:<18} chi-square {chance:.3f}   lean {lean:5.2f}   spread {spread:5.2f}")


def _share_held(simulator: Simulator, n: int) -> tuple[float, float]:
    """Share of intervals that hold a later value, by the mixture of the draws' laws, and CPU seconds."""
    generator = torch.Generator().manual_seed(1)
    started, held, times = time.process_time(), [], numbers([simulator.later])
    for first in range(0, n, AT_ONCE):
        truth = simulator.sample_prior(min(AT_ONCE, n - first), generator)
        density = simulator.simulate(truth, generator)
        later = simulator.draw(truth, times, generator)  # (g 1)
        posterior = infer(density, "auto", generator, FEW)
        draws = posterior.draws.flatten(1, 2)[:, ::4]
        (law,) = density.predictive(draws, times.expand(len(truth), -1)).values()
        level = law.family.cdf(law.params[:, :, 0], later[:, None]).mean(dim=1)  # of the mixture, (g 1)
        held.append((level > 0.05) & (level < 0.95))
    return float(torch.cat(held).double().mean()), time.process_time() - started
