"""The checks find what they are for: a class that breaks one promise fails the check that names it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tsode import LastValueForecaster
from tsode.core.forecast import Forecast
from tsode.dynamics import Antisymmetric, LinearDynamics, Lipschitz, MeanReverting, OrnsteinUhlenbeck
from tsode.evolutions import DiagonalFlow
from tsode.evolutions.base import Evolved
from tsode.frames.growing import GrowingDict
from tsode.intensities import HawkesExponential
from tsode.jumps import GRU
from tsode.likelihoods import Normal
from tsode.models.baselines import LastValueModel
from tsode.numerics import Dopri5, Euler, EulerMaruyama, Midpoint
from tsode.testing import (
    check_dynamics,
    check_evolution,
    check_forecaster,
    check_intensity,
    check_jump,
    check_likelihood,
    check_model,
    check_sde,
    check_sde_solver,
    check_solver,
)

# -- forecasters -------------------------------------------------------------------------------------------------------


class SetsMore(LastValueForecaster):
    def __init__(self, *, random_state=None):
        super().__init__(random_state=random_state)
        self.cache = {}


class ReturnsNothing(LastValueForecaster):
    def fit(self, X, y=None, **more):
        super().fit(X, y, **more)


class SeedsTheWorld(LastValueForecaster):
    def fit(self, X, y=None, **more):
        torch.manual_seed(0)
        return super().fit(X, y, **more)


class DrawsFromPython(LastValueForecaster):
    def predict(self, X=None, **more):
        random.random()
        return super().predict(X, **more)


class Prints(LastValueForecaster):
    def fit(self, X, y=None, **more):
        print("done")  # noqa: T201
        return super().fit(X, y, **more)


class Remembers(LastValueForecaster):
    def predict(self, X=None, **more):
        self.n_asked_ = getattr(self, "n_asked_", 0) + 1
        return super().predict(X, **more)


class ReadsValues(LastValueForecaster):
    def predict(self, X=None, **more):
        out = super().predict(X, **more)
        return out.assign(a=X["a"].to_numpy()) if X is not None and "a" in X else out


class NoisyFit(LastValueForecaster):
    def fit(self, X, y=None, **more):
        super().fit(X, y, **more)
        self.module_.variance += float(np.random.default_rng().random())
        self.module_.variances += float(np.random.default_rng().random())
        return self


class SeesTheFuture(LastValueForecaster):
    def _forecast(self, query, panel, impute=False, *more, **others):
        return super()._forecast(query, panel, True, *more, **others)


class CrossedQuantiles(LastValueForecaster):
    def predict_quantiles(self, X=None, *, quantiles=(0.1, 0.5, 0.9), **more):
        return (
            super()
            .predict_quantiles(X, quantiles=[1.0 - q for q in quantiles], **more)
            .set_axis(super().predict_quantiles(X, quantiles=quantiles, **more).columns, axis=1)
        )


class NarrowSamples(LastValueForecaster):
    def sample(self, X=None, **more):
        out = super().sample(X, **more)
        middle = out.groupby(["unique_id", "ds"])[["a", "b"]].transform("mean")
        return out.assign(a=(out["a"] + middle["a"]) / 2, b=(out["b"] + middle["b"]) / 2)


class Unrepeatable(LastValueForecaster):
    def sample(self, X=None, *, random_state=None, **more):
        return super().sample(X, **more)


class OverwritesData(LastValueForecaster):
    def impute(self, X):
        return super().impute(X).assign(a=0.0)


class ForgetsHistory(LastValueForecaster):
    @classmethod
    def load(cls, path, device="cpu"):
        loaded = super().load(path, device)
        loaded._last_times = GrowingDict({})
        return loaded


class PositiveScores(LastValueForecaster):
    def score(self, X, y=None, **more):
        return -super().score(X, y, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (SetsMore, r"check_constructor_only_stores: the constructor sets \{'.*cache"),
        (ReturnsNothing, r"fit does not return self"),
        (SeedsTheWorld, r"check_leaves_no_trace: fit, predict or sample moves the global torch random state"),
        (DrawsFromPython, r"check_leaves_no_trace: .* moves the global Python random state"),
        (Prints, r"check_leaves_no_trace: verbose=0 prints 'done"),
        (Remembers, r"check_predict_changes_nothing: a forecast changes the estimator"),
        (ReadsValues, r"check_values_are_not_read: value columns of X in predict are read"),
        (NoisyFit, r"check_fit: the same seed does not give the same bits"),
        (SeesTheFuture, r"check_future: data from a time on never change the forecast at it"),
        (CrossedQuantiles, r"check_quantiles: quantiles increase with their level"),
        (NarrowSamples, r"check_samples: a share 0.2 of samples lies below that quantile: off by"),
        (Unrepeatable, r"check_leaves_no_trace|check_samples: the same seed draws others"),
        (OverwritesData, r"check_impute: impute keeps what was observed, bit for bit"),
        (ForgetsHistory, r"check_copies: load changes last_times_"),
        (PositiveScores, r"check_score: score\(mse\) is"),
    ],
)
def test_a_forecaster_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_forecaster(broken())


# -- models ------------------------------------------------------------------------------------------------------------


class Broken(LastValueModel):
    """A last value moved by `shift`, a tensor that broadcasts to (b m c)."""

    def shift(self, batch, query_times):
        return 0.0

    def forecast(self, batch, query_times, side="left"):
        right = super().forecast(batch, query_times, side)
        params = right.params.clone()
        params[..., 0] += self.shift(batch, query_times)
        return Forecast(query_times, params, right.family, right.status)


class MixesRows(Broken):
    def shift(self, batch, query_times):
        return batch.values.mean()


class CountsPadding(Broken):
    def shift(self, batch, query_times):
        return 0.01 * batch.n_events


class CountsEvents(Broken):
    def shift(self, batch, query_times):
        return 0.01 * batch.lengths[:, None, None]


class MixesQueries(Broken):
    def shift(self, batch, query_times):
        return query_times.mean(dim=1)[:, None, None]


class ReadsTheClock(Broken):
    def shift(self, batch, query_times):
        return 0.01 * query_times[..., None]


class SeesTheEvent(Broken):
    def forecast(self, batch, query_times, side="left"):
        return super().forecast(batch, query_times, "right")


class WideSamples(Broken):
    def sample(self, batch, query_times, n_samples, generator):
        middle = self.forecast(batch, query_times).mean
        return middle + 2.0 * (super().sample(batch, query_times, n_samples, generator) - middle)


class Widens(Broken):
    def forecast(self, batch, query_times, side="left"):
        right = super().forecast(batch, query_times, side)
        return Forecast(query_times, right.params.double(), right.family, right.status)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (MixesRows, "a series alone is forecast as in a batch"),
        (CountsPadding, "a series alone is forecast as in a batch|padding changes nothing"),
        (CountsEvents, "an event that saw nothing is a no-op"),
        (MixesQueries, "asking for more times changes no other answer"),
        (ReadsTheClock, "the origin of time changes nothing"),
        (SeesTheEvent, "data from a time on never change the forecast at it"),
        (WideSamples, "a share 0.1 of samples lies below that quantile"),
        (Widens, "a forecast has the dtype of the values"),
    ],
)
def test_a_model_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_model(broken(2))


# -- parts -------------------------------------------------------------------------------------------------------------


class MixesStates(DiagonalFlow):
    def evolve(self, z, t0, t1):
        return super().evolve(z + (t1 - t0).to(z.dtype)[:, None] * z.mean(), t0, t1)


class NearlyStill(DiagonalFlow):
    def evolve(self, z, t0, t1):
        return super().evolve(z * (1.0 + 1e-15), t0, t1)


class RoundsTheClock(DiagonalFlow):
    def evolve(self, z, t0, t1):
        return super().evolve(z, t0, t1 + 1e-6 * t0 * (t1 != t0))


class FailsQuietly(DiagonalFlow):
    def evolve(self, z, t0, t1):
        evolved = super().evolve(z, t0, t1)
        return Evolved(evolved.z, evolved.cost, evolved.status + 1)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (MixesStates, "a row evolves as if it were alone"),
        (NearlyStill, "a length of zero returns the state bit for bit"),
        (RoundsTheClock, "the origin of time changes nothing"),
        (FailsQuietly, "evolve reaches its end time"),
    ],
)
def test_an_evolution_that_breaks_a_promise_is_told_which(broken, message):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_evolution(broken(3))


class ReadsTheUnseen(GRU):
    def jump(self, z, observation):
        return self.cell(torch.cat([observation.values, observation.mask], dim=-1), z)


class JumpsAtNothing(GRU):
    def forward(self, z, observation):
        return self.jump(z, observation)


@pytest.mark.parametrize(
    ("broken", "message"),
    [(ReadsTheUnseen, "values that were not seen are not read"), (JumpsAtNothing, "a row that sees nothing keeps")],
)
def test_a_jump_that_breaks_a_promise_is_told_which(broken, message):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_jump(broken(3, 2))


class WrongCRPS(Normal):
    def crps(self, params, x):
        return 1.01 * super().crps(params, x)


class WrongDensity(Normal):
    def log_prob(self, params, x):
        return super().log_prob(params, x) + 0.01


class WrongQuantile(Normal):
    def quantile(self, params, p):
        return super().quantile(params, p**1.01)


class WrongAffine(Normal):
    def affine(self, params, shift, scale):
        return super().affine(params, shift, 1.0 / scale)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (WrongCRPS, "crps is the integral"),
        (WrongDensity, "log_prob is a density"),
        (WrongQuantile, "cdf undoes quantile"),
        (WrongAffine, "affine moves every quantile"),
    ],
)
def test_a_likelihood_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_likelihood(broken())


class MixesDrifts(LinearDynamics):
    def drift(self, t, z):
        return super().drift(t, z) + 0.1 * z.mean()


class HidesItsClock(LinearDynamics):
    def drift(self, t, z):
        return super().drift(t, z) * t.cos().to(z.dtype)[:, None]


class RelaxesElsewhere(MeanReverting):
    def drift(self, t, z):
        return 2.0 * super().drift(t, z)


class HasIdleWeights(LinearDynamics):
    def __init__(self, n_state):
        super().__init__(n_state)
        self.idle = torch.nn.Parameter(torch.ones(n_state))


class Explodes(LinearDynamics):
    def drift(self, t, z):
        return super().drift(t, z) + z**3


class PromisesTooMuch(Antisymmetric):
    def motion(self, t, x, theta):
        return super().motion(t, x, theta) + 0.1 * x


class KeepsItsPromiseUntilTrained(Lipschitz):
    def motion(self, t, x, theta):
        return (1.0 + self.share**2) * super().motion(t, x, theta)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (MixesDrifts, "the drift of a row depends on that row alone"),
        (HidesItsClock, "an autonomous field does not read the time"),
        (RelaxesElsewhere, "relaxation gives the drift"),
        (HasIdleWeights, "every weight moves the flow: idle has no gradient"),
        (Explodes, "a solve over 10 units of time stays finite"),
        (PromisesTooMuch, "a structured field keeps its promise as built"),
        (KeepsItsPromiseUntilTrained, "a structured field keeps its promise at random weights of size 1"),
    ],
)
def test_dynamics_that_break_a_promise_are_told_which(broken, message):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_dynamics(broken(3))


class SharesNoise(OrnsteinUhlenbeck):
    def diffusion(self, t, z):
        return super().diffusion(t, z) * (1.0 + z.flip(1) ** 2)


class WrongSlope(OrnsteinUhlenbeck):
    def diffusion(self, t, z):
        return super().diffusion(t, z) * (1.0 + z**2)


@pytest.mark.parametrize("broken", [SharesNoise, WrongSlope])
def test_an_sde_whose_noise_breaks_its_promise_is_told(broken):
    with pytest.raises(
        AssertionError, match="the noise of a coordinate reads that coordinate alone, with diffusion_slope"
    ):
        check_sde(broken(3))


class StatesAnotherOrder(Midpoint):
    order = 3


class MissesTheEnd(Dopri5):
    def solve(self, field, z, t0, t1, gradient):
        return super().solve(field, z, t0, t0 + 0.99 * (t1 - t0), gradient)


class RoundsTheStart(Euler):
    def solve(self, field, z, t0, t1, gradient):
        return super().solve(field, z * (1.0 + 1e-15), t0, t1, gradient)


class AddsRows(Euler):
    def solve(self, field, z, t0, t1, gradient):
        return super().solve(lambda t, x: field(t, x) + 0.1 * x.mean(), z, t0, t1, gradient)


class LosesGradients(Euler):
    def solve(self, field, z, t0, t1, gradient):
        return super().solve(field, z.detach(), t0, t1, gradient)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (StatesAnotherOrder, "the order is 3: errors fall with 1.99"),
        (MissesTheEnd, "a solver that chooses its steps itself is accurate"),
        (RoundsTheStart, "a length of zero returns the state bit for bit"),
        (AddsRows, "rows do not see each other"),
        (LosesGradients, "gradients through a solve are right"),
    ],
)
def test_a_solver_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_solver(broken())


class StatesAnotherStrongOrder(EulerMaruyama):
    strong_order = 1.0


class IgnoresThePath(EulerMaruyama):
    def move(self, z, stages, dt, dw):
        return super().move(z, stages, dt, dw.nan_to_num() + 0.01)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (StatesAnotherStrongOrder, r"the strong order is 1.0: errors fall with 0\.[45]"),
        (IgnoresThePath, "a length of zero returns|coordinates past|a path that does not reach|the strong order"),
    ],
)
def test_an_sde_solver_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_sde_solver(broken())


class LowBound(HawkesExponential):
    def upper_bound(self, z, low, high):
        return super().upper_bound(z, high, high)


class WrongCompensator(HawkesExponential):
    def extrapolate(self, z, waits):
        future = super().extrapolate(z, waits)
        return type(future)(future.rates, 1.01 * future.compensator)


@pytest.mark.parametrize(
    ("broken", "message"),
    [(LowBound, "no rate is above upper_bound"), (WrongCompensator, "the compensator is the integral")],
)
def test_an_intensity_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_intensity(broken(2))
