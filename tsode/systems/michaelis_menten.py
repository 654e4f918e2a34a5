"""Michaelis-Menten elimination: a drug, or a substrate, whose removal saturates."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsode.inference.known_system import KnownSystem
from tsode.inference.parameters import Parameters
from tsode.systems.concentration import of_concentration
from tsode.systems.priors import Typical, around

__all__ = ["michaelis_menten"]


def michaelis_menten(
    most: Typical = 1.0, half: Typical = 1.0, volume: Typical = 10.0, level: float = 1.0, spread: float = 1.0
) -> KnownSystem:
    """Saturable elimination of what is given into a volume: ``A' = -most C / (half + C)`` with ``C = A / volume``.

    State ``central`` is the amount, to which doses go; channel ``concentration`` has combined noise. Well below `half`
    only ``most / half``, a clearance, shows.

    Parameters
    ----------
    most : float or Prior
        Typical highest rate of elimination, amount per time.
    half : float or Prior
        Typical concentration at which it is half of that.
    volume : float or Prior
        Typical value.
    level : float
        Typical concentration, for the scale of the noise.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    observed, noise = of_concentration(_concentration, level)
    parameters = {
        "most": around("most", most, spread),
        "half": around("half", half, spread),
        "volume": around("volume", volume, spread),
    }
    return KnownSystem(_rates, ["central"], parameters | noise, {"central": 0.0}, observed)


def _rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
    concentration = _concentration(t, z, p)
    return (-p.most * concentration / (p.half + concentration),)


def _concentration(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 0] / p.volume
