"""Vector fields of the latent state."""

from tsode.dynamics.base import Dynamics
from tsode.dynamics.gru_ode import GRUODE
from tsode.dynamics.linear import LinearDynamics
from tsode.dynamics.mean_reverting import MeanReverting
from tsode.dynamics.mlp import MLPDynamics

__all__ = ["DYNAMICS", "GRUODE", "LinearDynamics", "MLPDynamics", "MeanReverting"]

DYNAMICS: dict[str, type[Dynamics]] = {
    "gru_ode": GRUODE,
    "linear": LinearDynamics,
    "mean_reverting": MeanReverting,
    "mlp": MLPDynamics,
}
