"""Two compartments: a drug in the blood that also goes into tissue and comes back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsode.inference.dosing import Dosing
from tsode.inference.known_system import KnownSystem
from tsode.inference.parameters import Parameters
from tsode.inference.priors import Prior
from tsode.systems.concentration import of_concentration
from tsode.systems.priors import Typical, around

__all__ = ["two_compartment_iv", "two_compartment_oral"]


def two_compartment_iv(
    clearance: Typical = 1.0, volume: Typical = 10.0, exchange: Typical = 1.0, tissue_volume: Typical = 20.0,
    level: float = 1.0, spread: float = 1.0,
) -> KnownSystem:  # fmt: skip
    """Two compartments with injections or infusions into the first.

    ``A' = -(clearance + exchange) A / volume + exchange T / tissue_volume``, and what leaves for the tissue is in
    ``T``. States ``central``, to which doses go, and ``tissue``; channel ``concentration`` is ``central / volume`` with
    combined noise.

    Parameters
    ----------
    clearance, exchange : float or Prior
        Typical values, volume per time.
    volume, tissue_volume : float or Prior
        Typical values.
    level : float
        Typical concentration, for the scale of the noise.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    observed, noise = of_concentration(_concentration_iv, level)
    parameters = _disposition(clearance, volume, exchange, tissue_volume, spread)
    return KnownSystem(
        _iv, ["central", "tissue"], parameters | noise, {"central": 0.0, "tissue": 0.0}, observed
    )  # fmt: skip


def two_compartment_oral(
    absorption: Typical = 1.0, clearance: Typical = 1.0, volume: Typical = 10.0, exchange: Typical = 1.0,
    tissue_volume: Typical = 20.0, level: float = 1.0, lag: Typical | None = None, spread: float = 1.0,
) -> KnownSystem:  # fmt: skip
    """Two compartments with doses that are swallowed: as `two_compartment_iv`, with a state ``depot`` in front.

    Parameters
    ----------
    absorption : float or Prior
        Typical rate of absorption, per time.
    clearance, volume, exchange, tissue_volume, level, spread
        As in `two_compartment_iv`.
    lag : float or Prior, optional
        Typical time before a dose begins to be absorbed; by default there is none.
    """
    observed, noise = of_concentration(_concentration_oral, level)
    parameters = _disposition(clearance, volume, exchange, tissue_volume, spread)
    parameters["absorption"] = around("absorption", absorption, spread)
    doses = {}
    if lag is not None:
        parameters["lag"], doses["depot"] = around("lag", lag, spread), Dosing(lag="lag")
    states = ["depot", "central", "tissue"]
    return KnownSystem(_oral, states, parameters | noise, dict.fromkeys(states, 0.0), observed, doses=doses)


def _disposition(
    clearance: Typical, volume: Typical, exchange: Typical, tissue_volume: Typical, spread: float
) -> dict[str, Prior]:
    return {
        "clearance": around("clearance", clearance, spread),
        "volume": around("volume", volume, spread),
        "exchange": around("exchange", exchange, spread),
        "tissue_volume": around("tissue_volume", tissue_volume, spread),
    }


def _iv(t: Tensor, z: Tensor, p: Parameters) -> Any:
    central, tissue = z.unbind(-1)
    to_tissue = p.exchange / p.volume * central - p.exchange / p.tissue_volume * tissue
    return -p.clearance / p.volume * central - to_tissue, to_tissue


def _oral(t: Tensor, z: Tensor, p: Parameters) -> Any:
    absorbed = p.absorption * z[:, 0]
    central, tissue = _iv(t, z[:, 1:], p)
    return -absorbed, absorbed + central, tissue


def _concentration_iv(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 0] / p.volume


def _concentration_oral(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 1] / p.volume
