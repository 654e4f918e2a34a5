"""Flows: evolutions in closed form."""

from tsode.evolution import Evolution
from tsode.flows.decay import DecayingFlow
from tsode.flows.dense_linear import DenseLinearFlow
from tsode.flows.diagonal import DiagonalFlow

__all__ = ["FLOWS", "DecayingFlow", "DenseLinearFlow", "DiagonalFlow"]

FLOWS: dict[str, type[Evolution]] = {"decay": DecayingFlow, "dense": DenseLinearFlow, "diagonal": DiagonalFlow}
