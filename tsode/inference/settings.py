"""Settings of inference: how many starts, draws and chains, and what is enough."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.errors import ParameterError

__all__ = ["Settings", "check_segments"]


@dataclass(frozen=True)
class Settings:
    """Numbers that engines go by.

    Calls of a density cost about the same up to some hundred rows, so the defaults are for few, wide calls. With many
    problems at once fewer starts and draws of each do.

    Parameters
    ----------
    n_prior : int
        Draws of the prior that starts are chosen from.
    n_starts : int
        Starts of the search for modes.
    n_importance : int
        Draws of a round of importance sampling.
    n_rounds : int
        Rounds at most; each after the first draws from laws fitted to those before.
    n_laws : int
        Laws of the mixture from the third round on.
    share_effective : float
        Effective draws, in parts of a round's, with which no further round is made.
    n_chains, n_warm_up, n_block, most_blocks : int
        Chains of Hamiltonian Monte Carlo, steps before they count, and steps between looks at them.
    n_check : int
        Chains of the check by a few trajectories.
    n_draws : int
        Draws of a posterior that are handed out; a multiple of `n_chains`.
    most_steps : int
        Gradients of a trajectory.
    n_grid : int
        Most values per axis of a quadrature over two; over one it is the square.
    segments : int, "auto" or None
        Pieces that each series is cut into while modes are sought (of a `KnownDensity`): for long or chaotic series,
        and where part of the rates is left to a network. The posterior is that of whole series all the same.
    enough : float
        Effective draws.
    max_rhat, max_k : float
        R-hat and Pareto k up to which an answer holds (Vehtari et al. 2021, 2024).
    """

    n_prior: int = 4096
    n_starts: int = 32
    n_importance: int = 4096
    n_rounds: int = 6
    n_laws: int = 12
    share_effective: float = 0.6
    n_chains: int = 64
    n_warm_up: int = 40
    n_block: int = 32
    most_blocks: int = 8
    most_steps: int = 16
    n_check: int = 512
    n_draws: int = 4096
    n_grid: int = 257
    segments: int | str | None = None
    enough: float = 400.0
    max_rhat: float = 1.01
    max_k: float = 0.7

    def __post_init__(self) -> None:
        check_segments("segments", self.segments)


def check_segments(name: str, value: object) -> None:
    """Raise a ParameterError unless a value is a number of segments, "auto" or None."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is not None and value != "auto" and not is_number:
        raise ParameterError(
            f"{name}={value!r} is no number of segments: give a whole number, at least 1, 'auto', or None "
            "for whole series."
        )
