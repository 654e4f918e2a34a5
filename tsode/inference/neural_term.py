"""Neural terms: a part of the rates that nobody knows, as a small network whose output weights are parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.priors import Normal, Prior

__all__ = ["NeuralTerm"]


@dataclass(frozen=True)
class NeuralTerm:
    """Unknown function of states, ``scale * sum_k weight_k tanh(a_k . z / sizes + b_k) / sqrt(n_hidden)``.

    The hidden layer is drawn once, by `seed`, and stays; the output weights are parameters with a standard normal
    prior. So the term is zero unless data say otherwise, and the posterior is that of a linear model of features, which
    has no equal modes by exchanged units. With many units the prior is a Gaussian process (Neal 1996; Rahimi and Recht
    2008).

    Inside of `rates` it is called as ``term(z, p)``; its priors go to ``KnownSystem(parameters=...)``. Or the system
    adds it to the rate of a state: ``KnownSystem(residual={"prey": term})``.

    Parameters
    ----------
    name : str
        Of the term; its weights are the parameters ``<name>_0``, ``<name>_1``, ...
    sizes : sequence of float
        Typical size of each input: the function hardly bends over a small share of it.
    scale : float
        Typical size of the term before any data, in its own unit. The smaller, the more data it takes to move it. As
        the residual of a system that is fitted it is where the search for a scale begins, see
        `tsode.inference.residual_scales.with_found_scales`.
    n_hidden : int
        Weights.
    seed : int
        Of the hidden layer.

    Examples
    --------
    >>> eaten = NeuralTerm("eaten", sizes=[30.0, 10.0], scale=20.0)
    >>> def rates(t, z, p):
    ...     prey, predator = z.unbind(-1)
    ...     lost = eaten(z, p)
    ...     return p.alpha * prey - lost, p.share * lost - p.gamma * predator
    >>> sorted(eaten.parameters())[:2]
    ['eaten_0', 'eaten_1']
    """

    name: str
    sizes: Sequence[float]
    scale: float
    n_hidden: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(float(size) for size in self.sizes))
        if not self.name.isidentifier():
            raise ParameterError(f"A neural term is named as a variable of Python, but came {self.name!r}.")
        if not self.sizes or not all(0 < size < math.inf for size in (*self.sizes, self.scale)):
            raise ParameterError(
                f"sizes and scale of the neural term {self.name!r} must be above 0, but are {self.sizes} and "
                f"{self.scale}."
            )
        if self.n_hidden < 1:
            raise ParameterError(f"n_hidden of the neural term {self.name!r} must be at least 1, not {self.n_hidden}.")

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(f"{self.name}_{k}" for k in range(self.n_hidden))

    def parameters(self) -> dict[str, Prior]:
        """Priors of the weights."""
        return {name: Normal(0.0, 1.0) for name in self.weights}

    @cached_property
    def _hidden(self) -> tuple[Tensor, Tensor]:
        """Slopes (k h), for inputs in their own units, and offsets (h,)."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(len(self.sizes) + 1, self.n_hidden, generator=generator, dtype=torch.float64)
        return drawn[:-1] / torch.tensor(self.sizes, dtype=torch.float64)[:, None], drawn[-1]

    def __call__(self, z: Tensor, p: Mapping[str, Tensor]) -> Tensor:
        """The term (r,) at inputs ``z`` (r k), such as states, with the weights of each row."""
        slopes, offsets = self._hidden
        if z.shape[-1] != len(self.sizes):
            raise ParameterError(
                f"The neural term {self.name!r} has sizes for {len(self.sizes)} inputs, but is given {z.shape[-1]}."
            )
        features = torch.tanh(z @ slopes.to(z) + offsets.to(z))
        weights = torch.stack([p[name] for name in self.weights], dim=-1)
        return (features * weights).sum(dim=-1) * (self.scale / math.sqrt(self.n_hidden))
