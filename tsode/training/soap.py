"""SOAP: Adam in the slowly turning eigenbasis of each weight matrix's gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tsode.training.adamw import AdamW

__all__ = ["SOAP"]

LARGEST = 128  # rows or columns of a block: the cost of a basis grows with their cube
RENEWED = 10  # steps for which a basis is kept
MEMORY = 0.95  # decay of the running means of the gradients' products
FLOOR = {torch.float32: 1e-4, torch.float64: 1e-8}
"""Of the mean eigenvalue: directions without gradients so far keep a basis that rounding does not choose."""


class SOAP:
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, algorithm 3), with decoupled weight decay.

    A weight matrix whose gradients are correlated along its rows or columns looks to Adam, entry by entry, as if all
    of it were noisy; turned to the eigenvectors of the means of ``G G'`` and ``G' G`` it does not. Vectors are left to
    `AdamW`. Large matrices are taken in blocks, and matrices of the same shape in one operation.

    Parameters
    ----------
    parameters, weight_decay, betas, epsilon
        See `tsode.training.adamw.AdamW`.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-8,
    ) -> None:
        alike: dict[tuple[torch.Size, torch.dtype, torch.device], list[nn.Parameter]] = {}
        others = []
        for p in parameters:
            if p.ndim == 2 and p.numel():
                alike.setdefault((p.shape, p.dtype, p.device), []).append(p)
            else:
                others.append(p)
        self.matrices = [_Matrices(group, weight_decay, betas, epsilon) for group in alike.values()]
        self.others = AdamW(others, weight_decay, betas, epsilon)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.others.zero_grad()
        for group in self.matrices:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move along the gradients; a parameter without one stays as it is."""
        self.others.step(rate)
        for group in self.matrices:
            group.step(rate)


class _Matrices:
    """Matrices of one shape, as blocks (k r c)."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], weight_decay: float, betas: tuple[float, float], epsilon: float
    ) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.betas = betas
        self.epsilon = epsilon
        rows, columns = self.parameters[0].shape
        self.n_rows, self.n_columns = _block(rows), _block(columns)
        self.n_steps = 0

    def step(self, rate: float) -> None:
        """Move along the gradients, by what was known of their directions before."""
        if all(p.grad is None for p in self.parameters):
            return
        gradient = self._blocks([torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters])
        if self.n_steps == 0:
            self._begin(gradient)
        elif self.n_steps == RENEWED:
            self._turn()
        elif self.n_steps % RENEWED == 0:
            self._renew()
        self.n_steps += 1
        self.by_rows.lerp_(gradient @ gradient.mT, 1.0 - MEMORY)
        self.by_columns.lerp_(gradient.mT @ gradient, 1.0 - MEMORY)
        left, right = self.left, self.right
        turned = left.mT @ gradient @ right
        self.first.lerp_(gradient, 1.0 - self.betas[0])
        self.second.lerp_(turned.square(), 1.0 - self.betas[1])
        unbiased = tuple(1.0 - beta**self.n_steps for beta in self.betas)
        scale = self.second.div(unbiased[1]).sqrt_().add_(self.epsilon)
        move = left @ (left.mT @ self.first @ right).div_(scale) @ right.mT
        for parameter, its_move in zip(self.parameters, self._matrices(move.mul_(rate / unbiased[0]))):
            if parameter.grad is not None:
                parameter.mul_(1.0 - rate * self.weight_decay).sub_(its_move)

    def _begin(self, gradient: Tensor) -> None:
        """Start as Adam: one gradient does not span a basis, and what it leaves open would be of rounding."""
        n, rows, columns = gradient.shape
        self.left, self.right = (torch.eye(k).to(gradient).expand(n, k, k) for k in (rows, columns))
        self.by_rows, self.by_columns = torch.zeros_like(self.left), torch.zeros_like(self.right)
        self.first, self.second = torch.zeros_like(gradient), torch.zeros_like(gradient)

    def _turn(self) -> None:
        """Take the eigenbases of the gradients so far, with the second moments that they say (section 4.1)."""
        of_rows, self.left = _eigen(self.by_rows)
        of_columns, self.right = _eigen(self.by_columns)
        total = of_rows.sum(-1).clamp(min=torch.finfo(of_rows.dtype).tiny)[:, None, None]
        seen = (1.0 - self.betas[1] ** self.n_steps) / (1.0 - MEMORY**self.n_steps)
        self.second = seen * of_rows[:, :, None] * of_columns[:, None, :] / total

    def _renew(self) -> None:
        """Turn the bases by one power iteration; second moments stay with their directions, largest first."""
        order = _descending(self.left, self.by_rows)
        self.second = self.second.gather(-2, order[:, :, None].expand_as(self.second))
        self.left = _iterated(self.left, self.by_rows, order)
        order = _descending(self.right, self.by_columns)
        self.second = self.second.gather(-1, order[:, None, :].expand_as(self.second))
        self.right = _iterated(self.right, self.by_columns, order)

    def _blocks(self, matrices: Sequence[Tensor]) -> Tensor:
        r, c = self.n_rows, self.n_columns
        stacked = torch.stack(list(matrices))
        n, rows, columns = stacked.shape
        return stacked.reshape(n, rows // r, r, columns // c, c).transpose(2, 3).reshape(-1, r, c)

    def _matrices(self, blocks: Tensor) -> list[Tensor]:
        rows, columns = self.parameters[0].shape
        r, c = self.n_rows, self.n_columns
        split = blocks.reshape(-1, rows // r, columns // c, r, c).transpose(2, 3)
        return list(split.reshape(-1, rows, columns).unbind())


def _block(size: int) -> int:
    """Rows or columns of a block: the largest divisor of `size` that is not too large."""
    return max(k for k in range(1, min(size, LARGEST) + 1) if size % k == 0)


def _floor(product: Tensor) -> Tensor:
    """What is added to the eigenvalues of products (k d d): Tensor[k, 1]."""
    return FLOOR[product.dtype] * product.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)


def _eigen(product: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (k d), largest first, and eigenvectors of products (k d d); a ramp tells apart what is equal."""
    ramp = torch.linspace(2.0, 1.0, product.shape[-1]).to(product)
    values, vectors = torch.linalg.eigh(product + torch.diag_embed(_floor(product) * ramp))
    return values.flip(-1).clamp(min=0.0), vectors.flip(-1)


def _descending(basis: Tensor, product: Tensor) -> Tensor:
    """Order of directions (k d), those with the largest gradients first."""
    return (basis * (product @ basis)).sum(-2).argsort(dim=-1, descending=True, stable=True)


def _iterated(basis: Tensor, product: Tensor, order: Tensor) -> Tensor:
    """The basis (k d d) in that order after one step of simultaneous iteration."""
    basis = basis.gather(-1, order[:, None, :].expand_as(basis))
    return torch.linalg.qr(product @ basis + _floor(product)[..., None] * basis)[0]
