"""Decaying modes against their closed form."""

from __future__ import annotations

import torch

from tsode.evolutions import DecayingFlow


def test_modes_decay_at_their_own_rates_and_static_components_stay_bit_for_bit():
    flow = DecayingFlow(3, n_static=2, rates=(0.1, 10.0)).double()
    z = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t0, times = torch.zeros(4, dtype=torch.float64), torch.tensor([[0.5, 3.0]]).double().expand(4, -1)
    carried = flow.evolve_to(z, t0, times).z
    rates = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    torch.testing.assert_close(carried[:, 1, :3], z[:, :3] * (-3.0 * rates).exp())
    assert torch.equal(carried[:, 1, 3:], z[:, 3:])


def test_the_extremes_hold_all_states_between():
    flow = DecayingFlow(3, n_static=1, rates=(0.1, 10.0)).double()
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = torch.full((6,), 0.2, dtype=torch.float64)
    least, most = flow.extremes(z, start, start + 2.0)
    between = torch.linspace(0.2, 2.2, 30, dtype=torch.float64).expand(6, -1)
    states = flow.evolve_to(z, torch.zeros_like(start), between).z
    assert (states >= least[:, None] - 1e-15).all()
    assert (states <= most[:, None] + 1e-15).all()
