from __future__ import annotations

import math

import torch

from tests.assimilation.motions import Channel, Linear, normal_start, run
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.particle_report import ADVICE, Trouble, report_particles

ONE = torch.ones(1, 1, dtype=torch.float64)
WALK = Linear(0.0 * ONE, 0.0 * ONE[0], 0.5 * ONE)
TIMES = torch.arange(1.0, 6.0, dtype=torch.float64)


def report(values, channel, motion=WALK):
    values = torch.as_tensor(values, dtype=torch.float64)[..., None]
    r = len(values)
    start = normal_start(torch.zeros(r, 1).double(), torch.ones(r, 1).double())
    visits = run(ParticleFilter(400), motion, start, TIMES[: values.shape[1]], values, [channel])
    return report_particles(
        [visit.steps[-1][3] for visit in visits],
        [visit.belief for visit in visits],
        torch.stack([visit.evidence for visit in visits], dim=1),
        lambda k: [channel.seen(values[:, k, 0])],
    ), visits


def plain(z):
    return z[..., 0]


def poisson(y, s):
    s = s.clamp(min=1e-300)
    return y * s.log() - s - torch.lgamma(y + 1)


def test_ordinary_data_have_no_trouble_and_the_evidence_of_the_filter():
    found, visits = report([[0.1, 0.3, -0.2, math.nan, 0.2]], Channel(plain, 0.5))
    assert found.trouble.tolist() == [[0, 0, 0, 0, 0]]
    seen = torch.tensor([0, 1, 2, 4])
    torch.testing.assert_close(found.log_evidence[0, seen], torch.stack([v.evidence[0, 0] for v in visits])[seen])
    assert found.effective[0, 3].isnan()
    assert found.worst[0, -1] == 3
    assert (found.n_ancestors[0, seen] > 100).all()


def test_shortfall_is_that_below_a_known_state():
    found, visits = report([[0.4]], Channel(plain, 0.5))
    best = -math.log(0.5 * math.sqrt(2.0 * math.pi))
    torch.testing.assert_close(found.shortfall, best - visits[0].evidence)
    counts, visits = report([[7.0]], Channel(lambda z: z[..., 0].exp(), law=poisson))
    best = 7.0 * math.log(7.0) - 7.0 - math.lgamma(8.0)
    torch.testing.assert_close(counts.shortfall, best - visits[0].evidence, rtol=0, atol=1e-6)


def test_an_outlier_is_the_worst_and_told_from_noise_that_is_too_small():
    found, _ = report([[0.1, 12.0, 0.0], [0.1, 0.3, 0.0]], Channel(plain, 0.3))
    assert found.trouble[:, 1].tolist() == [Trouble.FAR_OFF, Trouble.NONE]
    assert found.worst[0, 0] == 1
    assert "outlier" in ADVICE[Trouble.FAR_OFF]
    narrow, _ = report([[0.1, 0.3]], Channel(plain, 0.002))
    assert narrow.trouble.tolist() == [[Trouble.FEW_COUNT] * 2]
    assert narrow.effective.max() < 20
    assert "guided" in ADVICE[Trouble.FEW_COUNT]


def test_few_ancestors_are_counted_where_few_particles_had_weight():
    found, _ = report([[0.1, 0.3]], Channel(plain, 0.002))
    assert found.n_ancestors[0, 0] == 400
    # systematic resampling keeps whatever has more than one share of the weight, and no more than all of these
    assert 1 <= found.n_ancestors[0, 1] < 20


def test_the_first_impossible_value_is_named_and_later_ones_point_back():
    law = Channel(plain, law=lambda y, s: torch.where((s - y).abs() < 1.0, 0.0, -math.inf))
    found, _ = report([[0.0, 50.0, 0.0, math.nan]], law)
    assert found.trouble.tolist() == [[Trouble.NONE, Trouble.IMPOSSIBLE, Trouble.LOST, Trouble.NONE]]
    assert found.log_evidence[0, 1] == -math.inf
    assert found.worst[0, 0] == 1


def test_particles_that_have_left_the_range_of_numbers_are_told():
    exploding = Linear(800.0 * ONE, 0.0 * ONE[0], ONE)
    found, _ = report([[0.0]], Channel(plain, 1.0), motion=exploding)
    assert found.trouble.tolist() == [[Trouble.NOT_FINITE]]
