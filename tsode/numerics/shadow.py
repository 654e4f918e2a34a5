"""Shadow of a solution: a second one close by, whose distance shows how the state depends on start and parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.overrides import TorchFunctionMode

from tsode.numerics.base import VectorField
from tsode.numerics.stepwise import Step

__all__ = ["Shadow", "is_differentiated", "nearness", "perturbed"]

# A step that the state allows is refused by the shadow so many times on end at most: where a field jumps, the distance
# is no derivative, and no step is short enough.
_PATIENCE = 8
# Times its first distance, from which on a shadow is too far off.
_FAR = 10.0
# Size that a parameter is taken to have where it is zero: its effect is to be seen as that of any other.
_SIZE_OF_ZERO = 0.01


def is_differentiated(*tensors: Tensor) -> bool:
    """Whether a derivative by any of the tensors is being taken, in reverse or forward mode."""
    return (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)) or any(
        unpack_dual(x).tangent is not None for x in tensors
    )


def nearness(dtype: torch.dtype) -> float:
    """Distance of a shadow relative to the state: far above rounding, and near enough to move as the state does."""
    return float(torch.finfo(dtype).eps ** 0.25)


def perturbed(field: VectorField, n_rows: int) -> VectorField:
    """The field with every tensor in it that gradients are asked for a little off, each by its own share."""

    perturbation = _Perturbation(n_rows)

    def beside(t: Tensor, z: Tensor) -> Tensor:
        # by the state and the time themselves it can be differentiated, for those who linearise it
        with torch.set_grad_enabled(z.requires_grad or t.requires_grad), perturbation.of(t, z):
            return field(t, z)

    return beside


class Shadow:
    """A solution beside each row's own, for steps that are short enough for derivatives too.

    At rest a state has no error however long the step is, but its derivatives have: a step that is too long for them
    makes a gradient wrong by any factor and leaves the state right. So while derivatives are taken, the distance
    between the state and a shadow is held to the tolerances of the state. The shadow starts a little off in all
    coordinates, and moves by a field whose parameters are a little off. The state itself is never touched.

    Parameters
    ----------
    field : callable
    z : Tensor[b d]
        States at the start.
    rtol, atol : float
        Tolerances of the state; ``atol / rtol`` is the size below which it counts as zero.
    """

    def __init__(self, field: VectorField, z: Tensor, rtol: float, atol: float) -> None:
        self.field, self.beside, self.rtol, self.atol = field, perturbed(field, len(z)), rtol, atol
        self.near = nearness(z.dtype)
        self.offset = self._reach(z) * _shares(z.shape[1], z)
        self.candidate = self.offset
        self.refusals = torch.zeros_like(z[:, 0], dtype=torch.int64)

    @torch.no_grad()
    def error_norm(
        self, attempt: Callable[..., Step], error: Callable[[Tensor, Sequence[Tensor]], Tensor],
        t: Tensor, dt: Tensor, z: Tensor, step: Step,
    ) -> Tensor:  # fmt: skip
        """Error of the distance after a step from `z` (b d), relative to its tolerance: (b,); 0 where it has none.

        Parameters
        ----------
        attempt, error : callable
            The solver's step, and its error from the stages.
        t, dt, z, step
            Of the step that the state takes.
        """
        z = z.detach()
        beside = attempt(self.beside, t.detach(), dt.detach(), z + self.offset)
        self.candidate = torch.where(beside.is_finite[:, None], beside.z - step.z, self.offset).detach()
        apart = [k - slope for k, slope in zip(beside.stages, step.stages)]
        distance, size = torch.maximum(self.offset.abs(), self.candidate.abs()), torch.maximum(z.abs(), step.z.abs())
        norm = (error(dt, apart) / self._tolerance(distance, size)).square().mean(dim=1).sqrt().detach()
        is_telling = beside.is_finite & norm.isfinite() & (self.refusals < _PATIENCE)
        norm = torch.where(is_telling, norm, 0.0)
        if (norm <= 1).all():
            return norm
        return torch.where((norm > 1) & ~self._is_smooth(t, z), 0.0, norm)

    def _is_smooth(self, t: Tensor, z: Tensor) -> Tensor:
        """Whether slopes differ in proportion to distances (b,), as they do not where a derivative is infinite."""
        slope = self.field(t, z)
        far, near = ((self.field(t, z + share * self.offset) - slope).abs().amax(dim=1) for share in (1.0, 0.01))
        return ~(100 * near > 4 * far)

    @torch.no_grad()
    def follow(self, z: Tensor, is_moved: Tensor, is_refused: Tensor) -> None:
        """Go on beside ``z`` (b d) in the rows that have moved (b,); `is_refused` are those held back for its sake."""
        self.refusals = torch.where(is_refused, self.refusals + 1, 0)
        # What has faded is kept just above the tolerance, or later steps could be so long that it came back.
        ahead = self.candidate + self._tolerance(self.candidate.abs(), z.detach().abs()) * _shares(z.shape[1], z)
        # What has grown is brought back near the state: farther off it would show how another solution moves. Not at
        # every step: the parameters stay as far off as they are, and what follows them at once would begin anew.
        growth = (ahead / self._reach(z)).abs().amax(dim=1, keepdim=True)
        ahead = torch.where(growth > _FAR, ahead / growth, ahead)
        self.offset = torch.where(is_moved[:, None], ahead, self.offset)

    def _reach(self, z: Tensor) -> Tensor:
        return self.near * (z.detach().abs() + (self.atol / self.rtol if self.rtol else 1.0))

    def _tolerance(self, distance: Tensor, size: Tensor) -> Tensor:
        """Error that is allowed in the distance of states of this size: their rounding, at the least."""
        return self.near * self.atol + self.rtol * distance + 4 * torch.finfo(size.dtype).eps * size


class _Perturbation(TorchFunctionMode):
    """Whatever asks for a gradient, and is not made of what is given, came from outside: it is handed on a bit off."""

    def __init__(self, n_rows: int) -> None:
        super().__init__()
        self.n_rows = n_rows
        self.known: dict[int, tuple[Tensor, Tensor]] = {}
        self.own: dict[int, Tensor] = {}

    def of(self, *given: Tensor) -> _Perturbation:
        """Itself, for a call of the field with what is given."""
        self.own = {id(x): x for x in given}
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*map(self._moved, args), **{name: self._moved(value) for name, value in (kwargs or {}).items()})
        if torch.is_grad_enabled():
            parts = made if isinstance(made, tuple | list) else (made,)
            self.own.update({id(x): x for x in parts if isinstance(x, Tensor)})
        return made

    def _moved(self, x: Any) -> Any:
        if type(x) in (list, tuple):
            return type(x)(map(self._moved, x))
        if not isinstance(x, Tensor) or not x.requires_grad or id(x) in self.own:
            return x
        if id(x) not in self.known:
            self.known[id(x)] = x, self._beside(x.detach())  # while it is held nothing else has its id
        return self.known[id(x)][1]

    def _beside(self, x: Tensor) -> Tensor:
        # One number a row must not depend on the place of the row in its batch.
        shares = 1.0 if x.shape in ((), (self.n_rows,)) else _shares(x.shape[-1], x)
        return x + nearness(x.dtype) * x.abs().masked_fill(x == 0, _SIZE_OF_ZERO) * shares


def _shares(n: int, like: Tensor) -> Tensor:
    """Numbers between 1/2 and 3/2 that cancel in no sum, (n,)."""
    return 1 + 0.5 * torch.arange(1, n + 1, dtype=like.dtype, device=like.device).square().cos()
