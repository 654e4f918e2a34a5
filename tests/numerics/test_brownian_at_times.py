"""Brownian motion at given times: drawn there alone, and in a clock that goes by one from stop to stop."""

import pytest
import torch

from tsode.numerics.brownian import BrownianPath
from tsode.numerics.drawn_brownian import draw_brownian
from tsode.numerics.paced_brownian import paced_brownian

N = 20_000
STOPS = torch.tensor([[0.0, 0.3, 0.3, 0.35, 0.35], [0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 1.0, 1.7]]).double()
LENGTHS = torch.tensor([4, 0, 5])
TIMES = torch.tensor(
    [[0.3, 0.1, 0.0, 0.29, 0.35, 0.4, 1.0], [0.1, 0.0, 0.2, 0.3, 0.4, 0.5, 2.0], [0.05, 0.1, 0.5, 1.7, 1.5, 1.8, 2.0]]
).double()


def paced(times=TIMES, n_paths=N):
    paths = BrownianPath.draw(torch.Generator().manual_seed(0), n_paths, 2, 30.0, 1.0, depth=3)
    return paced_brownian(paths, STOPS, LENGTHS, times, 0.125)


@pytest.mark.parametrize("kind", ["drawn", "paced"])
def test_values_have_the_covariance_of_brownian_motion(kind):
    drawn = paced() if kind == "paced" else draw_brownian(TIMES, N, 2, torch.Generator().manual_seed(0))
    for row, t in enumerate(TIMES):
        w, expected = drawn[:, row], torch.minimum(t, t[:, None])
        # a product of two normals with variances s and t and covariance c has the variance s t + c**2
        error = ((t * t[:, None] + expected**2) / N).sqrt()
        for coordinate in range(2):
            assert ((w[..., coordinate].T @ w[..., coordinate] / N - expected).abs() <= 6 * error).all()
        assert ((w[..., 0].T @ w[..., 1] / N).abs() <= 6 * (t * t[:, None] / N).sqrt()).all()


def test_a_paced_value_depends_on_its_own_time_and_row_only():
    together = paced(n_paths=5)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    assert torch.equal(paced(TIMES[:, order], 5), together[:, :, order])
    for k in range(TIMES.shape[1]):
        assert torch.equal(paced(TIMES[:, k : k + 1], 5), together[:, :, k : k + 1])
    more = torch.cat([STOPS[2:], STOPS[2:, -1:]], dim=1)  # padded
    paths = BrownianPath.draw(torch.Generator().manual_seed(0), 5, 2, 30.0, 1.0, depth=3)
    assert torch.equal(paced_brownian(paths, more, LENGTHS[2:], TIMES[2:], 0.125), together[:, 2:])


def test_a_path_that_is_drawn_has_one_value_at_one_time():
    times = torch.cat([TIMES, TIMES[:, :3]], dim=1)
    drawn = draw_brownian(times, 3, 2, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, :, -3:], drawn[:, :, :3])
    assert torch.equal(drawn[:, 0, 2], torch.zeros(3, 2, dtype=torch.float64))
