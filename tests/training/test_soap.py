"""SOAP against what defines it: Adam in another basis."""

import pytest
import torch
from torch import Tensor, nn

from tsode.training.adamw import AdamW
from tsode.training.soap import RENEWED, SOAP


def steps(weight: Tensor, gradients: list[Tensor], optimizer_class: type = SOAP, n_still: int = 0) -> Tensor:
    """Where a matrix is after steps along these gradients, the first of which are only looked at."""
    parameter = nn.Parameter(weight.clone())
    optimizer = optimizer_class([parameter], weight_decay=0.1)
    for k, gradient in enumerate(gradients):
        parameter.grad = gradient.clone()
        optimizer.step(0.1 * (k >= n_still))
    return parameter.detach()


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_steps_turn_with_the_coordinates_of_rows_and_columns_and_those_of_adamw_do_not():
    scale = 2.0 ** torch.arange(5, dtype=torch.float64)[:, None] * 1.7 ** torch.arange(5, dtype=torch.float64)
    weight, gradients = draws(5, 5), list(scale * draws(35, 5, 5, seed=1))
    left, right = (torch.linalg.qr(draws(5, 5, seed=k))[0] for k in (2, 3))
    turned = [left @ gradient @ right for gradient in gradients]
    for optimizer_class, is_close in ((SOAP, True), (AdamW, False)):
        expected = left @ steps(weight, gradients, optimizer_class, RENEWED) @ right
        found = steps(left @ weight @ right, turned, optimizer_class, RENEWED)
        assert torch.allclose(found, expected, atol=1e-6) == is_close


def test_the_first_steps_are_those_of_adamw():
    weight, gradients = draws(6, 8), list(draws(RENEWED + 1, 6, 8, seed=1))
    torch.testing.assert_close(steps(weight, gradients[:-1]), steps(weight, gradients[:-1], AdamW))
    assert not torch.allclose(steps(weight, gradients), steps(weight, gradients, AdamW), atol=1e-3)


def test_vectors_move_as_adamw_moves_them():
    weight, gradients = draws(9), list(draws(12, 9, seed=1))
    assert torch.equal(steps(weight, gradients), steps(weight, gradients, AdamW))


@pytest.mark.parametrize("shape", [(240, 7), (12, 130), (150, 200)])
def test_large_matrices_are_taken_in_blocks_that_know_nothing_of_each_other(shape: tuple[int, int]):
    weight, gradients = draws(*shape), list(draws(13, *shape, seed=1))
    whole = steps(weight, gradients)
    rows, columns = (next(k for k in range(128, 0, -1) if size % k == 0) for size in shape)
    corner = (slice(-rows, None), slice(-columns, None))
    alone = steps(weight[corner], [gradient[corner] for gradient in gradients])
    torch.testing.assert_close(whole[corner], alone)


def test_matrices_of_one_shape_move_as_each_would_alone():
    first, second = (nn.Parameter(draws(6, 3, seed=k)) for k in (0, 1))
    alone = steps(second, list(draws(12, 6, 3, seed=2)))
    optimizer = SOAP([first, second], weight_decay=0.1)
    for gradients in zip(draws(12, 6, 3, seed=3), draws(12, 6, 3, seed=2)):
        first.grad, second.grad = (gradient.clone() for gradient in gradients)
        optimizer.step(0.1)
    torch.testing.assert_close(second.detach(), alone)


def test_a_matrix_without_a_gradient_stays_as_it_is():
    still, moved = (nn.Parameter(draws(6, 3, seed=k)) for k in (0, 1))
    before = still.detach().clone()
    optimizer = SOAP([still, moved])
    optimizer.step(0.1)
    moved.grad = draws(6, 3, seed=2)
    optimizer.step(0.1)
    assert torch.equal(still.detach(), before)
    assert not torch.equal(moved.detach(), draws(6, 3, seed=1))


def test_gradients_of_zero_and_matrices_without_entries_are_no_harm():
    assert steps(draws(6, 0), [draws(6, 0)] * 12).shape == (6, 0)
    assert torch.isfinite(steps(draws(6, 3), [torch.zeros(6, 3, dtype=torch.float64)] * 12)).all()


def test_noise_along_one_direction_across_the_axes_does_not_slow_the_others_down():
    noisy = torch.ones(16, 1, dtype=torch.float64) / 4.0
    quiet = torch.linalg.qr(torch.cat([noisy, draws(16, 15)], dim=1))[0][:, 1]
    slope = quiet[:, None] * torch.ones(8, dtype=torch.float64)  # of every column the same, seen through the noise
    gradients = [slope + 30.0 * noisy * noise for noise in draws(100, 8, seed=7)]
    moved = {each: float(-(quiet @ steps(torch.zeros_like(slope), gradients, each)).mean()) for each in (SOAP, AdamW)}
    assert moved[SOAP] > 3.0 * moved[AdamW] > 0.0
