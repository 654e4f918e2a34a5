"""Model files: what comes back, and what is refused."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.registries import SMALL_FORECASTERS, fitted, small
from tsode import JumpODEForecaster, LastValueForecaster
from tsode.errors import DataError, FileFormatError, ParameterError
from tsode.estimators.files.model_file import write_model_file
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.evolutions import DiagonalFlow
from tsode.testing import check_forecaster, example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")


class MyForecaster(LastValueForecaster):
    """A stranger's class, in no registry."""


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    LastValueForecaster(target=["a"], horizon=pd.Timedelta("90min")).fit(example_panel()).save(path)
    return path


def rewrite(path, change):
    """Change the header of a model file."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["tsode"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    write_model_file(path, header, tensors)


def test_parameters_come_back(saved):
    loaded = LastValueForecaster.load(saved)
    assert loaded.target == ["a"]
    assert loaded.horizon == pd.Timedelta("90min")
    assert loaded.channels_ == ["a"]
    assert loaded.get_params() == LastValueForecaster(target=["a"], horizon=pd.Timedelta("90min")).get_params()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name.endswith("32") or name.startswith("expert")))
        for name in SMALL_FORECASTERS
    ],
)
def test_the_base_class_loads_any_forecaster(name, tmp_path):
    fitted(name).save(tmp_path / "m")
    loaded = BaseForecaster.load(tmp_path / "m")
    assert type(loaded) is type(fitted(name))
    assert {k: v for k, v in loaded.get_params().items() if k != "random_state"} == {
        k: v for k, v in fitted(name).get_params().items() if k != "random_state"
    }


def test_a_file_is_plain_safetensors_without_a_pickle(saved):
    content = saved.read_bytes()
    with safe_open(saved, framework="np") as file:
        assert any(name.startswith("module.") for name in file.keys())  # noqa: SIM118
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(content)


@pytest.mark.parametrize(
    "frame",
    [
        pd.Series([1.0, 2.0], index=[0, 3], name=("lab", "hb")),
        pd.Series([1.0, 2.0], index=pd.to_timedelta([0, 3], unit="h")),
        pd.DataFrame({"unique_id": [("w", 1), ("w", 2)], "ds": pd.to_datetime(["2024-03-31", "2024-04-01"]), "x": 1.0}),
        pd.DataFrame(
            {"a": [1.0, 2.0]}, index=pd.DatetimeIndex(["2024-10-27", "2024-10-28"], tz="Europe/Paris", name="when")
        ),
        pd.DataFrame({"unique_id": pd.Categorical(["p", "q"]), "ds": [0.0, 1.0], 7: [1.0, 2.0]}),
        [pd.Series([1.0], index=[0.5], name="p"), pd.Series([2.0], index=[1.5], name="q")],
    ],
    ids=["int", "timedelta", "tuples", "zone", "category", "list"],
)
def test_any_container_of_the_history_comes_back(frame, tmp_path):
    forecaster = LastValueForecaster().fit(frame)
    forecaster.save(tmp_path / "m")
    left, right = (f.predict_interval() for f in (forecaster, LastValueForecaster.load(tmp_path / "m")))
    for one, other in zip(left, right) if isinstance(left, list) else [(left, right)]:
        pd.testing.assert_frame_equal(one, other)


def test_arrays_are_answered_with_arrays_after_loading(tmp_path):
    LastValueForecaster().fit(np.array([[0.0], [1.0]]), np.array([1.0, 2.0])).save(tmp_path / "m")
    assert LastValueForecaster.load(tmp_path / "m").predict(np.array([[3.0]])).tolist() == [2.0]


def test_saving_that_fails_midway_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        LastValueForecaster().fit(example_panel(3)).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_file_is_readable_by_others_as_the_umask_says(saved):
    (saved.parent / "plain").write_text("")
    assert saved.stat().st_mode == (saved.parent / "plain").stat().st_mode


@pytest.mark.parametrize("size", [0, 7, 100, 2000, -1])
def test_a_truncated_file_is_refused(saved, size):
    saved.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(FileFormatError, match="is not an undamaged tsode model file"):
        LastValueForecaster.load(saved)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "other"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match="is not an undamaged tsode model file"):
        LastValueForecaster.load(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FileFormatError, match="is not an undamaged tsode model file"):
        LastValueForecaster.load(path)


def test_a_newer_format_asks_for_an_upgrade(saved):
    rewrite(saved, lambda header, _: header.update(format_version=99))
    with pytest.raises(FileFormatError, match=r"has format 99, but .* reads up to 3: upgrade tsode"):
        LastValueForecaster.load(saved)


def test_an_unknown_class_is_refused_by_name(saved):
    rewrite(saved, lambda header, _: header.update({"class": "LastValueForecasterr"}))
    with pytest.raises(FileFormatError, match=r"holds a class that tsode does not have.*Did you mean 'LastValue"):
        LastValueForecaster.load(saved)


def test_another_class_names_the_one_to_load_it_with(saved):
    with pytest.raises(FileFormatError, match=r"holds a LastValueForecaster: load it with LastValueForecaster.load"):
        JumpODEForecaster.load(saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda header, tensors: header.pop("scaler"),
        lambda header, tensors: header.update(params={"freq": {"label": "D"}}),
        lambda header, tensors: header.update(time_dtype="no dtype"),
        lambda header, tensors: tensors.pop("module.leads"),
        lambda header, tensors: tensors.pop("panel.lengths"),
        lambda header, tensors: tensors.update({"module.mean": torch.zeros(17)}),
        lambda header, tensors: header.update(timeline={"kind": "datetime"}),
        lambda header, tensors: header.update(layout=3),
    ],
)
def test_a_file_with_a_part_missing_or_changed_is_refused(saved, damage):
    rewrite(saved, damage)
    with pytest.raises(FileFormatError, match="is damaged"):
        LastValueForecaster.load(saved)


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*deep' to save to: make it first"):
        LastValueForecaster().fit(example_panel(2)).save(tmp_path / "deep" / "m")


def test_no_file_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file .*give the path that was passed to save"):
        LastValueForecaster.load(tmp_path / "missing")


def test_a_device_that_is_not_there_is_not_a_damaged_file(saved):
    with pytest.raises(ParameterError, match=r"device='tpu9' cannot be used"):
        LastValueForecaster.load(saved, device="tpu9")


def test_a_part_given_by_instance_is_kept_by_pickle_and_not_by_a_file(tmp_path):
    forecaster = small(JumpODEForecaster, evolution=DiagonalFlow(3, 1)).fit(example_panel())
    with pytest.raises(ParameterError, match=r"evolution=.*registered name.*pickle"):
        forecaster.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    again = pickle.loads(pickle.dumps(forecaster))
    assert again.predict(horizon="3h").equals(forecaster.predict(horizon="3h"))


def test_ids_that_a_file_cannot_hold_are_named(tmp_path):
    frame = pd.DataFrame({"unique_id": pd.Series([frozenset({1})] * 2, dtype=object), "ds": [0.0, 1.0], "x": 1.0})
    with pytest.raises(DataError, match=r"frozenset\(\{1\}\) is a frozenset, which cannot be saved"):
        LastValueForecaster().fit(frame).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_loaded_forecaster_can_be_fitted_on(tmp_path):
    forecaster = small(JumpODEForecaster, warm_start=True).fit(example_panel())
    forecaster.save(tmp_path / "m")
    loaded = JumpODEForecaster.load(tmp_path / "m").fit(example_panel())
    assert loaded.time_unit_ == forecaster.time_unit_
    assert np.isfinite(loaded.predict(horizon="3h")["a"]).all()


@pytest.mark.slow
def test_a_class_of_ones_own_loads_its_own_files(tmp_path):
    check_forecaster(MyForecaster())
    MyForecaster().fit(example_panel()).save(tmp_path / "m")
    assert type(MyForecaster.load(tmp_path / "m")) is MyForecaster
    with pytest.raises(FileFormatError, match="a class that tsode does not have: 'MyForecaster'"):
        LastValueForecaster.load(tmp_path / "m")


def test_events_without_a_target_beside_such_with_one_are_read_again_after_a_file_or_a_pickle(tmp_path):
    # pandas reads a column of strings and None as strings, in which None is a NaN that equals nothing
    frame = example_panel(3)
    doses = frame.groupby("unique_id")["ds"].min().reset_index().assign(kind="add", amount=1.0)
    doses = pd.concat([doses, doses.assign(target="other", amount=2.0)])
    forecaster = small(JumpODEForecaster, dtype="float64").fit(frame, events=doses)
    forecaster.save(tmp_path / "m")
    expected = forecaster.predict(horizon="2h", events=doses)
    for again in (JumpODEForecaster.load(tmp_path / "m"), pickle.loads(pickle.dumps(forecaster))):
        pd.testing.assert_frame_equal(again.predict(horizon="2h", events=doses), expected)
    # a file of before, whose columns are of NaN where no target was given
    rewrite(tmp_path / "m", name_missing_targets_nan)
    pd.testing.assert_frame_equal(JumpODEForecaster.load(tmp_path / "m").predict(horizon="2h", events=doses), expected)


def name_missing_targets_nan(header, tensors):
    for column in header["inputs"]["columns"]:
        column[1] = float("nan") if column[1] is None else column[1]
