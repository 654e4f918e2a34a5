"""One compartment: a drug in the body that leaves in proportion to what is there."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsode.inference.dosing import Dosing
from tsode.inference.known_system import KnownSystem
from tsode.inference.parameters import Parameters
from tsode.systems.concentration import of_concentration
from tsode.systems.priors import Typical, around

__all__ = ["one_compartment_iv", "one_compartment_oral"]


def one_compartment_iv(
    clearance: Typical = 1.0, volume: Typical = 10.0, level: float = 1.0, spread: float = 1.0
) -> KnownSystem:
    """One compartment with injections or infusions into it: ``A' = -clearance / volume * A``.

    State ``central`` is the amount in the body, to which doses go; channel ``concentration`` is ``central / volume``
    with combined noise, of standard deviation ``sd`` and coefficient of variation ``cv``.

    Parameters
    ----------
    clearance : float or Prior
        Typical value, volume per time.
    volume : float or Prior
        Typical value.
    level : float
        Typical concentration, for the scale of the noise.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    observed, noise = of_concentration(_concentration, level)
    parameters = {
        "clearance": around("clearance", clearance, spread),
        "volume": around("volume", volume, spread),
    }
    return KnownSystem(_iv, ["central"], parameters | noise, {"central": 0.0}, observed)


def one_compartment_oral(
    absorption: Typical = 1.0, clearance: Typical = 1.0, volume: Typical = 10.0, level: float = 1.0,
    lag: Typical | None = None, spread: float = 1.0,
) -> KnownSystem:  # fmt: skip
    """One compartment with doses that are swallowed: ``D' = -ka D``, ``A' = ka D - clearance / volume * A``.

    States ``depot``, to which doses go, and ``central``; else as `one_compartment_iv`. Two sets of parameters give the
    same curve ("flip-flop"), one with absorption faster than elimination and one with it slower.

    Parameters
    ----------
    absorption : float or Prior
        Typical rate of absorption, per time.
    clearance, volume, level, spread
        As in `one_compartment_iv`; both are those of the share that reaches the blood.
    lag : float or Prior, optional
        Typical time before a dose begins to be absorbed; by default there is none.
    """
    observed, noise = of_concentration(_concentration, level)
    parameters = {
        "absorption": around("absorption", absorption, spread),
        "clearance": around("clearance", clearance, spread),
        "volume": around("volume", volume, spread),
    }
    doses = {}
    if lag is not None:
        parameters["lag"], doses["depot"] = around("lag", lag, spread), Dosing(lag="lag")
    return KnownSystem(
        _oral, ["depot", "central"], parameters | noise, {"depot": 0.0, "central": 0.0}, observed, doses=doses
    )


def _iv(t: Tensor, z: Tensor, p: Parameters) -> Any:
    return (-p.clearance / p.volume * z[:, 0],)


def _oral(t: Tensor, z: Tensor, p: Parameters) -> Any:
    depot, central = z.unbind(-1)
    absorbed = p.absorption * depot
    return -absorbed, absorbed - p.clearance / p.volume * central


def _concentration(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, -1] / p.volume
