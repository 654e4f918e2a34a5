"""Growth: a wider filter forecasts as the narrow one did, and new units learn."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import small
from tsode import part
from tsode.errors import ParameterError
from tsode.estimators import FORECASTERS
from tsode.testing import example_panel

KINDS = {
    "default": ({"n_modes": 2, "n_static": 2, "n_members": 2}, {"n_modes": 5, "n_hidden": 9, "n_static": 4}),
    "timed": ({"n_modes": 2, "n_static": 2, "informative_times": True, "n_passes": 2}, {"n_modes": 3}),
    "mlp": (
        {"evolution": part("mlp", width=4), "jump": "gru", "n_state": 3},
        {"n_state": 5, "n_hidden": 7, "evolution__width": 6},
    ),
    "gru_ode": ({"model": "gru_ode_bayes", "n_state": 3}, {"n_state": 6}),
}


def fit(settings):
    # in double precision: in single, sums of other lengths are rounded otherwise, and by machine
    return small(FORECASTERS["JumpODEForecaster"], n_hidden=4, dtype="float64", **settings).fit(example_panel())


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    settings, sizes = KINDS[request.param]
    return fit(settings), sizes


@pytest.mark.slow
def test_forecasts_are_the_same_before_and_after(kind):
    model, sizes = copy.deepcopy(kind[0]), kind[1]
    n_before = sum(weight.numel() for weight in model.module_.parameters())
    before = model.predict_quantiles(horizon=model.horizon_, quantiles=[0.1, 0.5, 0.9])
    after = model.grow(**sizes).predict_quantiles(horizon=model.horizon_, quantiles=[0.1, 0.5, 0.9])
    scale = before.select_dtypes("number").std()
    pd.testing.assert_frame_equal(after, before, rtol=0, atol=1e-9 * float(scale.max()))
    assert sum(weight.numel() for weight in model.module_.parameters()) > n_before
    assert {name: model.get_params()[name] for name in sizes} == sizes


@pytest.mark.slow
def test_what_old_units_read_of_new_ones_is_learned_from_the_first_epoch_on_and_unequal(kind):
    model, sizes = copy.deepcopy(kind[0]), kind[1]
    model.grow(**sizes)
    before = {name: weight.clone() for name, weight in model.module_.named_parameters()}
    model.set_params(max_epochs=1).fit(example_panel())
    after = dict(model.module_.named_parameters())
    names = [name for name in before if name.endswith(("location_hidden.weight", "location_out.weight"))]
    # these were 0, which no decay of weights moves
    learned = torch.cat([after[name][before[name] == 0.0].detach() for name in names])
    assert len(learned)
    assert bool((learned != 0.0).all())
    assert len(learned.unique()) == len(learned)


@pytest.mark.slow
def test_training_goes_on_from_there_and_never_gets_much_worse():
    data = example_panel()
    model = small(FORECASTERS["JumpODEForecaster"], n_modes=2, n_static=2, n_hidden=4, max_epochs=6, n_members=1)
    model.fit(data)
    reached = model.history_["valid_loss"].min()
    model.grow(n_modes=6, n_hidden=12).set_params(max_epochs=3).fit(data)
    assert model.history_["valid_loss"].max() <= 1.05 * reached


def test_a_grown_model_is_kept_in_a_file(tmp_path):
    model = fit(KINDS["default"][0]).grow(n_modes=5, n_hidden=9)
    model.save(tmp_path / "model")
    again = FORECASTERS["JumpODEForecaster"].load(tmp_path / "model")
    wanted = model.predict(horizon=model.horizon_)
    pd.testing.assert_frame_equal(again.predict(horizon=model.horizon_), wanted)
    assert np.isfinite(wanted.select_dtypes("number").to_numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "sizes", "message"),
    [
        ({"n_modes": 3, "n_static": 2}, {"n_modes": 2}, "n_modes cannot fall from 3 to 2"),
        ({"n_modes": 3, "n_static": 0}, {"n_static": 2}, "n_static cannot grow from 0"),
        ({"evolution": "mlp", "jump": "neural_jump", "n_state": 3}, {"n_state": 4}, "of a kind that cannot grow"),
        (
            {"evolution": "mlp", "jump": "gru", "n_state": 3},
            {"jump": "bayes_gru"},
            "jump was a GRU and would be a BayesGRU",
        ),
    ],
)
def test_what_cannot_grow_is_named_and_nothing_has_changed(settings, sizes, message):
    model = fit(settings)
    before, params = model.predict(horizon=model.horizon_), model.get_params()
    with pytest.raises(ParameterError, match=message):
        model.grow(**sizes)
    pd.testing.assert_frame_equal(model.predict(horizon=model.horizon_), before)
    assert model.get_params() == params


def test_old_units_read_no_new_ones():
    model = fit(KINDS["default"][0])
    wide = copy.deepcopy(model).grow(n_modes=5, n_hidden=9)
    with torch.no_grad():  # whatever new modes are worth
        for member in wide.module_.members:
            member.z_start[2:5] = 1e3
    pd.testing.assert_frame_equal(
        wide.predict(horizon=model.horizon_), model.predict(horizon=model.horizon_), rtol=1e-4, atol=1e-4
    )
