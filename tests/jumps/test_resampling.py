import math

import torch

from tsode.jumps.resampling import resample_systematic

INF = math.inf


def test_copies_are_the_expected_number_within_one_and_right_in_the_mean():
    generator = torch.Generator().manual_seed(0)
    m, r = 7, 20_000
    log_weights = torch.randn(1, m, generator=generator, dtype=torch.float64).expand(r, m)
    uniform = torch.rand(r, generator=generator, dtype=torch.float64)
    copies = torch.nn.functional.one_hot(resample_systematic(log_weights, uniform), m).sum(dim=1).double()
    expected = m * torch.softmax(log_weights[0], 0)
    assert (copies >= expected.floor()).all()
    assert (copies <= expected.floor() + 1).all()
    share = expected - expected.floor()  # copies less their least number are 0 or 1
    assert ((copies.mean(dim=0) - expected).abs() <= 6.0 * (share * (1 - share) / r).sqrt() + 1e-12).all()


def test_no_weight_is_never_kept_whatever_the_uniform_is():
    log_weights = torch.tensor([[-INF, 0.0, -INF, 0.0, -INF]], dtype=torch.float64).expand(3, 5)
    chosen = resample_systematic(log_weights, torch.tensor([1e-16, 0.5, 1.0 - 1e-16], dtype=torch.float64))
    assert set(chosen.flatten().tolist()) == {1, 3}


def test_a_row_without_weights_comes_back_as_it_is_and_moves_no_other():
    log_weights = torch.tensor([[-INF] * 4, [0.0, -INF, -INF, -INF], [math.nan] * 4], dtype=torch.float64)
    uniform = torch.full((3,), 0.3, dtype=torch.float64)
    chosen = resample_systematic(log_weights, uniform)
    assert chosen.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3]]
    assert resample_systematic(log_weights, uniform, 6)[0].tolist() == [0, 1, 2, 3, 0, 1]
    assert torch.equal(resample_systematic(log_weights[1:2], uniform[:1]), chosen[1:2])


def test_equal_weights_keep_every_particle():
    chosen = resample_systematic(torch.full((2, 1000), -800.0, dtype=torch.float64), torch.tensor([0.1, 0.9]).double())
    assert torch.equal(chosen, torch.arange(1000).expand(2, 1000))
