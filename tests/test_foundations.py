"""Errors, names and random generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tsode
from tsode import errors
from tsode._random import new_generator, seeded_initialisation
from tsode._registry import lookup
from tsode.errors import ParameterError, UnknownNameError


def test_each_error_is_also_the_built_in_one_a_caller_expects():
    for name in set(errors.__all__) - {"TsodeError", "TsodeWarning"}:
        made = getattr(errors, name)
        assert issubclass(made, errors.TsodeError)
        assert issubclass(made, ValueError | RuntimeError)


def test_an_unknown_name_lists_the_known_ones_and_guesses():
    assert lookup({"mlp": 1}, "mlp", "field") == 1
    with pytest.raises(UnknownNameError, match=r"'mpl' is not a known field. Did you mean 'mlp'\? Known: gru, mlp\."):
        lookup({"mlp": 1, "gru": 2}, "mpl", "field")
    with pytest.raises(UnknownNameError, match=r"'zzz' is not a known field. Known: mlp"):
        lookup({"mlp": 1}, "zzz", "field")
    with pytest.raises(UnknownNameError, match=r"3 is not a known field"):
        lookup({"mlp": 1}, 3, "field")
    with pytest.raises(UnknownNameError, match=r"\['mlp'\] is not a known field"):
        lookup({"mlp": 1}, ["mlp"], "field")


def test_a_seed_in_any_form_gives_a_repeatable_generator():
    def draw(state):
        return torch.rand(3, generator=new_generator(state)).tolist()

    assert draw(3) == draw(np.int64(3)) == draw(torch.Generator().manual_seed(3))
    assert draw(np.random.default_rng(1)) == draw(np.random.default_rng(1))
    assert draw(np.random.RandomState(1)) == draw(np.random.RandomState(1))
    assert draw(None) != draw(None)
    shared = torch.Generator().manual_seed(3)
    assert new_generator(shared) is shared
    for wrong in ("3", 2.5, True, [3]):
        with pytest.raises(ParameterError, match="random_state must be an int"):
            new_generator(wrong)


def test_weights_are_drawn_from_the_generator_and_the_global_one_stays():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    made = []
    for _ in range(2):
        with seeded_initialisation(torch.Generator().manual_seed(1)):
            made.append(torch.nn.Linear(3, 2).weight.detach())
    assert torch.equal(*made)
    assert torch.equal(torch.get_rng_state(), before)


def test_public_names_are_there():
    for name in tsode.__all__:
        assert hasattr(tsode, name)
