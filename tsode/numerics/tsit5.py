"""Adaptive Runge-Kutta method of order five with small error coefficients."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.embedded_pair import EmbeddedPair
from tsode.numerics.runge_kutta import Tableau

__all__ = ["Tsit5"]

_B = (
    0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774,
)  # fmt: skip
_TABLEAU = Tableau(
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        _B,
    ),
    b=(*_B, 0.0),
    dense=(
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (
            -2.763706197274826, 0.1317, 3.9302962368947516, -12.411077166933676, 37.50931341651104,
            -27.896526289197286, 1.5,
        ),
        (
            2.9132554618219126, -0.2234, -5.941033872131505, 30.33818863028232, -88.1789048947664,
            65.09189467479366, -4.0,
        ),
        (
            -1.0530884977290216, 0.1017, 2.490627285651253, -16.548102889244902, 47.37952196281928,
            -34.87065786149661, 2.5,
        ),
    ),
)  # fmt: skip
# The fifth-order weights minus the embedded fourth-order ones.
_ERROR = (
    0.00178001105222577714, 0.0008164344596567469, -0.007880878010261995, 0.1447110071732629, -0.5823571654525552,
    0.45808210592918697, -1 / 66,
)  # fmt: skip


@dataclass(frozen=True)
class Tsit5(EmbeddedPair):
    """Tsitouras' method of order 5(4), adaptive row by row, with a quartic inside the step.

    A step costs what one of `Dopri5` costs, and its error is a little smaller on smooth fields.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`.

    References
    ----------
    Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption", Computers and
    Mathematics with Applications 62, 2011.
    """

    order = 5
    error_order = 4
    tableau = _TABLEAU
    error_weights = _ERROR
