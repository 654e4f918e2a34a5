"""Jacobians along states beside closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch

from tsode.errors import ParameterError, ShapeError
from tsode.stability import Map, jacobian

MATRIX = torch.tensor([[-1.0, 4.0, 0.0], [0.0, -100.0, 1.0], [0.0, 0.0, 2.0]], dtype=torch.float64)


def linear(t, z):
    return z @ MATRIX.mT


def robertson(t, z):
    x, y, w = z.unbind(dim=1)
    slow, fast, pair = 0.04 * x, 1e4 * y * w, 3e7 * y**2
    return torch.stack([fast - slow, slow - fast - pair, pair], dim=1)


def test_a_linear_field_has_its_eigenvalues_abscissa_norm_and_stiffness_everywhere():
    table = jacobian(linear, [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    eigenvalues = table.filter(like="eigenvalue").to_numpy()
    np.testing.assert_allclose(eigenvalues, [[2.0, -1.0, -100.0]] * 2, atol=1e-12)
    np.testing.assert_allclose(table["spectral_abscissa"], 2.0, atol=1e-12)
    np.testing.assert_allclose(table["stiffness_ratio"], 100.0, rtol=1e-12)
    symmetric = (MATRIX + MATRIX.mT).numpy() / 2
    np.testing.assert_allclose(table["logarithmic_norm"], np.linalg.eigvalsh(symmetric)[-1], rtol=1e-12)


def test_errors_grow_at_once_by_the_logarithmic_norm_at_the_most():
    table = jacobian(linear, [0.0, 0.0, 0.0])
    step = 1e-6
    growth = np.linalg.norm(np.eye(3) + step * MATRIX.numpy(), 2)
    assert (growth - 1) / step == pytest.approx(table["logarithmic_norm"][0], rel=1e-3)


def test_entries_are_derivatives_of_the_first_by_the_second():
    table = jacobian(linear, [0.0, 0.0, 0.0], names=["a", "b", "c"], has_entries=True)
    assert table.loc[0, ["d_a_d_b", "d_b_d_a", "d_b_d_c"]].tolist() == [4.0, 0.0, 1.0]


def test_a_frame_has_times_and_names_of_its_own():
    driven = lambda t, z: -t[:, None] * z  # noqa: E731
    frame = pd.DataFrame({"time": [1.0, 2.0], "mass": [5.0, 5.0]})
    table = jacobian(driven, frame)
    assert table[["time", "mass", "spectral_abscissa"]].to_numpy().tolist() == [[1.0, 5.0, -1.0], [2.0, 5.0, -2.0]]


def test_a_map_has_multipliers_by_their_size():
    table = jacobian(Map(lambda z: torch.stack([-0.5 * z[:, 0], 0.25 * z[:, 1]], dim=1)), [1.0, 1.0])
    assert table.filter(like="eigenvalue").to_numpy().real.tolist() == [[-0.5, 0.25]]
    assert table[["spectral_radius", "norm"]].to_numpy().tolist() == [[0.5, 0.5]]


def test_reactions_of_robertson_are_stiff_and_what_does_not_decay_has_no_ratio():
    table = jacobian(robertson, [[1.0, 3.65e-5, 1e-3]])
    assert table["stiffness_ratio"][0] > 1e3
    assert np.isnan(jacobian(lambda t, z: z, [1.0])["stiffness_ratio"][0])


def test_a_state_without_derivatives_is_named():
    with pytest.raises(ParameterError, match=r"derivatives at state 1, \(0\) at t = 0, are not finite"):
        jacobian(lambda t, z: z.sqrt(), [[1.0], [0.0]])


def test_times_are_as_many_as_states():
    with pytest.raises(ShapeError, match="3 for 2 states"):
        jacobian(linear, [[0.0, 0.0, 0.0]] * 2, times=[0.0, 1.0, 2.0])
