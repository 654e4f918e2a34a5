"""Evidence of structures: posteriors of many side by side, and those that lead once more with more draws."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch

from tsode._isolation import isolated
from tsode.errors import SolverError, TsodeError
from tsode.inference.draws import Posterior
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.observations import Observations
from tsode.inference.problems import find_problems
from tsode.inference.settings import Settings
from tsode.inference.streams import key_of
from tsode.structures.edges import DUMMY, Structure
from tsode.structures.space import StructuresSpace

__all__ = ["BuildDensity", "Member", "fit_structures", "side_by_side"]

FIRST = Settings(n_prior=512, n_starts=8, n_importance=1024, n_rounds=4, n_laws=6, n_draws=1024)
AGAIN = Settings(n_prior=2048, n_starts=16, n_importance=4096, n_rounds=6, n_draws=4096)
MOST_ERROR = 0.005  # of the probability of a structure, by the error of its evidence, up to which it stands
MOST_K, LEADS = 0.7, 1e-3  # shape of weights from which an error is not known, and probability from which it counts
QUICK = "quick"  # quadrature over one coordinate, else importance sampling
MOST_TOGETHER = 64  # problems of one call

BuildDensity = Callable[[KnownSystem, Observations, int], KnownDensity]
"""Density of a system, given data that fall into so many problems."""


@dataclass(frozen=True, eq=False)
class Member:
    """Structure with its posterior.

    Parameters
    ----------
    structure : Structure
    system : KnownSystem
    template : KnownDensity or None
        Of all parameters, by its rates: it is seen through `space`. None where its rates have failed.
    space : ParameterSpace or None
        Of its own parameters.
    found : Posterior or None
        None where there is none.
    status : str
        "ok", or what is wrong.
    """

    structure: Structure
    system: KnownSystem
    template: Any
    space: Any
    found: Posterior | None = None
    status: str = "not fitted"

    @property
    def log_evidence(self) -> float:
        """Sum over its problems; -inf where there is none."""
        if self.found is None:
            return -math.inf
        total = float(self.found.log_evidence.sum())
        return total if math.isfinite(total) else -math.inf

    @property
    def log_evidence_se(self) -> float:
        """Standard error of `log_evidence`; NaN where the engine has none."""
        return math.nan if self.found is None else float(self.found.log_evidence_se.square().sum().sqrt())

    @property
    def pareto_k(self) -> float:
        """Worst of its problems; NaN where nothing is weighted."""
        return math.nan if self.found is None else float(self.found.pareto_k.max())

    @property
    def n_parameters(self) -> int:
        """Coordinates that are unknown, of all problems together."""
        if self.space is None:
            return 0
        return sum(name != DUMMY for name in self.space.names) * self.space.n_problems

    @property
    def density(self) -> KnownDensity:
        """Its own density."""
        return side_by_side([self])


def side_by_side(members: Sequence[Member]) -> KnownDensity:
    """One density of members with the same rates and equally many problems and coordinates."""
    template, g = members[0].template, members[0].space.n_problems
    density = copy(template.select(torch.arange(g).repeat(len(members))))
    density.space = StructuresSpace.of([member.space for member in members])
    density.names, density.n_problems = density.space.names, density.space.n_problems
    return density


def fit_structures(
    members: Sequence[Member],
    engine: str,
    seed: int,
    settings: tuple[Settings, Settings] = (FIRST, AGAIN),
    max_seconds: float | None = None,
    is_alone: bool = False,
) -> list[Member]:
    """Posteriors of all members.

    Those with equally many coordinates are problems of one call of an engine, whose solves have the rows of all. With
    "auto" it is quadrature over one coordinate, else importance sampling; those whose evidence is too uncertain for
    their probability are inferred again with more draws, and by chains where weights are still too uneven. What
    fails has a status and no posterior.

    Parameters
    ----------
    members : sequence of Member
    engine : str
    seed : int
    settings : pair of Settings
        At first, and for those that are inferred again.
    max_seconds : float, optional
        Of each call.
    is_alone : bool
        Whether each is a call of its own: the same numbers, for tests.

    Raises
    ------
    SolverError
        If all members fail; it tells the first reasons.
    """
    first, again = settings
    done = _in_batches(members, QUICK if engine == "auto" else engine, seed, first, max_seconds, is_alone)
    rounds = [] if engine != "auto" else [("importance", again), ("auto", again)]
    for then, more in rounds:
        places = _unsettled(done, 1.0 if then == "auto" else MOST_ERROR)
        if not places:
            break
        better = _in_batches([done[k] for k in places], then, seed, more, max_seconds, is_alone)
        for k, member in zip(places, better):
            if member.found is not None:
                done[k] = member
    if all(member.found is None for member in done):
        reasons = list(dict.fromkeys(member.status for member in done))
        raise SolverError(f"None of {len(done)} structures has a posterior: {'; '.join(reasons[:3])}.")
    return done


def _unsettled(members: Sequence[Member], most: float) -> list[int]:
    """Places of members whose evidence errs so much that a probability moves, or whose weights say it is not known."""
    log_joint = [member.log_evidence + member.structure.log_prior for member in members]
    top = max(log_joint)
    total = top + math.log(math.fsum(math.exp(value - top) for value in log_joint)) if math.isfinite(top) else 0.0
    found = []
    for place, (member, value) in enumerate(zip(members, log_joint)):
        share = math.exp(value - total)
        moves = share * (1.0 - share) * member.log_evidence_se > most
        if member.found is not None and (moves or (member.pareto_k > MOST_K and share > LEADS)):
            found.append(place)
    return found


def _in_batches(
    members: Sequence[Member], engine: str, seed: int, settings: Settings, max_seconds: float | None, is_alone: bool
) -> list[Member]:
    done: dict[str, Member] = {}
    batches: dict[tuple[int, int, int], list[Member]] = {}
    for member in members:
        if member.template is None:
            done[member.structure.name] = member
            continue
        own = (id(member.template), member.space.n_problems, len(member.space.names))
        batches.setdefault(own, []).append(member)
    for batch in batches.values():
        width = 1 if is_alone else max(1, MOST_TOGETHER // batch[0].space.n_problems)
        for start in range(0, len(batch), width):
            for member in _one_call(batch[start : start + width], engine, seed, settings, max_seconds):
                done[member.structure.name] = member
    return [done[member.structure.name] for member in members]


def _one_call(
    members: Sequence[Member], engine: str, seed: int, settings: Settings, max_seconds: float | None
) -> list[Member]:
    """One call of an engine for all; where it fails, one for each, so that the reason is a member's own."""
    g = members[0].space.n_problems
    if engine == QUICK:
        engine = "quadrature" if len(members[0].space.names) == 1 else "importance"
    keys = [(key_of(member.structure.name) + k) % 2**31 for member in members for k in range(g)]
    try:
        with isolated(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is in the status of each
            found = infer(side_by_side(members), engine, seed, settings, keys, max_seconds)
    except (TsodeError, ArithmeticError, RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        if len(members) > 1:
            return [one for member in members for one in _one_call([member], engine, seed, settings, max_seconds)]
        return [replace(members[0], found=None, status=f"failed: {error}")]
    return [_with(member, found.select(torch.arange(k * g, (k + 1) * g)), settings) for k, member in enumerate(members)]


def _with(member: Member, found: Posterior, settings: Settings) -> Member:
    """A member with its posterior, whose problems are named by its own parameters."""
    named = replace(found, names=member.space.names, problems=((),) * found.n_problems)
    if not bool(found.log_evidence.isfinite().all()):
        texts = next((t for t in found.problems if t), ("no log evidence",))
        return replace(member, found=None, status=f"failed: {texts[0]}")
    problems = [[text for text in texts if DUMMY not in text] for texts in find_problems(named, settings)]
    named = named.with_problems(problems)
    status = "; ".join(dict.fromkeys(text for texts in named.problems for text in texts)) or "ok"
    return replace(member, found=named, status=status)
