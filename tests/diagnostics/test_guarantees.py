"""Promises of a fitted forecaster's dynamics, measured where its forecasts take it."""

import pytest

from tests.registries import small
from tsode import JumpODEForecaster, LatentODEForecaster, part
from tsode.diagnostics import guarantees
from tsode.dynamics import Structured
from tsode.errors import ParameterError
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.mark.parametrize("made", [JumpODEForecaster, LatentODEForecaster])
@pytest.mark.parametrize("name", ["stable", "orthogonal"])
def test_promises_are_kept_along_histories_and_forecasts(made, name):
    table = guarantees(small(made, evolution=name).fit(example_panel(4)))
    assert len(table)
    assert table["kept"].all()
    assert table.attrs["n_states"] > 100


def test_every_member_of_an_ensemble_is_held_to_its_promise():
    table = guarantees(small(JumpODEForecaster, evolution="antisymmetric", n_members=2).fit(example_panel(4)))
    assert table["part"].nunique() == 2


def test_a_promise_that_is_broken_is_told():
    forecaster = small(JumpODEForecaster, evolution=part("lipschitz", slope=0.5)).fit(example_panel(4))
    field = next(m for m in forecaster.module_.modules() if isinstance(m, Structured))
    motion = field.motion
    field.motion = lambda t, x, theta: 100.0 * motion(t, x, theta)
    table = guarantees(forecaster)
    assert not table["kept"].all()
    assert (table.loc[~table["kept"], "measured"] > 0.5).all()


def test_new_histories_are_read_and_so_is_how_many():
    forecaster = small(JumpODEForecaster, evolution="stable").fit(example_panel(4))
    few = guarantees(forecaster, example_panel(3), n_series=1).attrs["n_states"]
    assert guarantees(forecaster, example_panel(3), n_series=2).attrs["n_states"] > few


def test_a_forecaster_that_promises_nothing_is_told_what_would():
    with pytest.raises(ParameterError, match="promises anything: give it a structured field"):
        guarantees(small(JumpODEForecaster).fit(example_panel(4)))
