"""Penalised objective: a loss, and penalties on the vector field at the states that the loss has led to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tsode._registry import Part, build, name_of
from tsode.errors import ParameterError
from tsode.evolutions.base import Evolved, Solved, StateField
from tsode.models.filters.base import MarginalModel
from tsode.training.penalties import PENALTIES
from tsode.training.penalties.base import Penalty

__all__ = ["Penalised"]

Objective = Callable[[Any, Any], tuple[Tensor, dict[str, Tensor], Tensor]]
Spec = str | Part | Penalty


class Penalised:
    """An objective with penalties on the fields between observations.

    While the objective is worked out, it is noted where states are carried to; the penalties look at some of these.
    Fused passes carry them without a word, so there are none meanwhile.

    Parameters
    ----------
    objective : callable
        ``(model, batch) -> loss, parts, status``.
    model : nn.Module
        Whose evolutions are solved.
    penalties : sequence of str, Part or Penalty
        Names in `PENALTIES`, such with settings, or instances.

    Raises
    ------
    ParameterError
        If nothing in the model is solved.
    """

    def __init__(self, objective: Objective, model: nn.Module, penalties: Sequence[Spec]) -> None:
        members = model.members if isinstance(model, MarginalModel) else [model]
        evolutions = [getattr(member, "evolution", None) for member in members]
        self.evolutions = [part for part in evolutions if isinstance(part, Solved)]
        if not self.evolutions:
            raise ParameterError(
                "penalties= are of vector fields, but this model has none that is solved: leave penalties out, or "
                'choose an evolution that is, as evolution="mlp" is.'
            )
        self.objective = objective
        self.names = [_name_of(spec) for spec in penalties]
        made = [[_made(spec, part.dynamics) for spec in penalties] for part in self.evolutions]
        self.penalties = list(zip(*made))
        self.weights = nn.ModuleList(each for own in made for each in own).to(next(model.parameters()))

    @contextmanager
    def trained_in(self, model: nn.Module) -> Iterator[None]:
        """Have the weights of the penalties among those of the model; not any more after."""
        model.add_module("penalties", self.weights)
        try:
            yield
        finally:
            del model.penalties

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        with ExitStack() as stack:
            stack.enter_context(_unfused(model))
            visits = [stack.enter_context(_visits(part)) for part in self.evolutions]
            loss, parts, status = self.objective(model, batch)
        for name, penalties in zip(self.names, self.penalties):
            values = [
                penalty(part.dynamics, *_some(seen, penalty.n_states))
                for penalty, part, seen in zip(penalties, self.evolutions, visits)
            ]
            parts = {**parts, name: torch.stack(values).mean()}
            loss = loss + penalties[0].weight * parts[name]
        return loss, parts, status


def _made(spec: Spec, field: StateField) -> Penalty:
    n_static = int(getattr(field, "n_static", 0))
    return build(PENALTIES, spec, "penalties", n_moving=field.n_state - n_static, n_static=n_static)


def _name_of(spec: Spec) -> str:
    return type(spec).__name__.lower() if isinstance(spec, Penalty) else str(name_of(spec))


def _some(seen: list[tuple[Tensor, Tensor]], n_states: int) -> tuple[Tensor, Tensor]:
    """Times and states, evenly from all that were noted; those that have left the finite numbers are left out."""
    t, z = (torch.cat(part) for part in zip(*seen))
    is_finite = z.isfinite().all(dim=1)
    t, z = t[is_finite], z[is_finite]
    at = torch.linspace(0, max(len(z) - 1, 0), min(n_states, len(z)), device=z.device).long()
    return t[at], z[at]


@contextmanager
def _visits(evolution: Solved) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Times (b,) and states (b d) to which an evolution carries meanwhile, as constants."""
    seen: list[tuple[Tensor, Tensor]] = []

    def noted(carry: Callable[..., Evolved]) -> Callable[..., Evolved]:
        def carry_and_note(z: Tensor, t0: Tensor, to: Tensor, *drive: Tensor) -> Evolved:
            evolved = carry(z, t0, to, *drive)
            seen.append((to.detach().flatten(), evolved.z.detach().flatten(0, -2)))
            return evolved

        return carry_and_note

    for name in ("evolve", "evolve_to"):
        setattr(evolution, name, noted(getattr(evolution, name)))
    try:
        yield seen
    finally:
        for name in ("evolve", "evolve_to"):
            delattr(evolution, name)


@contextmanager
def _unfused(model: nn.Module) -> Iterator[None]:
    fused = [part for part in model.modules() if getattr(part, "use_fused", False)]
    for part in fused:
        part.use_fused = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in fused:
            part.use_fused = True  # type: ignore[assignment]
