"""Contract checks: what every forecaster, model and part of tsode promises, runnable on yours.

>>> from tsode import LastValueForecaster
>>> from tsode.testing import check_forecaster
>>> check_forecaster(LastValueForecaster())

Each check raises an AssertionError that says what was promised; `FORECASTER_CHECKS` holds them one by one.
"""

from tsode.testing.dynamics import check_dynamics, check_sde
from tsode.testing.encoders import check_encoder
from tsode.testing.examples import example_batch, example_panel
from tsode.testing.forecasters import FORECASTER_CHECKS, check_forecaster
from tsode.testing.intensities import check_intensity
from tsode.testing.models import MODEL_CHECKS, check_model
from tsode.testing.parts import check_evolution, check_jump, check_likelihood
from tsode.testing.solvers import check_sde_solver, check_solver

__all__ = [
    "FORECASTER_CHECKS",
    "MODEL_CHECKS",
    "check_dynamics",
    "check_encoder",
    "check_evolution",
    "check_forecaster",
    "check_intensity",
    "check_jump",
    "check_likelihood",
    "check_model",
    "check_sde",
    "check_sde_solver",
    "check_solver",
    "example_batch",
    "example_panel",
]
