"""The optimizer beside torch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tsode.training.adamw import AdamW


def test_steps_are_those_of_torch():
    torch.manual_seed(0)
    mine, theirs = (nn.ParameterList([torch.ones(3, 2), torch.ones(2), torch.ones(4)]) for _ in range(2))
    own = AdamW(mine, weight_decay=0.1)
    reference = torch.optim.AdamW(theirs, lr=0.05, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    for step in range(5):
        for a, b in zip(mine, theirs):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        if step % 2:  # a parameter without a gradient is left alone
            mine[2].grad = theirs[2].grad = None
        own.step(0.05)
        reference.step()
        for a, b in zip(mine, theirs):
            assert torch.equal(a, b)


@pytest.mark.slow
def test_fitting_does_not_import_the_compiler():
    code = (
        "import sys\n"
        "from tsode import JumpODEForecaster\n"
        "from tsode.testing import example_panel\n"
        "JumpODEForecaster(max_epochs=1, n_modes=4, n_static=2, n_hidden=8).fit(example_panel())\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
