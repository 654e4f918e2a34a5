"""Structure: a sum of components seen through noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import Component, DataScale, Prior

__all__ = ["COEFFICIENT_SD", "LEAST_NOISE", "NOISE", "REGRESSORS", "Parts", "Structure", "pad"]

NOISE, REGRESSORS = "noise", "regressors"
LEAST_NOISE = 1e-8  # variance, in those of the series
COEFFICIENT_SD = 1.0  # of a regressor of standard deviation 1, in those of the series


class Parts(NamedTuple):
    """Numbers of several problems: transitions over each gap, start (b m), readout (b m), variance of noise (b)."""

    steps: PairedSteps
    start: Tensor
    readout: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Structure:
    """Sum of components and observation noise.

    Parameters are positive and lie about their priors: ``exp(log median + log sd z)`` with standard normal ``z``.

    Parameters
    ----------
    components : tuple of Component
        Of different names.
    scale : DataScale
    n_regressors : int
        Covariates whose effects are straight lines; their coefficients are normal about zero and the last of ``z``.
    """

    components: tuple[Component, ...]
    scale: DataScale
    n_regressors: int = 0

    @cached_property
    def priors(self) -> dict[tuple[str, str], Prior]:
        """Prior of each parameter, by component and name, in the order of ``z``; the noise comes last."""
        priors = {
            (component.name, name): prior
            for component in self.components
            for name, prior in component.priors(self.scale).items()
        }
        return priors | {(NOISE, "variance"): Prior(0.25 * self.scale.roughness, 2.0)}

    @property
    def n_parameters(self) -> int:
        return len(self.priors) + self.n_regressors

    @property
    def n_states(self) -> int:
        """Even: states stand in pairs."""
        n = sum(component.n_states for component in self.components)
        return n + n % 2

    @cached_property
    def _ordered(self) -> tuple[Component, ...]:
        """Components of pairs come first, so that pairs begin at even places."""
        return tuple(sorted(self.components, key=lambda component: component.n_states % 2))

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """States of each component, by name."""
        places, first = {}, 0
        for component in self._ordered:
            places[component.name] = list(range(first, first + component.n_states))
            first += component.n_states
        return places

    def level(self, n_states: int | None = None) -> Tensor:
        """1 at the state that is the level of the series, of the trend or else of what is slowest: Tensor[m]."""
        trends = [one for one in self.components if one.role == "trend"]
        others = [one for one in self.components if one.role == "rest"] or [*self.components]
        level = torch.zeros(self.n_states if n_states is None else n_states, dtype=torch.float64)
        level[self.places[(trends[:1] or others[-1:])[0].name][0]] = 1.0
        return level

    @cached_property
    def readout(self) -> tuple[float, ...]:
        """Weight of each state in the series."""
        return tuple(weight for component in self._ordered for weight in component.readout)

    def parameters(self, z: Tensor) -> dict[tuple[str, str], Tensor]:
        """Parameters (b) from ``z`` (b p)."""
        log_medians = z.new_tensor([prior.log_median for prior in self.priors.values()])
        log_sds = z.new_tensor([prior.log_sd for prior in self.priors.values()])
        values = (log_medians + log_sds * z[:, : len(self.priors)]).exp()
        return dict(zip(self.priors, values.unbind(dim=-1)))

    def coefficients(self, z: Tensor) -> Tensor:
        """Of the regressors, in standard deviations of the series: Tensor[b f]."""
        return COEFFICIENT_SD * z[:, len(self.priors) : self.n_parameters]

    def parts(self, z: Tensor, gap: Tensor, n_states: int | None = None) -> Parts:
        """Transitions over gaps (g b) or (g 1), start, readout and noise, by ``z`` (b p).

        Parameters
        ----------
        n_states : int, optional
            More than there are: the rest of them stay at zero.
        """
        parameters = self.parameters(z)
        steps, starts = [], []
        for component in self._ordered:
            own = {name: value for (of, name), value in parameters.items() if of == component.name}
            steps.append(component.steps(gap, **own))
            starts.append(component.start(**own))
        size = self.n_states if n_states is None else n_states
        own_part, other, variance, covariance = (torch.cat(parts, dim=-1) for parts in zip(*steps))
        readout = z.new_tensor(self.readout)
        joined = PairedSteps(pad(own_part, size), pad(other, size), pad(variance, size), pad(covariance, size // 2))
        noise = LEAST_NOISE + parameters[NOISE, "variance"]
        return Parts(joined, pad(torch.cat(starts, dim=-1), size), pad(readout, size).expand(len(z), -1), noise)


def pad(x: Tensor, size: int) -> Tensor:
    """Zeros added on the last axis."""
    return torch.nn.functional.pad(x, (0, size - x.shape[-1]))
