"""Filter family: named compositions of evolution, jump, readout and likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tsode._registry import lookup
from tsode.evolutions.base import Evolution
from tsode.evolutions.build import MODAL, build_evolution
from tsode.jumps import JUMPS, JumpMap
from tsode.likelihoods import LIKELIHOODS, Likelihood
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.filters.observation_times import ObservationIntensity
from tsode.numerics.base import Solver
from tsode.readouts import Readout

__all__ = ["FILTERS", "build_filter"]

FILTERS: dict[str, dict[str, Any]] = {
    "innovation": {"evolution": "linear", "jump": "innovation_gru"},
    "ode_rnn": {"evolution": "mlp", "jump": "gru"},
    "gru_ode_bayes": {"evolution": "gru_ode", "jump": "bayes_gru", "solver": "exponential_euler"},
    "neural_jump_ode": {"evolution": "mlp", "jump": "neural_jump"},
    "semilinear": {"evolution": "semilinear", "jump": "innovation_gru", "solver": "exponential_difference"},
}
"""Named members of the family, as arguments of `build_filter`.

- "innovation": the default of the library, modes in closed form and a jump on what was not predicted.
- "ode_rnn": Rubanova, Chen & Duvenaud 2019, algorithm 1.
- "gru_ode_bayes": De Brouwer, Simm, Arany & Moreau 2019, with an exponential step.
- "neural_jump_ode": Herrera, Krach & Teichmann 2021.
- "semilinear": the default with a neural correction of the flow, by steps that are exact without it.
"""


def build_filter(
    n_channels: int,
    *,
    evolution: str | Evolution = "linear",
    jump: str | Callable[[int, int], JumpMap] = "innovation_gru",
    likelihood: str | Likelihood = "normal",
    solver: str | Solver = "midpoint",
    n_modes: int = 64,
    n_static: int = 32,
    n_state: int = 64,
    n_hidden: int = 128,
    gate: bool = True,
    dropout: float = 0.0,
    n_passes: int = 1,
    n_inputs: int = 0,
    informative_times: bool = False,
    n_features: int = 0,
) -> JumpFilter:
    """Assemble a jump filter from parts, by name or instance.

    Parameters
    ----------
    n_channels : int
    evolution : str or Evolution
        "linear" (`DiagonalFlow` of `n_modes` modes whose rates are set by `n_static` statics), "semilinear" (the same
        with a neural correction, solved with `solver`), the name of another field in `tsode.dynamics.DYNAMICS`
        (solved with `solver`, state of width `n_state`), or an instance.
    jump : str or callable
        Name in `tsode.jumps.JUMPS`, or ``(n_state, n_channels) -> JumpMap``.
    likelihood : str or Likelihood
    solver : str or Solver
        Name in `tsode.numerics.SOLVERS`, or an instance; not used by "linear".
    n_hidden : int
        Hidden units of the readout.
    gate, dropout
        See `tsode.readouts.Readout`.
    n_passes, n_inputs, n_features : int
        See `tsode.models.filters.jump_filter.JumpFilter`. A jump that is given as a callable does not read
        inputs: their effect on the state is linear.
    informative_times : bool
        Whether it is modelled when observations come, see `tsode.models.filters.observation_times`.
    """
    if isinstance(evolution, str):
        n_static = n_static if evolution in MODAL else 0
        evolution = build_evolution(evolution, solver=solver, n_modes=n_modes, n_static=n_static, n_state=n_state)
    family = lookup(LIKELIHOODS, likelihood, "likelihood")() if isinstance(likelihood, str) else likelihood
    width = evolution.n_state
    if isinstance(jump, str):
        jump_map = lookup(JUMPS, jump, "jump")(width, n_channels, n_inputs + n_features)
    else:
        jump_map = jump(width, n_channels)
    return JumpFilter(
        evolution,
        jump_map,
        Readout(width, n_channels, n_hidden, gate, dropout, family.n_shape, n_features),
        family,
        n_passes,
        n_inputs,
        ObservationIntensity(width) if informative_times else None,
        n_features,
    )
