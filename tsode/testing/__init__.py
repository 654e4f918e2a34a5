"""Contract checks: what every forecaster, model and part of tsode promises, runnable on yours.

>>> from tsode import LastValueForecaster
>>> from tsode.testing import check_forecaster
>>> check_forecaster(LastValueForecaster())

Each check raises an AssertionError that says what was promised; `FORECASTER_CHECKS` holds them one by one.
"""

from tsode.testing.encoders import check_encoder
from tsode.testing.examples import example_batch, example_panel
from tsode.testing.forecasters import FORECASTER_CHECKS, check_forecaster
from tsode.testing.models import MODEL_CHECKS, check_model
from tsode.testing.parts import check_evolution, check_jump, check_likelihood

__all__ = [
    "FORECASTER_CHECKS",
    "MODEL_CHECKS",
    "check_encoder",
    "check_evolution",
    "check_forecaster",
    "check_jump",
    "check_likelihood",
    "check_model",
    "example_batch",
    "example_panel",
]
