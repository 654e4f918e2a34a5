"""Adaptive Runge-Kutta method of order five, with a step length of its own for every row."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.embedded_pair import EmbeddedPair
from tsode.numerics.runge_kutta import Tableau

__all__ = ["Dopri5"]

_TABLEAU = Tableau(
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    dense=(
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (
            -8048581381 / 2820520608, 0.0, 131558114200 / 32700410799, -1754552775 / 470086768,
            127303824393 / 49829197408, -282668133 / 205662961, 40617522 / 29380423,
        ),
        (
            8663915743 / 2820520608, 0.0, -68118460800 / 10900136933, 14199869525 / 1410260304,
            -318862633887 / 49829197408, 2019193451 / 616988883, -110615467 / 29380423,
        ),
        (
            -12715105075 / 11282082432, 0.0, 87487479700 / 32700410799, -10690763975 / 1880347072,
            701980252875 / 199316789632, -1453857185 / 822651844, 69997945 / 29380423,
        ),
    ),
)  # fmt: skip
# The fifth-order weights minus the embedded fourth-order ones.
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@dataclass(frozen=True)
class Dopri5(EmbeddedPair):
    """Dormand and Prince's method of order 5(4), adaptive row by row, with a quartic inside the step.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`.

    References
    ----------
    Dormand and Prince, "A family of embedded Runge-Kutta formulae", J. Comp. Appl. Math. 6, 1980. Inside the step:
    Shampine, "Some practical Runge-Kutta formulas", Math. Comp. 46, 1986.
    """

    order = 5
    error_order = 4
    tableau = _TABLEAU
    error_weights = _ERROR
