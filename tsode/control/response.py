"""Response of a system's draws to actions: paths as a function of amounts, and superposition where it is affine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.control.scene import Clock, Scene
from tsode.control.slots import Slots
from tsode.errors import UnreadActionError

__all__ = ["Response", "Superposed", "check_read", "linearised", "reference", "superposed"]

_SAME = 1e-5  # of the size of a draw's paths: error of superposition, well above that of a solve
_NOTHING = 1e-9  # of the same size: what a whole dose does where it does nothing


class Response(ABC):
    """Paths of the same draws under any candidate.

    Attributes
    ----------
    names : sequence of label
        Channels.
    clock : Clock
    n_draws : int
    is_differentiable : bool
        Whether `paths` has gradients by amounts and shifts.
    """

    names: Sequence[Hashable]
    clock: Clock
    n_draws: int
    is_differentiable: bool

    @abstractmethod
    def paths(self, amounts: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Paths (q s m c) under amounts (q k), of doses that come later by `shifts` (q k)."""

    def scene(self, amounts: Tensor, shifts: Tensor | None = None) -> Scene:
        """What objectives look at."""
        return Scene(self.paths(amounts, shifts), self.names, self.clock, amounts)


@dataclass(frozen=True, eq=False)
class Superposed(Response):
    """Paths that are affine in the amounts: those of some amounts, and what one more of each adds.

    Parameters
    ----------
    names, clock, n_draws
        As in `Response`.
    at : Tensor[k]
        Amounts.
    base : Tensor[s m c]
        Paths under these.
    units : Tensor[k s m c]
    """

    names: Sequence[Hashable]
    clock: Clock
    n_draws: int
    at: Tensor
    base: Tensor
    units: Tensor
    is_differentiable: bool = True

    def paths(self, amounts: Tensor, shifts: Tensor | None = None) -> Tensor:
        shape = (len(amounts), *self.base.shape)
        return self.base + ((amounts - self.at) @ self.units.flatten(1)).reshape(shape)


def reference(slots: Slots) -> tuple[Tensor, Tensor]:
    """Amounts (k,) as near to none as bounds allow, and a step (k,) that leads to others within them."""
    at, scale = np.clip(np.zeros(len(slots)), slots.low, slots.high), slots.scale()
    step = np.where(at + scale <= slots.high + 1e-12 * scale, scale, -scale)
    return torch.from_numpy(at), torch.from_numpy(step)


def linearised(response: Response, at: Tensor, step: Tensor) -> Superposed:
    """Superposition of what steps (k,) of each amount add to the paths at amounts (k,), by differences."""
    with torch.no_grad():
        paths = response.paths(torch.cat([at[None], at + torch.diag(step)]))
    units = (paths[1:] - paths[0]) / step[:, None, None, None]
    return Superposed(response.names, response.clock, response.n_draws, at, paths[0].contiguous(), units.contiguous())


def superposed(response: Response, slots: Slots, generator: torch.Generator) -> tuple[Superposed, bool]:
    """What whole doses add to the paths, and whether paths under other amounts are their superposition.

    Whether they are is tried out, at amounts taken at random and at all of them together.
    """
    at, step = reference(slots)
    found = linearised(response, at, step)
    shares = torch.rand(1, len(slots), generator=generator, dtype=torch.float64)
    tried = at + torch.cat([shares, torch.ones_like(shares)]) * step
    with torch.no_grad():
        true, guess = response.paths(tried), found.paths(tried)
    size = true.abs().amax(dim=(0, 2), keepdim=True)
    error = ((true - guess).abs() <= _SAME * size + 1e-300) | (true.isnan() & guess.isnan())
    return found, bool(error.all())


def check_read(found: Superposed, slots: Slots, names: Sequence[Hashable]) -> None:
    """Raise an UnreadActionError if an action moves none of these channels at any time."""
    _, step = reference(slots)
    places = [list(found.names).index(name) for name in names]
    effect = (found.units[..., places] * step[:, None, None, None]).abs().nan_to_num()
    size = torch.maximum(found.base[..., places].abs().nan_to_num().amax(dim=(0, 1)), effect.amax(dim=(0, 1, 2)))
    moves = (effect > _NOTHING * size).flatten(1).any(dim=1).numpy()
    for place, action in enumerate(slots.actions):
        own = slots.of == place
        if own.any() and not moves[own].any():
            raise UnreadActionError(
                f"{action.what} change no channel that is looked at, at any time of the plan: the model does not read "
                f"them. Looked at are {', '.join(map(repr, names))}."
            )
