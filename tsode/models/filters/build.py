"""Filter family: named compositions of evolution, jump, readout and likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsode._registry import Part, Registry, build, lookup
from tsode.errors import ParameterError
from tsode.evolutions.base import Evolution
from tsode.evolutions.build import build_evolution, is_modal
from tsode.jumps import JUMPS, JumpMap
from tsode.likelihoods import LIKELIHOODS, Likelihood
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.filters.observation_times import ObservationIntensity
from tsode.models.filters.zero_input import ResponseReadout, SeriesJump, decaying
from tsode.numerics.base import Gradient, Solver
from tsode.readouts import Readout

__all__ = ["FILTERS", "build_filter"]


class _Compositions(Registry[dict[str, Any]]):
    """Parts by the name of a filter that they make."""

    def check(self, name: str, member: Any) -> None:
        if not isinstance(member, Mapping) or not member:
            raise ParameterError(f"A filter is a dict of its evolution, jump and solver, but {name!r} is {member!r}.")
        for parameter, spec in member.items():
            lookup(dict.fromkeys(("evolution", "jump", "solver")), parameter, "part of a filter")
            if not isinstance(spec, str | Part):
                raise ParameterError(f"{parameter}={spec!r} of the filter {name!r} must be a name or part(...).")


FILTERS: Registry[dict[str, Any]] = _Compositions(
    "filter",
    dict,
    {
        "innovation": {"evolution": "linear", "jump": "innovation_gru"},
        "ode_rnn": {"evolution": "mlp", "jump": "gru"},
        "gru_ode_bayes": {"evolution": "gru_ode", "jump": "bayes_gru", "solver": "exponential_euler"},
        "neural_jump_ode": {"evolution": "mlp", "jump": "neural_jump"},
        "semilinear": {"evolution": "semilinear", "jump": "innovation_gru", "solver": "exponential_difference"},
    },
)
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
    evolution: str | Part | Evolution = "linear",
    jump: str | Part | Callable[[int, int], JumpMap] = "innovation_gru",
    likelihood: str | Part | Likelihood = "normal",
    solver: str | Part | Solver = "midpoint",
    gradient: str | Part | Gradient = "backprop",
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
    n_rates: int = 0,
    zero_input: bool = False,
    bioavailability: bool = False,
) -> JumpFilter:
    """Assemble a jump filter from parts, by name, `Part` (a name with settings) or instance.

    Parameters
    ----------
    n_channels : int
    evolution : str, Part or Evolution
        "linear" (`DiagonalFlow` of `n_modes` modes whose rates are set by `n_static` statics), "semilinear" (the same
        with a neural correction, solved with `solver`), the name of another field in `tsode.dynamics.DYNAMICS`
        (solved with `solver`, state of width `n_state`), or an instance.
    jump : str, Part or callable
        Name in `tsode.jumps.JUMPS`, or ``(n_state, n_channels) -> JumpMap``.
    likelihood : str, Part or Likelihood
    solver : str, Part or Solver
        Name in `tsode.numerics.SOLVERS`, or an instance; not used by "linear".
    gradient : str, Part or Gradient
        Of an evolution that is solved, see `tsode.evolutions.base.Solved`.
    n_hidden : int
        Hidden units of the readout.
    gate, dropout
        See `tsode.readouts.Readout`.
    n_passes, n_inputs, n_features, n_rates, bioavailability
        See `tsode.models.filters.jump_filter.JumpFilter`. A jump that is given as a callable does not read
        inputs: their effect on the state is linear.
    informative_times : bool
        Whether it is modelled when observations come, see `tsode.models.filters.observation_times`.
    zero_input : bool
        Whether the channels answer to inputs alone, see `tsode.models.filters.zero_input`: `jump` and `gate` are then
        not used.
    """
    if not isinstance(evolution, Evolution):
        n_static = n_static if is_modal(evolution) else 0
    flow = build_evolution(
        evolution, solver=solver, gradient=gradient, n_modes=n_modes, n_static=n_static, n_state=n_state
    )
    family = build(LIKELIHOODS, likelihood, "likelihood")
    width = flow.n_state
    # the jump comes first: parts draw their weights in the order in which they are made
    jump_map: JumpMap
    if zero_input:
        modes = decaying(flow)
        sizes_of_state = 2 * modes.n_modes, modes.n_static, n_channels
        jump_map = SeriesJump(*sizes_of_state, n_inputs, n_features)
        readout: Readout = ResponseReadout(*sizes_of_state, n_hidden, dropout, family.n_shape, n_features)
    else:
        if isinstance(jump, str | Part):
            sizes = {"n_state": width, "n_channels": n_channels, "n_inputs": n_inputs + n_features}
            jump_map = build(JUMPS, jump, "jump", **sizes)
        else:
            jump_map = jump(width, n_channels)
        readout = Readout(width, n_channels, n_hidden, gate, dropout, family.n_shape, n_features)
    return JumpFilter(
        flow,
        jump_map,
        readout,
        family,
        n_passes,
        n_inputs,
        ObservationIntensity(width) if informative_times else None,
        n_features,
        n_rates,
        bioavailability,
    )
