"""Response of any forecaster: joint paths drawn with the same random numbers under each candidate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from tsode.control.response import Response
from tsode.control.scene import Clock

__all__ = ["SignalResponse"]


class SignalResponse(Response):
    """Sampled paths, without gradients.

    Parameters
    ----------
    draw : callable
        ``(amounts (k,), shifts (k,) or None)`` -> paths (s m c) of the same draws, whatever the amounts.
    names : sequence of label
    clock : Clock
    n_draws : int
    """

    is_differentiable = False

    def __init__(
        self, draw: Callable[[np.ndarray, np.ndarray | None], np.ndarray], names: Sequence[Hashable], clock: Clock,
        n_draws: int,
    ) -> None:  # fmt: skip
        self._draw, self.names, self.clock, self.n_draws = draw, list(names), clock, n_draws

    def paths(self, amounts: Tensor, shifts: Tensor | None = None) -> Tensor:
        moved = [None] * len(amounts) if shifts is None else list(shifts.detach().numpy())
        drawn = [self._draw(of_one, by) for of_one, by in zip(amounts.detach().numpy(), moved)]
        return torch.from_numpy(np.stack(drawn)).double()
