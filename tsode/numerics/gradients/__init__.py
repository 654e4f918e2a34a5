"""Ways to the gradient of a solve, one a file."""

from tsode._registry import Registry
from tsode.numerics.base import Gradient
from tsode.numerics.gradients.adjoint import Adjoint
from tsode.numerics.gradients.auto import Auto, Chosen
from tsode.numerics.gradients.backprop import Backprop
from tsode.numerics.gradients.checkpoint import Binomial, Checkpoint
from tsode.numerics.gradients.forward import Forward
from tsode.numerics.gradients.reversible import Reversible

__all__ = ["GRADIENTS", "Adjoint", "Auto", "Backprop", "Binomial", "Checkpoint", "Chosen", "Forward", "Reversible"]

GRADIENTS: Registry[type[Gradient]] = Registry(
    "gradient",
    Gradient,
    {
        "adjoint": Adjoint,
        "auto": Auto,
        "backprop": Backprop,
        "binomial": Binomial,
        "checkpoint": Checkpoint,
        "forward": Forward,
        "reversible": Reversible,
    },
)
