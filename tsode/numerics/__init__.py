"""Solvers of ordinary and stochastic differential equations in which every row has its own clock."""

from tsode._registry import Registry
from tsode.numerics.alf import ALF
from tsode.numerics.base import Solver
from tsode.numerics.blanes_moan import BlanesMoan
from tsode.numerics.damped_alf import DampedALF
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.euler import Euler
from tsode.numerics.euler_maruyama import EulerMaruyama
from tsode.numerics.exponential import ExponentialEuler
from tsode.numerics.exponential_difference import ExponentialDifference
from tsode.numerics.heun_maruyama import HeunMaruyama
from tsode.numerics.implicit_midpoint import ImplicitMidpoint
from tsode.numerics.leapfrog import Leapfrog
from tsode.numerics.midpoint import Midpoint
from tsode.numerics.milstein import Milstein
from tsode.numerics.reversible_heun import ReversibleHeun
from tsode.numerics.rk4 import RK4
from tsode.numerics.rodas4 import Rodas4
from tsode.numerics.ros34pw2 import Ros34PW2
from tsode.numerics.sde import SDESolver
from tsode.numerics.switching import Switching
from tsode.numerics.torch_diffeq import TorchDiffEq
from tsode.numerics.torch_sde import TorchSDE
from tsode.numerics.tsit5 import Tsit5

__all__ = [
    "ALF",
    "RK4",
    "SDE_SOLVERS",
    "SOLVERS",
    "BlanesMoan",
    "DampedALF",
    "Dopri5",
    "Euler",
    "EulerMaruyama",
    "ExponentialDifference",
    "ExponentialEuler",
    "HeunMaruyama",
    "ImplicitMidpoint",
    "Leapfrog",
    "Midpoint",
    "Milstein",
    "ReversibleHeun",
    "Rodas4",
    "Ros34PW2",
    "Switching",
    "TorchDiffEq",
    "TorchSDE",
    "Tsit5",
]

SOLVERS: Registry[type[Solver]] = Registry(
    "solver",
    Solver,
    {
        "alf": ALF,
        "auto": Switching,
        "blanes_moan": BlanesMoan,
        "damped_alf": DampedALF,
        "dopri5": Dopri5,
        "euler": Euler,
        "exponential_difference": ExponentialDifference,
        "exponential_euler": ExponentialEuler,
        "implicit_midpoint": ImplicitMidpoint,
        "leapfrog": Leapfrog,
        "midpoint": Midpoint,
        "reversible_heun": ReversibleHeun,
        "rk4": RK4,
        "rodas4": Rodas4,
        "ros34pw2": Ros34PW2,
        "torchdiffeq": TorchDiffEq,
        "tsit5": Tsit5,
    },
)

SDE_SOLVERS: Registry[type[SDESolver]] = Registry(
    "sde_solver",
    SDESolver,
    {
        "euler_maruyama": EulerMaruyama,
        "heun_maruyama": HeunMaruyama,
        "milstein": Milstein,
        "torchsde": TorchSDE,
    },
)
