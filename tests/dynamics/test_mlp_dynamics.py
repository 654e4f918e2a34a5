import pytest
import torch
from torch import nn

from tests.helpers import solve
from tsode.dynamics import MLPDynamics
from tsode.dynamics.mlp import ACTIVATIONS
from tsode.errors import ParameterError, UnknownNameError


def test_depth_counts_hidden_layers_and_width_their_units():
    field = MLPDynamics(n_state=3, width=7, depth=3)
    shapes = [tuple(layer.weight.shape) for layer in field.layers if isinstance(layer, nn.Linear)]
    assert shapes == [(7, 3), (7, 7), (7, 7), (3, 7)]


def test_flow_starts_close_to_the_identity():
    torch.manual_seed(0)
    z = torch.randn(100, 16, dtype=torch.float64)
    moved = solve(MLPDynamics(n_state=16).double(), z, 1.0) - z
    assert 0 < moved.norm(dim=1).mean() < 0.2 * z.norm(dim=1).mean()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_a_finite_drift(activation):
    field = MLPDynamics(n_state=3, activation=activation)
    assert field(torch.zeros(2, dtype=torch.float64), torch.randn(2, 3)).isfinite().all()


def test_mistakes_are_named():
    with pytest.raises(UnknownNameError, match=r"'tanhh' is not a known activation\. Did you mean 'tanh'"):
        MLPDynamics(n_state=3, activation="tanhh")
    with pytest.raises(ParameterError, match="at least 1"):
        MLPDynamics(n_state=3, depth=0)
