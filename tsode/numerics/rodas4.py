"""Rosenbrock method of order four for stiff fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tsode.numerics.rosenbrock import Rosenbrock, RosenbrockTable

__all__ = ["Rodas4"]

_LAST = (7.089566927282776, 4.573591406461604, -8.423496976860259, -0.959280113459775)


@dataclass(frozen=True)
class Rodas4(Rosenbrock):
    """Steinebach's Rosenbrock method RODAS4P2 of order 4(3): L-stable, stiffly accurate, adaptive row by row.

    For stiff fields, whose fastest changes have long faded: an explicit method has to follow them for ever. A step asks
    the field for its derivatives by state and time and solves linear systems (d d) of each row; for a field that is not
    stiff it takes more steps than `Dopri5`, and these cost several times as much. Nothing is iterated, so nothing can
    fail to converge. Where a state follows an input at a high rate the order stays 4, as that of most methods does not:
    at tolerances of 1e-10 these creep.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`.
    jacobian
        As in `Rosenbrock`.

    References
    ----------
    Hairer and Wanner, "Solving Ordinary Differential Equations II", 2nd edition, 1996, section IV.7 and the code RODAS.
    Steinebach, "Improvement of Rosenbrock-Wanner method RODASP", Progress in Differential-Algebraic Equations II, 2020.
    """

    order = 4
    error_order = 3
    table: ClassVar[RosenbrockTable] = RosenbrockTable(
        gamma=0.25,
        nodes=(0.0, 0.75, 0.321448134013046, 0.519745732277726, 1.0, 1.0),
        by_time=(0.25, -0.5, -0.189532918363016, 0.085612108792769, 0.0, 0.0),
        a=(
            (),
            (3.0,),
            (0.906377755268814, -0.189707390391685),
            (3.758617027739064, 1.161741776019525, -0.849258085312803),
            _LAST,
            (*_LAST, 1.0),
        ),
        c=(
            (),
            (-12.0,),
            (-6.354581592719008, 0.338972550544623),
            (-8.575016317114033, -7.606483992117508, 12.22499765012482),
            (-5.888975457523102, -8.157396617841821, 24.805546872612922, 12.790401512796979),
            (-4.408651676063871, -6.692003137674639, 24.625568527593117, 16.627521966636085, -5.714285714285718),
        ),
        end=(*_LAST, 1.0, 1.0),
        error=(0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        bends=(
            (-5.323528268423303, -10.042123754867493, 17.175254928256965, -5.079931171878093, -0.016185991706112),
            (6.984505741529879, 6.914061169603662, -0.849178943070653, 18.104410789349338, -3.516963011559032),
        ),
    )
