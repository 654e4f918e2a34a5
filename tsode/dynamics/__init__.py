"""Vector fields of the latent state, and its stochastic differential equations."""

from tsode._registry import Registry
from tsode.dynamics.base import Dynamics
from tsode.dynamics.geometric_brownian import GeometricBrownian
from tsode.dynamics.gru_ode import GRUODE
from tsode.dynamics.hamiltonian import Hamiltonian
from tsode.dynamics.linear import LinearDynamics
from tsode.dynamics.mean_reverting import MeanReverting
from tsode.dynamics.mlp import MLPDynamics
from tsode.dynamics.neural_sde import NeuralSDE
from tsode.dynamics.ornstein_uhlenbeck import OrnsteinUhlenbeck
from tsode.dynamics.port_hamiltonian import PortHamiltonian
from tsode.dynamics.semilinear import SemilinearDynamics
from tsode.dynamics.separable_hamiltonian import SeparableHamiltonian
from tsode.dynamics.stable import Stable
from tsode.dynamics.structured import Guarantee, Structured
from tsode.numerics.sde import DiagonalSDE

__all__ = [
    "DYNAMICS",
    "GRUODE",
    "SDES",
    "GeometricBrownian",
    "Guarantee",
    "Hamiltonian",
    "LinearDynamics",
    "MLPDynamics",
    "MeanReverting",
    "NeuralSDE",
    "OrnsteinUhlenbeck",
    "PortHamiltonian",
    "SemilinearDynamics",
    "SeparableHamiltonian",
    "Stable",
    "Structured",
]

DYNAMICS: Registry[type[Dynamics]] = Registry(
    "dynamics",
    Dynamics,
    {
        "gru_ode": GRUODE,
        "hamiltonian": Hamiltonian,
        "linear": LinearDynamics,
        "mean_reverting": MeanReverting,
        "mlp": MLPDynamics,
        "port_hamiltonian": PortHamiltonian,
        "semilinear": SemilinearDynamics,
        "separable_hamiltonian": SeparableHamiltonian,
        "stable": Stable,
    },
    sizes=("n_state", "n_static"),
)

SDES: Registry[type[DiagonalSDE]] = Registry(
    "sde",
    DiagonalSDE,
    {
        "geometric_brownian": GeometricBrownian,
        "neural": NeuralSDE,
        "ornstein_uhlenbeck": OrnsteinUhlenbeck,
    },
    sizes=("n_state",),
)
