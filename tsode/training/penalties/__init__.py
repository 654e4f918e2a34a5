"""Penalties on what a vector field does where training has led its states, by name."""

from tsode._registry import Registry
from tsode.training.penalties.base import Penalty
from tsode.training.penalties.contraction import Contraction
from tsode.training.penalties.energy import EnergyDrift

__all__ = ["PENALTIES", "Contraction", "EnergyDrift", "Penalty"]

PENALTIES: Registry[type[Penalty]] = Registry(
    "penalty", Penalty, {"contraction": Contraction, "energy": EnergyDrift}, sizes=("n_moving", "n_static")
)
