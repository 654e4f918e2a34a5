"""Fit: interruption, early stopping, warm start, validation, callbacks, history."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import small
from tsode import JumpODEForecaster, LastValueForecaster
from tsode.errors import DataError, ParameterError, SolverError, TsodeWarning, UnknownNameError
from tsode.testing import example_panel
from tsode.training.reach import reset_reach

pytestmark = pytest.mark.usefixtures("short_epochs")

WHEN = [pd.Timestamp("2024-03-03 16:00")]


def jump_ode(**params):
    return small(JumpODEForecaster, **params)


def interrupt_after(n: int):
    def callback(row):
        if row["epoch"] == n:
            raise KeyboardInterrupt

    return callback


def weights(forecaster):
    return {name: value.clone() for name, value in forecaster.module_.state_dict().items()}


def assert_same_weights(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_ctrl_c_keeps_the_best_weights_and_says_so():
    frame = example_panel()
    forecaster = jump_ode(max_epochs=50, callbacks=[interrupt_after(2)])
    with pytest.warns(TsodeWarning, match=r"interrupted after 2 of 50 epochs; the best weights so far \(epoch \d\)"):
        forecaster.fit(frame)
    assert forecaster.n_iter_ == 2
    assert np.isfinite(forecaster.predict(times=WHEN)["a"]).all()
    best = int(forecaster.history_["valid_loss"].argmin()) + 1
    stopped = jump_ode(max_epochs=50, callbacks=[lambda row: row["epoch"] == best]).fit(frame)
    assert_same_weights(weights(forecaster), weights(stopped))


def test_ctrl_c_in_the_first_epoch_leaves_a_forecaster_that_answers():
    forecaster = jump_ode(max_epochs=3, callbacks=[interrupt_after(1)])
    with pytest.warns(TsodeWarning, match=r"interrupted after 1 of 3 epochs"):
        forecaster.fit(example_panel())
    assert np.isfinite(forecaster.predict(times=WHEN)["a"]).all()


def test_a_callback_sees_each_epoch_and_stops_training():
    rows = []

    def callback(row):
        rows.append(row)
        return len(rows) == 2

    forecaster = jump_ode(max_epochs=5, callbacks=[callback]).fit(example_panel())
    assert [row["epoch"] for row in rows] == [1, 2]
    pd.testing.assert_frame_equal(forecaster.history_, pd.DataFrame(rows))
    assert {"epoch", "train_loss", "valid_loss", "learning_rate", "n_skipped", "seconds"} <= set(forecaster.history_)


@pytest.mark.slow
def test_training_cools_and_stops_when_validation_has_not_improved_for_the_patience():
    params = {"max_epochs": 9, "patience": 1, "learning_rate": 1e-12}
    # at such a rate nothing is learned; scores change in their last digits at most
    early = jump_ode(**params).fit(example_panel())
    late = jump_ode(**params, early_stopping=False).fit(example_panel())
    best = np.minimum.accumulate(late.history_["valid_loss"])
    worse = np.flatnonzero(late.history_["valid_loss"].to_numpy()[1:] >= best.to_numpy()[:-1])
    assert late.n_iter_ == 9
    # a third of all epochs cools, from the first one that was no better on
    assert early.n_iter_ == (min(worse[0] + 2 + 3, 9) if len(worse) else 9)


def test_the_progress_line_goes_to_stderr_and_only_when_asked(capsys):
    jump_ode(verbose=1).fit(example_panel())
    out, err = capsys.readouterr()
    assert not out
    assert "fit: 100%" in err
    jump_ode().fit(example_panel())
    assert capsys.readouterr() == ("", "")


def test_a_warm_start_continues_from_the_weights():
    frame = example_panel()
    once = jump_ode(warm_start=True).fit(frame)
    first = weights(once)
    still = jump_ode(warm_start=True, learning_rate=1e-30, weight_decay=0.0).fit(frame)
    still.module_.load_state_dict(first)
    still.fit(frame)
    names = [name for name, _ in still.module_.named_parameters()]
    assert_same_weights({n: weights(still)[n] for n in names}, {n: first[n] for n in names})
    once.fit(frame)
    assert any(not torch.equal(weights(once)[n], first[n]) for n in names)


def test_a_warm_start_keeps_unit_and_scale_whatever_the_new_data_count_in():
    frame = example_panel()
    forecaster = jump_ode(warm_start=True, expert=None).fit(frame)
    unit, before = forecaster.time_unit_, forecaster.predict(times=WHEN)
    forecaster.set_params(learning_rate=1e-30, weight_decay=0.0, horizon="1h")
    forecaster.fit(frame.assign(ds=frame["ds"].dt.as_unit("ns") + pd.Timedelta("1ns"), a=frame["a"] * 3))
    assert forecaster.time_unit_ == unit
    reset_reach(forecaster.module_)  # which is that of the new data
    after = forecaster.predict(times=WHEN, context=frame)
    np.testing.assert_allclose(after["a"], before["a"], rtol=1e-4)


def test_a_warm_start_on_other_channels_is_refused():
    forecaster = jump_ode(warm_start=True).fit(example_panel())
    with pytest.raises(DataError, match=r"same channels \['a', 'b'\], but came \['a', 'c'\]: set warm_start=False"):
        forecaster.fit(example_panel().rename(columns={"b": "c"}))


def test_a_fresh_fit_forgets_the_one_before():
    frame = example_panel()
    forecaster = jump_ode().fit(frame.assign(a=frame["a"] * 7))
    forecaster.fit(frame)
    assert_same_weights(weights(forecaster), weights(jump_ode().fit(frame)))


def test_validation_series_are_read_by_the_names_of_the_channels():
    frame, held_out = example_panel(), example_panel(4, seed=9)
    one = jump_ode(max_epochs=2).fit(frame, validation=held_out)
    other = jump_ode(max_epochs=2).fit(frame, validation=held_out[["b", "unique_id", "a", "ds"]].assign(note="text"))
    pd.testing.assert_series_equal(one.history_["valid_loss"], other.history_["valid_loss"])
    far = jump_ode(max_epochs=2).fit(frame, validation=held_out.assign(a=1e3))
    assert far.history_["valid_loss"].min() > 10 * one.history_["valid_loss"].min()


def test_validation_that_can_validate_nothing_is_refused():
    lone = example_panel(4)[lambda f: ~f["unique_id"].duplicated()]
    with pytest.raises(DataError, match=r"validation= has no series with two observation times"):
        jump_ode().fit(example_panel(), validation=lone)
    with pytest.raises(DataError, match=r"no column 'b'"):
        jump_ode().fit(example_panel(), validation=lone.drop(columns="b"))


def test_masked_rows_change_no_fit():
    frame = example_panel()
    blank = frame[["unique_id"]].drop_duplicates().assign(ds=pd.Timestamp("2024-03-09"))
    left = jump_ode(dtype="float64").fit(frame)
    right = jump_ode(dtype="float64").fit(pd.concat([frame, blank]))
    assert left.horizon_ == right.horizon_
    assert left.last_times_ == right.last_times_
    assert_same_weights(weights(left), weights(right))


def test_a_solve_that_fails_in_a_forecast_names_its_series():
    forecaster = jump_ode(model="ode_rnn").fit(example_panel())
    with torch.no_grad():
        for parameter in forecaster.module_.evolution.parameters():
            parameter.fill_(torch.inf)
    for ask in ("predict", "sample"):
        with pytest.raises(
            SolverError, match=r"The forecast of series 's0', 's1', .* left the range of finite numbers"
        ):
            getattr(forecaster, ask)(horizon=["3h"])


def test_a_solver_that_cannot_reach_its_end_names_the_series_and_the_remedy():
    from tsode.numerics import Dopri5

    forecaster = jump_ode(model=None, evolution="mlp", solver="midpoint").fit(example_panel(3))
    forecaster.module_.evolution.solver = Dopri5(max_steps=1, rtol=1e-6, atol=1e-8)
    with pytest.raises(SolverError, match=r"series 's\d.*more than the allowed number of steps: raise max_steps"):
        forecaster.predict(horizon=["30h"])


def test_training_that_diverges_says_what_to_change():
    with pytest.raises(SolverError, match=r"never reached a finite validation score.*Lower learning_rate"):
        jump_ode(model="ode_rnn", learning_rate=1e30).fit(example_panel())


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"evolution": "diagonal"}, UnknownNameError, r"'diagonal' is not a known evolution.*Known: .*linear"),
        ({"jump": "gruu"}, UnknownNameError, r"'gruu' is not a known jump. Did you mean 'gru'\?"),
        ({"likelihood": "gauss"}, UnknownNameError, r"'gauss' is not a known likelihood.*normal"),
        ({"loss": "mae"}, UnknownNameError, r"'mae' is not a known loss.*crps"),
        ({"model": "latent"}, UnknownNameError, r"'latent' is not a known model.*innovation"),
        ({"evolution": "mlp", "solver": "rk5"}, UnknownNameError, r"'rk5' is not a known solver. Did you mean 'rk4'"),
        ({"max_epochs": 0}, ParameterError, r"max_epochs must be a whole number of at least 1, but is 0"),
        ({"batch_size": 2.5}, ParameterError, r"batch_size must be a whole number"),
        ({"learning_rate": -1.0}, ParameterError, r"learning_rate must be positive"),
        ({"drop": 1.0}, ParameterError, r"drop is a share, in \[0, 1\)"),
        ({"validation_fraction": 1.0}, ParameterError, r"validation_fraction is a share, in \(0, 1\), but is 1.0"),
        ({"validation_fraction": "0.1"}, ParameterError, r"validation_fraction is a share"),
        ({"scale": "minmax"}, ParameterError, r"scale='minmax' is not known"),
    ],
)
def test_parameters_are_checked_in_fit(params, error, message):
    with pytest.raises(error, match=message):
        jump_ode(**params).fit(example_panel())


@pytest.mark.parametrize("scale", ["robust", "none", "standard"])
def test_any_scaling_gives_forecasts_in_the_units_of_the_data(scale):
    frame = example_panel()
    out = jump_ode(scale=scale).fit(frame.assign(b=frame["b"] / 100.0, a=frame["a"] / 10.0)).predict(times=WHEN)
    assert out["a"].between(-3.0, 5.0).all()
    assert out["b"].between(-8.0, 3.0).all()


def test_history_of_a_baseline_is_empty():
    forecaster = LastValueForecaster().fit(example_panel(2))
    assert forecaster.history_.empty
    assert forecaster.n_iter_ == 1
