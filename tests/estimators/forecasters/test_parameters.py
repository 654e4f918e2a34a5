"""Parameters of forecasters: fields of dataclasses, declared once, and checks as data beside them."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from sklearn.base import clone

from tsode import JumpODEForecaster, PointProcessForecaster
from tsode.errors import ParameterError
from tsode.estimators import FORECASTERS
from tsode.estimators.forecasters.base import BaseForecaster, LearnedForecaster
from tsode.estimators.parameters import at_least, check_parameters, or_value, positive, share

DECLARED = {**FORECASTERS, "PointProcessForecaster": PointProcessForecaster}


@pytest.mark.parametrize("made", DECLARED.values(), ids=DECLARED)
def test_every_parameter_of_a_constructor_is_a_field_and_stored_as_given(made):
    fields = [field.name for field in dataclasses.fields(made)]
    assert sorted(inspect.signature(made).parameters) == sorted(fields) == made._get_param_names()
    estimator = made()
    assert clone(estimator).get_params(deep=False) == estimator.get_params(deep=False)
    assert vars(estimator).keys() == set(fields)


def test_parameters_are_declared_by_the_class_that_they_belong_to_and_inherited():
    shared = {field.name for field in dataclasses.fields(BaseForecaster)}
    learned = {field.name for field in dataclasses.fields(LearnedForecaster)} - shared
    for made in FORECASTERS.values():
        own = {name for name, hint in vars(made).get("__annotations__", {}).items() if "ClassVar" not in str(hint)}
        assert not own & shared - {"dtype"}
        # what is declared again has another default
        for name in own & learned:
            assert getattr(made, name) != getattr(LearnedForecaster, name)


def test_only_the_first_parameter_may_be_given_by_position():
    assert JumpODEForecaster("ode_rnn").model == "ode_rnn"
    with pytest.raises(TypeError):
        JumpODEForecaster("ode_rnn", "linear")


@pytest.mark.parametrize("made", DECLARED.values(), ids=DECLARED)
def test_defaults_pass_their_own_checks(made):
    check_parameters(made())


@pytest.mark.parametrize("value", ["0.1", None, [1], np.array([1, 2]), float("nan")])
def test_what_is_no_number_is_refused_as_a_wrong_number_is(value):
    for check in (at_least(1), positive, share()):
        with pytest.raises(ParameterError, match=r"width .*: try width=3"):
            check("width", value, 3)


def test_a_share_takes_in_the_ends_that_it_names():
    share("[", "]")("x", 1.0, 0.5)
    share()("x", 0.0, 0.5)
    for check, end in ((share(), 1.0), (share("("), 0.0), (share("(", "]"), 0.0)):
        with pytest.raises(ParameterError, match="is a share, in "):
            check("x", end, 0.5)


def test_a_special_value_stands_beside_a_check():
    check = or_value("auto", at_least(1))
    check("n", "auto", "auto")
    check("n", 2, "auto")
    with pytest.raises(ParameterError, match="must be a whole number of at least 1, but is 'all'"):
        check("n", "all", "auto")
