"""Parts by name, with settings; classes of one's own under a name."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold

import tsode
from tests.own_parts import Fading, own_names
from tests.registries import small
from tsode import (
    JumpODEForecaster,
    LatentODEForecaster,
    LatentSDEForecaster,
    Part,
    PointProcessForecaster,
    SeriesEncoder,
    part,
)
from tsode._registry import build
from tsode.dynamics import DYNAMICS, LinearDynamics, MLPDynamics
from tsode.errors import ParameterError, UnknownNameError
from tsode.estimators import FORECASTERS
from tsode.evolutions import DiagonalFlow
from tsode.jumps import GRU
from tsode.models.filters.build import build_filter
from tsode.models.intensities import build_intensity
from tsode.models.latent.ode import build_encoder, build_latent_ode
from tsode.models.latent.sde import build_latent_sde
from tsode.numerics import RK4, SOLVERS, TorchSDE
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

# -- a part as a value -------------------------------------------------------------------------------------------------

PARTS = [
    part("rk4"),
    part("rk4", max_step=0.1),
    part("neural", bounds=(0.1, 2.0), depth=2),
    part("mlp", activation="silu"),
]


@pytest.mark.parametrize("one", PARTS, ids=repr)
def test_a_part_is_a_value(one):
    for twin in (eval(repr(one)), clone(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert twin == one
        assert hash(twin) == hash(one)
        assert repr(twin) == repr(one)
    assert one != one.name
    assert one != one.replace(more=1)
    with pytest.raises(AttributeError):
        one.name = "other"


def test_settings_are_plain_and_their_order_does_not_matter():
    assert (
        part("x", a=1, b=[1, 2]) == Part("x", {"b": (1, 2), "a": 1}) == part("x", b=np.int64(1), a=1).replace(b=[1, 2])
    )
    assert repr(part("x", step=np.float64(0.5), n=np.int32(3))) == "part('x', n=3, step=0.5)"
    for value in (torch.zeros(2), len, {"a": 1}, RK4()):
        with pytest.raises(ParameterError, match=r"step=.* cannot be a setting of a part: .* as an instance"):
            part("x", step=value)
    with pytest.raises(ParameterError, match=r"A part is named by a string, but came 3"):
        part(3)


# -- from the name to the part -----------------------------------------------------------------------------------------


def test_a_part_is_built_from_a_name_a_part_a_class_or_is_there_already():
    assert (
        build(SOLVERS, "rk4", "solver")
        == build(SOLVERS, part("rk4"), "solver")
        == build(SOLVERS, RK4, "solver")
        == RK4()
    )
    assert build(SOLVERS, part("rk4", max_step=0.1), "solver") == RK4(max_step=0.1)
    there = RK4(n_steps=3)
    assert build(SOLVERS, there, "solver") is there
    for wrong in ("rk5", part("rk5", max_step=1.0), 3, MLPDynamics):
        with pytest.raises(UnknownNameError, match=r"is not a known solver.*Known: .*dopri5"):
            build(SOLVERS, wrong, "solver")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"max_stp": 0.1},
            UnknownNameError,
            r"'max_stp' is not a known setting of solver 'rk4'. Did you mean 'max_step'\?",
        ),
        ({"order": 4}, UnknownNameError, r"setting of solver 'rk4'. Known: max_step, max_steps, n_steps"),
        ({"max_step": "a"}, ParameterError, r"max_step of solver 'rk4' must be float \| None, but is 'a'"),
        ({"n_steps": 2.5}, ParameterError, r"n_steps of solver 'rk4' must be int, but is 2.5"),
        ({"n_steps": True}, ParameterError, r"n_steps of solver 'rk4' must be int, but is True"),
        ({"n_steps": (1, 2)}, ParameterError, r"n_steps of solver 'rk4' must be int"),
        ({"max_step": -1.0}, ParameterError, r"max_step must be a positive length"),
    ],
)
def test_settings_are_checked_against_the_constructor(settings, error, message):
    with pytest.raises(error, match=message):
        build(SOLVERS, part("rk4", **settings), "solver")
    assert build(SOLVERS, part("rk4", max_step=1), "solver").max_step == 1, "a whole number is a number"


def test_sizes_are_given_by_the_model_and_other_settings_are_not_there():
    with pytest.raises(ParameterError, match=r"n_state is no setting of evolution 'mlp': the model .* gives it"):
        build_filter(1, evolution=part("mlp", n_state=3))
    with pytest.raises(UnknownNameError, match=r"setting of jump 'gru'. Known: none"):
        build_filter(1, jump=part("gru", width=3))
    with pytest.raises(ParameterError, match=r"bounds of sde 'neural' must be tuple\[float, float\], but is \(1.0,\)"):
        build_latent_sde(1, sde=part("neural", bounds=[1.0]))


def test_settings_reach_every_kind_of_part():
    model = build_filter(
        2, evolution=part("mlp", width=5, depth=1), solver=part("rk4", max_step=0.5), n_state=3,
        jump=part("neural_jump", width=7), likelihood=part("normal_mixture", n_components=2),
    )  # fmt: skip
    assert model.evolution.solver == RK4(max_step=0.5)
    assert [tuple(w.shape) for w in model.evolution.dynamics.parameters()] == [(5, 3), (5,), (3, 5), (3,)]
    assert any(7 in weight.shape for weight in model.jump.parameters())
    assert model.likelihood.n_components == 2
    assert isinstance(build_filter(1, evolution=part("linear", frequencies=(0.5, 2.0))).evolution, DiagonalFlow)
    assert build_filter(1, evolution=part("semilinear", width=5), n_modes=2, n_static=1).evolution.n_state == 5
    latent = build_latent_ode(
        1, encoder=part("set_attention", n_frequencies=3), evolution=part("mlp", width=5), n_encoder=6
    )
    assert latent.encoder.frequencies.shape == (3,)
    assert build_encoder(part("set_attention", n_heads=2), 1, 6).n_heads == 2
    stochastic = build_latent_sde(1, sde=part("neural", width=5), solver=part("torchsde", n_steps=2))
    assert stochastic.solver == TorchSDE(n_steps=2).as_steps()
    assert any(5 in weight.shape for weight in stochastic.sde.parameters())
    with pytest.raises(ParameterError, match="n_hidden is no setting of intensity 'neural_jump'"):
        build_intensity(part("neural_jump", n_hidden=3), 2)
    assert isinstance(build_intensity(part("neural_jump", n_nodes=3), 2), torch.nn.Module)


# -- in an estimator ---------------------------------------------------------------------------------------------------


def test_a_part_is_a_parameter_like_any_other():
    forecaster = JumpODEForecaster(evolution=part("mlp", width=8), solver=part("rk4", max_step=0.1))
    assert clone(forecaster).get_params() == forecaster.get_params()
    assert forecaster.get_params()["solver__max_step"] == 0.1
    assert "part('rk4', max_step=0.1)" in repr(forecaster)
    assert "rk4" in forecaster._repr_html_()
    assert forecaster.set_params(solver__max_step=0.2, evolution__depth=1, evolution__width=4) is forecaster
    assert forecaster.solver == part("rk4", max_step=0.2)
    assert forecaster.evolution == part("mlp", width=4, depth=1)
    assert forecaster.set_params(solver="euler", solver__n_steps=2).solver == part("euler", n_steps=2)
    assert JumpODEForecaster().set_params(solver__n_steps=2).solver == part("midpoint", n_steps=2)
    encoder = SeriesEncoder(forecaster).set_params(forecaster__solver__n_steps=3)
    assert encoder.forecaster.solver == part("euler", n_steps=3)
    with pytest.raises(ValueError, match="Invalid parameter 'freq'"):
        forecaster.set_params(freq__x=1)


def test_a_part_without_settings_is_its_name():
    plain = small(JumpODEForecaster, likelihood="normal").fit(example_panel(4))
    named = small(JumpODEForecaster, likelihood=part("normal"), evolution=part("linear")).fit(example_panel(4))
    assert named.predict().equals(plain.predict())
    settings = {"evolution": "mlp", "solver": part("midpoint", n_steps=2)}
    assert not small(JumpODEForecaster, **settings).fit(example_panel(4)).predict().equals(plain.predict())


@pytest.mark.parametrize(
    "forecaster",
    [
        small(LatentODEForecaster, encoder=part("set_attention", n_frequencies=2), evolution=part("mlp", width=4)),
        small(LatentSDEForecaster, sde=part("neural", width=4), solver=part("milstein", n_steps=1)),
    ],
    ids=lambda f: type(f).__name__,
)
@pytest.mark.filterwarnings("ignore:The latent state is not used:tsode.errors.TsodeWarning")
def test_parts_of_latent_forecasters_take_settings(forecaster):
    assert np.isfinite(forecaster.fit(example_panel(4)).predict()["a"]).all()


def test_the_intensity_of_a_point_process_takes_settings():
    frame = example_panel(4)[["unique_id", "ds"]].assign(mark="x")
    fitted = PointProcessForecaster(part("neural_jump", n_nodes=4), max_epochs=1, n_hidden=4, n_modes=3).fit(frame)
    assert np.isfinite(fitted.score(frame))


@pytest.mark.slow
def test_a_search_goes_over_parts():
    frame = example_panel(4)
    forecaster = small(JumpODEForecaster, evolution="mlp", solver="midpoint", n_members=1)
    solvers = ["rk4", part("rk4", max_step=0.5)]
    search = GridSearchCV(forecaster, {"solver": solvers}, cv=GroupKFold(2), error_score="raise")
    search.fit(frame, groups=frame["unique_id"])
    assert [params["solver"] for params in search.cv_results_["params"]] == solvers
    assert list(search.cv_results_["param_solver"]) == solvers
    assert search.best_estimator_.solver == search.best_params_["solver"]
    grid = {"solver__n_steps": [1, 2]}
    nested = GridSearchCV(forecaster, grid, cv=GroupKFold(2), error_score="raise", refit=False)
    nested.fit(frame, groups=frame["unique_id"])
    assert np.isfinite(nested.cv_results_["mean_test_score"]).all()


# -- names for classes of one's own ------------------------------------------------------------------------------------


@own_names()
def test_a_class_of_ones_own_is_taken_by_its_name():
    assert tsode.register("dynamics", "fading", Fading) is Fading
    assert tsode.register("dynamics", "fading", Fading) is Fading, "the same class again"
    assert isinstance(build_filter(1, evolution="fading", n_state=3).evolution.dynamics, Fading)
    assert build_filter(1, evolution=part("fading", strength=2.0)).evolution.dynamics.strength == 2.0

    @tsode.register("evolution", "slow")
    class Slow(DiagonalFlow):
        """A flow with sizes of its own."""

    flow = build_filter(1, evolution="slow", n_modes=3, n_static=2).evolution
    assert (type(flow), flow.n_state) == (Slow, 8)

    @tsode.register("jump", "deaf")
    class Deaf(GRU):
        """A jump that knows nothing of inputs."""

        def __init__(self, n_state: int, n_channels: int) -> None:
            super().__init__(n_state, n_channels)

    assert type(build_filter(2, jump="deaf", n_inputs=1).jump) is Deaf


@own_names()
def test_a_named_composition_is_a_model():
    tsode.register("filter", "mine", {"evolution": part("mlp", width=4), "jump": "gru", "solver": "euler"})
    fitted = small(JumpODEForecaster, model="mine").fit(example_panel(4))
    assert type(fitted.module_.jump) is GRU
    for wrong, message in [
        ({}, "is a dict of its evolution, jump and solver"),
        ({"jmp": "gru"}, "'jmp' is not a known part of a filter. Did you mean 'jump'"),
        ({"jump": GRU(2, 1)}, r"must be a name or part\(...\)"),
    ]:
        with pytest.raises((ParameterError, UnknownNameError), match=message):
            tsode.register("filter", "other", wrong)


@own_names()
def test_a_forecaster_of_ones_own_is_registered_under_a_name():
    class Mine(tsode.LastValueForecaster):
        """A stranger's."""

    tsode.register("forecaster", "mine", Mine)
    assert FORECASTERS["mine"] is Mine


@pytest.mark.parametrize(
    ("kind", "name", "member", "message"),
    [
        ("dynamics", "mlp", Fading, r"There is a dynamics 'mlp' already: choose another name"),
        ("evolution", "mlp", DiagonalFlow, r"There is a dynamics 'mlp' already"),
        ("dynamics", "fading", GRU, r"A dynamics is a subclass of tsode\.dynamics.* is the class GRU"),
        ("solver", "mine", RK4(), r"A solver is a subclass of tsode.numerics.base.Solver, but 'mine' is RK4\("),
        ("dynamics", "", Fading, r"The name of a dynamics is a string, but is ''"),
        ("dynamics", "bare", type("Bare", (tsode.dynamics.Dynamics,), {}), r"Bare must define drift to be a dynamics"),
        ("field", "mine", Fading, r"'field' is not a known kind of part.*Known: component"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_says_what_is_needed(kind, name, member, message):
    before = dict(DYNAMICS)
    with pytest.raises((ParameterError, UnknownNameError), match=message):
        tsode.register(kind, name, member)
    assert before == DYNAMICS


def test_a_constructor_needs_defaults_but_for_sizes():
    class Needy(LinearDynamics):
        def __init__(self, n_state: int, rate: float) -> None:
            super().__init__(n_state)

    with pytest.raises(ParameterError, match=r"Needy cannot be made without rate: give defaults .* save for n_state"):
        tsode.register("dynamics", "needy", Needy)
