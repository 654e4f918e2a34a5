"""Jumps: how the state changes at an observation."""

from tsode._registry import Registry
from tsode.core.observation import Observation
from tsode.jumps.base import JumpMap
from tsode.jumps.bayes_gru import BayesGRU
from tsode.jumps.gaussian import GaussianConditioning
from tsode.jumps.gru import GRU
from tsode.jumps.innovation_gru import InnovationGRU
from tsode.jumps.neural_jump import NeuralJump

__all__ = ["GRU", "JUMPS", "BayesGRU", "GaussianConditioning", "InnovationGRU", "JumpMap", "NeuralJump", "Observation"]

JUMPS: Registry[type[JumpMap]] = Registry(
    "jump",
    JumpMap,
    {
        "bayes_gru": BayesGRU,
        "gaussian": GaussianConditioning,
        "gru": GRU,
        "innovation_gru": InnovationGRU,
        "neural_jump": NeuralJump,
    },
    sizes=("n_state", "n_channels", "n_inputs"),
)
