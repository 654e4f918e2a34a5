"""Contract checks of conditional intensities of marked events."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from tsode.core.events import StreamBatch
from tsode.intensities.base import Intensity
from tsode.testing.assertions import assert_close, assert_gradient

__all__ = ["check_intensity"]


def check_intensity(intensity: Intensity) -> None:
    """Check streams, padding, causality, jumps, bounds, compensator and gradients of an intensity.

    The contract: streams do not see each other nor their padding; later events change nothing before them; events of
    one time do not see each other, and their order changes nothing; `jump` is one step of `states`; no total rate is
    above `upper_bound`; the compensator is the integral of the total rate (to 1e-6 where `is_exact` is False);
    gradients of the log-likelihood are right.

    Parameters
    ----------
    intensity : Intensity
        Untrained is fine; it is copied, never changed.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    intensity = copy.deepcopy(intensity).double()
    batch = _streams(intensity.n_marks, [7, 0, 3, 11])
    _check_streams(intensity, batch)
    _check_causality(intensity, _streams(intensity.n_marks, [9]))
    full = _streams(intensity.n_marks, [4, 4])
    z, states = intensity.start(2), intensity.states(full)
    for k in range(4):
        z = intensity.jump(z, full.gaps[:, k], full.marks[:, k])
        assert_close(z, states[:, k + 1], "a jump is one step of the pass over all events")
    with torch.no_grad():
        _check_rates(intensity, intensity.encode_history(batch))
    _check_ties(intensity, full)
    _check_gradient(intensity, _streams(intensity.n_marks, [5, 3]))


def _streams(n_marks: int, lengths: list[int]) -> StreamBatch:
    rng = np.random.default_rng(0)
    times = [np.sort(rng.uniform(0.5, 9.5, n)) for n in lengths]
    marks = [rng.integers(0, n_marks, n) for n in lengths]
    return StreamBatch.from_arrays(times, marks, np.zeros(len(lengths)), np.full(len(lengths), 10.0))


def _check_streams(intensity: Intensity, batch: StreamBatch) -> None:
    trace, z = intensity.trace(batch), intensity.encode_history(batch)
    promise = "streams do not see each other nor their padding"
    for row, n in enumerate(batch.lengths.tolist()):
        part = batch.select(torch.tensor([row]))
        alone = intensity.trace(part)
        assert_close(alone.log_rate[0], trace.log_rate[row, :n], promise)
        assert_close(alone.increments[0, :n], trace.increments[row, :n], promise)
        assert_close(alone.log_likelihood()[0], trace.log_likelihood()[row], promise)
        assert_close(intensity.encode_history(part)[0], z[row], promise)


def _check_ties(intensity: Intensity, batch: StreamBatch) -> None:
    times = batch.times.clone()
    times[:, 1:3] = times[:, 1:2]
    tied = replace(batch, times=times)
    turned = replace(tied, marks=batch.marks[:, [0, 2, 1, 3]])
    promise = "events of one time are simultaneous, in whatever order they come"
    assert_close(intensity.encode_history(tied), intensity.encode_history(turned), promise)
    left, right = intensity.trace(tied), intensity.trace(turned)
    assert_close(left.log_likelihood(), right.log_likelihood(), promise)
    assert_close(left.increments[:, 2], torch.zeros_like(left.increments[:, 2]), promise)


def _check_causality(intensity: Intensity, batch: StreamBatch) -> None:
    short = StreamBatch(batch.times[:, :5], batch.marks[:, :5], torch.tensor([5]), batch.start, batch.times[:, 5])
    before, whole = intensity.trace(short), intensity.trace(batch)
    promise = "later events change nothing before them"
    assert_close(before.log_rate, whole.log_rate[:, :5], promise)
    assert_close(before.increments[:, :5], whole.increments[:, :5], promise)


def _check_rates(intensity: Intensity, z: Tensor) -> None:
    n = len(z)
    for low, high in ((0.0, 0.1), (0.2, 3.0)):
        waits = torch.linspace(low, high, 50, dtype=torch.float64).expand(n, -1)
        rates = intensity.extrapolate(z, waits).rates
        assert rates.shape == (n, 50, intensity.n_marks), "extrapolate gives a rate for each mark and time."
        assert bool((rates >= 0.0).all()), "rates are not negative."
        bound = intensity.upper_bound(z, waits[:, 0], waits[:, -1])
        assert bool((rates.sum(dim=-1) <= bound[:, None] * (1.0 + 1e-9)).all()), "no rate is above upper_bound."
    x, w = np.polynomial.legendre.leggauss(40)
    for low, high in ((0.0, 0.01), (0.0, 0.7), (0.3, 5.0), (0.0, 40.0)):
        ends = intensity.extrapolate(z, torch.tensor([[low, high]], dtype=torch.float64).expand(n, -1)).compensator
        edges = np.unique(np.concatenate([[low], np.geomspace(max(low, 1e-3), high, 12), [high]]))
        nodes = (edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (x + 1.0)).reshape(-1)
        weights = torch.from_numpy((np.diff(edges)[:, None] * 0.5 * w).reshape(-1))
        integral = intensity.extrapolate(z, torch.from_numpy(nodes).expand(n, -1)).total @ weights
        share = 1e-10 if intensity.is_exact else 1e-6
        assert_close(ends[:, 1] - ends[:, 0], integral, "the compensator is the integral of the total rate", share)


class _LogLikelihood(nn.Module):
    """Log-likelihood as a forward pass, so that it can be called with other parameters."""

    def __init__(self, intensity: Intensity, batch: StreamBatch) -> None:
        super().__init__()
        self.intensity, self.batch = intensity, batch

    def forward(self) -> Tensor:
        return self.intensity.trace(self.batch).log_likelihood(1)


def _check_gradient(intensity: Intensity, batch: StreamBatch) -> None:
    module = _LogLikelihood(intensity, batch)
    names, values = zip(*((name, p.detach().clone().requires_grad_()) for name, p in module.named_parameters()))

    def log_likelihood(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters)), ())

    assert_gradient(log_likelihood, values, "gradients of the log-likelihood are right", atol=1e-6)
