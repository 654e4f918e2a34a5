"""The search for individual modes: how near it comes, and who waits for whom."""

from __future__ import annotations

import torch

from tsode.inference.population.individual_modes import Local, find_individual_modes

MODES = torch.linspace(-3.0, 3.0, 8, dtype=torch.float64)


def looking(n_asked, far):
    """Log densities ``-cosh(eta - mode)``, of which one is `far` away."""
    centre = MODES.clone()
    centre[0] = far

    def look_at(problems):
        def look(eta):
            n_asked.append(len(problems))
            away = eta - centre[problems, None, None, None]
            return Local(-away.cosh()[..., 0], -away.sinh(), away.cosh()[..., None])

        return look

    return look_at


def test_modes_are_exact_though_the_last_step_is_not_looked_at():
    found = find_individual_modes(looking([], MODES[0]), torch.zeros(8, 1, 1, 1, dtype=torch.float64))
    assert bool(found.is_found.all())
    torch.testing.assert_close(found.eta.flatten(), MODES, rtol=0.0, atol=1e-12)


def test_a_subject_far_from_its_mode_is_looked_at_without_those_that_are_there():
    n_asked = []
    found = find_individual_modes(looking(n_asked, far=20.0), torch.zeros(8, 1, 1, 1, dtype=torch.float64))
    assert bool(found.is_found.all())
    assert n_asked[0] == 8
    assert n_asked[-5:] == [1] * 5


def test_a_subject_without_a_likelihood_is_given_up_by_itself():
    whole = looking([], MODES[0])

    def look_at(problems):
        def look(eta):
            there = whole(problems)(eta)
            is_lost = (problems == 0)[:, None, None]
            return there._replace(value=there.value.where(~is_lost, -torch.inf))

        return look

    found = find_individual_modes(look_at, torch.zeros(8, 1, 1, 1, dtype=torch.float64))
    assert found.is_found.flatten().tolist() == [False] + 7 * [True]
