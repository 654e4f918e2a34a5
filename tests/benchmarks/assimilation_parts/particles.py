"""Particles beside Kalman: bias at every threshold, slope of the error, gradients, guiding, and their posterior."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor

from tests.assimilation.motions import Channel, normal_start, total
from tests.assimilation.motions import run as run_filter
from tests.assimilation.ou_density import ByKalman, ByParticles
from tests.assimilation.test_guided import CASES, simulated
from tests.assimilation.test_particle import estimates, exact, kalman_s_score, score_of
from tests.benchmarks.structural_parts.report import Report
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.inference.infer import infer
from tsode.inference.settings import Settings

__all__ = ["run"]


def run(report: Report) -> None:
    bias(report)
    slope(report)
    gradients(report)
    guiding(report)
    posterior(report)


def bias(report: Report) -> None:
    n_rows = report.count(4000)
    for kind in (ParticleFilter, GuidedFilter):
        for threshold in (0.0, 0.5, 1.0):
            ratio = (estimates(kind(50, threshold), n_rows) - exact()).exp()
            off = abs(float(ratio.mean()) - 1.0) / (float(ratio.std()) / math.sqrt(n_rows))
            report.at_most(f"{kind.__name__}, threshold {threshold}: mean of exp(L - Kalman's) from 1, in s.e.", off, 3)


def slope(report: Report) -> None:
    counts = [50, 200, 800, 3200]
    errors = [float((estimates(ParticleFilter(m), report.count(300)) - exact()).std()) for m in counts]
    for m, error in zip(counts, errors):
        report.note(f"{m} particles: sd of the log likelihood {error:.3f}")
    found = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    report.within("slope of log sd in log particles", found, -0.6, -0.4)


def gradients(report: Report) -> None:
    truth = kalman_s_score()
    for kind in (ParticleFilter, GuidedFilter):
        mean, se = score_of(kind(1000, differentiable=True), report.count(300))
        report.note(f"{kind.__name__}: score {mean.tolist()}, s.e. {se.tolist()}, Kalman's {truth.tolist()}")
        report.at_most(f"{kind.__name__}: score from Kalman's, in s.e.", float(((mean - truth).abs() / se).max()), 4)


def guiding(report: Report) -> None:
    n_rows = report.count(200)
    for name, (motion, predict, d, most) in CASES.items():
        for sd in (0.3, 0.1, 0.02):
            times, values = simulated(motion, predict, d, sd)
            start = normal_start(torch.ones(n_rows, d).double(), torch.full((n_rows, d), 0.3).double())
            values = values[:, None].expand(n_rows, -1, -1)
            variances, seconds = [], []
            for filter in (ParticleFilter(200), GuidedFilter(200)):
                started = time.process_time()
                found: Tensor = total(run_filter(filter, motion, start, times, values, [Channel(predict, sd)], 4))
                seconds.append(time.process_time() - started)
                variances.append(float(found.var()))
            text = f"{name}, noise {sd}: variance of the log likelihood {variances[0]:.3f}, guided {variances[1]:.4f}"
            report.note(f"{text}; CPU seconds {seconds[0]:.2f} and {seconds[1]:.2f}")
            if sd == 0.02:
                report.at_most(f"{name}, noise {sd}: guided variance in parts", variances[1] / variances[0], most)


def posterior(report: Report) -> None:
    settings = Settings(n_prior=512, n_starts=8)
    truth = infer(ByKalman(), "quadrature", 0)
    plain = infer(ByKalman(), "pmmh", 0, settings)
    found = infer(ByParticles(ParticleFilter(20)), "pmmh", 0, settings)
    for what, answer in (("exact likelihood", plain), ("20 particles", found)):
        off = ((answer.mean - truth.mean).abs() / (truth.sd / answer.ess_bulk.sqrt())).max()
        report.at_most(f"pmmh, {what}: means from quadrature, in s.e.", float(off), 4)
        off = ((answer.sd / truth.sd).log().abs() * answer.ess_bulk.sqrt()).max()
        report.at_most(f"pmmh, {what}: log sd from quadrature, in 1 / root of effective draws", float(off), 4)
        report.note(
            f"pmmh, {what}: {answer.effort}; effective draws {answer.ess_bulk.min():.0f}, R-hat {answer.rhat.max():.3f}"
        )
