"""Flows: evolutions in closed form."""

from tsode.evolution import Evolution
from tsode.flows.dense_linear import DenseLinearFlow
from tsode.flows.diagonal import DiagonalFlow

__all__ = ["FLOWS", "DenseLinearFlow", "DiagonalFlow"]

FLOWS: dict[str, type[Evolution]] = {"dense": DenseLinearFlow, "diagonal": DiagonalFlow}
