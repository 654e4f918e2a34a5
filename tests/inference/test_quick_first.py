"""Starts that are cheap climb first: no mode is lost by it."""

import pytest
import torch

from tsode.inference.infer import infer
from tsode.inference.settings import Settings

FEW = Settings(n_prior=256, n_starts=12, n_importance=1024, n_draws=512)


class TwoSides:
    """Normal laws at -3 and 3, weighed by heights; dear where ``is_dear`` says, and all that is asked there counts."""

    names, n_problems = ("x", "y"), 1

    def __init__(self, heights, is_dear):
        self.heights, self.is_dear, self.is_hurried, self.n_dear = heights, is_dear, False, 0

    def hurried(self):
        quick = TwoSides(self.heights, self.is_dear)
        quick.is_hurried = True
        return quick

    def log_prob(self, u):
        apart = torch.stack([u[..., :1] + 3.0, u[..., :1] - 3.0], dim=-1).squeeze(-2)
        parts = torch.tensor(self.heights).double() - 2.0 * apart**2
        value = parts.logsumexp(dim=-1) - 0.5 * u[..., 1] ** 2
        dear = self.is_dear(u[..., 0])
        self.n_dear += int(dear.sum())
        return value.masked_fill(dear, -torch.inf) if self.is_hurried else value

    def sample_prior(self, n, generator):
        return 3.0 * torch.randn(1, n, 2, generator=generator, dtype=torch.float64)


def centres(density):
    found = infer(density, "laplace", 0, FEW)
    is_mode = found.modes.log_prob[0].isfinite()
    return sorted(round(float(x), 2) for x in found.modes.point[0, is_mode, 0])


@pytest.mark.parametrize(
    "is_dear",
    [lambda x: x > 1, lambda x: x < 10, lambda x: x.abs() > 1, lambda x: x > -4],
    ids=["one", "all", "both", "most"],
)
def test_both_modes_are_found_whichever_side_is_dear(is_dear):
    assert centres(TwoSides([0.0, 0.0], is_dear)) == [-3.0, 3.0]


def test_a_dear_side_that_would_have_no_weight_is_not_climbed():
    dear = TwoSides([0.0, -30.0], lambda x: x > 1)
    assert centres(dear) == [-3.0]
    assert 0 < dear.n_dear < 150  # draws of the prior alone
