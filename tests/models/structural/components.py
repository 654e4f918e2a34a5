"""Components to be tested, one of each kind, with parameters near their priors."""

import torch

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural import COMPONENTS, Component, DataScale
from tsode.models.structural.structure import Structure, pad

SCALE = DataScale(gap=0.02, roughness=0.05)
PERIODS = {"period": 0.13}
EVERY = sorted(COMPONENTS)


def make(name: str) -> Component:
    cls = COMPONENTS[name]
    takes_period = "period" in cls.__dataclass_fields__
    return cls(**(PERIODS if takes_period else {}))


def parameters(component: Component, shift: float = 0.3) -> dict[str, torch.Tensor]:
    """Two sets of parameters."""
    priors = component.priors(SCALE)
    return {
        name: torch.tensor([prior.median, prior.median * (1.0 + shift * (k + 1))], dtype=torch.float64)
        for k, (name, prior) in enumerate(priors.items())
    }


def dense(steps: PairedSteps) -> tuple[torch.Tensor, torch.Tensor]:
    """Transition matrices and noise covariances (g b m m) of steps, an odd number of states filled up."""
    m = steps.own.shape[-1]
    size = m + m % 2
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in steps))
    own, other, variance = (pad(x, size).expand(*shape, -1) for x in steps[:3])
    covariance = pad(steps.covariance, size // 2).expand(*shape, -1)
    matrix, noise = torch.diag_embed(own).clone(), torch.diag_embed(variance).clone()
    for j in range(0, size, 2):
        matrix[..., j, j + 1], matrix[..., j + 1, j] = other[..., j], other[..., j + 1]
        noise[..., j, j + 1] = noise[..., j + 1, j] = covariance[..., j // 2]
    return matrix, noise


def states_law(structure: Structure, z: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Covariance of the states at all times (n m n m), readout and noise, by composing steps from the first time."""
    parts = structure.parts(z, times.diff()[:, None])
    matrix, noise = (x[:, 0] for x in dense(parts.steps))
    n, m = len(times), structure.n_states
    cov = torch.zeros(n, m, n, m, dtype=torch.float64)
    here = torch.diag(parts.start[0])
    for i in range(n):
        if i:
            here = matrix[i - 1] @ here @ matrix[i - 1].T + noise[i - 1]
        cov[i, :, i] = across = here
        for j in range(i + 1, n):
            across = matrix[j - 1] @ across
            cov[j, :, i], cov[i, :, j] = across, across.T
    return cov, parts.readout[0], float(parts.noise[0])
