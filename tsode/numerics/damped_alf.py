"""Asynchronous leapfrog method with damping."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.errors import ParameterError
from tsode.numerics.alf import ALF

__all__ = ["DampedALF"]


@dataclass(frozen=True)
class DampedALF(ALF):
    """Asynchronous leapfrog method whose velocity is damped: reversible, order 1, and stable for slow decays.

    Decays of a rate up to ``2 (1 - eta) / (eta step)`` are stable. A step that is taken back makes rounding errors grow
    by ``1 / (2 eta - 1)``, so that only some steps can be: by default eighty in double precision, thirty in single.
    The gradient "reversible" raises a `SolverError` where there were more.

    Parameters
    ----------
    eta : float
        In (.5, 1): the smaller, the faster the decays and the fewer the steps.

    References
    ----------
    Zhuang et al., "MALI: a memory efficient and reverse accurate integrator for neural ODEs", ICLR 2021, appendix A.5.
    """

    eta: float = 0.9  # type: ignore[misc]

    order = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 < self.eta < 1:
            raise ParameterError(f"eta must be in (.5, 1), but is {self.eta}: without damping use ALF().")
