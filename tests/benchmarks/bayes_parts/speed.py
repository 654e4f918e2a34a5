"""Speed on lynx and hare: effective draws a second by engine, and the gradient of many chains beside that of one."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from tests.benchmarks.bayes_parts.answers import tell_cost
from tests.benchmarks.bayes_parts.by_scipy import sample_by_scipy
from tests.benchmarks.bayes_parts.lynx_hare import REFERENCE
from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import lynx_hare
from tsode.inference.chains import bulk_ess
from tsode.inference.infer import infer

__all__ = ["run"]

N_TIMES = 7
BY_SCIPY = 60.0  # CPU seconds


def run(report: Report) -> None:
    density = lynx_hare()
    u = density.space.pack({name: mean for name, (mean, _) in REFERENCE.items()})
    generator = torch.Generator().manual_seed(0)
    u = u + 0.1 * torch.randn(1, 1024, u.shape[-1], generator=generator, dtype=torch.float64)
    seconds = {n: [] for n in (1, 64, 1024)}
    for _ in range(N_TIMES):  # in turn: the machine's pace changes
        for n, own in seconds.items():
            own.append(_seconds_of_gradient(density, u[:, :n]))
    least = {n: min(own) for n, own in seconds.items()}
    report.note("value and gradient: " + ", ".join(f"{n} chains {x:.3f} CPU-s" for n, x in least.items()))
    report.at_most("gradient of 64 chains, in those of one", least[64] / least[1], 1.5)
    paces = {}
    for engine in ("laplace", "importance", "auto", "hmc"):
        posterior = infer(density, engine, 0)
        tell_cost(report, engine, posterior)
        paces[engine] = float(posterior.ess_bulk.min()) / posterior.effort.cpu_seconds
    draws, seconds = sample_by_scipy(density, BY_SCIPY)
    ess = float(bulk_ess(draws[..., draws.shape[-1] // 4 :]).min())
    report.note(f"SciPy and an ensemble sampler, begun at the mode: {seconds:.0f} CPU-s  ESS {ess:.0f}")
    report.at_least("effective draws a second, in those of SciPy's", paces["auto"] / (ess / seconds), 10.0)


def _seconds_of_gradient(density: object, u: Tensor) -> float:
    u = u.clone().requires_grad_()
    started = time.process_time()
    torch.autograd.grad(density.log_prob(u).sum(), u)  # type: ignore[attr-defined]
    return time.process_time() - started
