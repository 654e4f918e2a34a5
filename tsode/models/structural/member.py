"""Members of a structural model: structures with draws of their parameters and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.transforms import Transform
from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.event_responses import Responses
from tsode.models.structural.given_errors import GivenErrors, noise_of_errors
from tsode.models.structural.joint import JointStructure
from tsode.models.structural.structure import Parts, Structure

__all__ = ["ChannelFit", "Member", "of_channels"]


@dataclass(frozen=True, eq=False)
class Member:
    """One structure and draws of its parameters, the first of them the mode.

    Parameters
    ----------
    structure : Structure
        A `JointStructure` of a channel that is modelled with others, which share its parameters.
    weight : float
        Of all its draws together; those of the members of a channel sum to 1.
    z : Tensor[k p], float64
        See `Structure`.
    """

    structure: Structure
    weight: float
    z: Tensor


@dataclass(frozen=True, eq=False)
class ChannelFit:
    """What was fitted of one channel.

    Parameters
    ----------
    members : tuple of Member
    transform : Transform
        Of the values in the data's own units.
    shift, spread : float
        Mean and standard deviation of the transformed values: the structures hold for ``(g(y) - shift) / spread``.
    span : float
        The structures' unit of time, in units of model time.
    changes : tuple of float
        Changepoints in model time, whose coefficients are the last of the regressors'.
    effects : tuple of Effects, optional
        How the parameters of each member differ between series; None: they are the same for all.
    limit : float, optional
        Standard deviations beyond which a value stands out, see `reweighting.judge`; None: all are believed.
    reach : float
        Greatest less least of the values in the data's own units; 0 where they are all one.
    errors : GivenErrors, optional
        Of the observations, where they are known.
    responses : Responses, optional
        To events, where they were given. Their coefficients stand between those of covariates and of changepoints.
    """

    members: tuple[Member, ...]
    transform: Transform
    shift: float
    spread: float
    span: float
    effects: tuple[Any, ...] | None = None
    changes: tuple[float, ...] = ()
    limit: float | None = None
    reach: float = 0.0
    errors: GivenErrors | None = None
    responses: Responses | None = None

    @property
    def n_states(self) -> int:
        return max(member.structure.n_states for member in self.members)

    @property
    def likeliest(self) -> Member:
        return max(self.members, key=lambda member: member.weight)

    @property
    def place_of_likeliest(self) -> int:
        """Of the mode of the likeliest member among all draws."""
        return sum(len(member.z) for member in self.members[: self.members.index(self.likeliest)])

    @property
    def levels(self) -> Tensor:
        """1 at the state of each draw that is the level: Tensor[d m]."""
        each = [member.structure.level(self.n_states).expand(len(member.z), -1) for member in self.members]
        return torch.cat(each)

    @property
    def log_weights(self) -> Tensor:
        """Of all draws, members one after the other: Tensor[d]."""
        parts = [torch.full((len(member.z),), member.weight / len(member.z)) for member in self.members]
        return torch.cat(parts).double().log()

    @property
    def noise_ahead(self) -> float:
        """Variance that an observation to come has beside the fitted noise."""
        return self.errors.ahead if self.errors else 0.0

    def given_noise(self, batch: IrregularBatch, c: int) -> Tensor:
        """Variances of the noise of the values of channel `c` (b n) beside what was fitted; 0 where none is given."""
        values = batch.values[..., c].double()
        if self.errors is None:
            return torch.zeros_like(values)
        is_given = batch.mask[..., self.errors.place] & batch.mask[..., c]
        errors = torch.where(is_given, batch.values[..., self.errors.place].double(), torch.nan)
        return noise_of_errors(errors, values, self.transform, self.spread)

    @property
    def n_covariates(self) -> int:
        n_others = 2 * len(self.changes) + (self.responses.n_features if self.responses else 0)
        return self.members[0].structure.n_regressors - n_others

    @property
    def coefficients(self) -> Tensor:
        """Of the regressors, of all draws: Tensor[d f]."""
        return torch.cat([member.structure.coefficients(member.z) for member in self.members])

    def scaled(self, values: Tensor) -> Tensor:
        """What the structures hold for."""
        return (self.transform.forward(values) - self.shift) / self.spread

    def parts(self, gap: Tensor, only_modes: bool = False) -> Parts:
        """Transitions of all draws over gaps (g r): (g r d m), start and readout (d m), noise (d)."""
        size, found = self.n_states, []
        for member in self.members:
            z = member.z[:1] if only_modes else member.z
            found.append(member.structure.parts(z, gap.reshape(-1, 1) / self.span, size))
        steps = PairedSteps(
            *(
                torch.cat(
                    [x.expand(gap.numel(), len(part.start), -1) for x, part in zip(parts, found)], dim=1
                ).unflatten(0, gap.shape)
                for parts in zip(*(part.steps for part in found))
            )
        )
        starts, readouts, noises = zip(*(part[1:] for part in found))
        return Parts(steps, torch.cat(starts), torch.cat(readouts), torch.cat(noises))


def of_channels(
    members: Sequence[Member],
    units: Sequence[tuple[Transform, float, float, float]],
    span: float,
    responses: Responses | None = None,
) -> list[ChannelFit]:
    """Fits of channels that are modelled together, from members as the first of them sees them.

    Parameters
    ----------
    members : sequence of Member
        Of a `JointStructure`.
    units : sequence of (transform, shift, spread, reach)
        Of each channel.
    span : float
    """
    every = [tuple(_as_seen_by(c, member) for member in members) for c in range(len(units))]
    return [
        ChannelFit(of_channel, transform, shift, spread, span, reach=reach, responses=responses)
        for of_channel, (transform, shift, spread, reach) in zip(every, units)
    ]


def _as_seen_by(c: int, member: Member) -> Member:
    assert isinstance(member.structure, JointStructure)
    return replace(member, structure=replace(member.structure, channel=c))
