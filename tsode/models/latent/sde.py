"""Latent SDE: a path with noise of its own, guided through the history by the encoder's context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tsode._registry import Part, build
from tsode.core.batch import IrregularBatch
from tsode.core.status import worst
from tsode.dynamics import SDES
from tsode.encoders.base import Encoder
from tsode.evolutions.steered import Pull, run_steered
from tsode.models.latent.base import STATES_AT_ONCE, Draws, Inference, LatentModel, LatentPaths
from tsode.models.latent.guide import Guide
from tsode.models.latent.ode import build_encoder
from tsode.numerics import SDE_SOLVERS
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.drawn_brownian import draw_brownian
from tsode.numerics.paced_brownian import paced_brownian
from tsode.numerics.sde import DiagonalSDE, SDESolver, check_calculus
from tsode.numerics.step_layout import StepLayout
from tsode.readouts import Emission

__all__ = ["LatentSDE", "build_latent_sde"]

COST_SAMPLES = 8  # paths over which the divergence is averaged where it is only looked at


class LatentSDE(LatentModel):
    """Latent model whose state follows an SDE from its random start (Li et al. 2020).

    The prior path is that of `sde`, in steps of the solver from event to event. The posterior's, up to the last
    observation, takes the same steps with their noise steered by a guide, which reads the state, the next event, the
    time to go to it and the encoder's context there, of that event and all later ones. After the last observation
    nothing is known and the path follows the prior. The divergence of the two is the path's cost: exact for the
    equation in these steps, so that the bound on the evidence is one whatever the step.

    Noise is part of the numbers behind a forecast: path ``i`` of every row follows the same Brownian motion, counted
    from the row's first event.

    Parameters
    ----------
    encoder : Encoder
    sde : DiagonalSDE
        Of the latent state; it reads the time since the first event.
    guide : Guide
    emission : Emission
    solver : SDESolver
    query_step : float
        Length that is cut into the solver's steps, and of the cells of the Brownian motion.
    n_samples, max_context, n_features
        See `LatentModel`.
    n_inputs : int
        Width of the inputs at known times, which are added to the state by a learned matrix, in prior and posterior.

    References
    ----------
    Li et al., "Scalable gradients for stochastic differential equations", AISTATS 2020, section 5.
    """

    def __init__(
        self,
        encoder: Encoder,
        sde: DiagonalSDE,
        guide: Guide,
        emission: Emission,
        solver: SDESolver,
        query_step: float = 0.125,
        n_samples: int = 32,
        max_context: int = 128,
        n_features: int = 0,
        n_inputs: int = 0,
    ) -> None:
        super().__init__(encoder, emission, sde.n_state, n_samples, max_context, n_features)
        check_calculus(sde, solver)
        self.sde = sde
        self.guide = guide
        self.solver = solver.as_steps()
        self.query_step = query_step
        self.input_map = nn.Linear(n_inputs, sde.n_state, bias=False) if n_inputs else None

    def paths(self, inference: Inference, times: Tensor, draws: Draws) -> LatentPaths:
        z, batch = inference.state(draws.start), inference.batch
        # a clock of its own for each row, so that an equation that reads the time does not see the origin of the data
        times = (times - inference.start[:, None]).clamp(min=0.0)
        events = batch.times - inference.start[:, None]
        if not batch.n_events:
            events = events.new_zeros(len(events), 1)
        until = times.amax(dim=1) if times.shape[1] else torch.zeros_like(inference.start)
        step = self.solver.max_step or self.query_step / self.solver.n_steps
        layout = StepLayout.lay(events, until, step, self.solver.max_steps)
        is_steered, pull = self._steering(inference, events, layout)
        pushes = self._pushes(batch, layout)
        nodes = nn.functional.pad(layout.ends, (1, 0))
        motion = self._motion(inference, draws, torch.cat([nodes, times.minimum(nodes[:, -1:])], dim=1))

        blocks = []
        size = len(times) * self.n_latent * (3 * nodes.shape[1] + times.shape[1])
        for samples in torch.arange(len(z), device=z.device).split(max(1, STATES_AT_ONCE // max(1, size))):
            at_nodes, at_times = motion(samples).split([nodes.shape[1], times.shape[1]], dim=2)
            path = run_steered(self.solver, self.sde, z[samples], layout, at_nodes, pull, is_steered, pushes)
            blocks.append(LatentPaths(path.read(times, at_times, at_nodes), path.cost, path.status))
        return LatentPaths(
            torch.cat([paths.z for paths in blocks]),
            torch.cat([paths.cost for paths in blocks]),
            worst(*(paths.status for paths in blocks)),
        )

    def path_kl(self, inference: Inference) -> Tensor:
        generator = torch.Generator().manual_seed(int(self.seed))
        draws = self.fresh_draws(COST_SAMPLES, len(inference.mean), generator)
        return self.paths(inference, inference.start[:, None], draws).cost.mean(dim=0)

    def amortised(self) -> list[nn.Parameter]:
        return [*super().amortised(), *self.guide.parameters()]

    def _steering(self, inference: Inference, events: Tensor, layout: StepLayout) -> tuple[Tensor, Pull]:
        """Which steps of each row are steered, those up to its last observation (b k), and to where."""
        batch, none = inference.batch, torch.zeros_like(layout.ends, dtype=torch.bool)
        if not batch.n_events:
            return none, lambda k, z: (torch.zeros_like(z), z)
        last = torch.where(batch.mask.any(dim=2), events, 0.0).amax(dim=1, keepdim=True)
        is_steered = (layout.ends <= last) & (layout.ends > layout.starts)
        event = layout.stop.clamp(max=batch.n_events - 1)
        lead = (events.gather(1, event) - layout.ends).clamp(min=0.0).to(inference.mean)[..., None]
        rows = torch.arange(len(events), device=event.device)[:, None]
        found = self.guide.look_ahead(self.guide.summarise_events(inference)[rows, event], lead)
        at_steps = list(zip(*(part.unbind(dim=1) for part in found)))

        def pull(k: int, z: Tensor) -> tuple[Tensor, Tensor]:
            return self.guide(z, *(part.repeat(len(z) // len(part), 1) for part in at_steps[k]))

        return is_steered, pull

    def _pushes(self, batch: IrregularBatch, layout: StepLayout) -> Tensor | None:
        """What inputs add to the state at the start of each step: Tensor[b k d], or None without any."""
        if self.input_map is None or batch.inputs is None or not batch.n_events:
            return None
        push, n_steps = self.input_map(batch.inputs), layout.ends.shape[1]
        at = layout.n_before.clamp(max=n_steps)[..., None].expand_as(push)
        return push.new_zeros(len(push), n_steps + 1, push.shape[2]).scatter_add(1, at, push)[:, :n_steps]

    def _motion(self, inference: Inference, draws: Draws, times: Tensor) -> Callable[[Tensor], Tensor]:
        """Brownian motion of some of the samples at ``times`` (b n) since each row's start: Tensor[s b n d].

        There is one path a sample where all rows share their numbers, else one a sample and series. Where each row is
        a series of its own, as in training, it is drawn at these times and nowhere else.
        """
        n_rows, n_samples, width = len(times), len(draws.start), self.n_latent
        how: dict[str, Any] = {"depth": 3, "dtype": draws.start.dtype, "device": times.device}
        farthest = float(times.max()) if times.numel() else 0.0
        if draws.is_common:
            seen = inference.batch.replace(inputs=None).compact()
            stops, reach = seen.times - inference.start[:, None], seen.n_events + farthest / self.query_step + 1.0
            if not seen.n_events:
                stops = torch.zeros_like(times[:, :1])
            # Few paths must serve for all forecasts: with their reflections, their mean is right.
            paths = BrownianPath.draw(draws.generator, -(-n_samples // 2), width, reach, 1.0, **how)

            def shared(samples: Tensor) -> Tensor:
                drawn, which = (samples % len(paths.knots)).unique(return_inverse=True)
                some = replace(paths, knots=paths.knots[drawn], bridges=paths.bridges[drawn])
                values = paced_brownian(some, stops, seen.lengths, times, self.query_step)[which]
                return torch.where((samples < len(paths.knots))[:, None, None, None], values, -values)

            return shared
        series = draws.rows
        if series is None:
            return lambda samples: draw_brownian(times, len(samples), width, draws.generator, draws.start.dtype)
        n_series = int(series.max()) + 1 if n_rows else 1
        paths = BrownianPath.draw(
            draws.generator, n_samples * n_series, width, farthest + self.query_step, self.query_step, **how
        )

        def of_series(samples: Tensor) -> Tensor:
            followed = (samples[:, None] * n_series + series).flatten()
            path = paths.starting_at(times.new_zeros(len(followed)), followed)
            return path(times.repeat(len(samples), 1)).unflatten(0, (len(samples), n_rows))

        return of_series


def build_latent_sde(
    n_channels: int,
    *,
    encoder: str | Part | Callable[[int, int], Encoder] = "backward_filter",
    sde: str | Part | DiagonalSDE = "neural",
    solver: str | Part | SDESolver = "heun_maruyama",
    n_state: int = 16,
    n_encoder: int = 64,
    n_hidden: int = 64,
    observation_scale: str = "channel",
    n_samples: int = 32,
    max_context: int = 128,
    n_features: int = 0,
    n_inputs: int = 0,
) -> LatentSDE:
    """Assemble a latent SDE from parts, by name, `Part` (a name with settings) or instance.

    Parameters
    ----------
    encoder : str, Part or callable
        Name in `tsode.encoders.ENCODERS`, or ``(n_channels, n_hidden) -> Encoder``.
    sde : str, Part or DiagonalSDE
        Name in `tsode.dynamics.SDES`, of `n_state` coordinates.
    solver : str, Part or SDESolver
        Name in `tsode.numerics.SDE_SOLVERS`.
    n_encoder : int
        Width of the encoder.
    n_hidden : int
        Hidden units of the guide and of the emission.
    observation_scale : {"channel", "state"}
        See `tsode.readouts.Emission`.
    n_samples, max_context, n_features
        See `LatentModel`.
    n_inputs : int
        See `LatentSDE`.
    """
    prior = build(SDES, sde, "sde", n_state=n_state)
    reader = build_encoder(encoder, n_channels, n_encoder, n_inputs=n_inputs)
    return LatentSDE(
        reader,
        prior,
        Guide(prior.n_state, reader.n_hidden, n_channels, n_hidden, n_inputs),
        Emission(prior.n_state, n_channels, n_hidden, observation_scale),
        build(SDE_SOLVERS, solver, "solver"),
        n_samples=n_samples,
        max_context=max_context,
        n_features=n_features,
        n_inputs=n_inputs,
    )
