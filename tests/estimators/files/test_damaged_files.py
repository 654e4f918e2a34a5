"""Model files that are damaged or made up: an error that names the file and what is wrong, and no code is run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.registries import small
from tsode import (
    JumpODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    PathRegressor,
    SeriesClassifier,
    SeriesEncoder,
)
from tsode.errors import FileFormatError, TsodeError
from tsode.estimators.files.model_file import FORMAT_VERSION, write_model_file
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.point_process.forecaster import PointProcessForecaster
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

N_FLIPS = 150  # a forecaster
AT_MOST = 1.0  # CPU seconds a file


def doses() -> pd.DataFrame:
    frame = example_panel(4).groupby("unique_id").nth(2)[["unique_id", "ds"]]
    return frame.assign(kind="add", target="a", amount=2.0)


FITTED = {
    "LastValueForecaster": lambda: LastValueForecaster().fit(example_panel(3)),
    "JumpODEForecaster": lambda: small(JumpODEForecaster).fit(example_panel(4), events=doses()),
    "LatentODEForecaster": lambda: small(LatentODEForecaster).fit(example_panel(4)),
    "LinearSDEForecaster": lambda: small(LinearSDEForecaster).fit(example_panel(4)),
    "PointProcessForecaster": lambda: PointProcessForecaster(max_epochs=1, n_hidden=4, n_modes=3, random_state=0).fit(
        example_panel(4)[["unique_id", "ds"]].assign(mark="x")
    ),
}
READ_ARRAYS = {
    "PathRegressor": lambda: PathRegressor().fit(np.linspace(0.0, 5.0, 9)[:, None], np.sin(np.arange(9.0))),
    "SeriesClassifier": lambda: SeriesClassifier(
        SeriesEncoder(small(JumpODEForecaster, n_members=1)), random_state=0
    ).fit(np.random.default_rng(0).normal(size=(12, 6)), np.arange(12) % 2),
}
ALL = FITTED | READ_ARRAYS


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """A whole file of each forecaster."""
    path, contents = tmp_path_factory.mktemp("whole") / "model", {}
    for name, fit in ALL.items():
        fit().save(path)
        contents[name] = path.read_bytes()
    return contents


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.safetensors"


def loader(name: str) -> type:
    own = {made.__name__: made for made in (PointProcessForecaster, PathRegressor, SeriesClassifier)}
    return own.get(name, BaseForecaster)


def refuse(name: str, path: Path, match: str | None = None) -> str:
    """The message with which loading fails, by name of the file and in time.

    A file that takes long does so each time: the quickest of three tries counts, as a busy machine, a first import or
    a collection of garbage slows down one.
    """
    for _ in range(3):
        start = time.process_time()
        with pytest.raises(FileFormatError, match=match) as caught:
            loader(name).load(path)
        if time.process_time() - start < AT_MOST:
            break
    else:
        pytest.fail(f"load needs more than {AT_MOST:g} s of CPU to refuse this file, three times.")
    assert path.name in str(caught.value)
    assert str(caught.value).endswith((".", ").")), str(caught.value)
    return str(caught.value)


def test_a_refusal_that_takes_long_once_is_in_time_and_one_that_always_does_is_not(path, monkeypatch):
    waits = iter([1.5 * AT_MOST, 0.0] + [1.5 * AT_MOST] * 3)
    clock = time.process_time

    def slow_load(_):
        nonlocal late
        late += next(waits)
        raise FileFormatError(f"{path.name} is damaged.")

    late = 0.0
    monkeypatch.setattr(time, "process_time", lambda: clock() + late)
    monkeypatch.setattr(BaseForecaster, "load", slow_load)
    assert refuse("LastValueForecaster", path) == f"{path.name} is damaged."
    with pytest.raises(pytest.fail.Exception, match="three times"):
        refuse("LastValueForecaster", path)


def forecast(loaded: Any) -> Any:
    if isinstance(loaded, PathRegressor | SeriesClassifier):
        return loaded.predict(np.zeros((2, loaded.n_features_in_)))
    return loaded.predict_next() if isinstance(loaded, PointProcessForecaster) else loaded.predict()


def read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["tsode"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


# -- damage on the way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_whole_file_loads_and_forecasts(name, files, path):
    path.write_bytes(files[name])
    assert len(forecast(loader(name).load(path)))


@pytest.mark.parametrize("name", ALL)
def test_a_file_cut_off_anywhere_is_refused(name, files, path):
    content = files[name]
    lengths = [*range(12), *np.linspace(12, len(content) - 1, 40).astype(int).tolist(), len(content) - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        refuse(name, path, "is not an undamaged tsode model file")


@pytest.mark.parametrize("name", ALL)
def test_one_bit_flipped_anywhere_is_found(name, files, path):
    content = files[name]
    payload = 8 + struct.unpack("<Q", content[:8])[0]
    rng = np.random.default_rng(0)
    in_header, in_tensors = rng.integers(0, payload, N_FLIPS // 2), rng.integers(payload, len(content), N_FLIPS // 2)
    for place in (*range(8), *in_header, *in_tensors):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        message = refuse(name, path)
        if place >= payload:
            assert "checksum" in message


def test_bytes_after_the_end_are_found(files, path):
    path.write_bytes(files["LastValueForecaster"] + b"\0" * 8)
    refuse("LastValueForecaster", path, "is not an undamaged tsode model file")


def test_a_header_longer_than_the_file_takes_no_memory(files, path):
    for length in (2**20, 2**27, 2**40, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + files["LastValueForecaster"][8:])
        refuse("LastValueForecaster", path, "is not an undamaged tsode model file")


# -- not ours ----------------------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.trace,)


def disguises(trace: Path) -> dict[str, bytes]:
    bomb = pickle.dumps(Bomb(trace))
    header = json.dumps({"__metadata__": {"tsode": bomb.decode("latin-1")}}).encode()
    return {
        "nothing": b"",
        "a pickle": bomb,
        "a pickle behind a length": struct.pack("<Q", len(bomb)) + bomb,
        "a pickle in the header": struct.pack("<Q", len(header)) + header,
        "zeros": b"\0" * 4096,
        "text": b"unique_id,ds,y\n1,2,3\n" * 10,
        "an empty JSON header": struct.pack("<Q", 2) + b"{}",
        "a JSON list": struct.pack("<Q", 2) + b"[]",
    }


@pytest.mark.parametrize("what", disguises(Path()))
def test_what_is_no_model_file_is_refused_and_never_unpickled(what, tmp_path, path):
    trace = tmp_path / "trace"
    path.write_bytes(disguises(trace)[what])
    for name in ("LastValueForecaster", "PointProcessForecaster"):
        refuse(name, path, "is not an undamaged tsode model file")
    assert not trace.exists()


def test_an_archive_of_pickles_is_refused_and_never_unpickled(tmp_path, path):
    trace = tmp_path / "trace"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Bomb(trace)))
    refuse("LastValueForecaster", path)
    torch.save({"weight": torch.zeros(2)}, path)
    refuse("LastValueForecaster", path)
    assert not trace.exists()


def test_a_folder_is_said_to_be_one(path):
    path.mkdir()
    refuse("LastValueForecaster", path, "is a folder, not a model file: give the path that was passed to save")


# -- made up, with a checksum that holds -------------------------------------------------------------------------------

DEEP = "[" * 100_000
HEADERS = {
    "a list": [],
    "a number": 3,
    "null": None,
    "no format": {"class": "LastValueForecaster"},
    "a format in words": {"format_version": "two", "class": "LastValueForecaster"},
    "a format of 0": {"format_version": 0, "class": "LastValueForecaster"},
    "a true format": {"format_version": True, "class": "LastValueForecaster"},
    "no class": {"format_version": FORMAT_VERSION},
    "a class of numbers": {"format_version": FORMAT_VERSION, "class": [1]},
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_of_another_kind_is_refused(what, path):
    save_file({"x": torch.zeros(1)}, path, metadata={"tsode": json.dumps(HEADERS[what])})
    refuse("LastValueForecaster", path)
    refuse("PointProcessForecaster", path)


@pytest.mark.parametrize("text", ["", "{", DEEP, '{"a":' * 50_000, "\ud7ff", "NaN"])
def test_a_header_that_is_no_json_is_refused(text, path):
    save_file({"x": torch.zeros(1)}, path, metadata={"tsode": text})
    refuse("LastValueForecaster", path, "is not an undamaged tsode model file")


@pytest.mark.parametrize("name", ALL)
def test_a_newer_format_asks_for_an_upgrade(name, files, path):
    path.write_bytes(files[name])
    header, tensors = read(path)
    write_model_file(path, header | {"format_version": FORMAT_VERSION + 1}, tensors)
    refuse(name, path, rf"has format {FORMAT_VERSION + 1}, but .* reads up to {FORMAT_VERSION}: upgrade tsode")


@pytest.mark.parametrize("name", FITTED)
def test_a_file_of_the_format_before_checksums_still_loads(name, files, path):
    path.write_bytes(files[name])
    header, tensors = read(path)
    save_file(tensors, path, metadata={"tsode": json.dumps(header | {"format_version": 1})})
    assert loader(name).load(path).n_iter_ == loader(name).load(path).n_iter_
    save_file(tensors, path, metadata={"tsode": json.dumps(header)})  # but the format of today needs one
    refuse(name, path, "does not have the checksum")
    save_file(tensors, path, metadata={"tsode": json.dumps(header | {"format_version": 1}), "sha256": "0" * 64})
    refuse(name, path, "does not have the checksum")


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("other", ["os.system", "builtins.eval", "BaseForecaster", "PathRegressor", "__init__", ""])
def test_a_class_of_another_name_is_refused(name, other, files, path):
    path.write_bytes(files[name])
    header, tensors = read(path)
    write_model_file(path, header | {"class": other}, tensors)
    refuse(name, path)


VALUES = (None, True, -1, 2**70, 1e400, "x", "", [], [[]], [None], {}, {"label": None}, {"tuple": 3}, {"timestamp": 0})


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_any_entry_of_the_header_may_be_of_a_wrong_type_and_what_loads_still_answers_or_says_why(name, files, path):
    path.write_bytes(files[name])
    header, tensors = read(path)
    n_refused = 0
    for key in sorted(set(header) - {"format_version", "class"}):
        write_model_file(path, {k: v for k, v in header.items() if k != key}, tensors)
        # of files from before there were events or covariates
        is_optional = key in ("inputs", "ids_of_inputs", "covariates", "ids_of_known", "ends")
        if not is_optional:
            refuse(name, path, f"is damaged: its header has no '{key}'")
        for value in VALUES:
            write_model_file(path, header | {key: value}, tensors)
            try:
                loaded = loader(name).load(path)
            except FileFormatError as error:
                assert path.name in str(error)  # noqa: PT017 (either is right)
                n_refused += 1
            else:
                with contextlib.suppress(TsodeError):
                    forecast(loaded)
    assert n_refused > 0.6 * len(VALUES) * (len(header) - 2)


def shifted(t: torch.Tensor) -> torch.Tensor:
    return torch.cat([t, t[:1]]) if t.ndim else t.reshape(1)


TENSORS = {
    "longer": shifted,
    "transposed": lambda t: t.reshape(*t.shape, 1),
    "of integers": lambda t: t.to(torch.int32),
    "of halves": lambda t: t.to(torch.float16),
    "of bfloat16": lambda t: t.to(torch.bfloat16),
    "complex": lambda t: t.to(torch.complex64),
    "not finite": lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else -torch.ones_like(t),
    "empty": lambda t: t.new_empty(0),
}


# of the many tensors of a learned forecaster, every eighth, other ones for each damage; with `make test-all` every one
SOME = [pytest.param(name, 1 if name == "LastValueForecaster" else 8, id=name) for name in FITTED]
EVERY = [pytest.param(name, 1, id=f"{name}, all", marks=pytest.mark.slow) for name in FITTED]


@pytest.mark.parametrize("what", TENSORS)
@pytest.mark.parametrize(("name", "step"), SOME + EVERY[1:])
def test_a_tensor_of_another_shape_or_dtype_is_refused_by_name(name, step, what, files, path):
    path.write_bytes(files[name])
    header, tensors = read(path)
    for key in list(tensors)[list(TENSORS).index(what) % step :: step]:
        tensor = tensors[key]
        changed = TENSORS[what](tensor)
        is_seen = changed.shape != tensor.shape or changed.dtype != tensor.dtype
        if what == "not finite":  # an unseen value of the history is NaN, and a buffer of counts may be any
            is_seen = tensor.is_floating_point() and key != "panel.values"
        if not is_seen:
            continue
        write_model_file(path, header, tensors | {key: changed.contiguous()})
        message = refuse(name, path, "is damaged")
        if key.startswith("module."):
            assert repr(key.removeprefix("module.")) in message


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_a_tensor_missing_or_too_many_is_refused_by_name(name, files, path):
    path.write_bytes(files[name])
    header, tensors = read(path)
    for key in tensors:
        write_model_file(path, header, {k: t for k, t in tensors.items() if k != key})
        assert key.removeprefix("module.") in refuse(name, path, "is damaged")
    write_model_file(path, header, tensors | {"module.stowaway": torch.zeros(3)})
    refuse(name, path, "'stowaway' is of no part of this model")


@pytest.mark.parametrize("size", [10**5, 10**9, 10**15])
def test_a_size_in_the_header_that_no_tensor_has_takes_no_memory(size, files, path):
    path.write_bytes(files["JumpODEForecaster"])
    header, tensors = read(path)
    for parameter in ("n_modes", "n_hidden", "n_static"):
        params = header["params"] | {parameter: {"label": size}}
        write_model_file(path, header | {"params": params}, tensors)
        refuse("JumpODEForecaster", path, "is damaged")


@pytest.mark.parametrize("change", [lambda t: t.flip(0), torch.zeros_like])
def test_times_that_do_not_increase_are_refused(change, files, path):
    path.write_bytes(files["LastValueForecaster"])
    header, tensors = read(path)
    write_model_file(path, header, tensors | {"panel.times": change(tensors["panel.times"])})
    refuse("LastValueForecaster", path, "times do not increase")


# -- no code -----------------------------------------------------------------------------------------------------------

FORBIDDEN = ("compile", "exec", "pickle.", "marshal.", "os.", "subprocess.", "ctypes.", "code.", "socket.", "import")
_watched: list[str] | None = None


def _watch(event: str, args: tuple) -> None:
    if _watched is not None and event.startswith(FORBIDDEN):
        _watched.append(f"{event} {args!r:.80}")


@pytest.fixture(scope="module")
def audit():
    """A list that takes note of whatever could run code or reach outside while `start` and `stop` enclose it."""
    sys.addaudithook(_watch)  # cannot be taken back, but is deaf outside the test

    def run(action):
        global _watched
        _watched = seen = []
        try:
            action()
        finally:
            _watched = None
        return seen

    return run


def test_the_audit_hears_a_pickle(audit, tmp_path):
    content = pickle.dumps(Bomb(tmp_path / "trace"))
    assert any(event.startswith("pickle.find_class") for event in audit(lambda: pickle.loads(content)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_loading_runs_no_code_reads_no_pickle_and_imports_nothing(name, files, path, audit):
    path.write_bytes(files[name])
    loader(name).load(path)  # what is imported on first use is imported
    assert audit(lambda: loader(name).load(path)) == []
    header, tensors = read(path)
    code = "__import__('os').system('true')"
    for key in sorted(set(header) - {"format_version"}):
        for value in (code, {"label": code}, {"py/object": "os.system"}, {"__reduce__": [code]}):
            write_model_file(path, header | {key: value}, tensors)
            try:
                seen = audit(lambda: loader(name).load(path))
            except FileFormatError:
                seen = []
            assert seen == []
