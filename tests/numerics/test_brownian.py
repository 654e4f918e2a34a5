import pytest
import torch

from tests.numerics.sde_systems import brownian
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.counted_normals import counted_normals

TIMES = torch.tensor([0.0, 0.0625, 0.125, 0.25, 0.375, 0.75, 0.765625, 1.5], dtype=torch.float64)


def draw(reach=2.0, seed=0, n_paths=3, **how):
    return BrownianPath.draw(torch.Generator().manual_seed(seed), n_paths, 2, reach, **how)


def test_covariance_is_that_of_brownian_motion_inside_and_across_cells():
    n = 20_000
    w = brownian(n, reach=1.5)(TIMES.expand(n, -1))[..., 0]
    expected = torch.minimum(TIMES, TIMES[:, None])
    # A product of two normals with variances s and t and covariance c has the variance s t + c**2.
    error = ((TIMES * TIMES[:, None] + expected**2) / n).sqrt()
    assert ((w.T @ w / n - expected).abs() <= 6 * error).all()
    assert (w.mean(dim=0).abs() <= 6 * (TIMES / n).sqrt()).all()


@pytest.mark.parametrize("depth", [0, 4])
def test_increments_over_steps_of_any_length_have_the_law_of_brownian_motion(depth):
    n, times = 20_000, torch.tensor([0.0, 1e-4, 1e-3, 1 / 128, 3 / 128, 0.1, 0.2503, 0.4], dtype=torch.float64)
    w = brownian(n, reach=0.5, depth=depth)(times.expand(n, -1))[..., 0]
    scaled = w.diff(dim=1) / times.diff().sqrt()
    covariance = scaled.mT @ scaled / n
    assert (covariance - torch.eye(7)).abs().max() <= 6 * (2 / n) ** 0.5


@pytest.mark.parametrize("n_steps", [40, 63, 65])
def test_steps_that_do_not_fit_the_stored_times_leave_the_mean_of_an_ito_equation_right(n_steps):
    n = 12_000
    growth, noise = 0.7, 0.9
    path = brownian(n, reach=1.0, depth=4)
    w = path(torch.linspace(0.0, 1.0, n_steps + 1, dtype=torch.float64).expand(n, -1))[..., 0]
    # the factors of Euler and Maruyama's method for geometric Brownian motion
    factors = 1.0 + growth / n_steps + noise * w.diff(dim=1)
    mean, error = factors.prod(dim=1).mean(), factors.prod(dim=1).std() / n**0.5
    assert abs(mean - (1.0 + growth / n_steps) ** n_steps) <= 5 * error


def test_finer_values_are_those_of_a_reflected_path_and_of_a_path_that_reaches_further():
    t = torch.tensor([[0.1234567, 0.2499]], dtype=torch.float64)
    short, far = (brownian(2, reach=reach, depth=3) for reach in (0.5, 2.0))
    assert short(t.expand(2, -1)).equal(far(t.expand(2, -1)))
    both = short.antithetic().starting_at(torch.zeros(4, dtype=torch.float64))(t.expand(4, -1))
    assert both[2:].equal(-both[:2])


def test_a_value_does_not_depend_on_whether_finer_ones_are_asked_for():
    path = brownian(1, reach=1.0, depth=4)
    stored, finer = torch.tensor([[0.5, 3 / 64]], dtype=torch.float64), torch.tensor([[0.123]], dtype=torch.float64)
    assert path(torch.cat([stored, finer], dim=1))[:, :2].equal(path(stored))


def test_counted_normals_are_standard_normal_and_differ_with_key_and_counter():
    keys = torch.arange(200)[:, None].expand(200, 200)
    drawn = counted_normals(keys, keys.mT)
    n = drawn.numel()
    for power, moment, spread in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((drawn**power).mean() - moment) <= 5 * (spread / n) ** 0.5
    for other in (drawn.roll(1, 0), drawn.roll(1, 1), drawn.mT):
        assert abs((drawn * other).mean()) <= 5 * (2 / n) ** 0.5


def test_coordinates_and_paths_are_independent():
    n = 20_000
    paths = BrownianPath.draw(torch.Generator().manual_seed(1), n, 2, 1.0)
    w = paths.starting_at(torch.zeros(n, dtype=torch.float64))(torch.full((n,), 0.8125, dtype=torch.float64))
    bound = 6 * 0.8125 / n**0.5
    assert w.prod(dim=1).mean().abs() <= bound
    assert (w[1:] * w[:-1]).mean(dim=0).abs().max() <= bound


def test_a_value_depends_on_its_own_time_only():
    paths = draw().starting_at(torch.tensor([0.0, 5.0, -1.0], dtype=torch.float64))
    times = paths.origin[:, None] + TIMES
    together = paths(times)
    order = torch.randperm(len(TIMES), generator=torch.Generator().manual_seed(2))
    assert torch.equal(paths(times[:, order]), together[:, order])
    for k in range(len(TIMES)):
        assert torch.equal(paths(times[:, k]), together[:, k])


def test_a_longer_reach_goes_on_with_the_same_path():
    times = TIMES.expand(3, -1)
    origin = torch.zeros(3, dtype=torch.float64)
    near, far = draw(1.5).starting_at(origin), draw(40.0).starting_at(origin)
    assert torch.equal(near(times), far(times))
    assert near(torch.full((3,), 1.51, dtype=torch.float64)).isnan().all()
    assert near(torch.full((3,), -0.01, dtype=torch.float64)).isnan().all()


def test_the_same_seed_draws_the_same_path_and_another_seed_another():
    assert torch.equal(draw().bridges, draw().bridges)
    assert not torch.equal(draw().bridges, draw(seed=1).bridges)


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert torch.equal(draw().bridges, first.bridges)


def test_rows_may_share_a_path():
    rows = torch.tensor([2, 0, 2])
    origin = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    all_paths = draw().starting_at(torch.zeros(3, dtype=torch.float64))(TIMES.expand(3, -1))
    shared = draw().starting_at(origin, rows)(origin[:, None] + TIMES)
    assert torch.equal(shared, all_paths[rows])
    single = draw(n_paths=1).starting_at(origin)(origin[:, None] + TIMES)
    assert torch.equal(single[0], single[2])


def test_reflected_paths_come_after_the_paths():
    w = draw().antithetic().starting_at(torch.zeros(6, dtype=torch.float64))(TIMES.expand(6, -1))
    assert torch.equal(w[3:], -w[:3])


def test_a_path_starts_at_zero_and_is_continuous_across_cells():
    paths = brownian(5, reach=2.0)
    edges = torch.tensor([0.25, 0.5, 1.75, 2.0], dtype=torch.float64)
    at, before = (paths((edges - by).expand(5, -1)) for by in (0.0, 1e-12))
    torch.testing.assert_close(before, at, rtol=0, atol=1e-9)
    assert torch.equal(paths(torch.zeros(5, dtype=torch.float64)), torch.zeros(5, 1, dtype=torch.float64))
