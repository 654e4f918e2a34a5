"""Solvers of ordinary differential equations in which every row has its own clock."""

from tsode.numerics.base import Solver
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.exponential import ExponentialEuler
from tsode.numerics.fixed import RK4, Euler, Midpoint
from tsode.numerics.torch_diffeq import TorchDiffEq

__all__ = ["RK4", "SOLVERS", "Dopri5", "Euler", "ExponentialEuler", "Midpoint", "TorchDiffEq"]

SOLVERS: dict[str, type[Solver]] = {
    "dopri5": Dopri5,
    "euler": Euler,
    "exponential_euler": ExponentialEuler,
    "midpoint": Midpoint,
    "rk4": RK4,
    "torchdiffeq": TorchDiffEq,
}
