"""Series of a population as subjects: what each is worth by its effects, with derivatives by them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.inference.effects.space import PopulationSpace
from tsode.inference.known_density import KnownDensity
from tsode.inference.paired_cells import Links, at_cells, links_of
from tsode.likelihoods.log_normal import LogNormal
from tsode.likelihoods.normal import Normal

__all__ = ["LOG_2PI", "Normals", "Point", "Subjects", "apart", "derivatives", "hessian", "normal_cells"]

LOG_2PI = math.log(2.0 * math.pi)


class Point(NamedTuple):
    """What subjects are worth at some effects.

    Parameters
    ----------
    score : Tensor[g b s]
        Log likelihood of each subject given its effects.
    log_prior : Tensor[g b]
        Of the coordinates that are shared.
    is_fine : Tensor[g b s], bool
        Whether a subject has a likelihood; elsewhere its score is 0 and means nothing.
    mean, log_sd : Tensor[b k]
        Of all cells on the scale on which they are normal, if they are, each by itself.
    links : Links
        Which of them have correlated errors.
    """

    score: Tensor
    log_prior: Tensor
    is_fine: Tensor
    mean: Tensor
    log_sd: Tensor
    links: Links


@dataclass(frozen=True, eq=False)
class Normals:
    """Cells of all channels that are normal on some scale, side by side, ``k`` of them.

    Parameters
    ----------
    values : Tensor[k]
        On that scale.
    series : Tensor[k], int64
    log_jacobian : Tensor[k]
        What the change of scale adds to the log density.
    """

    values: Tensor
    series: Tensor
    log_jacobian: Tensor


class Subjects:
    """Subjects of a density whose system has random effects: its series, ``s`` of each of ``g`` problems.

    Parameters
    ----------
    joint : KnownDensity

    Attributes
    ----------
    names : tuple of str
        Of the ``p`` coordinates that are not effects.
    effects : tuple of str
        Parameters that differ among series.
    standard : tuple of str
        Effects that are integrated out, ``q`` of them: of these, then on the occasions of each series.
    """

    def __init__(self, joint: KnownDensity) -> None:
        population = joint.system.population
        if population is None:
            raise ParameterError("A population has random effects: name some, random_effects=[...].")
        self.joint, self.effects, self.standard = joint, population.effects.names, population.standard()
        width = joint.space.n_series
        start = {name: at for name, _, at, _ in joint.space._blocks()}
        self.effect_places = torch.tensor(
            [[start[name] + k for name in self.standard] for k in range(width)], dtype=torch.long
        )
        is_effect = torch.zeros(len(joint.names), dtype=torch.bool)
        is_effect[self.effect_places.flatten()] = True
        own = [name for name in joint.space.own if name not in self.standard]
        if own:
            raise ParameterError(
                f"Each series has its own {own[0]!r} beside random effects: give it an effect too "
                "(random_effects=), or a number."
            )
        self.shared_places = (~is_effect).nonzero()[:, 0]
        self.names = tuple(name for name, skip in zip(joint.names, is_effect.tolist()) if not skip)

    def select(self, problems: Tensor) -> Subjects:
        """The subjects of some problems, by their places."""
        return Subjects(self.joint.select(problems))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Problems, subjects of each, and effects."""
        return self.joint.n_problems, self.joint.space.n_series, len(self.standard)

    @property
    def is_seen(self) -> Tensor:
        """Which series (n) have a value of any channel."""
        n_values = torch.zeros(len(self.joint.data.ids), dtype=torch.int64)
        for cells in self.joint.cells.values():
            n_values = n_values.index_add(0, cells.series, torch.ones_like(cells.series))
        return n_values > 0

    def points(self, theta: Tensor, eta: Tensor) -> Tensor:
        """Coordinates (g b P) of the joint density, of shared ones (g b p) and effects (g b s q)."""
        u = theta.new_zeros(*theta.shape[:2], len(self.joint.names))
        u = u.index_copy(2, self.shared_places, theta)
        return u.index_copy(2, self.effect_places.flatten(), eta.flatten(2))

    def at(self, theta: Tensor, eta: Tensor) -> Point:
        """What subjects are worth at shared coordinates (g b p) and effects (g b s q)."""
        joint = self.joint
        point = joint.space.unpack(self.points(theta, eta))
        way = joint.solve(point.values, joint.data.times, joint.data.side)
        found = joint.judge(point, way)
        b, n = way.status.shape
        score, n_bad = theta.new_zeros(b, n), theta.new_zeros(b, n)
        means, log_sds = [], []
        for channel, cells in joint.cells.items():
            score = score.index_add(1, cells.series, found.scores[channel])
            n_bad = n_bad.index_add(1, cells.series, found.is_bad[channel].to(n_bad))
            law = found.laws[channel]
            if law.shape[-1] == 2:
                means.append(law[..., 0])
                log_sds.append(law[..., 1])
        is_fine = (way.status == Status.OK) & (n_bad == 0)
        shaped = (b, *self.shape[:2])
        is_fine = is_fine.reshape(shaped).transpose(0, 1) & point.is_fine[..., None]
        score = torch.where(is_fine, score.reshape(shaped).transpose(0, 1), 0.0)
        # effects are standard normal in the joint density, and are counted where they are integrated out
        log_prior = point.log_prior + 0.5 * (eta.square() + LOG_2PI).sum(dim=(2, 3))
        none = theta.new_zeros(b, 0)  # where no noise is normal
        mean, log_sd = torch.cat([none, *means], dim=1), torch.cat([none, *log_sds], dim=1)
        return Point(score, log_prior, is_fine, mean, log_sd, self.links(point.values))

    def links(self, values: Mapping[str, Tensor]) -> Links:
        """Cells whose errors are correlated, by parameters (g b s)."""
        b = next(iter(values.values())).shape[1]
        return links_of(
            self.joint.pairs, self.joint.cells, b, lambda pair: at_cells(values[pair.parameter], pair.series)
        )

    def by_subject(self, cells: Tensor, series: Tensor) -> Tensor:
        """Sums (g b s ...) of what cells (b k ...) have."""
        b, n = len(cells), len(self.joint.data.ids)
        total = cells.new_zeros(b, n, *cells.shape[2:]).index_add(1, series, cells)
        return total.reshape(b, *self.shape[:2], *cells.shape[2:]).transpose(0, 1)


def apart(joint: KnownDensity) -> KnownDensity:
    """The density with each series a problem of its own: as many rows, and derivatives of each series by itself."""
    n, space = len(joint.data.ids), joint.space
    chosen = copy(joint)
    assert isinstance(space, PopulationSpace)
    fixed = {name: value.expand(space.n_problems, 1, space.n_series).reshape(n, 1, 1) if value.numel() > 1 else value
             for name, value in space.fixed.items()}  # fmt: skip
    design = {name: {k: x.reshape(n, 1, 1) for k, x in of.items()} for name, of in space.design.items()}
    chosen.space = replace(space, n_problems=n, n_series=1, names=tuple(space.priors), fixed=fixed, design=design)
    chosen.names, chosen.n_problems = chosen.space.names, n
    return chosen


def normal_cells(joint: KnownDensity, method: str) -> Normals:
    """Cells of all channels on the scale on which their noise is normal.

    Raises
    ------
    ParameterError
        If a channel has another noise, or values beyond a limit of quantification, by its name and that of the method.
    """
    values, series, jacobians = [], [], []
    for channel, noise in joint.system.observed.items():
        cells = joint.cells[channel]
        if not isinstance(noise.family, Normal | LogNormal):
            raise ParameterError(
                f"{method!r} is for normal and log-normal noise, and channel {channel!r} has {type(noise).__name__}: "
                "take marginal='laplace' or 'quadrature'."
            )
        if bool((cells.is_below | cells.is_above).any()):
            raise ParameterError(
                f"{method!r} has no probability for values beyond a limit of quantification, which channel "
                f"{channel!r} has: take marginal='laplace' or 'quadrature'."
            )
        is_log = isinstance(noise.family, LogNormal)
        values.append(cells.values.log() if is_log else cells.values)
        jacobians.append(-values[-1] if is_log else torch.zeros_like(cells.values))
        series.append(cells.series)
    return Normals(torch.cat(values), torch.cat(series), torch.cat(jacobians))


def derivatives(outputs: Sequence[Tensor], eta: Tensor, is_kept: bool) -> list[Tensor]:
    """Derivatives (b k q) of each output, which cells have (b k), by the effects (g b s q) of their own subject.

    One backward pass, which is linear in a vector that stands for the cells, and one through it for each effect: the
    number of cells does not matter.

    Parameters
    ----------
    outputs : sequence of Tensor[b k]
    eta : Tensor[g b s q]
        That they were made of.
    is_kept : bool
        Whether they can be differentiated further.
    """
    asked = [x for x in outputs if x.requires_grad]
    none = [x.new_zeros(*x.shape, eta.shape[-1]) for x in outputs]
    if not asked:
        return none
    stand_ins = [torch.zeros_like(x, requires_grad=True) for x in asked]
    (slope,) = torch.autograd.grad(asked, eta, stand_ins, create_graph=True, materialize_grads=True, allow_unused=True)
    columns = [
        torch.autograd.grad(
            slope[..., k].sum(), stand_ins, retain_graph=True, create_graph=is_kept, materialize_grads=True,
            allow_unused=True,
        )
        for k in range(eta.shape[-1])
    ] if slope.requires_grad else []  # fmt: skip
    if not columns:
        return none
    found = iter([torch.stack(parts, dim=-1) for parts in zip(*columns)])
    return [next(found) if x.requires_grad else zero for x, zero in zip(outputs, none)]


def hessian(slope: Tensor, eta: Tensor, is_kept: bool) -> Tensor:
    """Derivatives (g b s q q) of slopes (g b s q) that were made of the effects (g b s q), symmetric."""
    rows = [
        torch.autograd.grad(
            slope[..., k].sum(), eta, retain_graph=True, create_graph=is_kept, materialize_grads=True, allow_unused=True
        )[0]
        for k in range(eta.shape[-1])
    ]
    found = torch.stack(rows, dim=-2)
    return 0.5 * (found + found.mT)
