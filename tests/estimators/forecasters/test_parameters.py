"""Parameters of forecasters: fields of dataclasses, declared once, and checks as data beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tsode import (
    JumpODEForecaster,
    LastValueForecaster,
    LinearSDEForecaster,
    PathRegressor,
    PointProcessForecaster,
    SeriesClassifier,
    SeriesRegressor,
)
from tsode.backtest import backtest
from tsode.conformal import ConformalForecaster
from tsode.errors import ParameterError, UnknownNameError
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


EVERY = {
    **DECLARED,
    "PathRegressor": PathRegressor,
    "ConformalForecaster": lambda **more: ConformalForecaster(LastValueForecaster(), **more),
    "SeriesClassifier": SeriesClassifier,
    "SeriesRegressor": SeriesRegressor,
}
PLAIN = {
    "bool": ("False", 0, 1, None, "no", np.array([True])),
    "int": ("3", True, 2.5, None, [1]),
    "float": ("0.1", True, None, [0.5], np.nan, np.inf),
}


@pytest.mark.parametrize("made", EVERY.values(), ids=EVERY)
def test_a_parameter_of_another_type_is_refused_by_name(made):
    own = type(made()).__init__
    for name, parameter in inspect.signature(own).parameters.items():
        options = str(parameter.annotation).split(" | ")
        for value in PLAIN.get(options[0], ()):
            if set(options) <= {*PLAIN, "None"} and not (value is None and "None" in options):
                is_verbosity = name == "verbose" and type(value) is int
                with contextlib.nullcontext() if is_verbosity else pytest.raises(ParameterError, match=f"^{name} "):
                    check_parameters(made(**{name: value}))


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (JumpODEForecaster, {"gate": "False"}),
        (JumpODEForecaster, {"early_stopping": "no"}),
        (JumpODEForecaster, {"informative_times": 1}),
        (JumpODEForecaster, {"verbose": "x"}),
        (JumpODEForecaster, {"verbose": -1}),
        (JumpODEForecaster, {"weight_decay": -5.0}),
        (JumpODEForecaster, {"n_static": -1}),
        (JumpODEForecaster, {"solver": "zz"}),
        (JumpODEForecaster, {"solver": 3}),
        (JumpODEForecaster, {"jump": 3}),
        (JumpODEForecaster, {"callbacks": print}),
        (JumpODEForecaster, {"calendar": 3}),
        (JumpODEForecaster, {"id_col": []}),
        (LinearSDEForecaster, {"system": 3}),
        (LinearSDEForecaster, {"warm_start": "False"}),
        (LastValueForecaster, {"verbose": None}),
        (PathRegressor, {"alpha": "1"}),
        (PathRegressor, {"length_scale": np.inf}),
        (PointProcessForecaster, {"condition_on_first": "False"}),
        (PointProcessForecaster, {"rate_unit": -1.0}),
        (PointProcessForecaster, {"rate_unit": "zz"}),
    ],
    ids=str,
)
def test_fit_refuses_what_it_does_not_use_as_well(made, wrong):
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(8.0), "mark": "x"})
    values = frame.rename(columns={"mark": "y"}).assign(y=np.arange(8.0))
    data = {PointProcessForecaster: (frame,), PathRegressor: (np.arange(8.0)[:, None], np.arange(8.0))}
    with pytest.raises((ParameterError, UnknownNameError), match=next(iter(wrong))):
        made(**wrong).fit(*data.get(made, (values,)))


def test_arguments_that_are_true_or_false_are_no_text():
    values = pd.Series(np.arange(8.0))
    fitted = LastValueForecaster().fit(values)
    path = PathRegressor().fit(np.arange(8.0)[:, None], np.arange(8.0))
    for name, use in {
        "refit": lambda no: fitted.update(pd.Series([1.0], index=[8.0]), refit=no),
        "refit ": lambda no: backtest(fitted, values, cutoffs=[4], horizon=2, refit=no),
        "prefit": lambda no: backtest(fitted, values, cutoffs=[4], horizon=2, prefit=no),
        "return_std": lambda no: path.predict([[1.0]], return_std=no),
    }.items():
        with pytest.raises(ParameterError, match=f"{name.strip()} must be True or False, but is 'False'"):
            use("False")
