"""Vector fields of the latent state, and its stochastic differential equations.

Of a system something may be known that no weights should break. The field that cannot:

=================================================  =====================================================================
what you know                                      field
=================================================  =====================================================================
nothing                                            "mlp", and `Relaxing` "gru_ode", whose states stay within 1
small errors neither grow nor are forgotten        "antisymmetric": real parts of the Jacobian at most 0
states of one series never move apart              "parabolic": contraction
waves or swings about one rest, nothing fades      "second_order"; "uncoupled_oscillator": an energy each
swings that fade and stay bounded                  "oscillator": amplitude at most ``1 / damping``
nothing reacts faster than ``L``                   "lipschitz", ``slope=L``
levels stay bounded over any span of time          "anti_feedback": at most ``1 / floor - 1``
an energy is kept, q and p mixed or not            "hamiltonian"; "separable_hamiltonian" with "leapfrog"
energy comes in by inputs alone and fades          "port_hamiltonian": dH/dt at most the inputs' work
all states run to one rest                         "stable": a Lyapunov function falls at a ``rate``
only rotations: every norm is kept, exactly        the evolution "orthogonal", in closed form
rates but for a part                               "residual", or ``KnownODEForecaster(residual=)``
=================================================  =====================================================================

Each is taken by its name in every forecaster (``evolution=part("lipschitz", slope=2.0)``), and a `Structured` field
measures what it promises: ``field.check(states)``.
"""

from tsode._registry import Registry
from tsode.dynamics.anti_feedback import AntiFeedback
from tsode.dynamics.antisymmetric import Antisymmetric
from tsode.dynamics.base import Dynamics
from tsode.dynamics.geometric_brownian import GeometricBrownian
from tsode.dynamics.gru_ode import GRUODE
from tsode.dynamics.hamiltonian import Hamiltonian
from tsode.dynamics.linear import LinearDynamics
from tsode.dynamics.lipschitz import Lipschitz
from tsode.dynamics.mean_reverting import MeanReverting
from tsode.dynamics.mlp import MLPDynamics
from tsode.dynamics.neural_sde import NeuralSDE
from tsode.dynamics.ornstein_uhlenbeck import OrnsteinUhlenbeck
from tsode.dynamics.oscillator import Oscillator
from tsode.dynamics.parabolic import Parabolic
from tsode.dynamics.port_hamiltonian import PortHamiltonian
from tsode.dynamics.residual import ResidualDynamics
from tsode.dynamics.second_order import SecondOrder
from tsode.dynamics.semilinear import SemilinearDynamics
from tsode.dynamics.separable_hamiltonian import SeparableHamiltonian
from tsode.dynamics.stable import Stable
from tsode.dynamics.structured import Guarantee, Structured
from tsode.dynamics.uncoupled_oscillator import UncoupledOscillator
from tsode.numerics.sde import DiagonalSDE

__all__ = [
    "DYNAMICS",
    "GRUODE",
    "SDES",
    "AntiFeedback",
    "Antisymmetric",
    "GeometricBrownian",
    "Guarantee",
    "Hamiltonian",
    "LinearDynamics",
    "Lipschitz",
    "MLPDynamics",
    "MeanReverting",
    "NeuralSDE",
    "OrnsteinUhlenbeck",
    "Oscillator",
    "Parabolic",
    "PortHamiltonian",
    "ResidualDynamics",
    "SecondOrder",
    "SemilinearDynamics",
    "SeparableHamiltonian",
    "Stable",
    "Structured",
    "UncoupledOscillator",
]

DYNAMICS: Registry[type[Dynamics]] = Registry(
    "dynamics",
    Dynamics,
    {
        "anti_feedback": AntiFeedback,
        "antisymmetric": Antisymmetric,
        "gru_ode": GRUODE,
        "hamiltonian": Hamiltonian,
        "linear": LinearDynamics,
        "lipschitz": Lipschitz,
        "mean_reverting": MeanReverting,
        "mlp": MLPDynamics,
        "oscillator": Oscillator,
        "parabolic": Parabolic,
        "port_hamiltonian": PortHamiltonian,
        "residual": ResidualDynamics,
        "second_order": SecondOrder,
        "semilinear": SemilinearDynamics,
        "separable_hamiltonian": SeparableHamiltonian,
        "stable": Stable,
        "uncoupled_oscillator": UncoupledOscillator,
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
