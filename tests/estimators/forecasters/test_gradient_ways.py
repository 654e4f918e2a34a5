"""Ways to the gradient of forecasters whose state is solved for."""

import functools

import numpy as np
import pandas as pd
import pytest

from tsode import JumpODEForecaster, LatentODEForecaster, part
from tsode.diagnostics import gradient_check
from tsode.errors import ParameterError
from tsode.numerics.gradients import Binomial


def panel():
    times = np.random.default_rng(0).uniform(0.1, 1.0, (6, 12)).cumsum(axis=1)
    series = np.repeat(list("abcdef"), 12)
    return pd.DataFrame({"unique_id": series, "ds": times.ravel(), "y": np.sin(times).ravel()})


def jump(**settings):
    return JumpODEForecaster(
        evolution=part("mlp", width=8), n_state=4, n_hidden=8, n_members=1, expert=None, max_epochs=1, solver="rk4",
        horizon=2.0, random_state=0, **settings,
    )  # fmt: skip


@functools.cache
def plainly_learned():
    return jump(gradient="backprop").fit(panel())


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["checkpoint", part("checkpoint", every=3), Binomial(), "auto"], ids=str)
def test_a_forecaster_learns_the_same_in_every_exact_way(gradient):
    plain, other = plainly_learned(), jump(gradient=gradient).fit(panel())
    np.testing.assert_allclose(other.predict()["y"], plain.predict()["y"], atol=1e-3)
    assert plain.module_.members[0].evolution.gradient.name == "backprop"
    assert other.module_.members[0].evolution.gradient.name == getattr(gradient, "name", gradient)


def test_pairs_that_do_not_fit_are_refused_in_fit():
    with pytest.raises(ParameterError, match="'reversible' needs steps that can be taken back, which RK4 has not"):
        jump(gradient="reversible").fit(panel())


@pytest.mark.slow
def test_gradients_of_a_fitted_forecaster_are_checked():
    data = panel()
    table = gradient_check(jump(gradient="checkpoint").fit(data), data)
    assert {"z_start", "jump.cell.weight_ih"} <= set(table["tensor"])
    assert (table["mode_error"] < 1e-7).all()
    assert (table["steps_error"] < 0.01).all()
    latent = LatentODEForecaster(evolution="mlp", n_modes=2, n_static=2, max_epochs=1, horizon=2.0, random_state=0)
    assert (gradient_check(latent.fit(data), data)["mode_error"] < 1e-7).all()


def test_closed_forms_have_no_steps_to_check():
    with pytest.raises(ParameterError, match="its evolution has a closed form"):
        gradient_check(JumpODEForecaster(max_epochs=1, n_members=1, expert=None, horizon=2.0).fit(panel()))
