"""Drive of the modes in the innovation filter: what flows in between two events, and its gradients.

Over a gap a constant drive ``g`` adds ``phi g`` to the modes, ``phi = (exp(lambda gap) - 1) / lambda``. The rates
``lambda = -decay + i frequency`` are those that the statics have set at the event before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.integrated_exponential import integrated_exponential

__all__ = ["HeldDrive", "flow_in"]


def flow_in(re: Tensor, im: Tensor, drive: Tensor, decay: Tensor, frequency: Tensor, gap: Tensor) -> None:
    """Add to the modes (... m) in place what the drive (... 2m) lets flow in over ``gap`` (... 1)."""
    real, imaginary = _times(integrated_exponential(decay, frequency, gap), drive.chunk(2, dim=-1))
    re.add_(real)
    im.add_(imaginary)


class HeldDrive(NamedTuple):
    """What the sweep back over the events reads of the drive, for all q events at once.

    Parameters
    ----------
    flowed_in : Tensor[... q 2m]
        What flowed into the modes before each event.
    drive, phi, slope : pairs of Tensor[... q m]
        Real and imaginary parts of the drive, of ``phi``, and of its derivative by ``lambda``, over the gap.
    """

    flowed_in: Tensor
    drive: tuple[Tensor, Tensor]
    phi: tuple[Tensor, Tensor]
    slope: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, drive: Tensor, decay: Tensor, frequency: Tensor, gap: Tensor) -> HeldDrive:
        """All from the drive (... q 2m), the rates (... q m) and the gaps (q 1)."""
        real, imaginary = phi = integrated_exponential(decay, frequency, gap)
        parts = re, im = drive.chunk(2, dim=-1)
        # (exp(lambda gap) - phi / gap) / lambda, by exp(lambda gap) = 1 + lambda phi; its limit 0 where the gap is 0
        is_gap = gap != 0
        safe = torch.where(is_gap, gap, 1.0)
        up = (
            1.0 - decay * real - frequency * imaginary - real / safe,
            frequency * real - decay * imaginary - imaginary / safe,
        )
        square = decay.square() + frequency.square()
        square = torch.where(is_gap & (square > 0), square, torch.inf)
        slope = (frequency * up[1] - decay * up[0]) / square, -(frequency * up[0] + decay * up[1]) / square
        return cls(torch.cat(_times(phi, parts), dim=-1), (re, im), phi, slope)

    def split(self, sizes: Sequence[int]) -> list[HeldDrive]:
        """Those of the rows of each event."""
        flowed_in = self.flowed_in.split(list(sizes), dim=-2)
        pairs = [zip(*(part.split(list(sizes), dim=-2) for part in pair)) for pair in self[1:]]
        return [HeldDrive(*each) for each in zip(flowed_in, *pairs)]

    def pull_back(self, d_re: Tensor, d_im: Tensor, d_size: Tensor, d_phase: Tensor, d_drive: Tensor) -> None:
        """Gradient of the drive, and what is added to those of ``-decay gap`` and of ``frequency gap``.

        From the gradient of the modes (... m) just before the event.
        """
        (re, im), (real, imaginary), (along, across) = self[1:]
        torch.cat([d_re * real + d_im * imaginary, d_im * real - d_re * imaginary], dim=-1, out=d_drive)
        to_real, to_imaginary = d_re * re + d_im * im, d_im * re - d_re * im
        d_size.add_(to_real * along + to_imaginary * across)
        d_phase.add_(to_imaginary * along - to_real * across)


def _times(phi: tuple[Tensor, Tensor], x: tuple[Tensor, ...]) -> list[Tensor]:
    """Complex product."""
    return [phi[0] * x[0] - phi[1] * x[1], phi[0] * x[1] + phi[1] * x[0]]
