"""Errors, names and random generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import tsode
from tsode import errors
from tsode._random import hashed_uniforms, new_generator
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


def test_public_names_are_there():
    for name in tsode.__all__:
        assert hasattr(tsode, name)


@pytest.mark.parametrize(
    ("old", "new"), [("Event", "Trigger"), ("Whole", "Unsplit"), ("integrate_events", "integrate_triggers")]
)
def test_an_old_name_still_works_and_says_the_new_one(old, new):
    with pytest.warns(DeprecationWarning, match=rf"tsode\.{old} is called tsode\.{new} now"):
        assert getattr(tsode, old) is getattr(tsode, new)
    assert old not in tsode.__all__
    with pytest.raises(AttributeError, match="no attribute 'Evnet'"):
        tsode.Evnet  # noqa: B018


def test_hashed_uniforms_are_uniform_and_belong_to_their_row_and_step():
    keys = np.arange(2000, dtype=np.uint64)
    drawn = np.concatenate([hashed_uniforms(keys, step, 3) for step in range(10)])
    assert 0.0 < drawn.min() < drawn.max() < 1.0
    assert kstest(drawn.ravel(), "uniform").pvalue > 0.001
    assert np.abs(np.corrcoef(drawn.T)[np.triu_indices(3, 1)]).max() < 6.0 / np.sqrt(len(drawn))
    np.testing.assert_array_equal(hashed_uniforms(keys[[7, 3]], 4, 3), hashed_uniforms(keys, 4, 3)[[7, 3]])
    assert len(np.unique(drawn)) == drawn.size
