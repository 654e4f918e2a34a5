"""Reversible evolution: its inverse, its gradient, its memory."""

import resource
import subprocess
import sys

import pytest
import torch

from tests.registries import small
from tsode import JumpODEForecaster, LatentODEForecaster, part
from tsode.core.status import Status
from tsode.dynamics import MLPDynamics, SeparableHamiltonian
from tsode.errors import ParameterError
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.evolutions.base import Solved
from tsode.evolutions.build import build_evolution
from tsode.evolutions.reversible import Reversible
from tsode.numerics import Leapfrog
from tsode.testing import example_panel

T0 = torch.tensor([0.0, 2.0, -1.0], dtype=torch.float64)
T1 = T0 + torch.tensor([1.0, -0.7, 0.4], dtype=torch.float64)


def example(n_static=1, width=6):
    torch.manual_seed(0)
    field = SeparableHamiltonian(4 + n_static, n_static, width=width).double()
    with torch.no_grad():
        for weight in field.parameters():
            weight.copy_(0.7 * torch.randn_like(weight))
    return field, torch.randn(3, 4 + n_static, dtype=torch.float64)


@pytest.mark.slow
def test_the_inverse_is_exact_after_ten_thousand_steps_of_a_chaotic_field():
    field = SeparableHamiltonian(  # Henon and Heiles at an energy of 1/6
        4,
        kinetic=lambda p, _: 0.5 * p.square().sum(dim=1),
        potential=lambda q, _: 0.5 * q.square().sum(dim=1) + q[:, 0].square() * q[:, 1] - q[:, 1] ** 3 / 3.0,
    )
    field.velocity = lambda t, p, theta: p  # what the gradients are, at a fraction of the time
    field.force = lambda t, q, theta: (
        -torch.stack([q[:, 0] + 2 * q[:, 0] * q[:, 1], q[:, 1] + q[:, 0].square() - q[:, 1].square()], dim=1)
    )
    z = torch.tensor([[0.0, 0.1, 0.49, 0.2], [0.0, -0.15, 0.45, 0.3]], dtype=torch.float64)
    t0 = torch.zeros(2, dtype=torch.float64)
    evolution = Reversible(field, n_steps=10_000)
    with torch.no_grad():
        there = evolution.evolve(z, t0, t0 + 1000.0)
    assert there.status.tolist() == [Status.OK] * 2
    assert (there.z - z).abs().max() > 0.1
    assert (evolution.inverse(there.z, t0, t0 + 1000.0) - z).abs().max() < 1e-12


def test_states_and_gradients_are_those_of_leapfrog_by_backprop():
    field, z = example()
    drive = torch.randn(3, 5, dtype=torch.float64)
    found = []
    for evolution in (Reversible(field, n_steps=20), Solved(field, Leapfrog(n_steps=20))):
        inputs = [x.clone().requires_grad_() for x in (z, T0, T1, drive)]
        end = evolution.evolve(inputs[0], *inputs[1:]).z
        found.append([end, *torch.autograd.grad(end.square().sum(), [*inputs, *field.parameters()])])
    for left, right in zip(*found):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_in_single_precision_gradients_are_as_good():
    field, z = example()
    field, z = field.float(), z.float()
    found = []
    for evolution in (Reversible(field, n_steps=20), Solved(field, Leapfrog(n_steps=20))):
        end = evolution.evolve(z, T0, T1).z
        assert end.dtype == torch.float32
        found.append(torch.autograd.grad(end.square().sum(), list(field.parameters())))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_rows_of_length_zero_come_back_bit_for_bit_and_bad_rows_say_so():
    field, z = example()
    z[1, 0] = torch.nan
    t1 = T0 + torch.tensor([0.0, 1.0, torch.inf], dtype=torch.float64)
    evolved = Reversible(field, n_steps=3).evolve(z, T0, t1)
    assert torch.equal(evolved.z[[0, 2]], z[[0, 2]])
    assert evolved.status.tolist() == [Status.OK, Status.NON_FINITE, Status.NON_FINITE]


def test_a_field_that_is_not_separable_is_refused():
    with pytest.raises(ParameterError, match=r"Reversible needs a SeparableField, .* which MLPDynamics has not"):
        Reversible(MLPDynamics(4))


MEMORY = """
import resource, sys, torch
from tsode.dynamics import SeparableHamiltonian
from tsode.evolutions.reversible import Reversible
torch.set_num_threads(1)
field = SeparableHamiltonian(64, width=32)
z, t = torch.randn(128, 64), torch.zeros(128, dtype=torch.float64)
for n_steps in (3, int(sys.argv[1])):
    Reversible(field, n_steps).evolve(z, t, t + 1).z.square().sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_saved_tensors_do_not_grow_with_the_steps():
    field, z = example()
    sizes = []
    for n_steps in (3, 300):
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            Reversible(field, n_steps).evolve(z, T0, T1)
        sizes.append(total)
    assert sizes[0] == sizes[1] > 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="needs getrusage")
def test_peak_memory_of_two_thousand_steps_is_that_of_a_hundred():
    peaks = [
        int(subprocess.run([sys.executable, "-c", MEMORY, str(n)], capture_output=True, text=True, check=True).stdout)
        for n in (100, 2_000)  # of 32 KB a state: 64 MB for each that a step keeps
    ]
    assert peaks[1] <= 1.2 * peaks[0]


def test_it_is_taken_by_name_with_settings_and_the_name_of_a_field():
    evolution = part("reversible", n_steps=2, dynamics="second_order")
    made = build_evolution(evolution, n_state=6, n_static=1)
    assert isinstance(made, Reversible)
    assert (made.n_state, made.n_steps, made.dynamics.n_static) == (7, 2, 1)
    with pytest.raises(ParameterError, match="Reversible needs a SeparableField"):
        build_evolution(part("reversible", dynamics="mlp"), n_state=4, n_static=0)


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("made", [JumpODEForecaster, LatentODEForecaster])
def test_forecasters_take_it_by_name_and_a_file_carries_it(made, tmp_path):
    forecaster = small(made, evolution=part("reversible", n_steps=2), n_state=4).fit(example_panel(4))
    assert any(isinstance(module, Reversible) for module in forecaster.module_.modules())
    forecaster.save(tmp_path / "model")
    loaded = BaseForecaster.load(tmp_path / "model")
    assert loaded.predict_interval(horizon="5h").equals(forecaster.predict_interval(horizon="5h"))
