"""Fields of a model file, one wrong at a time under a checksum that holds: refused by name when it is loaded."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load, save

from tests.estimators.files.test_owned_memory import CASES
from tsode import LastValueForecaster
from tsode.errors import FileFormatError, ParameterError
from tsode.estimators.files.model_file import read_model_file, write_model_file
from tsode.estimators.files.tensor_file import LONGEST_HEADER
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Class, header and tensors of each kind of model, made when it is first asked for."""
    made = {}

    def get(name):
        if name not in made:
            path = tmp_path_factory.mktemp("saved") / name
            model = CASES[name]()
            model.save(path)
            made[name] = type(model), *read_model_file(path)
        return made[name]

    return get


def put(*keys, to):
    """A change of one entry of the header."""

    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = to

    return change


def fill(name, value):
    """A change of one tensor."""

    def change(header, tensors):
        tensors[name] = torch.full_like(tensors[name], value)

    return change


WRONG = {
    "baseline": [
        put("timeline", "kind", to="sundial"),
        put("timeline", "kind", to="float"),
        put("timeline", "resolution", to="fortnight"),
        put("timeline", "resolution", to=None),
        put("timeline", "unit", to=False),
        put("timeline", "unit", to=-1),
        put("timeline", "unit", to=1.5),
        put("timeline", "origin", to=10**30),
        put("layout", "id_col", to=None),
        put("layout", "id_col", to="ds"),
        put("layout", "time_in_index", to="no"),
        put("layout", "backend", to="dask"),
        put("layout", "time_dtype", to="float64"),
        put("layout", "time_dtype", to="datetime64[ns, dateutil//etc/hostname]"),
        put("layout", "id_dtype", to={"categories": ["nobody"], "ordered": False}),
        put("ids", 0, to={"timestamp": "2024-01-01", "unit": "s", "tz": "dateutil//etc/hostname"}),
        put("horizon", to={"timedelta": -5, "unit": "s"}),
        put("horizon", to=3.0),
        put("time_unit", to={"timedelta": 0, "unit": "s"}),
        put("is_array", to=0),
        put("n_iter", to=-1),
        put("n_features_in", to=1.5),
        put("params", "dtype", to={"label": "float16"}),
        put("params", "id_col", to=[{"label": 1}]),
    ],
    "jumps": [
        put("params", "n_passes", to={"label": 10**9}),
        put("params", "gate", to={"label": "False"}),
        put("params", "max_context", to={"label": 0}),
        put("params", "dropout", to={"label": "x"}),
        put("params", "solver", to={"label": 3}),
        put("covariates", "scaler", to={"shift": [], "scale": []}),
        put("covariates", "scaler", to={"shift": [0.0], "scale": [0.0]}),
        put("covariates", "path", to="curved"),
        put("covariates", "cycles", to=["aeon"]),
        put("covariates", "static", 0, "scale", to=0.0),
        put("covariates", "static", 1, "categories", to=[]),
        put("inputs", "scale", to=[]),
        put("inputs", "scale", 0, to=-1.0),
        put("inputs", "columns", 0, 2, to="colour"),
        fill("known.values", np.inf),
        fill("inputs.values", np.nan),
    ],
    "latent": [put("params", "max_context", to={"label": "many"}), put("params", "n_samples", to={"label": True})],
    "events": [
        put("timeline", "unit", to=0),
        put("is_window_given", to="yes"),
        put("marks", to=["x", "x"]),
        put("params", "condition_on_first", to={"label": "maybe"}),
        fill("streams.codes", -1),
    ],
    "path": [
        *(fill(name, value) for name in ("_times", "coef_", "_covariance", "_seen") for value in (np.nan, 1e308)),
        fill("_spread", 0.0),
        put("length_scale_", to=-1.0),
        put("noise_share_", to=7.0),
        put("scale_", to=1e400),
    ],
    "classifier": [
        put("head", 1, "coef_", "array", to=[[1.0]]),
        put("head", 1, "coef_", "dtype", to="<U100000000"),
        put("head", 1, "intercept_", "array", to=[float("nan")]),
        put("head", 0, "scale_", "array", to=[0.0]),
        put("profile", to=[]),
        put("start", to="now"),
        put("encoder", "forecaster", "timeline", "unit", to=False),
    ],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, changes in WRONG.items() for change in changes])
def test_a_field_that_no_fit_gives_is_refused_at_load(name, change, saved, tmp_path):
    cls, header, tensors = saved(name)
    header, tensors = deepcopy(header), dict(tensors)
    change(header, tensors)
    write_model_file(tmp_path / "m", header, tensors)
    with pytest.raises(FileFormatError, match="is damaged"):
        cls.load(tmp_path / "m")


def test_a_device_that_only_the_machine_of_the_fit_had_is_no_fault_of_the_file(saved, tmp_path):
    cls, header, tensors = saved("baseline")
    header = deepcopy(header)
    header["params"]["device"] = {"label": "cuda:7"}
    write_model_file(tmp_path / "m", header, tensors)
    assert len(cls.load(tmp_path / "m").predict())


# -- limits before memory ----------------------------------------------------------------------------------------------


def peak_of(action) -> int:
    """Most bytes that Python holds during an action."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refuse(path, match):
    with pytest.raises(FileFormatError, match=match):
        LastValueForecaster.load(path)


def test_a_long_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "m"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 2 * LONGEST_HEADER))
        file.truncate(8 + 2 * LONGEST_HEADER)
    assert peak_of(lambda: refuse(path, "bytes, which is more than")) < 10**6


def test_a_header_of_many_small_entries_is_refused_before_it_is_parsed(tmp_path):
    text = json.dumps({"format_version": 1, "class": "x", "ids": "HERE"}).replace('"HERE"', "[" + "{}," * 5 * 10**6)
    (tmp_path / "m").write_bytes(save({"x": torch.zeros(1)}, metadata={"tsode": text}))
    assert peak_of(lambda: refuse(tmp_path / "m", "entries, which is more than")) < 10**8


def test_a_sparse_file_with_a_wrong_checksum_takes_no_memory_for_its_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr("tsode.estimators.files.tensor_file.CHECKED_IN_PIECES", 2**20)
    size = 2**26
    text = json.dumps({"format_version": 2, "class": "LastValueForecaster"})
    header = {"__metadata__": {"tsode": text, "sha256": "0" * 64}}
    raw = json.dumps(header | {"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    os.truncate(path, 8 + len(raw) + size)
    assert peak_of(lambda: refuse(path, "does not have the checksum")) < size // 8


@pytest.mark.slow
def test_a_whole_file_takes_its_size_once(tmp_path):
    frame = pd.DataFrame({"ds": np.arange(300_000.0), "y": np.arange(300_000.0) % 7})
    path = tmp_path / "m"
    LastValueForecaster().fit(frame).save(path)
    assert peak_of(lambda: read_model_file(path)) < 1.2 * path.stat().st_size


def test_a_model_too_large_for_a_file_is_refused_when_it_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("tsode.estimators.files.tensor_file.MOST_ENTRIES", 100)
    with pytest.raises(ParameterError, match=r"too much for a model file .* keep the estimator by pickle"):
        LastValueForecaster().fit(example_panel(40)).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("offsets", [[0, 4], [0, 10**12], [-4, 4], [0, 8.0], [8, 0]])
def test_tensors_that_overlap_leave_gaps_or_end_elsewhere_are_refused(offsets, tmp_path):
    (tmp_path / "m").write_bytes(save({"x": torch.zeros(1), "y": torch.ones(1)}, metadata={"tsode": "{}"}))
    content = (tmp_path / "m").read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    header["y"]["data_offsets"] = offsets
    raw = json.dumps(header).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(raw)) + raw + content[end:])
    refuse(tmp_path / "m", "is not an undamaged tsode model file")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "complex64", "int64", "int32", "int16",
                                   "int8", "uint8", "bool"])  # fmt: skip
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0, 3)])
def test_tensors_are_read_as_safetensors_reads_them(dtype, shape, tmp_path):
    made = torch.arange(6)[: int(np.prod(shape))].to(getattr(torch, dtype)).reshape(shape)
    write_model_file(tmp_path / "m", {"class": "x"}, {"a": torch.zeros(3, dtype=torch.int8), "x": made})
    read, wanted = read_model_file(tmp_path / "m")[1], load((tmp_path / "m").read_bytes())
    assert read.keys() == wanted.keys()
    assert all(read[name].dtype == wanted[name].dtype and torch.equal(read[name], wanted[name]) for name in read)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_so(tmp_path):
    LastValueForecaster().fit(example_panel(2)).save(tmp_path / "m")
    (tmp_path / "m").chmod(0)
    with pytest.raises(PermissionError, match="may not be read"):
        LastValueForecaster.load(tmp_path / "m")
