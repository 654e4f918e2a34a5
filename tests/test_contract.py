"""The numerics contract, over every registry."""

from __future__ import annotations

import pytest
import torch

from tests.registries import (
    SMALL_FORECASTERS,
    fitted,
    small_encoders,
    small_evolutions,
    small_filter,
    small_latent_ode,
    small_latent_sde,
)
from tsode.encoders import ENCODERS
from tsode.estimators import FORECASTERS
from tsode.jumps import JUMPS
from tsode.likelihoods import LIKELIHOODS
from tsode.models.filters.build import FILTERS
from tsode.testing import (
    FORECASTER_CHECKS,
    check_encoder,
    check_evolution,
    check_jump,
    check_likelihood,
    check_model,
)

pytestmark = pytest.mark.usefixtures("short_epochs")

# these fit a forecaster anew
REFITS = {
    "check_constructor_only_stores",
    "check_covariates",
    "check_events",
    "check_far_ahead",
    "check_time_unit_and_origin",
    "check_units_of_values",
}


def contracts():
    """Every forecaster and check. In `make test`: each class in double precision, and the default in single.

    A named filter is checked below the estimator too, by `test_filters_keep_the_contract`; and the automatic choice,
    which fits each of its members four times, is not fitted anew there.
    """
    in_double = {f"{name}-float64" for name in FORECASTERS}
    for name in SMALL_FORECASTERS:
        for check in FORECASTER_CHECKS:
            is_default = name == "JumpODEForecaster-float32" and check.__name__ not in REFITS
            is_choice_anew = name.startswith("AutoForecaster") and check.__name__ in REFITS
            is_dear = (name not in in_double or is_choice_anew) and not is_default
            label = f"{name}-{check.__name__.removeprefix('check_')}"
            yield pytest.param(name, check, id=label, marks=[pytest.mark.slow] * is_dear)


@pytest.mark.parametrize(("name", "check"), list(contracts()))
def test_forecasters_keep_the_contract(name, check):
    check(fitted(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILTERS)
def test_filters_keep_the_contract(name):
    torch.manual_seed(0)
    check_model(small_filter(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILTERS)
def test_filters_keep_the_contract_in_the_plain_loop(name):
    torch.manual_seed(0)
    model = small_filter(name)
    model.use_fused = False
    check_model(model)


@pytest.mark.parametrize("name", [name for name, made in FORECASTERS.items() if made.is_baseline])
def test_baseline_models_keep_the_contract(name):
    check_model(FORECASTERS[name]().build_model(2))


@pytest.mark.slow
@pytest.mark.parametrize("evolution", ["linear", "mlp"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_latent_odes_keep_the_contract(encoder, evolution):
    torch.manual_seed(0)
    check_model(small_latent_ode(encoder, evolution))


@pytest.mark.parametrize(
    ("encoder", "solver"),
    # the default, and another solver; each encoder is of a latent ODE too
    [
        *(
            pytest.param(name, "heun_maruyama", marks=[pytest.mark.slow] * (name != "backward_filter"))
            for name in ENCODERS
        ),
        ("set_attention", "milstein"),
    ],
)
def test_latent_sdes_keep_the_contract(encoder, solver):
    torch.manual_seed(0)
    check_model(small_latent_sde(encoder, solver=solver))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_keep_the_contract(name):
    torch.manual_seed(0)
    check_encoder(small_encoders()[name])


@pytest.mark.parametrize("name", small_evolutions())
def test_evolutions_keep_the_contract(name):
    torch.manual_seed(0)
    check_evolution(small_evolutions()[name])


@pytest.mark.parametrize("name", JUMPS)
def test_jumps_keep_the_contract(name):
    torch.manual_seed(0)
    check_jump(JUMPS[name](3, 2))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_keep_the_contract(name):
    check_likelihood(LIKELIHOODS[name]())
