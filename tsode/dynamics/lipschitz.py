"""Lipschitz dynamics: a field that cannot react faster than a given slope."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.dynamics.structured import Guarantee, Structured
from tsode.errors import ParameterError
from tsode.nn.orthogonal import orthonormal
from tsode.nn.static_offset import StaticOffset

__all__ = ["Lipschitz"]


class Lipschitz(Structured):
    """Drift by a network whose slope is nowhere above `slope`: orthonormal weights, with sorted pairs between.

    Promise, for all weights and every fixed ``theta``: ``|f(x) - f(y)| <= slope |x - y|`` in the Euclidean norm of the
    moving part of the state, in model units per unit of model time. Layers are ``W x + b`` with orthonormal columns (or
    rows, of the last one), which keep distances (or never increase them), and GroupSort, which orders the numbers of a
    group and keeps norms too, where a tanh would lose slope in every layer (Anil et al.). Nothing is iterated, so the
    bound holds in training and evaluation, and before the first call. A step of Euler's method is a map of slope
    ``1 + slope * h``, not `slope`, and a flow grows distances by ``exp(slope * t)`` at most. Tested by
    `tsode.testing.check_dynamics` at random weights, and by ``tests/benchmarks/structure.py``.

    What it costs: no field that is anywhere steeper than `slope` can be learned; that all others can is proved for the
    maximum norm only (there, theorem 3), and ``|x|`` is learned to 0.001 in the tests. The field has kinks, at which a
    solver of high order takes smaller steps. A call takes several times that of the plain perceptron.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``, which shifts the first layer.
    slope : float
        The bound ``L``, per unit of time. The field starts at a tenth of it.
    width : int, optional
        Of the hidden layers; at least that of what moves. By default 64, and more where more moves.
    depth : int
        Number of hidden layers.
    group : int
        How many numbers are sorted together; a divisor of `width`. Two are MaxMin.
    weights : {"householder", "givens", "exponential", "cayley"}
        Parametrisation of orthonormal weights, see `tsode.nn.orthogonal`.

    References
    ----------
    Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019.
    """

    def __init__(
        self,
        n_state: int,
        n_static: int = 0,
        slope: float = 1.0,
        width: int | None = None,
        depth: int = 2,
        group: int = 2,
        weights: str = "householder",
    ) -> None:
        super().__init__(n_state, n_static)
        if not 0.0 < slope < float("inf"):
            raise ParameterError(f"slope={slope!r} must be positive and finite.")
        if width is None:
            width = -(-max(64, self.n_moving) // group) * group if group > 0 else 64
        if depth < 1 or width < self.n_moving:
            raise ParameterError(
                f"depth={depth} must be at least 1, and width={width} at least the {self.n_moving} that move."
            )
        if group < 1 or width % group:
            raise ParameterError(f"group={group} must divide width={width}.")
        self.slope = slope
        self.group = group
        # The last matrix is kept upright, and applied as its transpose.
        sizes = [(width, self.n_moving), *[(width, width)] * (depth - 1), (width, self.n_moving)]
        self.matrices = nn.ModuleList(orthonormal(weights, *size) for size in sizes)
        self.first = StaticOffset(n_static, width)
        self.offsets = nn.ParameterList(torch.zeros(width) for _ in range(depth - 1))
        self.last = nn.Parameter(torch.zeros(self.n_moving))
        self.share = nn.Parameter(torch.tensor(math.asin(0.1)))

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        matrices = [matrix() for matrix in self.matrices]
        for matrix, offset in zip(matrices, [self.first(theta), *self.offsets]):
            x = _sort_groups(torch.addmm(offset, x, matrix.mT), self.group)
        return torch.addmm(self.last, x, self.slope * self.share.sin() * matrices[-1])

    @torch.no_grad()
    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        eps = torch.finfo(x.dtype).eps
        y = x.roll(1, dims=0)
        distance = torch.linalg.vector_norm(x - y, dim=1)
        apart = torch.linalg.vector_norm(self.motion(t, x, theta) - self.motion(t, y, theta), dim=1)
        # a difference of large numbers that are near each other is rounding
        size = torch.linalg.vector_norm(torch.cat([x, y], dim=1), dim=1) + self._largest_offset(theta)
        is_pair = distance > 1e-6 * size
        steepest = float((apart / distance)[is_pair].max()) if bool(is_pair.any()) else 0.0
        lost = float((size / distance)[is_pair].max()) if bool(is_pair.any()) else 0.0
        errors = [
            float((q.mT @ q - torch.eye(q.shape[1]).to(q)).abs().max()) for q in (made() for made in self.matrices)
        ]
        return (
            Guarantee("max |f(x) - f(y)| / |x - y|", steepest, self.slope, 100 * eps * self.slope * (1 + lost)),
            Guarantee("max |W'W - I|", max(errors), 0.0, max(1e-12, 16 * eps)),
        )

    def _largest_offset(self, theta: Tensor) -> Tensor:
        norms = [torch.linalg.vector_norm(self.first(theta), dim=-1).amax(), torch.linalg.vector_norm(self.last)]
        return torch.stack(norms + [torch.linalg.vector_norm(offset) for offset in self.offsets]).sum()


def _sort_groups(x: Tensor, group: int) -> Tensor:
    """Order the numbers of each group (b n)."""
    if group == 2:  # several times faster than a sort
        first, second = x.unflatten(1, (-1, 2)).unbind(2)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)
    return x.unflatten(1, (-1, group)).sort(dim=2).values.flatten(1)
