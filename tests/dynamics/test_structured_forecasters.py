"""Structured fields by their names in forecasters: fitted, saved, loaded, and as true to the contract as others."""

import pytest
import torch

from tests.registries import small
from tsode import JumpODEForecaster, LatentODEForecaster, part
from tsode.dynamics import DYNAMICS, ResidualDynamics, Structured
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.evolutions.orthogonal import OrthogonalFlow
from tsode.testing import check_forecaster, example_panel

NAMES = [*(name for name, cls in DYNAMICS.items() if issubclass(cls, Structured)), "orthogonal"]

pytestmark = pytest.mark.usefixtures("short_epochs")


def structured_part(forecaster):
    return next(m for m in forecaster.module_.modules() if isinstance(m, Structured | OrthogonalFlow))


@pytest.mark.parametrize("made", [JumpODEForecaster, LatentODEForecaster])
@pytest.mark.parametrize("name", NAMES)
def test_a_trained_field_keeps_its_promise_and_a_file_carries_it(name, made, tmp_path):
    sizes = {"n_members": 1} if made is JumpODEForecaster else {}
    forecaster = small(made, evolution=name, **sizes).fit(example_panel(4))
    field = structured_part(forecaster)
    states = torch.randn(50, field.n_state)
    assert all(guarantee.holds for guarantee in field.check(states))
    forecaster.save(tmp_path / "model")
    loaded = BaseForecaster.load(tmp_path / "model")
    assert loaded.predict_interval(horizon="5h").equals(forecaster.predict_interval(horizon="5h"))
    for before, after in zip(field.check(states), structured_part(loaded).check(states)):
        assert before == after


def test_settings_reach_the_field():
    forecaster = small(JumpODEForecaster, evolution=part("lipschitz", slope=3.0, weights="cayley")).fit(
        example_panel(4)
    )
    assert structured_part(forecaster).slope == 3.0
    assert type(structured_part(forecaster).matrices[0]).__name__ == "CayleyMatrix"


def test_a_field_with_known_rates_is_taken_as_it_is():
    field = ResidualDynamics(4, lambda t, z: z.flip(1) * torch.tensor([1.0, 1.0, -1.0, -1.0]))
    forecaster = small(JumpODEForecaster, evolution=field, n_members=1).fit(example_panel(4))
    made = next(m for m in forecaster.module_.modules() if isinstance(m, ResidualDynamics))
    assert made.known is field.known
    assert forecaster.predict(horizon="5h").notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["antisymmetric", "lipschitz", "orthogonal"])
def test_forecasters_with_structured_fields_keep_the_contract(name):
    check_forecaster(small(JumpODEForecaster, evolution=name, dtype="float64"))
