"""Parts in model files: with settings, of one's own classes, and made up."""

from __future__ import annotations

import json
import time

import pytest
from safetensors import safe_open

import tsode
from tests.estimators.files.test_damaged_files import audit  # noqa: F401 (a fixture)
from tests.own_parts import Fading, own_names
from tests.registries import small
from tsode import JumpODEForecaster, LastValueForecaster, PointProcessForecaster, SeriesEncoder, part
from tsode.errors import FileFormatError, ParameterError
from tsode.estimators.files.model_file import write_model_file
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.jumps import GRU
from tsode.likelihoods import NormalMixture
from tsode.numerics import RK4
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

FRAME = example_panel(4)
SERIES = [series.set_index("ds")["a"] for _, series in FRAME.groupby("unique_id")]
SOLVED = {"evolution": part("mlp", width=8), "solver": part("rk4", max_step=0.1)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def read(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["tsode"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def there_and_back(forecaster, path):
    forecaster.save(path)
    return BaseForecaster.load(path)


def same_forecasts(left, right):
    return left.predict(horizon="3h").equals(right.predict(horizon="3h"))


class Mine(LastValueForecaster):
    """A stranger's forecaster."""


# -- what comes back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        SOLVED,
        {"evolution": part("linear", frequencies=(0.5, 2.0)), "likelihood": part("normal_mixture", n_components=2)},
        {"jump": GRU, "likelihood": NormalMixture(2), "evolution": "mlp", "solver": RK4(max_step=0.1)},
    ],
    ids=["settings", "closed form", "a class and instances"],
)
def test_parts_come_back_and_forecast_the_same(parts, path):
    fitted = small(JumpODEForecaster, n_members=1, **parts).fit(FRAME)
    loaded = there_and_back(fitted, path)
    assert same_forecasts(loaded, fitted)
    for name, value in parts.items():
        again = getattr(loaded, name)
        assert again == value or vars(again) == vars(value)
        assert type(again) is type(value)


def test_parts_of_other_estimators_come_back(path):
    streams = FRAME[["unique_id", "ds"]].assign(mark="x")
    intensity = part("neural_jump", n_nodes=4)
    PointProcessForecaster(intensity, max_epochs=1, n_hidden=4, n_modes=3).fit(streams).save(path)
    assert PointProcessForecaster.load(path).intensity == intensity
    SeriesEncoder(small(JumpODEForecaster, n_members=1, **SOLVED)).fit(SERIES).save(path)
    assert SeriesEncoder.load(path).forecaster_.solver == SOLVED["solver"]


def test_only_a_file_with_settings_is_of_the_newer_format(path):
    small(JumpODEForecaster).fit(FRAME).save(path)
    assert read(path)[0]["format_version"] == 2
    small(JumpODEForecaster, **SOLVED).fit(FRAME).save(path)
    assert read(path)[0]["format_version"] == 3


# -- classes of one's own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evolution", ["fading", part("fading", strength=2.0)], ids=repr)
def test_a_registered_class_is_saved_by_its_name_and_needed_to_load(evolution, path):
    with own_names():
        tsode.register("dynamics", "fading", Fading)
        fitted = small(JumpODEForecaster, evolution=evolution).fit(FRAME)
        loaded = there_and_back(fitted, path)
        assert same_forecasts(loaded, fitted)
        assert loaded.evolution == evolution
    with pytest.raises(FileFormatError, match=r"'fading' is not a known evolution.*Register that part before loading"):
        BaseForecaster.load(path)


@pytest.mark.slow
@own_names()
def test_a_part_that_a_file_cannot_hold_says_how_it_can_be(path):
    class Deaf(GRU):
        """Not registered."""

    fitted = small(JumpODEForecaster, jump=Deaf, n_members=1).fit(FRAME)
    with pytest.raises(ParameterError, match=r"jump=Deaf cannot .*tsode.register\('jump', 'mine', Deaf\).*jump='mine'"):
        fitted.save(path)
    tsode.register("jump", "deaf", Deaf)
    assert there_and_back(fitted, path).jump is Deaf
    evolution = small(JumpODEForecaster, **SOLVED).fit(FRAME).module_.evolution
    with pytest.raises(ParameterError, match=r"evolution=Solved\(...\) .*'evolution', 'mine', Solved.*part\('mine'"):
        small(JumpODEForecaster, evolution=evolution).fit(FRAME).save(path)
    with pytest.raises(ParameterError, match=r"jump=function\(...\) .*registered name.*pickle"):
        small(JumpODEForecaster, jump=lambda n_state, n_channels: GRU(n_state, n_channels)).fit(FRAME).save(path)
    with pytest.raises(ParameterError, match=r"max_steps=1000000000 cannot stand in a model file"):
        small(JumpODEForecaster, solver=part("rk4", max_steps=10**9)).fit(FRAME).save(path)


@own_names()
def test_a_forecaster_of_ones_own_is_loaded_by_its_class_or_registered(path):
    Mine().fit(FRAME).save(path)
    assert type(Mine.load(path)) is Mine
    with pytest.raises(FileFormatError, match=r"'Mine' is not a known .* tsode.register\('forecaster', 'Mine'"):
        BaseForecaster.load(path)
    tsode.register("forecaster", "mine", Mine)
    assert type(there_and_back(Mine().fit(FRAME), path)) is Mine
    assert read(path)[0]["class"] == "mine"
    with pytest.raises(FileFormatError, match=r"holds a mine: load it with Mine.load\(path\)"):
        JumpODEForecaster.load(path)


def test_a_class_that_takes_a_name_of_ours_is_not_saved_under_it(path):
    class JumpODEForecaster(LastValueForecaster):
        """Not ours."""

    with pytest.raises(ParameterError, match="There is another JumpODEForecaster in tsode"):
        JumpODEForecaster().fit(FRAME).save(path)


# -- made up -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model"
    small(JumpODEForecaster, **SOLVED).fit(FRAME).save(path)
    return read(path)


def named(name, **settings):
    return {"part": name, "settings": settings}


HOSTILE = {
    "no settings": {"part": "mlp"},
    "settings in a list": {"part": "mlp", "settings": [["width", 8]]},
    "settings of a wrong kind": named("mlp", width="8"),
    "settings that nest": named("mlp", width={"part": "mlp", "settings": {}}),
    "a setting that is not there": named("mlp", breadth=8),
    "a size as a setting": named("mlp", n_state=8),
    "a missing setting": named("mlp"),
    "a width for which there are no weights": named("mlp", width=10**7),
    "a depth that would fill the memory": named("mlp", width=8, depth=10**7),
    "a number beyond all": named("mlp", width=10**15),
    "a negative number": named("mlp", width=-1),
    "an activation of code": named("mlp", width=8, activation="__import__('os').system('true')"),
    "an unknown name": named("os.system", width=8),
    "a name that is a number": named(3),
    "a name that is a list": named(["mlp"]),
    "a class of no kind": {"class_of": "os", "name": "system"},
    "a class of another kind": {"class_of": "solver", "name": "rk4"},
    "a forecaster for a part": {"class_of": "forecaster", "name": "JumpODEForecaster"},
    "an instance with weights": {
        "instance_of": "dynamics",
        "name": "mlp",
        "settings": {"n_state": 10**5, "width": 10**5},
    },
    "an instance without a name": {"instance_of": "solver", "settings": {}},
    "an instance of a filter": {"instance_of": "filter", "name": "ode_rnn", "settings": {}},
    "an instance that is another part": {"instance_of": "solver", "name": "rk4", "settings": {}},
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("parameter", ["evolution", "jump"])
def test_a_made_up_part_is_refused_in_time(what, parameter, whole, path):
    header, tensors = whole
    write_model_file(path, header | {"params": header["params"] | {parameter: HOSTILE[what]}}, tensors)
    start = time.process_time()
    with pytest.raises(FileFormatError, match="is damaged"):
        JumpODEForecaster.load(path)
    assert time.process_time() - start < 1.0


def test_loading_parts_runs_no_code(whole, path, audit):  # noqa: F811
    header, tensors = whole
    write_model_file(path, header, tensors)
    JumpODEForecaster.load(path)  # what is imported or looked at on first use is
    assert audit(lambda: JumpODEForecaster.load(path)) == []


def test_a_number_of_members_or_passes_is_bounded_by_the_tensors(whole, path):
    header, tensors = whole
    write_model_file(path, header | {"params": header["params"] | {"n_members": {"label": 10**12}}}, tensors)
    with pytest.raises(FileFormatError, match=r"ask for a model of more than .* tensors"):
        JumpODEForecaster.load(path)
