"""Flows: evolutions in closed form."""

from tsode.flows.diagonal import DiagonalFlow

__all__ = ["FLOWS", "DiagonalFlow"]

FLOWS = {"diagonal": DiagonalFlow}
