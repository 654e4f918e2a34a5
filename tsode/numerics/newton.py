"""Damped Newton root finding for steady states, one row at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.numerics.base import is_finite_row

__all__ = ["find_root"]

_MAX_ROUNDS = 40
_TOLERANCE = 1e-10  # of the balance, relative to the state or to the input
# A state so many times the input has found no balance, it has only become so large that nothing shows.
_MOST = 1e6


Balance = Callable[[Tensor], tuple[Tensor, Tensor]]


def find_root(
    balance: Balance, z: Tensor, size: Tensor, may_grow: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``balance(z) = 0`` for every row by Newton's method, damped; a linear balance takes one step.

    A state that is in balance whatever the others are (a parameter kept as a state) stays as it is in `z`, and so does
    one that no balance reads, its own neither (an area under the curve), which has no root.

    Parameters
    ----------
    balance : callable
        ``z`` (b d) -> its balance (b d), each row by itself, and whether a row could be worked out (b,).
    z : Tensor[b d]
        Where to start. A row whose balance is zero comes back as it is.
    size : Tensor[b]
        Size of what enters the balance.
    may_grow : Tensor[b d], bool, optional
        States that are left out where nothing reads them: all but those that the input goes into.
        Default: none.

    Returns
    -------
    z : Tensor[b d]
        Its gradient is that of the implicit function theorem, ``dz = -(d balance / d z)^-1 d balance``.
    jacobian : Tensor[b d d]
        Of the balance, at `z`.
    is_found : Tensor[b], bool
    """
    limit = _MOST * torch.maximum(size, z.detach().abs().amax(dim=1))
    last, step, damping = z.detach(), torch.zeros_like(z), torch.ones_like(size)
    slopes, is_held = last.new_zeros(*z.shape, z.shape[1]), torch.zeros_like(z, dtype=torch.bool)
    least = torch.full_like(size, torch.inf)
    value, steepness, is_known = _linearise(balance, last)
    grows = torch.zeros_like(z, dtype=torch.bool)
    if may_grow is not None:
        grows = may_grow & _is_unread(steepness)
    if grows.any():  # what nothing reads here may be read elsewhere: a square has no slope at zero
        scale = torch.maximum(size, last.abs().amax(dim=1))[:, None] * torch.linspace(0.3, 0.7, z.shape[1]).to(z)
        grows = grows & _is_unread(_linearise(balance, last + scale)[1])
    for k in range(_MAX_ROUNDS):
        x = last + damping[:, None] * step
        if k:
            value, steepness, is_known = _linearise(balance, x)
        value, steepness = value.masked_fill(grows, 0.0), steepness.masked_fill(grows[:, :, None], 0.0)
        held = (value == 0) & (steepness == 0).all(dim=2)
        norm = torch.where(is_known, value.norm(dim=1), torch.inf)
        is_better = norm < least
        # Where Newton's step makes the balance worse it is too long: half of it.
        damping = torch.where(is_better, (2 * damping).clamp(max=1), damping / 2)
        last = torch.where(is_better[:, None], x, last)
        slopes = torch.where(is_better[:, None, None], steepness, slopes)
        is_held = torch.where(is_better[:, None], held, is_held)
        step = torch.where(is_better[:, None], _newton_step(slopes, is_held, value), step)
        least = torch.minimum(least, norm)
        reach = last.abs().amax(dim=1)
        is_found = (least <= _TOLERANCE * torch.maximum(reach, size)) & (reach <= limit)
        if is_found.all():
            break
    # One more step from where the search ended; the gradient goes through it.
    base = torch.where(is_held, z, last)
    value, is_known = balance(base)
    value = value.masked_fill(grows, 0.0)
    return base + _newton_step(slopes, is_held, value), slopes, is_found & is_known


def _is_unread(slopes: Tensor) -> Tensor:
    """States that no balance reads but for those of others like them, (b d)."""
    unread = torch.zeros_like(slopes[:, 0], dtype=torch.bool)
    for _ in range(slopes.shape[1]):
        unread = (slopes.masked_fill(unread[:, :, None], 0.0) == 0).all(dim=1)
    return unread


def _linearise(balance: Balance, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The balance at `x`, its derivative, and whether a row is finite."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value, is_known = balance(x)
        slopes = _jacobian(value, x)
    is_known = is_known & is_finite_row(value) & is_finite_row(slopes.flatten(1))
    value = value.detach().where(is_known[:, None], 0.0)
    return value, slopes.where(is_known[:, None, None], 0.0), is_known


def _newton_step(slopes: Tensor, is_held: Tensor, value: Tensor) -> Tensor:
    # What has no inverse is left out: then the balance stays as it is, and is not found.
    inverse = torch.linalg.pinv(slopes.masked_fill(is_held[:, None, :], 0.0), atol=0.0, rtol=1e-12)
    return -(inverse @ value[..., None])[..., 0]


def _jacobian(value: Tensor, x: Tensor) -> Tensor:
    """Derivative of each row's value by its own state, (b d d)."""
    columns = [
        torch.autograd.grad(part.sum(), x, retain_graph=True, materialize_grads=True)[0] for part in value.unbind(dim=1)
    ]
    return torch.stack(columns, dim=1)
