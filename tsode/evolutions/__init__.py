"""Flows: evolutions in closed form."""

from tsode.evolutions.base import Evolution
from tsode.evolutions.decay import DecayingFlow
from tsode.evolutions.dense_linear import DenseLinearFlow
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.evolutions.orthogonal import OrthogonalFlow

__all__ = ["FLOWS", "DecayingFlow", "DenseLinearFlow", "DiagonalFlow", "OrthogonalFlow"]

FLOWS: dict[str, type[Evolution]] = {
    "decay": DecayingFlow,
    "dense": DenseLinearFlow,
    "diagonal": DiagonalFlow,
    "orthogonal": OrthogonalFlow,
}
