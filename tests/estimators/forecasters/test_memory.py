"""Fits that need more memory than there is."""

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import small
from tsode import JumpODEForecaster, LatentODEForecaster, LinearSDEForecaster
from tsode.errors import ParameterError


def a_frame() -> pd.DataFrame:
    return pd.DataFrame({"unique_id": np.repeat(range(6), 8), "ds": np.tile(np.arange(8.0), 6), "y": np.arange(48.0)})


@pytest.mark.parametrize("made", [JumpODEForecaster, LatentODEForecaster, LinearSDEForecaster])
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
