"""Status of a solve, row by row."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

__all__ = ["Status", "worst"]


class Status(IntEnum):
    """Outcome of a solve for one row. A larger value is a worse outcome."""

    OK = 0
    MAX_STEPS = 1
    STEP_TOO_SMALL = 2
    NON_FINITE = 3
    NO_STEADY_STATE = 4
    ZENO = 5
    CONTACT = 6
    STIFF = 7
    UNSTABLE = 8
    UNSOLVED = 9
    UNDEFINED = 10
    BLOW_UP = 11

    @property
    def meaning(self) -> str:
        """What happened, and what usually helps."""
        return {
            Status.OK: "reached its end time",
            Status.MAX_STEPS: "needed more than the allowed number of steps: raise max_steps or loosen rtol and atol",
            Status.STEP_TOO_SMALL: "asked for steps below the resolution of time: the field is stiff or jumps; "
            "use a flow or an exponential step, or loosen rtol and atol",
            Status.NON_FINITE: "left the range of finite numbers: the field grows without bound over this gap; "
            "shorten the step or scale the values",
            Status.NO_STEADY_STATE: "has an event in steady state, but no steady state was found: more is put in than "
            "can leave, or a state only ever grows; write the repeats out (`every` and `n_more`) instead",
            Status.ZENO: "met events without end: their times accumulate, or there are more than max_events; end "
            "before the accumulation, let a terminal event stop the row, or raise a max_events that was set",
            Status.CONTACT: "was put by a reset onto a surface that its field goes on driving it through: let the "
            "reset also set a state (a mode) in which the field rests there, or let a terminal event stop the row",
            Status.STIFF: "is stiff: its steps are held short by what has long faded, and their number ran out; use an "
            'implicit solver, "auto" or Rodas4()',
            Status.UNSTABLE: "changes faster than its reversible steps can follow, whose two copies of the state have "
            "come apart: shorten the step, use DampedALF() for slow decays, or another solver, Tsit5()",
            Status.UNSOLVED: "has an implicit step whose equation was not solved by Newton's method: shorten the step, "
            "or use Rodas4(), which chooses its own",
            Status.UNDEFINED: "came to where its field is NaN or infinite: keep the arguments of its roots, logarithms "
            "and quotients in their range, for instance by clamp",
            Status.BLOW_UP: "grows without bound at a finite time: end before it, or look for a wrong sign or unit in "
            "the field",
        }[self]


def worst(*statuses: Tensor) -> Tensor:
    """The worse of several outcomes, row by row."""
    result = statuses[0]
    for status in statuses[1:]:
        result = torch.maximum(result, status)
    return result
