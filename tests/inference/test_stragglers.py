"""Rows that need many steps: they begin anew by themselves, and no answer changes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tests.inference.known_examples import draws, lynx_hare, sir
from tsode.numerics.scheduled_events import solve_scheduled


@pytest.mark.parametrize("make", [sir, lynx_hare])
def test_rounds_change_no_answer(make, monkeypatch):
    density = make()
    u = draws(density, 12, seed=1)
    monkeypatch.setattr("tsode.inference.stragglers._FEW_STEPS", 10_000)
    whole = density.log_prob(u)
    for few, more in ((40, 5),):
        monkeypatch.setattr("tsode.inference.stragglers._FEW_STEPS", few)
        monkeypatch.setattr("tsode.inference.stragglers._MORE", more)
        torch.testing.assert_close(density.log_prob(u), whole, rtol=1e-10, atol=1e-8)
    assert whole.isfinite().any()


def test_only_those_that_are_not_through_begin_anew(monkeypatch):
    sizes = []

    def solve(*arguments, **named):
        found = solve_scheduled(*arguments, **named)
        sizes.append((len(found.status), int((found.status != 0).sum())))
        return found

    density = sir()
    monkeypatch.setattr("tsode.inference.row_solve.solve_scheduled", solve)
    monkeypatch.setattr("tsode.inference.stragglers._MORE", 3)
    density.log_prob(draws(density, 32, seed=1))
    assert len(sizes) == 3  # of 150, 450 and 1,000 steps
    assert all(later[0] == earlier[1] for earlier, later in pairwise(sizes))
    assert 0 < sizes[1][0] < 32
