"""Taper of distances beside its published polynomial, and places on lines, rings and planes."""

from __future__ import annotations

import math

import pytest
import torch

from tsode.assimilation.localisation import Localisation, gaspari_cohn
from tsode.errors import ParameterError


def published(x: float) -> float:
    """Equation 4.10 with c = 1, power by power."""
    if x <= 1:
        return -(x**5) / 4 + x**4 / 2 + 5 * x**3 / 8 - 5 * x**2 / 3 + 1
    return x**5 / 12 - x**4 / 2 + 5 * x**3 / 8 + 5 * x**2 / 3 - 5 * x + 4 - 2 / (3 * x) if x <= 2 else 0.0


def test_the_taper_is_the_published_polynomial():
    x = torch.linspace(0.0, 2.5, 101, dtype=torch.float64)
    truth = torch.tensor([published(float(v)) for v in x], dtype=torch.float64)
    torch.testing.assert_close(gaspari_cohn(x), truth, rtol=0, atol=1e-14)
    assert (gaspari_cohn(x)[x >= 2] == 0).all()


def test_what_is_tapered_stays_a_covariance():
    positions = torch.arange(60, dtype=torch.float64)
    matrix = gaspari_cohn((positions[:, None] - positions).abs() / 4.0)
    assert torch.linalg.eigvalsh(matrix)[0] > -1e-12


def test_a_ring_closes_and_a_line_does_not():
    positions, place = torch.arange(10, dtype=torch.float64), torch.zeros(1, 10, dtype=torch.float64)
    place[0, 0] = 1.0
    line, ring = Localisation(positions, 4.0).taper(place), Localisation(positions, 4.0, period=10.0).taper(place)
    torch.testing.assert_close(line[0, :4], gaspari_cohn(positions[:4] / 2), rtol=0, atol=1e-15)
    assert (line[0, 4:] == 0).all()
    torch.testing.assert_close(ring[0, 1:4], ring[0, 7:].flip(0), rtol=0, atol=1e-14)
    assert (ring[0, 4:7].abs() < 1e-15).all()


def test_a_channel_of_two_states_stands_between_them_also_across_the_seam_of_a_ring():
    positions, place = torch.arange(10, dtype=torch.float64), torch.zeros(1, 10, dtype=torch.float64)
    place[0, [0, 9]] = 2.0
    taper = Localisation(positions, 4.0, period=10.0).taper(place)[0]
    torch.testing.assert_close(taper[0], gaspari_cohn(torch.tensor(0.25, dtype=torch.float64)), rtol=0, atol=1e-12)
    torch.testing.assert_close(taper[9], taper[0], rtol=0, atol=1e-12)


def test_distances_in_a_plane_are_those_of_pythagoras():
    positions = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    taper = Localisation(positions, 20.0).taper(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64))[0]
    truth = gaspari_cohn(torch.tensor([0.0, 0.5, 0.1], dtype=torch.float64))
    torch.testing.assert_close(taper, truth, rtol=0, atol=1e-15)


def test_a_state_without_a_place_is_never_tapered_and_a_channel_of_it_tapers_nothing():
    positions = torch.tensor([0.0, 100.0, math.nan], dtype=torch.float64)
    places = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    taper = Localisation(positions, 2.0).taper(places)
    assert taper.tolist() == [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"radius": math.inf}, {"radius": 1.0, "period": -1.0}])
def test_a_distance_that_is_none_is_refused(options):
    with pytest.raises(ParameterError, match="is a distance above 0"):
        Localisation(torch.arange(3.0), **options)


def test_positions_of_three_axes_are_refused():
    with pytest.raises(ParameterError, match=r"\(1, 2, 3\)"):
        Localisation(torch.zeros(1, 2, 3), 1.0)
