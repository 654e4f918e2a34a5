"""Rosenbrock method of order three for stiff fields, which an approximate Jacobian serves as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tsode.numerics.rosenbrock import Rosenbrock, RosenbrockTable

__all__ = ["Ros34PW2"]

_END = (4.18476048231916, -0.28519201735549593, 2.294280360279042)


@dataclass(frozen=True)
class Ros34PW2(Rosenbrock):
    """Rang and Angermann's Rosenbrock-W method ROS34PW2 of order 3(2): L-stable, stiffly accurate, row by row.

    Its order does not hang on the Jacobian: `jacobian` may hold the fast part alone, or a constant. With the field's
    own derivatives `Rodas4` takes fewer steps at every tolerance.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`.
    jacobian
        As in `Rosenbrock`; it need not be exact.

    References
    ----------
    Rang and Angermann, "New Rosenbrock W-methods of order 3 for partial differential algebraic equations of index 1",
    BIT 45, 2005. The dense output is the cubic that meets the conditions of order 3 at every share of the step.
    """

    order = 3
    error_order = 2
    needs_exact_jacobian = False
    table: ClassVar[RosenbrockTable] = RosenbrockTable(
        gamma=0.435866521508459,
        nodes=(0.0, 0.871733043016918, 0.7315799577888524, 1.0),
        by_time=(0.435866521508459, -0.435866521508459, -0.4133333762338865, 0.0),
        a=((), (2.0,), (1.4192173174557647, -0.2592322116729697), _END),
        c=(
            (),
            (-4.588560720558084,),
            (-4.18476048231916, 0.28519201735549593),
            (-6.368179200128359, -6.795620944466837, 2.8700986043310563),
        ),
        end=(*_END, 1.0),
        error=(0.2777499476479681, -1.4032398951759992, 1.7726301276675507, 0.5),
        bends=(
            (-3.352101459164764, -1.176429319769177, -2.2942803602790143, -3.3981200751955796),
            (1.1686827413555732, -5.904383642053162, 7.458659324889123, 2.1038397149165378),
        ),
    )
