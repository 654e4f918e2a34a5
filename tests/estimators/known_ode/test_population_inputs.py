"""Populations beside inputs along time, and beside lag, bioavailability and infusions that vary: closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tsode
from tsode.inference import Dosing
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise import AdditiveNoise, LogNormalNoise
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.methods.quadrature import Quadrature
from tsode.inference.population.subjects import Subjects, apart
from tsode.inference.priors import LogNormal, Normal

IDS = [f"s{k}" for k in range(8)]
TIMES, KNOTS = np.array([0.5, 1.5, 3.0, 5.0]), np.array([0.0, 2.0, 4.0, 8.0])
KE, OMEGA, SD = 0.3, 0.3, 0.1


def rates(t, z, p):
    return (-p.ke * p.renal * z[:, 0],)


def renal(ids=IDS) -> pd.DataFrame:
    """Renal function of each series along time, in parts of the normal one."""
    generator = np.random.default_rng(1)
    share = generator.uniform(0.4, 1.6, (len(IDS), len(KNOTS)))
    return pd.DataFrame({
        "unique_id": np.repeat(IDS, len(KNOTS)), "ds": np.tile(KNOTS, len(IDS)), "renal": share.ravel(),
    }).query("unique_id in @ids")  # fmt: skip


def exposure(key: str, until: np.ndarray, path: str) -> np.ndarray:
    """Integral of the renal function from 0."""
    share = renal([key])["renal"].to_numpy()
    fine = np.unique(np.concatenate([KNOTS, until]))
    left, right = fine[:-1], fine[1:]
    if path == "last":
        steps = share[np.searchsorted(KNOTS, left, side="right") - 1] * (right - left)
    else:
        steps = 0.5 * (np.interp(left, KNOTS, share) + np.interp(right, KNOTS, share)) * (right - left)
    return np.concatenate([[0.0], steps.cumsum()])[np.searchsorted(fine, until)]


def levels(path: str = "linear") -> pd.DataFrame:
    generator = np.random.default_rng(2)
    ke = KE * np.exp(OMEGA * generator.standard_normal(len(IDS)))
    level = [10.0 * np.exp(-k * exposure(key, TIMES, path)) for key, k in zip(IDS, ke)]
    noise = np.exp(SD * generator.standard_normal((len(IDS), len(TIMES))))
    return pd.DataFrame({
        "unique_id": np.repeat(IDS, len(TIMES)), "ds": np.tile(TIMES, len(IDS)), "y": (np.array(level) * noise).ravel(),
    })  # fmt: skip


def model(**settings: Any) -> tsode.KnownODEForecaster:
    given = {
        "states": ["c"], "parameters": {"ke": LogNormal(-1.0, 0.5), "sd": LogNormal(-2.0, 0.5)},
        "initial": {"c": 10.0}, "observed": {"y": LogNormalNoise("c", sd="sd")}, "random_effects": ["ke"],
        "initial_time": 0.0, "inference": "likelihood", "n_starts": 1, "random_state": 0, "n_draws": 64,
    }  # fmt: skip
    return tsode.KnownODEForecaster(rates, **given | settings)


@pytest.fixture(scope="module")
def fitted() -> tsode.KnownODEForecaster:
    return model(known_path="last").fit(levels("last"), known=renal())


@pytest.mark.parametrize("path", ["linear", "last"])
def test_rates_of_a_population_read_inputs_along_time(path):
    eta = dict(zip(IDS, np.linspace(-1.5, 1.5, len(IDS))))
    point = {"ke": 0.25, "sd": 0.2, "omega_ke": 0.4} | {f"eta_ke[{key}]": x for key, x in eta.items()}
    found = model(known_path=path).evaluate(point, levels(path), known=renal())["log_likelihood"].iloc[0]
    truth = 0.0
    for key, rows in levels(path).groupby("unique_id"):
        mean = np.log(10.0) - 0.25 * np.exp(0.4 * eta[key]) * exposure(key, TIMES, path)
        y = rows["y"].to_numpy()
        truth += (-0.5 * ((np.log(y) - mean) / 0.2) ** 2 - np.log(y * 0.2 * np.sqrt(2.0 * np.pi))).sum()
    assert found == pytest.approx(truth, abs=1e-3)


@pytest.mark.slow
def test_a_population_beside_inputs_is_found_and_forecast_by_those_to_come(fitted):
    table = fitted.estimates()
    assert abs(table.loc["ke", "estimate"] - KE) < 3.0 * table.loc["ke", "se"]
    ahead = fitted.predict(times=[7.0]).set_index("unique_id")["y"]
    draws = fitted.posterior_
    for key in IDS[:3]:
        ke = draws["ke"] * np.exp(draws["omega_ke"] * draws[f"eta_ke[{key}]"])
        truth = 10.0 * np.exp(-ke * exposure(key, np.array([7.0]), "last")[0] + 0.5 * draws["sd"] ** 2)
        assert ahead[key] == pytest.approx(truth.mean(), rel=1e-5)


@pytest.mark.slow
def test_a_new_series_has_its_own_inputs_and_then_its_own_rate(fitted):
    known = renal(["s0"]).assign(unique_id="new")
    asked = pd.DataFrame({"unique_id": "new", "ds": [7.0]})
    # of a rate three spreads above the typical one
    ke = KE * np.exp(3.0 * OMEGA)
    seen = pd.DataFrame({"unique_id": "new", "ds": TIMES, "y": 10.0 * np.exp(-ke * exposure("s0", TIMES, "last"))})
    found = fitted.predict(asked, context=seen, known=known)["y"].iloc[0]
    typical, own = (
        10.0 * np.exp(-rate * exposure("s0", np.array([7.0]), "last")[0])
        for rate in (fitted.estimates().loc["ke", "estimate"], ke)
    )
    assert abs(np.log(found / own)) < 0.3 * abs(np.log(typical / own))


# -- dosing by parameters that vary ------------------------------------------------------------------------------------


def fall(t, z, p):
    return (-0.4 * z[:, 0],)


def infused(t: np.ndarray, length: float) -> np.ndarray:
    """State after 10 have gone in evenly over a time."""
    goes_in = np.minimum(t, length)
    return 10.0 / length / 0.4 * (1.0 - np.exp(-0.4 * goes_in)) * np.exp(-0.4 * (t - goes_in))


DOSED = {
    "lag": lambda t, x: np.where(t > x, 10.0 * np.exp(-0.4 * np.maximum(t - x, 0.0)), 0.0),
    "bioavailability": lambda t, x: 10.0 * x * np.exp(-0.4 * t),
    "duration": infused,
    "rate": lambda t, x: infused(t, 10.0 / x),
}
WIDE = 1.0  # noise, so that series have one mode
PRIORS = {"lag": LogNormal(-2.0, 0.5), "bioavailability": Normal(0.5, 0.2, lower=0.0, upper=1.0),
          "duration": LogNormal(0.4, 0.5), "rate": LogNormal(2.0, 0.5)}  # fmt: skip


def dosed(kind: str) -> tuple[tsode.KnownODEForecaster, pd.DataFrame, pd.DataFrame]:
    """A population whose doses differ in one of their numbers, levels, and doses."""
    generator = np.random.default_rng(3)
    prior = PRIORS[kind]
    middle = torch.tensor(prior.quantile(np.array([0.5])))
    rows = []
    for key in IDS[:4]:
        own = float(prior.line(prior.line.inv(middle) + 0.3 * generator.standard_normal()))
        y = DOSED[kind](TIMES, own) + WIDE * generator.standard_normal(len(TIMES))
        rows.append(pd.DataFrame({"unique_id": key, "ds": TIMES, "y": y}))
    given = {
        "states": ["c"], "parameters": {"x": prior}, "initial": {"c": 0.0}, "random_effects": {"x": 0.3},
        "observed": {"y": AdditiveNoise("c", sd=WIDE)}, "doses": {"c": Dosing(**{kind: "x"})}, "n_starts": 1,
        "inference": "likelihood", "random_state": 0, "n_draws": 32,
    }  # fmt: skip
    doses = pd.DataFrame({"unique_id": IDS[:4], "ds": 0.0, "target": "c", "amount": 10.0})
    return tsode.KnownODEForecaster(fall, **given), pd.concat(rows), doses


@pytest.mark.parametrize("kind", DOSED)
def test_numbers_of_doses_that_vary_act_as_in_the_closed_form(kind):
    own, rows, doses = dosed(kind)
    prior = PRIORS[kind]
    eta = dict(zip(IDS, [-1.2, 0.0, 0.4, 2.0]))
    middle = float(prior.quantile(np.array([0.4]))[0])
    point = {"x": middle} | {f"eta_x[{key}]": x for key, x in eta.items()}
    found = own.evaluate(point, rows, events=doses)["log_likelihood"].iloc[0]
    truth = 0.0
    for key, x in eta.items():
        value = float(prior.line(prior.line.inv(torch.tensor(middle, dtype=torch.float64)) + 0.3 * x))
        y = rows.loc[rows["unique_id"] == key, "y"].to_numpy()
        truth += (-0.5 * ((y - DOSED[kind](TIMES, value)) / WIDE) ** 2 - np.log(WIDE * np.sqrt(2.0 * np.pi))).sum()
    assert found == pytest.approx(truth, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOSED)
def test_effects_on_doses_integrate_out_with_their_gradient(kind):
    own, rows, doses = dosed(kind)
    _, data = own._layout(rows, doses, None)
    subjects = Subjects(apart(KnownDensity(own._system_of(data.ids), data)))
    prior = PRIORS[kind]
    middle = torch.tensor(prior.quantile(np.array([0.4])))
    at = prior.unconstrain(middle).expand(len(data.ids), 1, 1).clone().requires_grad_()
    exact = Quadrature(n=41).log_likelihood(subjects, at.detach()).value[:, 0, 0]
    grid = np.linspace(-6.0, 6.0, 2001)
    values = prior.line(prior.line.inv(middle) + 0.3 * torch.from_numpy(grid)).numpy()
    weight = np.exp(-0.5 * grid**2) / np.sqrt(2.0 * np.pi) * (grid[1] - grid[0])
    for key, found in zip(data.ids, exact.tolist()):
        y = rows.loc[rows["unique_id"] == key, "y"].to_numpy()
        gap = (y - np.array([DOSED[kind](TIMES, x) for x in values])) / WIDE
        likelihood = np.exp(-0.5 * (gap**2).sum(axis=1)) / (WIDE * np.sqrt(2.0 * np.pi)) ** len(y)
        # where an infusion ends at a sample there is a kink, which nodes do not know of
        assert found == pytest.approx(np.log((likelihood * weight).sum()), abs=0.02)
    (slope,) = torch.autograd.grad(Laplace().log_likelihood(subjects, at).value.sum(), at)
    step = 1e-4
    with torch.no_grad():
        up, down = (Laplace().log_likelihood(subjects, at + sign * step).value for sign in (1.0, -1.0))
    torch.testing.assert_close(slope[:, 0, 0], ((up - down) / (2.0 * step))[:, 0, 0], rtol=1e-3, atol=1e-3)
