"""Fitted forecasters as systems: their exponents, points and growth in the units of the data, with bands."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import SMALL_FORECASTERS, fitted, small, small_evolutions
from tsode import (
    ConstantForecaster,
    JumpODEForecaster,
    KnownODEForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    part,
)
from tsode.errors import ParameterError
from tsode.estimators.forecasters.pieces import pieces
from tsode.evolutions.dense_linear import DenseLinearFlow
from tsode.inference import LogNormal, Normal
from tsode.inference.noise import AdditiveNoise
from tsode.numerics import Dopri5
from tsode.stability import (
    basin,
    continuation,
    finite_time_exponents,
    fitted_system,
    fixed_points,
    jacobian,
    limit_cycle,
    lyapunov_spectrum,
    normal_form,
    predictability_horizon,
)
from tsode.testing import example_panel

HAS_STATE = ("JumpODEForecaster", "LinearSDEForecaster", "LatentODEForecaster")
EVOLUTIONS = {
    name: each for name, each in small_evolutions().items() if name != "triggered" and not name.startswith("sde")
}


@functools.cache
def relaxing() -> KnownODEForecaster:
    """Two series that relax to an input of their own at a rate that they share: ``x' = k (u - x)``."""
    rng = np.random.default_rng(0)
    rows, inputs = [], []
    for name, u in (("a", 2.0), ("b", 5.0)):
        t = np.sort(rng.uniform(0, 4, 25))
        x = u - (u - 1.0) * np.exp(-0.8 * t) + 0.05 * rng.normal(size=25)
        rows.append(pd.DataFrame({"unique_id": name, "ds": t, "x": x}))
        inputs.append(pd.DataFrame({"unique_id": name, "ds": [0.0, 9.0], "u": u}))
    model = KnownODEForecaster(
        lambda t, z, p: p.k[:, None] * (p.u[:, None] - z), states=["x"],
        parameters={"k": LogNormal(0.0, 0.5), "sd": 0.05}, initial={"x": Normal(1, 1)},
        observed={"x": AdditiveNoise("x", sd="sd")}, inference="laplace", n_draws=200, initial_time=0.0, random_state=0,
    )  # fmt: skip
    return model.fit(pd.concat(rows), known=pd.concat(inputs))


# -- what a forecaster's state follows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EVOLUTIONS, "dense"])
def test_the_slope_of_an_evolution_is_how_fast_its_states_change(name):
    torch.manual_seed(0)
    flow = (DenseLinearFlow(4) if name == "dense" else EVOLUTIONS[name]).double()
    z = torch.randn(5, flow.n_state, dtype=torch.float64)
    t, h = torch.linspace(0.0, 1.0, 5, dtype=torch.float64), 1e-6
    ahead = [flow.evolve(z, t, t + k * h).z for k in (1, 2)]
    slope = (4 * ahead[0] - ahead[1] - 3 * z) / (2 * h)
    torch.testing.assert_close(flow.slope(t, z), slope, rtol=1e-5, atol=1e-6)
    if flow.n_standing:
        assert not flow.slope(t, z)[:, -flow.n_standing :].any()


@pytest.mark.parametrize("name", [name for name in SMALL_FORECASTERS if name.endswith("64")])
def test_every_forecaster_has_a_system_or_says_by_name_that_it_has_none(name):
    made = fitted(name)
    if type(made).__name__ in HAS_STATE:
        system = fitted_system(made)
        assert system.starts.isfinite().all()
        assert system.flow.slope(system.t0, system.starts).isfinite().all()
        assert system.flow.unit == "day"
    else:
        with pytest.raises(ParameterError, match=f"{type(made).__name__} has no state to analyse"):
            fitted_system(made)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "atol"), [("midpoint", 1e-9), ("rk4", 1e-9), (part("rk4", max_step=0.1), 1e-9), ("dopri5", 1e-5)]
)
def test_a_field_that_is_solved_is_followed_by_the_steps_of_its_forecasts(solver, atol):
    how = {"n_state": 4, "n_members": 1, "max_epochs": 1, "expert": None, "calendar": None, "random_state": 0}
    made = JumpODEForecaster(evolution="mlp", solver=solver, dtype="float64", **how).fit(example_panel(4))
    system = fitted_system(made)
    flow = made.module_.members[0].evolution
    with torch.no_grad():
        for leads in (0.5, 1.0):  # of a horizon, which is the unit of time of the model
            model = torch.full_like(system.t0, leads)
            asked = flow.evolve_to(system.starts, torch.zeros_like(model), model[:, None]).z[:, 0]
            later = system.t0 + leads * system.reach
            torch.testing.assert_close(
                system.flow.advance(system.starts, system.t0, later)[0], asked, atol=atol, rtol=0
            )
    exact = fitted_system(made, solver=Dopri5(rtol=1e-10, atol=1e-12)).flow
    assert exact.stride is None


@pytest.mark.parametrize("name", HAS_STATE)
def test_the_field_of_a_series_does_not_depend_on_those_beside_it(name):
    made, panel = fitted(f"{name}-float64"), example_panel()
    every = fitted_system(made)
    alone = fitted_system(made, context=panel[panel["unique_id"] == "s3"])
    row = every.ids.index("s3")
    slopes = [x.flow.slope(x.t0, x.starts) for x in (every, alone)]
    torch.testing.assert_close(slopes[0][row], slopes[1][0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", HAS_STATE)
def test_rows_that_come_later_do_not_change_where_a_series_stands(name):
    made, panel = fitted(f"{name}-float64"), example_panel()
    early = panel[panel["ds"] <= panel["ds"].min() + pd.Timedelta("30h")]
    system = fitted_system(made, context=early)
    assert list(system.last_times) == [np.datetime64(t) for t in early.dropna(subset=["a", "b"], how="all")
                                       .groupby("unique_id", sort=False)["ds"].max()[list(system.ids)]]  # fmt: skip


@functools.cache
def dosed(made):
    """A forecaster of rows with doses, infusions among them."""
    panel = example_panel(4)
    first = panel.groupby("unique_id")["ds"].min()
    events = pd.DataFrame({
        "unique_id": [*first.index, *first.index], "ds": [*(first + pd.Timedelta("1h")), *(first + pd.Timedelta("9h"))],
        "amount": 2.0, "duration": [pd.Timedelta(0)] * 4 + [pd.Timedelta("30h")] * 4,
    })  # fmt: skip
    return small(made, dtype="float64").fit(panel, events=events), panel, events


@pytest.mark.slow
@pytest.mark.parametrize("made", [JumpODEForecaster, LinearSDEForecaster, LatentODEForecaster])
def test_what_is_given_after_the_last_row_does_not_change_where_a_series_stands(made):
    forecaster, panel, events = dosed(made)
    later = events.groupby("unique_id", as_index=False).first().assign(ds=panel["ds"].max() + pd.Timedelta("2h"))
    systems = [fitted_system(forecaster, context=panel, events=table) for table in (events, pd.concat([events, later]))]
    for name in ("starts", "t0"):
        assert torch.equal(*(getattr(system, name) for system in systems))
    assert torch.equal(*(system.flow.slope(system.t0, system.starts) for system in systems))


def test_an_infusion_that_runs_at_the_last_row_flows_on():
    forecaster, panel, events = dosed(LinearSDEForecaster)
    seen = panel[panel["ds"] <= panel["ds"].min() + pd.Timedelta("20h")]
    system = fitted_system(forecaster, context=seen, events=events)
    slope, still = (
        one.flow.slope(one.t0, one.starts) for one in (system, fitted_system(forecaster, context=panel, events=events))
    )
    drift = torch.as_tensor(forecaster.module_.system().drift.detach()) / (
        forecaster.time_unit_ / np.timedelta64(1, "D")
    )
    flows_in = slope - system.starts @ drift.mT
    assert flows_in.abs().amax(dim=1).min() > 1e-6
    torch.testing.assert_close(flows_in, flows_in[:1].expand_as(flows_in))
    assert still.shape == slope.shape
    assert not system.is_shared


def test_states_are_those_of_the_series_and_no_others():
    with pytest.raises(ParameterError, match="leave starts= out"):
        lyapunov_spectrum(fitted("JumpODEForecaster-float64"), [1.0, 2.0])


def test_a_forecaster_that_is_not_fitted_says_so():
    with pytest.raises(Exception, match="not fitted"):
        lyapunov_spectrum(ConstantForecaster())


# -- exponents in closed form ------------------------------------------------------------------------------------------


def test_modes_of_a_filter_have_their_decay_as_exponents_per_day():
    made = fitted("JumpODEForecaster-float64")
    system = fitted_system(made)
    table = lyapunov_spectrum(made)
    assert list(table.columns) == ["unique_id", "exponent", "exponent_per_day", "standard_error"]
    flow = made.module_.members[0].evolution
    # the rates of a series are set by the part of its state that stands still
    days = made.time_unit_ / np.timedelta64(1, "D")
    filtered = made.module_.members[0].filter
    query, panel = made._read_query(None, None, made.horizon_, None, None)
    for piece in pieces(made.reader_, query, panel, made.module_, *made._dtype_and_device, is_joint=True):
        z = filtered(piece.batch).path.z_end.detach()
        decay, _ = flow.rates(z[:, 2 * flow.n_modes :])
        for place, row in enumerate(piece.rows):
            found = table[table["unique_id"] == system.ids[row]]["exponent_per_day"]
            truth = -np.repeat(np.sort(decay[place].detach().numpy()), 2) / days
            np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_a_linear_sde_has_the_eigenvalues_of_its_drift():
    made = fitted("LinearSDEForecaster-float64")
    table = lyapunov_spectrum(made)
    truth = np.linalg.eigvals(made.module_.system().drift.detach().numpy()).real
    days = made.time_unit_ / np.timedelta64(1, "D")
    np.testing.assert_allclose(table["exponent_per_day"], np.sort(truth)[::-1] / days, atol=1e-8)


@pytest.mark.slow
def test_exponents_do_not_depend_on_the_unit_of_time_of_the_data():
    panel = example_panel(4)
    hours = panel.assign(ds=(panel["ds"] - panel["ds"].min()) / pd.Timedelta("1h"))
    how = {"n_modes": 3, "n_static": 2, "n_members": 1, "max_epochs": 1, "expert": None, "calendar": None,
           "random_state": 0, "dtype": "float64"}  # fmt: skip
    of_clock = lyapunov_spectrum(JumpODEForecaster(horizon="6h", **how).fit(panel))
    of_numbers = lyapunov_spectrum(JumpODEForecaster(horizon=6.0, **how).fit(hours))
    np.testing.assert_allclose(of_clock["exponent_per_hour"], of_numbers["exponent_per_unit"], rtol=1e-5)


def test_small_errors_fade_along_a_forecast_as_the_slowest_mode_does():
    made = fitted("LinearSDEForecaster-float64")
    slowest = lyapunov_spectrum(made)["exponent_per_day"].iloc[0]
    table = finite_time_exponents(made, times=[100.0 / abs(slowest)])
    assert list(table["unique_id"]) == list(fitted_system(made).ids)
    assert table["ds"].dtype.kind == "M"
    np.testing.assert_allclose(table["exponent_1"], slowest, rtol=0.05)


def test_what_the_jacobian_says_is_told_along_the_forecast_of_each_series():
    made = fitted("LinearSDEForecaster-float64")
    table, exponents = jacobian(made), lyapunov_spectrum(made)["exponent_per_day"]
    assert list(table.columns[:3]) == ["unique_id", "ds", "lead"]
    assert len(table) == 11 * len(fitted_system(made).ids)
    np.testing.assert_allclose(table["spectral_abscissa"], exponents[1], atol=1e-9)
    ahead = table[table["unique_id"] == "s0"]
    assert ahead["lead"].iloc[-1] == made.horizon_
    np.testing.assert_allclose(ahead["z1"].iloc[0], fitted_system(made).starts[0, 0])


def test_of_a_posterior_the_abscissa_has_a_band_along_the_forecast():
    table = jacobian(relaxing(), times=[0.0, 1.0])
    assert table["unique_id"].tolist() == ["a", "a", "b", "b"]
    assert (table["spectral_abscissa_q05"] < table["spectral_abscissa"]).all()
    assert (table["spectral_abscissa"] < table["spectral_abscissa_q95"]).all()


def test_analyses_of_one_field_say_which_to_give():
    for analyse in (lambda system: normal_form(system, [0.0]), lambda system: basin(system, [(-1, 1)])):
        with pytest.raises(ParameterError, match=r"give one, fitted_system\(forecaster\).of_one\(series\)"):
            analyse(relaxing())
    table = basin(fitted_system(relaxing()).of_one("b"), [(-9, 9)], n=8)
    assert table.attrs["attractors"][0]["states"][0][0] == pytest.approx(5.0, abs=1e-6)


# -- posteriors --------------------------------------------------------------------------------------------------------


def test_every_draw_of_known_equations_has_its_own_exponent():
    made = relaxing()
    table = lyapunov_spectrum(fitted_system(made, n_draws=50))
    draws = table.attrs["draws"]["exponent_per_unit"].to_numpy()
    chosen = np.linspace(0, 199, 50).round().astype(int)
    # inputs differ between series, which their fields read
    assert list(table["unique_id"]) == ["a", "b"]
    for own in np.split(draws, 2):
        np.testing.assert_allclose(own, -made.posterior_["k"].to_numpy()[chosen], rtol=1e-10)
    assert (table["q05"] < -0.8).all()
    assert (table["q95"] > -0.8).all()


def test_known_equations_rest_at_their_input_with_a_band():
    points = fixed_points(relaxing())
    np.testing.assert_allclose(points["x"], [2.0, 5.0], atol=1e-9)
    assert points["unique_id"].tolist() == ["a", "b"]
    assert (points["share_of_draws"] == 1).all()
    assert (points["max_real_q05"] < points["max_real"]).all()
    assert (points["max_real"] < points["max_real_q95"]).all()


def test_a_parameter_of_known_equations_can_take_another_value():
    system = fitted_system(relaxing())
    one = system.of_one("a", u=7.0)
    assert fixed_points(one, starts=[[1.0]])["x"][0] == pytest.approx(7.0, abs=1e-9)
    field = system.along("u", "a")
    z = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    slope = field(torch.zeros(2, dtype=torch.float64), z, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert slope.abs().max() < 1e-12
    with pytest.raises(ParameterError, match="no parameter or input 'v'"):
        system.along("v", "a")
    with pytest.raises(ParameterError, match="series='c' is none of 'a', 'b'"):
        system.of_one("c")


@pytest.mark.slow
def test_a_branch_of_known_equations_has_the_fold_of_each_draw():
    """``x' = u + k x - x**3`` has its folds at ``u = 2 (k / 3)**1.5`` and at minus that."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 4, 25)
    x = np.sqrt(1.2 / (1 + 3 * np.exp(-2.4 * t)))  # of u = 0 and k = 1.2
    model = KnownODEForecaster(
        lambda t, z, p: (p.u + p.k * z[:, 0] - z[:, 0] ** 3)[:, None], states=["x"],
        parameters={"k": LogNormal(0.0, 0.3), "u": 0.0}, initial={"x": float(x[0])},
        observed={"x": AdditiveNoise("x", sd=0.05)}, inference="laplace", n_draws=50, random_state=0,
    ).fit(pd.DataFrame({"unique_id": "a", "ds": t, "x": x + 0.05 * rng.normal(size=25)}))  # fmt: skip
    branch = continuation(fitted_system(model, n_draws=3), bounds=(-2.0, 2.0), name="u", box=[(-2.0, 2.0)])
    k = model.posterior_["k"].to_numpy()[np.linspace(0, 49, 3).round().astype(int)]
    folds = branch.attrs["events"].sort_values("u")
    assert folds["event"].tolist() == ["fold", "fold"]
    assert folds["share_of_draws"].tolist() == [1.0, 1.0]
    high = 2 * (k / 3) ** 1.5
    np.testing.assert_allclose(folds["u"], [-np.median(high), np.median(high)], rtol=1e-8)
    for label, q in (("u_q05", 0.05), ("u_q95", 0.95)):
        np.testing.assert_allclose(folds[label], [np.quantile(-high, q), np.quantile(high, q)], rtol=1e-8)


@pytest.mark.slow
def test_a_cycle_of_known_equations_has_the_period_of_each_draw():
    """``r' = r (1 - r**2)`` and ``angle' = w``: the period is ``2 pi / w``."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 8, 20)

    def rates(t, z, p):
        x, y = z.unbind(dim=1)
        grows = 1 - x**2 - y**2
        return grows * x - p.w * y, grows * y + p.w * x

    model = KnownODEForecaster(
        rates, states=["x", "y"], parameters={"w": LogNormal(0.0, 0.3)}, initial={"x": 1.0, "y": 0.0},
        observed={"x": AdditiveNoise("x", sd=0.1)}, inference="laplace", n_draws=50, random_state=0,
    ).fit(pd.DataFrame({"unique_id": "a", "ds": t, "x": np.cos(1.2 * t) + 0.1 * rng.normal(size=20)}))  # fmt: skip
    cycle = limit_cycle(fitted_system(model, n_draws=2))
    draws = 2 * math.pi / model.posterior_["w"].to_numpy()[[0, 49]]
    assert cycle.columns.tolist() == ["time", "x", "y"]
    assert cycle.attrs["share_of_draws"] == 1.0
    assert cycle.attrs["period"] == pytest.approx(draws.max(), rel=1e-8)
    band = cycle.attrs["period_q05"], cycle.attrs["period_q95"]
    assert band == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])), rel=1e-8)


def test_a_learned_field_has_no_parameters_by_name():
    with pytest.raises(ParameterError, match="no parameters by name"):
        fitted_system(fitted("JumpODEForecaster-float64")).of_one("s0", u=1.0)


def test_the_horizon_of_a_posterior_has_a_band():
    draws = pd.DataFrame({"draw": [0, 1, 2], "exponent": 1, "exponent_per_hour": [1.0, 2.0, -1.0]})
    table = pd.DataFrame({"exponent_per_hour": [2 / 3]}, index=pd.RangeIndex(1, 2, name="exponent"))
    table.attrs["draws"] = draws
    band = predictability_horizon(table, 1.0, np.e)
    assert band["q05"] == pytest.approx(0.5)
    assert band["q50"] == pytest.approx(1.0)
    assert band["q95"] == np.inf


def test_series_with_fields_of_their_own_have_horizons_of_their_own():
    table = pd.DataFrame({"unique_id": ["a", "a", "b", "b"], "exponent": [1, 2, 1, 2],
                          "exponent_per_hour": [0.5, -3.0, -1.0, -2.0], "standard_error": 0.0})  # fmt: skip
    horizon = predictability_horizon(table, 1.0, np.e)
    assert horizon.to_dict() == pytest.approx({"a": 2.0, "b": np.inf})


def test_the_system_of_a_forecaster_is_taken_as_it_is():
    made = fitted("JumpODEForecaster-float64")
    pd.testing.assert_frame_equal(lyapunov_spectrum(fitted_system(made)), lyapunov_spectrum(made))
