"""Forgetting: Kalman filters forget as their closed loop does, learned filters as differences of their states do."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm, solve_discrete_are

from tests.registries import SMALL_FORECASTERS, fitted, small
from tsode import JumpODEForecaster, KnownODEForecaster, LinearSDEForecaster, PointProcessForecaster
from tsode.diagnostics import forgetting
from tsode.diagnostics.prepared import differentiable_copy
from tsode.errors import NotFittedError, ParameterError
from tsode.estimators.forecasters.pieces import pieces
from tsode.evolutions.base import Solved
from tsode.inference import AdditiveNoise, Normal
from tsode.models.filters.build import FILTERS
from tsode.models.filters.jump_filter import run_filters
from tsode.models.linear.steady import steady_covariance
from tsode.numerics.integrate import check_gradient
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

LEVEL = {
    "drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [2.0**0.5],
    "initial_mean": [0.0], "initial_cov": [[1.0]],
}  # fmt: skip


def series(times, n_channels=1, seed=0):
    values = np.random.default_rng(seed).normal(size=(len(times), n_channels)).cumsum(axis=0)
    return pd.DataFrame(values, index=pd.Index(times), columns=[f"y{c}" for c in range(n_channels)])


def random_system(d, c, seed):
    """A stable system of `d` states seen in `c` channels."""
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=(d, d))
    drift = turn - turn.T - np.diag(rng.uniform(0.2, 1.0, d))
    return {"drift": drift, "diffusion": rng.normal(size=(d, d)), "readout": rng.normal(size=(c, d)),
            "noise": rng.uniform(0.3, 1.0, c)}  # fmt: skip


def closed_loop(system, gap):
    """``(I - K H) F`` of the steady Kalman filter, by SciPy."""
    a, q = np.array(system["drift"]), np.array(system["diffusion"]) @ np.array(system["diffusion"]).T
    h, r = np.array(system["readout"]), np.diag(np.square(system["noise"]))
    d = len(a)
    both = expm(np.block([[a, q], [np.zeros((d, d)), -a.T]]) * gap)  # Van Loan 1978
    f = both[:d, :d]
    before = solve_discrete_are(f.T, h.T, both[:d, d:] @ f.T, r)
    gain = before @ h.T @ np.linalg.inv(h @ before @ h.T + r)
    return (np.eye(d) - gain @ h) @ f


# -- Kalman filters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "c", "gap"), [(1, 1, 1.0), (2, 1, 0.5), (3, 2, 0.25), (6, 2, 1.0), (12, 3, 0.1)])
def test_a_kalman_filter_at_even_gaps_forgets_as_its_closed_loop(d, c, gap):
    system = random_system(d, c, seed=d)
    table = forgetting(LinearSDEForecaster(system=system).fit(series(gap * np.arange(20.0), c)))
    exponent = math.log(np.abs(np.linalg.eigvals(closed_loop(system, gap))).max()) / gap
    assert table["method"].tolist() == ["closed form"]
    assert table["exponent_per_unit"].iloc[0] == pytest.approx(exponent, rel=1e-8)
    assert table["half_life_units"].iloc[0] == pytest.approx(-math.log(2.0) / exponent, rel=1e-8)
    assert table.attrs["half_life"] == pytest.approx(-math.log(2.0) / exponent, rel=1e-8)


def test_a_local_level_with_gain_one_half_halves_at_each_observation():
    """q = 1, r = 2: P = (q + sqrt(q^2 + 4 q r)) / 2 = 2 before an observation, so K = P / (P + r) = 1/2."""
    table = forgetting(LinearSDEForecaster(system=LEVEL).fit(series(np.arange(12.0))))
    assert table["half_life_units"].iloc[0] == pytest.approx(1.0, rel=1e-12)
    assert table["standard_error"].iloc[0] == 0.0


def test_at_uneven_gaps_the_filters_own_gains_are_followed():
    """One state: the exponent is the sum of log((1 - K) f) over the time, by a filter written down here."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(0.2, 2.0, 40))
    system = {"drift": [[-0.3]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.8]}
    table = forgetting(LinearSDEForecaster(system=system).fit(series(times)))
    variance, logs = 1.0 / 0.6, []
    for gap in np.diff(times, prepend=times[0]):
        f = math.exp(-0.3 * gap)
        before = f * f * variance + (1.0 - f * f) / 0.6
        gain = before / (before + 0.64)
        variance = (1.0 - gain) * before
        logs.append(math.log((1.0 - gain) * f))
    exponent = sum(logs[16:]) / (times[-1] - times[15])
    assert table["method"].tolist() == ["history"]
    assert table["n_events"].iloc[0] == 24
    assert table["exponent_per_unit"].iloc[0] == pytest.approx(exponent, rel=1e-8)
    assert 0.0 < table["standard_error"].iloc[0] < 0.2 * abs(exponent)


@pytest.mark.slow
def test_a_long_history_with_hardly_uneven_gaps_comes_to_the_closed_form():
    """By other ways: growth along the history, and eigenvalues. The start of the difference counts as 1/n."""
    system = random_system(3, 2, seed=1)
    even = np.arange(800.0) * 0.5
    uneven = even + 1e-6 * np.sin(even)
    by_history, closed = (forgetting(LinearSDEForecaster(system=system).fit(series(t, 2))) for t in (uneven, even))
    assert by_history["method"].iloc[0] == "history"
    assert by_history["exponent_per_unit"].iloc[0] == pytest.approx(closed["exponent_per_unit"].iloc[0], rel=5e-3)


def test_the_unit_is_the_hour_where_times_are_datetimes():
    data = series(np.arange(12.0))
    data.index = pd.date_range("2024-01-01", periods=12, freq="30min")
    table = forgetting(LinearSDEForecaster(system=LEVEL, time_unit=pd.Timedelta("30min")).fit(data))
    assert table.attrs["unit"] == "hour"
    assert table["half_life_hours"].iloc[0] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.slow
def test_the_unit_of_the_model_does_not_matter():
    tables = [
        forgetting(LinearSDEForecaster(random_state=0, time_unit=unit, max_epochs=1).fit(example_panel(4)))
        for unit in (pd.Timedelta("1h"), pd.Timedelta("5h"))
    ]
    system = random_system(2, 1, seed=4)
    scaled = {**system, "drift": 8.0 * system["drift"], "diffusion": 8.0**0.5 * system["diffusion"]}
    once, again = (
        forgetting(LinearSDEForecaster(system=one, time_unit=unit).fit(series(np.arange(16.0))))
        for one, unit in ((system, 1.0), (scaled, 8.0))
    )
    pd.testing.assert_frame_equal(once, again, rtol=1e-10)
    assert all((table["exponent_per_hour"] < 0.0).all() for table in tables)


def test_a_state_that_nothing_tells_about_does_not_count():
    """A second state that stands still, unseen: no observation reaches it, so nothing that was seen stays in it."""
    system = {
        "drift": [[0.0, 0.0], [0.0, 0.0]], "diffusion": [[1.0, 0.0], [0.0, 0.0]], "readout": [[1.0, 0.0]],
        "noise": [2.0**0.5], "initial_mean": [0.0, 0.0], "initial_cov": [[1.0, 0.0], [0.0, 1.0]],
    }  # fmt: skip
    for times in (np.arange(60.0), np.arange(60.0) + 1e-6 * np.sin(np.arange(60.0))):
        table = forgetting(LinearSDEForecaster(system=system).fit(series(times)))
        assert table["half_life_units"].iloc[0] == pytest.approx(1.0, rel=1e-5)


def test_a_constant_seen_through_noise_is_not_forgotten_exponentially():
    """The gain falls as 1/n, so that of what is left less and less goes: the exponent shrinks with the history."""
    system = {**LEVEL, "diffusion": [[0.0]]}
    times = np.arange(400.0) + 1e-6 * np.sin(np.arange(400.0))
    short, long = (forgetting(LinearSDEForecaster(system=system).fit(series(t))) for t in (times[:40], times))
    # the sum of log(1 - K) telescopes: log((16 + s) / (n + s)), s = r / P0 = 2
    assert short["exponent_per_unit"].iloc[0] == pytest.approx(math.log(18.0 / 42.0) / 24.0, rel=1e-4)
    assert long["exponent_per_unit"].iloc[0] == pytest.approx(math.log(162.0 / 402.0) / 240.0, rel=1e-4)


def test_a_growing_system_that_is_not_seen_well_is_told_as_not_forgetting():
    """An unstable state whose observation says nothing of it but through another one: a rotation that grows."""
    system = {
        "drift": [[0.1]], "diffusion": [[0.0]], "readout": [[1.0]], "noise": [1e6], "initial_mean": [0.0],
        "initial_cov": [[1.0]],
    }  # fmt: skip
    times = np.arange(10.0) + 1e-6 * np.sin(np.arange(10.0))
    table = forgetting(LinearSDEForecaster(system=system).fit(series(times)))
    assert table["exponent_per_unit"].iloc[0] == pytest.approx(0.1, rel=1e-3)
    assert np.isinf(table["half_life_units"].iloc[0])


def test_the_riccati_equation_is_solved_as_by_scipy():
    rng = np.random.default_rng(0)
    f, root, h = 0.5 * rng.normal(size=(5, 5)), rng.normal(size=(5, 2)), rng.normal(size=(2, 5))
    r = np.array([0.4, 1.7])
    found = steady_covariance(*map(torch.from_numpy, (f[None], (root @ root.T)[None], h, r)))[0].numpy()
    np.testing.assert_allclose(found, solve_discrete_are(f.T, h.T, root @ root.T, np.diag(r)), rtol=1e-9, atol=1e-11)


def test_classes_of_rates_are_averaged_by_their_weights():
    forecaster = LinearSDEForecaster(series_rates=3, max_epochs=1, random_state=0).fit(example_panel(5))
    each, mean = forgetting(forecaster, each_member=True), forgetting(forecaster)
    assert each.groupby("series")["weight"].sum().to_numpy() == pytest.approx(1.0)
    weighted = (each["weight"] * each["exponent_per_hour"]).groupby(each["series"]).sum()
    np.testing.assert_allclose(weighted[mean["series"]], mean["exponent_per_hour"], rtol=1e-12)


# -- learned filters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILTERS)
def test_a_learned_filter_forgets_as_differences_of_its_states_shrink(name):
    """Passes over two histories that differ in their first fifth come together as the exponent says."""
    forecaster = small(JumpODEForecaster, model=name, n_members=1, dtype="float64").fit(example_panel(6))
    table = forgetting(forecaster)
    module, reader = differentiable_copy(forecaster.module_), forecaster.reader_
    query, panel = forecaster._read_query(None, None, forecaster.horizon_, None, None)
    [piece] = pieces(reader, query, panel, module, torch.float64, torch.device("cpu"), is_joint=True)
    batch, hour = piece.batch, pd.Timedelta("1h") / reader.time_unit
    signs = (1.0 + torch.arange(2.0).double() + 3.0 * torch.arange(batch.n_events)[:, None]).square().sin()
    is_early = torch.arange(batch.n_events) < (0.2 * batch.lengths).ceil()[:, None]
    states = [
        run_filters([module], batch.replace(values=batch.values + step * signs * is_early[..., None]))[0].path.z_plus
        for step in (1e-6, -1e-6)
    ]
    size = (states[0] - states[1]).norm(dim=2)
    for place, n in enumerate(batch.lengths.tolist()):
        begin = math.ceil(0.4 * n) - 1
        row = table.set_index("series").loc[query.ids[piece.rows[place]]]
        if not size[place, n - 1]:
            assert row["exponent_per_hour"] == -math.inf
            continue
        hours = float(batch.times[place, n - 1] - batch.times[place, begin]) / hour
        exponent = float((size[place, n - 1] / size[place, begin]).log()) / hours
        assert row["exponent_per_hour"] == pytest.approx(exponent, rel=1e-4)


def test_a_filter_whose_jump_reads_nothing_of_the_state_forgets_at_once():
    table = forgetting(fitted("neural_jump_ode-float64"))
    assert (table["half_life_hours"] == 0.0).all()
    assert (table["exponent_per_hour"] == -np.inf).all()


def test_members_of_an_ensemble_are_averaged_or_told_one_by_one():
    forecaster = fitted("JumpODEForecaster-float64")
    each, mean = forgetting(forecaster, each_member=True), forgetting(forecaster)
    assert each["member"].nunique() == 2
    np.testing.assert_allclose(
        each.groupby("series", sort=False)["exponent_per_hour"].mean(), mean["exponent_per_hour"]
    )
    spread = each.groupby("series")["exponent_per_hour"].std()
    assert (spread > 0.0).all()


@pytest.mark.slow
def test_the_gradient_mode_of_training_does_not_matter():
    made = small(JumpODEForecaster, evolution="mlp", solver="dopri5", n_members=1).fit(example_panel(3))
    table = forgetting(made)
    [solved] = [module for module in made.module_.modules() if isinstance(module, Solved)]
    for gradient in ("checkpoint", "adjoint", "forward"):
        solved.gradient = check_gradient(solved.solver, gradient)
        pd.testing.assert_frame_equal(forgetting(made), table, rtol=1e-12)
        assert solved.gradient.name == gradient


@pytest.mark.slow
def test_doses_and_infusions_are_flown_through():
    panel = example_panel(4)
    events = pd.DataFrame({
        "unique_id": ["s0", "s0", "s1"], "ds": panel["ds"].min() + pd.to_timedelta([3.3, 30.1, 7.7], unit="h"),
        "kind": "add", "target": "a", "amount": [2.0, 1.0, 3.0], "duration": [pd.NaT, pd.Timedelta("5h"), pd.NaT],
    })  # fmt: skip
    for made in (
        small(JumpODEForecaster, n_members=1),
        small(JumpODEForecaster, evolution="mlp", n_members=1),
        small(JumpODEForecaster, n_members=1, zero_input_response=True),
        LinearSDEForecaster(max_epochs=1, random_state=0),
    ):
        table = forgetting(made.fit(panel, events=events))
        assert (table["exponent_per_hour"] < 0.0).all()
    nothing = {
        "kind": "add",
        "target": "a",
        "amount": 4.0,
        "unique_id": "s0",
        "ds": panel["ds"].max() + pd.Timedelta("9h"),
    }
    later = pd.concat([events, pd.DataFrame([nothing])])
    pd.testing.assert_frame_equal(forgetting(made, events=later), table)  # what comes after the last observation


# -- rows, and what has no answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["JumpODEForecaster-float64", "LinearSDEForecaster-float64", "semilinear-float64"])
def test_a_series_does_not_depend_on_its_batch_mates(name):
    forecaster, panel = fitted(name), example_panel()
    together = forgetting(forecaster, panel).set_index("series")
    alone = forgetting(forecaster, panel[panel["unique_id"].isin(["s3"])]).set_index("series")
    pd.testing.assert_series_equal(alone.loc["s3"], together.loc["s3"], rtol=1e-9)
    assert together.index.tolist() == [f"s{k}" for k in range(12)]


def test_a_history_that_is_too_short_is_told_and_not_counted():
    forecaster, panel = fitted("LinearSDEForecaster-float64"), example_panel()
    short = panel[panel["unique_id"] != "s1"]
    short = pd.concat([short, panel[panel["unique_id"] == "s1"].head(1)])
    table = forgetting(forecaster, short).set_index("series")
    assert table.loc["s1", "method"] == "too short"
    assert np.isnan(table.loc["s1", "exponent_per_hour"])
    assert np.isnan(table.loc["s1", "half_life_hours"])
    assert np.isfinite(table.attrs["exponent"])


def test_a_filter_that_leaves_the_numbers_is_told():
    forecaster = small(JumpODEForecaster, n_members=1).fit(example_panel(3))
    with torch.no_grad():
        forecaster.module_.evolution.rate.fill_(torch.nan)
    table = forgetting(forecaster)
    assert (table["method"] == "not finite").all()
    assert table["exponent_per_hour"].isna().all()
    assert np.isnan(table.attrs["half_life"])


@pytest.mark.parametrize("name", SMALL_FORECASTERS)
def test_every_forecaster_answers_or_says_why_it_cannot(name):
    forecaster = fitted(name)
    if name.startswith(("LinearSDE", "JumpODE", "single", "expert", "informative", "response", "positive", *FILTERS)):
        table = forgetting(forecaster)
        assert (table["exponent_per_hour"] < 0.0).all()
        assert (table["half_life_hours"] >= 0.0).all()
        return
    with pytest.raises(ParameterError, match=r"has no state to analyse|fit with n_passes=1"):
        forgetting(forecaster)


@pytest.mark.parametrize("components", [["level"], ["sharp_season"]])
def test_components_say_that_they_have_no_state_at_hand(components):
    made = LinearSDEForecaster(components=components, random_state=0).fit(example_panel(2))
    with pytest.raises(ParameterError, match="has no state to analyse"):
        forgetting(made)


def test_a_posterior_is_said_not_to_forget():
    made = KnownODEForecaster(
        rates=lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": Normal(0.5, 0.1)}, initial={"x": 1.0},
        observed={"x": AdditiveNoise("x", sd=0.1)}, inference="laplace", n_draws=50, random_state=0,
    )  # fmt: skip
    data = pd.DataFrame({"x": np.exp(-0.5 * np.arange(5.0))}, index=np.arange(5.0))
    with pytest.raises(ParameterError, match="its posterior does not forget"):
        forgetting(made.fit(data))


def test_what_is_no_forecaster_or_not_fitted_is_told():
    with pytest.raises(ParameterError, match="PointProcessForecaster is none"):
        forgetting(PointProcessForecaster())
    with pytest.raises(NotFittedError, match="call fit"):
        forgetting(JumpODEForecaster())
