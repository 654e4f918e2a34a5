"""Held-out scores of structures: those of the forecasts of later blocks from all rows before each."""

import numpy as np
import torch

from tests.models.structural.test_structure import _structure, _z
from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.likelihoods.normal import Normal
from tsode.models.structural.evidence import Posterior
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.model import StructuralModel
from tsode.models.structural.problems import Data, Problem
from tsode.training.structural.held_out import BLOCKS, by_held_out, held_out_score


def _case(n: int = 40) -> tuple[torch.Tensor, torch.Tensor, Data]:
    generator = torch.Generator().manual_seed(5)
    times = (0.05 * torch.rand(n, generator=generator, dtype=torch.float64)).cumsum(0)
    y = torch.sin(9.0 * times) + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64)
    return times, y, Data.of(times[:, None], y[:, None], torch.ones(n, 1, dtype=torch.float64))


def test_the_score_is_that_of_forecasts_from_what_came_before_each_block() -> None:
    structure = _structure(["slope", "ou"])
    z, (times, y, data) = _z(structure), _case()
    model = StructuralModel(1)
    model.set_channels([ChannelFit((Member(structure, 1.0, z),), Transform.identity(), 0.0, 1.0, 1.0)])
    scores = []
    for begin, end in BLOCKS:
        first, last = round(begin * len(y)), round(end * len(y))
        before = IrregularBatch.from_arrays([times[:first].numpy()], [y[:first, None].numpy()], torch.float64)
        forecast = model.forecast(before, times[None, first:last])
        params = Normal().from_moments(forecast.mean[0, :, 0], forecast.variance[0, :, 0].sqrt())
        scores.append(Normal().crps(params, y[first:last]))
    truth = float(torch.cat(scores).mean())
    np.testing.assert_allclose(held_out_score(Problem(structure, data), z[0]), truth, rtol=1e-9)


def test_what_forecasts_badly_loses_weight_by_as_many_blocks_as_there_are() -> None:
    structures = [_structure(["matern"]), _structure(["level"])]
    _, _, data = _case()
    problems = [Problem(one, data) for one in structures]
    size = max(one.n_parameters for one in structures)
    modes = torch.zeros(2, size, dtype=torch.float64)
    posterior = Posterior(modes, torch.eye(size, dtype=torch.float64).repeat(2, 1, 1), torch.zeros(2).double())
    found = by_held_out(problems, posterior)
    scores = torch.tensor([held_out_score(one, mode) for one, mode in zip(problems, modes)], dtype=torch.float64)
    torch.testing.assert_close(found, len(BLOCKS) * (scores.min() / scores).log())
    assert float(found.max()) == 0.0
