"""Fits that need more memory than there is."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import small
from tsode import JumpODEForecaster, LatentODEForecaster, LatentSDEForecaster, LinearSDEForecaster
from tsode.errors import ParameterError
from tsode.estimators import FORECASTERS, memory
from tsode.training import loop

LEARNED = [JumpODEForecaster, LatentODEForecaster, LatentSDEForecaster, LinearSDEForecaster]


def a_frame() -> pd.DataFrame:
    return pd.DataFrame({"unique_id": np.repeat(range(6), 8), "ds": np.tile(np.arange(8.0), 6), "y": np.arange(48.0)})


def names_in(message: str) -> set[str]:
    return set(re.findall(r"(\w+)=", message))


@pytest.mark.parametrize("made", LEARNED)
@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**60), lambda: (_ for _ in ()).throw(MemoryError())])
def test_a_fit_without_the_memory_it_needs_names_what_to_set(made, allocate, monkeypatch):
    monkeypatch.setattr(made, "_train", lambda *_: allocate())
    with pytest.raises(
        ParameterError, match=r"1 channels needs more memory than there is: set batch_size=2, which is 8"
    ):
        small(made).fit(a_frame())


def test_other_errors_of_a_fit_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(JumpODEForecaster, "_train", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        small(JumpODEForecaster).fit(a_frame())


# AutoForecaster trains nothing itself, and of a member that lacks memory its leaderboard says so
@pytest.mark.parametrize("made", [made for name, made in FORECASTERS.items() if name != "AutoForecaster"])
def test_only_parameters_that_an_estimator_has_are_named(made, monkeypatch):
    monkeypatch.setattr(made, "_train", lambda *_: torch.empty(2**60))
    monkeypatch.setattr(made, "_tell", lambda *_: None)  # of a season that these data have not
    with pytest.raises(ParameterError, match="give fewer channels by target=") as caught:
        small(made).fit(a_frame())
    assert names_in(str(caught.value)) <= set(made().get_params())


@pytest.mark.parametrize("made", LEARNED)
def test_a_fit_that_would_not_fit_into_memory_is_refused_before_its_first_step(made, monkeypatch):
    steps = []
    monkeypatch.setattr(loop, "_run_epoch", lambda *_: steps.append(1))
    monkeypatch.setattr(memory, "free_memory", lambda: 1000.0)
    with pytest.raises(ParameterError, match=r"on 1 channels takes about .* GB of memory, but 1e-06 GB are") as caught:
        small(made).fit(a_frame())
    assert not steps
    assert "batch_size" not in names_in(str(caught.value))  # not even one series would fit
    assert names_in(str(caught.value)) <= set(made().get_params())


@pytest.mark.parametrize("made", [JumpODEForecaster, LinearSDEForecaster])
def test_the_batch_size_that_is_named_fits(made, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1000.0)
    with pytest.raises(ParameterError) as caught:
        small(made).fit(a_frame())
    needed = 1e9 * float(re.search(r"about (\S+) GB", str(caught.value))[1])
    monkeypatch.setattr(memory, "free_memory", lambda: 0.7 * needed)
    with pytest.raises(ParameterError, match="set batch_size=4, which is 8"):
        small(made).fit(a_frame())
    small(made, batch_size=4, max_epochs=1).fit(a_frame())


def test_where_the_free_memory_is_unknown_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    small(LinearSDEForecaster, max_epochs=1).fit(a_frame())


def test_the_free_memory_is_the_least_of_machine_groups_and_process(monkeypatch):
    for name, free in (("machine", [5.0]), ("groups", [7.0, 3.0]), ("process", [])):
        monkeypatch.setattr(memory, f"_free_of_{name}", lambda free=free: iter(free))
    assert memory.free_memory() == 3.0
    monkeypatch.setattr(memory, "_free_of_groups", lambda: iter([]))
    monkeypatch.setattr(memory, "_free_of_machine", lambda: iter([]))
    assert memory.free_memory() is None


@pytest.mark.parametrize(
    ("line", "top", "limit", "used", "cache"),
    [
        ("0::/job/step", ".", "memory.max", "memory.current", "inactive_file"),
        ("4:memory:/job/step", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_limits_of_control_groups_are_read_with_those_of_their_parents(tmp_path, line, top, limit, used, cache):
    step = tmp_path / top / "job" / "step"
    step.mkdir(parents=True)
    (tmp_path / "own").write_text(f"9:name=systemd:/\n{line}\n")
    (step / limit).write_text("max\n")
    (step / used).write_text("60\n")
    (step.parent / limit).write_text("100\n")
    (step.parent / used).write_text("70\n")
    (step.parent / "memory.stat").write_text(f"anon 1\n{cache} 20\n")
    assert list(memory._free_of_groups(tmp_path, tmp_path / "own")) == [50.0]
