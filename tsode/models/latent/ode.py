"""Latent ODE: all that is random about a path is its start and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tsode._registry import Part, as_part, build, class_of
from tsode.core.status import worst
from tsode.dynamics.mlp import MLPDynamics
from tsode.encoders import ENCODERS, Encoder
from tsode.encoders.backward_filter import BackwardFilter
from tsode.encoders.backward_ode_rnn import BackwardODERNN
from tsode.encoders.set_attention import SetAttention
from tsode.evolutions.base import Evolution, Solved
from tsode.evolutions.build import build_evolution
from tsode.jumps.gru import GRU
from tsode.models.filters.build import build_filter
from tsode.models.filters.kernels import evolve_to, run_recurrent
from tsode.models.latent.base import Draws, Inference, LatentModel, LatentPaths
from tsode.models.query_groups import QueryGroups
from tsode.numerics.base import Gradient, Solver
from tsode.numerics.euler import Euler
from tsode.readouts import Emission

__all__ = ["LatentODE", "build_encoder", "build_latent_ode"]


class LatentODE(LatentModel):
    """Latent model whose state follows an ODE from its random start (Chen et al. 2018; Rubanova et al. 2019).

    Parameters
    ----------
    encoder : Encoder
    evolution : Evolution
        Of the latent state; it reads the time since the first event. Coordinates it holds still are parameters of a
        series.
    emission : Emission
    n_samples, max_context, n_features
        See `LatentModel`.
    n_inputs : int
        Width of the inputs at known times, which are added to the state by a learned matrix.
    """

    use_fused: bool = True
    is_smooth = True

    def __init__(
        self,
        encoder: Encoder,
        evolution: Evolution,
        emission: Emission,
        n_samples: int = 16,
        max_context: int = 128,
        n_inputs: int = 0,
        n_features: int = 0,
    ) -> None:
        super().__init__(encoder, emission, evolution.n_state, n_samples, max_context, n_features)
        self.evolution = evolution
        self.input_map = nn.Linear(n_inputs, evolution.n_state, bias=False) if n_inputs else None

    def paths(self, inference: Inference, times: Tensor, draws: Draws) -> LatentPaths:
        z = inference.state(draws.start)
        # a clock of its own for each row, so that a field that reads the time does not see the origin of the data
        elapsed = times - inference.start[:, None]
        if self.input_map is None or inference.batch.inputs is None:
            z, status = self._flow(z, torch.zeros_like(inference.start), elapsed)
        else:
            z, status = self._flow_through(inference, z, elapsed)
        return LatentPaths(z, z.new_zeros(z.shape[:2]), status)

    def _flow(self, z: Tensor, t0: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Carry ``z`` (s b d) from ``t0`` (b,) to each of ``times`` (b m): states (s b m d), and status (b,)."""
        s, b, m = len(z), *times.shape
        where = z.flatten(0, 1), t0.expand(s, b).reshape(-1), times.expand(s, b, m).reshape(s * b, m)
        evolved = evolve_to(self.evolution, *where) if self.use_fused else self.evolution.evolve_to(*where)
        return evolved.z.unflatten(0, (s, b)), evolved.status.reshape(s, b).amax(dim=0)

    def _flow_through(self, inference: Inference, z: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """As `_flow` from the start, through all inputs of each row: a state at the time of one does not know it."""
        assert self.input_map is not None
        batch = inference.batch
        batch = batch.replace(mask=torch.zeros_like(batch.mask)).compact()
        assert batch.inputs is not None
        input_times = batch.times - inference.start[:, None]
        t = torch.zeros_like(inference.start)
        starts, begins, statuses = [z], [t], []
        for k in range(batch.n_events):
            until = torch.where(k < batch.lengths, input_times[:, k], t)
            states, status = self._flow(starts[-1], t, until[:, None])
            starts.append(states[:, :, 0] + self.input_map(batch.inputs[:, k]))
            begins.append(until)
            statuses.append(status)
            t = until
        index = torch.minimum(torch.searchsorted(input_times.contiguous(), times.contiguous()), batch.lengths[:, None])
        n_starts = len(starts)
        row = torch.arange(len(times), device=times.device)[:, None]
        start = (row * n_starts + index).flatten()
        groups = QueryGroups.of(start)
        start = start[groups.first_member]
        z, t = torch.stack(starts, dim=2).flatten(1, 2)[:, start], torch.stack(begins, dim=1).flatten()[start]
        states, status = self._flow(z, t, groups.gather(times.flatten(), t))
        row = start.div(n_starts, rounding_mode="floor")
        worst_of_rows = torch.zeros_like(batch.lengths).scatter_reduce(0, row, status, "amax")
        return states[:, groups.group, groups.position].unflatten(1, times.shape), worst(worst_of_rows, *statuses)


def build_encoder(
    encoder: str | Part | Callable[[int, int], Encoder],
    n_channels: int,
    n_hidden: int = 64,
    width: int = 64,
    n_inputs: int = 0,
) -> Encoder:
    """Make an encoder by name, or by ``(n_channels, n_hidden) -> Encoder``; set attention reads no inputs."""
    if not isinstance(encoder, str | Part):
        return encoder(n_channels, n_hidden)
    cls = class_of(ENCODERS, encoder, "encoder")
    sizes: dict[str, Any] = {"n_channels": n_channels, "n_hidden": n_hidden, "n_inputs": n_inputs}
    if cls is BackwardFilter:
        n_modes = max(1, n_hidden // 2)
        inner = build_filter(
            n_channels,
            likelihood="normal",
            n_modes=n_modes,
            n_static=n_modes // 2,
            n_hidden=width,
            n_inputs=n_inputs,
        )
        sizes = {"inner": inner}
    elif cls is BackwardODERNN:
        # one short step a gap: what the encoder's flow must do is forget, not solve an equation to many digits
        jump = GRU(n_hidden, n_channels, n_inputs)
        sizes = {"evolution": Solved(MLPDynamics(n_hidden, width), Euler()), "jump": jump, "run": run_recurrent}
    elif cls is SetAttention and n_hidden % 4:  # the default of four heads would not divide it
        given = as_part(encoder)
        encoder = Part(given.name, (("n_heads", 1), *given.settings))
    return build(ENCODERS, encoder, "encoder", **sizes)


def build_latent_ode(
    n_channels: int,
    *,
    encoder: str | Part | Callable[[int, int], Encoder] = "backward_filter",
    evolution: str | Part | Evolution = "linear",
    solver: str | Part | Solver = "rk4",
    gradient: str | Part | Gradient = "backprop",
    n_modes: int = 32,
    n_state: int = 32,
    n_static: int = 16,
    n_encoder: int = 64,
    n_hidden: int = 64,
    observation_scale: str = "channel",
    n_samples: int = 16,
    max_context: int = 128,
    n_inputs: int = 0,
    n_features: int = 0,
) -> LatentODE:
    """Assemble a latent ODE from parts, by name, `Part` (a name with settings) or instance.

    Parameters
    ----------
    encoder : str, Part or callable
        Name in `tsode.encoders.ENCODERS`, or ``(n_channels, n_hidden) -> Encoder``.
    evolution, solver, gradient, n_modes, n_state, n_static
        See `tsode.evolutions.build.build_evolution`.
    n_encoder : int
        Width of the encoder.
    n_hidden : int
        Hidden units of the emission.
    observation_scale : {"channel", "state"}
        See `tsode.readouts.Emission`.
    n_samples, max_context
        See `LatentModel`.
    n_inputs, n_features : int
        See `LatentODE`.
    """
    # with RK4, two steps to a horizon leave an error of 1e-6 in a smooth field
    flow = build_evolution(
        evolution, solver=solver, gradient=gradient, n_modes=n_modes, n_state=n_state, n_static=n_static, query_step=0.5
    )
    emission = Emission(flow.n_state, n_channels, n_hidden, observation_scale)
    reader = build_encoder(encoder, n_channels, n_encoder, n_inputs=n_inputs)
    return LatentODE(reader, flow, emission, n_samples, max_context, n_inputs, n_features)
