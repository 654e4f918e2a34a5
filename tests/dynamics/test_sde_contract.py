"""What every stochastic differential equation promises, checked on all of them."""

import pytest
import torch

from tsode.dynamics import SDES
from tsode.testing import check_sde


@pytest.mark.parametrize("name", SDES)
def test_sdes_keep_the_contract(name):
    torch.manual_seed(0)
    check_sde(SDES[name](n_state=3))
