"""Structural models go on from the state after some events as from the events themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import tsode.models.structural.model as module_of_model
from tests.models.structural.components import SCALE, make
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.random_effects import Effects
from tsode.models.structural.structure import Structure

LENGTHS = (30, 24, 17)


def _fit(*sets: list[str], n_draws: int = 3) -> ChannelFit:
    members = []
    for names in sets:
        structure = Structure(tuple(map(make, names)), SCALE)
        generator = torch.Generator().manual_seed(len(names))
        z = 0.3 * torch.randn(n_draws, structure.n_parameters, generator=generator, dtype=torch.float64)
        members.append(Member(structure, 1.0 / len(sets), z))
    return ChannelFit(tuple(members), Transform.identity(), 0.2, 1.5, 2.0)


@pytest.fixture
def model() -> StructuralModel:
    """Of two channels with states of different numbers."""
    model = StructuralModel(2)
    model.set_channels([_fit(["slope", "season"], ["level"]), _fit(["ou"])])
    return model


def _events() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    times = [np.cumsum(rng.exponential(2.0 * SCALE.gap, n)) for n in LENGTHS]
    values = [np.where(rng.random((n, 2)) < 0.2, np.nan, rng.normal(size=(n, 2)).cumsum(axis=0)) for n in LENGTHS]
    return times, values


def _batch(begin: int, end: int) -> IrregularBatch:
    """Some events of each series."""
    times, values = _events()
    return IrregularBatch.from_arrays([t[begin:end] for t in times], [x[begin:end] for x in values], torch.float64)


def _queries() -> Tensor:
    times, _ = _events()
    return torch.tensor([[t[15] + 1e-3, t[16] + 1e-3, t[-1] + 0.1, t[-1] + 9.0] for t in times])


def _check(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cuts", [(1,), (3, 4, 15)])
def test_forecasts_from_a_state_are_those_from_all_events(model: StructuralModel, cuts: tuple[int, ...]) -> None:
    state = None
    for begin, end in zip((0, *cuts), cuts):
        state = model.advance(_batch(begin, end), state)
    rest, queries = _batch(cuts[-1], 99), _queries()
    for side in ("left", "right"):
        whole = model.forecast(_batch(0, 99), queries, side)
        _check(model.forecast(rest, queries, side, state=state).params, whole.params)
    ahead = queries[:, 2:]
    done = model.advance(rest, state)
    _check(model.forecast(_batch(99, 99), ahead, state=done).params, whole.params[:, 2:])
    one, other = (
        model.sample(batch, ahead, 20, torch.Generator().manual_seed(0), **how)
        for batch, how in ((_batch(0, 99), {}), (rest, {"state": state}))
    )
    torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)


def test_the_state_of_a_series_does_not_depend_on_the_others(model: StructuralModel) -> None:
    together = model.advance(_batch(0, 99)).split()
    for row, state in enumerate(together):
        alone = model.advance(_batch(0, 99).select(torch.tensor([row])).compact())
        assert torch.equal(alone.times, state.times)
        _check(state.z, alone.z)


@pytest.mark.parametrize("held", [1, 300])
def test_what_is_filtered_in_parts_is_the_whole(model: StructuralModel, held: int, monkeypatch) -> None:
    expected = model.forecast(_batch(0, 99), _queries())
    ends = model.advance(_batch(0, 99))
    monkeypatch.setattr(module_of_model, "HELD_AT_ONCE", held)
    _check(model.forecast(_batch(0, 99), _queries()).params, expected.params)
    _check(model.advance(_batch(0, 99)).z, ends.z)


def test_parameters_that_change_with_the_history_do_not_resume(model: StructuralModel) -> None:
    assert model.can_resume
    first, second = model.channels
    n = second.members[0].structure.n_parameters
    effects = (Effects(torch.zeros(n).double(), torch.ones(n).double()),)
    model.set_channels([first, replace(second, effects=effects)])
    assert not model.can_resume
