"""Known systems of the tests, with their log likelihoods by SciPy."""

from __future__ import annotations

from math import log

import numpy as np
import scipy.integrate
import scipy.stats
import torch

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.datasets import load_lynx_hare
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, Between, LogNormalNoise, PoissonNoise
from tsode.inference.observations import Observations
from tsode.inference.priors import Cauchy, LogNormal, Normal
from tsode.numerics.dopri5 import Dopri5

TIGHT = Dopri5(rtol=1e-11, atol=1e-13)
LYNX_HARE_MEANS = {
    "alpha": 0.546864, "beta": 0.027747, "gamma": 0.800095, "delta": 0.024086, "hare_initial": 34.0352,
    "lynx_initial": 5.93590, "sigma_hare": 0.248057, "sigma_lynx": 0.251017,
}  # fmt: skip
SIR_MEANS = {"beta": 1.0120, "gamma": 0.19979, "xi": 10.546, "delta": 0.35613}


def numbers(values) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64))


def observations(times, values, ids=("a",), start=0.0, **others) -> Observations:
    """Series (n m c), all of the same times (m,) or each of its own (n m)."""
    values = numbers(values)
    values = values[None] if values.dim() == 2 else values
    return Observations(
        list(ids), numbers([start] * len(values)), numbers(times).expand(len(values), -1), values, **others
    )


def doses(times, amounts, kind=EventKind.ADD, duration=0.0, target=0) -> ScheduledEvents:
    """Doses of one series."""
    time = numbers([times])
    none = torch.zeros_like(time)
    whole = none.long()
    return ScheduledEvents(
        time, whole + int(kind), whole + target, numbers([amounts]), none + duration, none, whole, none, whole.bool()
    )


def lynx_hare_rates(t, z, p):
    hare, lynx = z.unbind(-1)
    return torch.stack([(p.alpha - p.beta * lynx) * hare, (p.delta * hare - p.gamma) * lynx], -1)


def lynx_hare(unit=1.0, per_year=1.0, solver=None, n_years=21, rates=lynx_hare_rates, flip=False):
    """The density with animals counted in thousands over `unit`, and time in years over `per_year`."""
    pace = 1.0 / per_year
    frame = load_lynx_hare()[:n_years]
    parameters = {
        "alpha": Normal(pace, 0.5 * pace, lower=0),
        "beta": Normal(0.05 * pace / unit, 0.05 * pace / unit, lower=0),
        "gamma": Normal(pace, 0.5 * pace, lower=0),
        "delta": Normal(0.05 * pace / unit, 0.05 * pace / unit, lower=0),
        "sigma_hare": LogNormal(-1, 1),
        "sigma_lynx": LogNormal(-1, 1),
    }
    initial = {"hare": LogNormal(log(10 * unit), 1), "lynx": LogNormal(log(10 * unit), 1)}
    observed = {name: LogNormalNoise(name, sd=f"sigma_{name}") for name in ("hare", "lynx")}
    if flip:
        parameters, initial = ({name: x[name] for name in reversed(x)} for x in (parameters, initial))
    system = KnownSystem(rates, ["hare", "lynx"], parameters, initial, observed, solver=solver or Dopri5())
    times = (frame["ds"] - 1900.0) * per_year
    return KnownDensity(system, observations(times, unit * frame[["hare", "lynx"]].to_numpy()))


def lynx_hare_by_scipy(x, method="DOP853", tol=1e-12) -> float:
    frame = load_lynx_hare()

    def field(t, z):
        return [(x["alpha"] - x["beta"] * z[1]) * z[0], (x["delta"] * z[0] - x["gamma"]) * z[1]]

    start, times = [x["hare_initial"], x["lynx_initial"]], frame["ds"].to_numpy() - 1900.0
    path = scipy.integrate.solve_ivp(field, (0, 20), start, method, times, rtol=tol, atol=tol).y
    return sum(
        scipy.stats.lognorm(x[f"sigma_{name}"], scale=z).logpdf(frame[name]).sum()
        for name, z in zip(("hare", "lynx"), path)
    )


def decay(solver=None, **others) -> KnownDensity:
    """y = A exp(-k t) plus noise of known width."""
    system = KnownSystem(
        lambda t, z, p: -p.k[:, None] * z,
        ["drug"],
        {"k": LogNormal(log(0.5), 0.5)},
        {"drug": Normal(10.0, 2.0)},
        {"level": AdditiveNoise("drug", sd=0.5)},
        solver=solver or Dopri5(),
    )
    return KnownDensity(system, observations([0.5, 1.2, 2.0, 3.5, 6.0], [[7.9], [5.3], [4.1], [2.2], [0.4]]), **others)


SIR_TIMES = np.arange(7.0, 141.0, 7.0)
SIR_COUNTS = [441, 419, 553, 666, 753, 692, 644, 509, 371, 286, 200, 147, 101, 68, 49, 35, 19, 12, 7, 10]
SIR_LEVELS = [
    6141.73, 5801.72, 9439.14, 13742, 11975, 16387, 15144, 14705.6, 8736.39, 7553.29, 6007.09, 5979.96, 3048.17,
    1566.77, 1275.21, 824.85, 604.605, 516.25, 258.046, 188.591,
]  # fmt: skip


def sir_rates(t, z, p):
    s, i, _, b = z.unbind(-1)
    caught, healed = p.beta * b * s / (b + p.kappa), p.gamma * i
    return -caught, caught - healed, healed, p.xi * i - p.delta * b


def sir(solver=None) -> KnownDensity:
    """An epidemic with a reservoir: counts of who fell ill since the last visit, and what is in the water."""
    system = KnownSystem(
        sir_rates,
        ["s", "i", "r", "b"],
        {
            "beta": Cauchy(0, 2.5, lower=0), "gamma": Cauchy(0, 1, lower=0), "delta": Cauchy(0, 1, lower=0),
            "xi": Cauchy(0, 25, lower=0), "kappa": 1e6,
        },
        {"s": 10000.0, "i": 0.0, "r": 0.0, "b": 10000.0},
        {
            "stoi": PoissonNoise(Between(lambda t_before, z_before, t, z, p: z_before[:, 0] - z[:, 0])),
            "b_hat": LogNormalNoise("b", sd=0.15),
        },
        solver=solver or Dopri5(),
    )  # fmt: skip
    return KnownDensity(system, observations(SIR_TIMES, np.stack([SIR_COUNTS, SIR_LEVELS], axis=1)))


def sir_by_scipy(x) -> float:
    def field(t, z):
        s, i, _, b = z
        caught = x["beta"] * b * s / (b + 1e6)
        return [-caught, caught - x["gamma"] * i, x["gamma"] * i, x["xi"] * i - x["delta"] * b]

    path = scipy.integrate.solve_ivp(
        field, (0, 140), [1e4, 0, 0, 1e4], "DOP853", SIR_TIMES, rtol=1e-12, atol=1e-9
    ).y  # fmt: skip
    mean = -np.diff(np.concatenate([[1e4], path[0]]))
    of_counts = scipy.stats.poisson(mean).logpmf(SIR_COUNTS).sum()
    return of_counts + scipy.stats.lognorm(0.15, scale=path[3]).logpdf(SIR_LEVELS).sum()


def log_likelihood(density, u) -> torch.Tensor:
    return density.log_prob(u) - density.space.log_prior(u)


def draws(density, n, seed=0, spread=1.0) -> torch.Tensor:
    """Points from the middle of the prior."""
    return spread * density.sample_prior(n, torch.Generator().manual_seed(seed))
