"""Latent SDE: a path with noise of its own, guided through the history by the encoder's context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsode._registry import Part, build
from tsode.core.status import worst
from tsode.dynamics import SDES
from tsode.encoders.base import Encoder
from tsode.evolutions.stochastic import Guided, SolvedSDE
from tsode.models.latent.base import STATES_AT_ONCE, Draws, Inference, LatentModel, LatentPaths
from tsode.models.latent.ode import build_encoder
from tsode.numerics import SDE_SOLVERS
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import DiagonalSDE, SDESolver
from tsode.readouts import Emission

__all__ = ["Guide", "LatentSDE", "build_latent_sde"]

FIRST_PULL = -3.0  # logit of the share of the fastest pull, at an event: the posterior starts near the prior


class Guide(nn.Module):
    """Steering of a path: a pull to a target, ``pull * (target - z)``, both read off the state and the events ahead.

    A path that is to meet an observation has to be pulled the harder the nearer it is: for a linear process the best
    steering has this form, with a pull that falls with the time to go.

    Parameters
    ----------
    n_state : int
    n_context : int
        Width of the encoder.
    n_channels : int
    width : int
        Hidden units.
    fastest : float
        Bound of the pull; steps must be no longer than its inverse.
    """

    def __init__(self, n_state: int, n_context: int, n_channels: int, width: int = 64, fastest: float = 8.0) -> None:
        super().__init__()
        self.fastest = fastest
        self.of_event = nn.Linear(n_context + 2 * n_channels, width)
        self.of_state = nn.Linear(n_state + 2, width, bias=False)
        self.target = nn.Linear(width, n_state)
        self.pull = nn.Linear(width, n_state)
        self.falls = nn.Parameter(torch.ones(n_state))
        with torch.no_grad():
            self.pull.bias.fill_(FIRST_PULL)

    def summarise_events(self, inference: Inference) -> Tensor:
        """Summary of each event and all later ones, which steers the way to it: Tensor[b n w]."""
        batch = inference.batch
        return self.of_event(torch.cat([inference.encoded.context, batch.values, batch.mask.to(batch.values)], dim=-1))

    def forward(self, z: Tensor, ahead: Tensor, lead: Tensor) -> Tensor:
        """Steering at ``z`` (s b d), given the summary of the next event (b w) and the time to it ``lead`` (b 1)."""
        log_lead = torch.log1p(10.0 * lead)
        features = torch.cat([lead, log_lead], dim=-1).expand(*z.shape[:-1], -1)
        hidden = torch.tanh(ahead + self.of_state(torch.cat([z, features], dim=-1)))
        pull = self.fastest * torch.sigmoid(self.pull(hidden) - self.falls * log_lead)
        return pull * (self.target(hidden) - z)


class LatentSDE(LatentModel):
    """Latent model whose state follows an SDE from its random start (Li et al. 2020).

    The prior path is that of `sde`. The posterior's, up to the last event, is the same equation with a guide's steering
    in its drift, which reads the state, the next event, the time to go to it and the encoder's context there, of that
    event and all later ones. After the last event nothing is known and the path follows the prior. The divergence of
    the two along the path is its cost.

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
    ) -> None:
        super().__init__(encoder, emission, sde.n_state, n_samples, max_context, n_features)
        self.sde = sde
        self.guide = guide
        self.solver = solver
        self.query_step = query_step

    def paths(self, inference: Inference, times: Tensor, draws: Draws) -> LatentPaths:
        z = inference.state(draws.start)
        events = inference.batch.times
        # a clock of its own for each row, so that an equation that reads the time does not see the origin of the data
        times = times - inference.start[:, None]
        last = events[:, -1] - inference.start if events.shape[1] else torch.zeros_like(inference.start)
        steer = self._steer(inference)
        noise, followed = self._noise(draws, times, last)
        size = times.shape[0] * self.n_latent * max(times.shape[1], noise.bridges.shape[1])
        block = max(1, STATES_AT_ONCE // max(1, size))
        blocks = [self._run(*part, times, last, steer, noise) for part in zip(z.split(block), followed.split(block))]
        return LatentPaths(
            torch.cat([paths.z for paths in blocks]),
            torch.cat([paths.cost for paths in blocks]),
            worst(*(paths.status for paths in blocks)),
        )

    def _run(
        self,
        z: Tensor,
        followed: Tensor,
        times: Tensor,
        last: Tensor,
        steer: Callable[[Tensor, Tensor], Tensor],
        noise: BrownianPath,
    ) -> LatentPaths:
        """Paths from ``z`` (s b d) at time 0 along the Brownian paths `followed` (s b), guided up to ``last`` (b,)."""
        s, b = followed.shape

        def fold(of_rows: Tensor) -> Tensor:
            return of_rows.expand(s, *of_rows.shape).flatten(0, 1)

        zero, end = fold(torch.zeros_like(last)), fold(last)
        noise = noise.starting_at(zero, followed.flatten())
        guided = SolvedSDE(Guided(self.sde, steer), self.solver, noise, query_step=self.query_step)
        stops = torch.cat([times.minimum(last[:, None]), last[:, None]], dim=1)
        history = guided.evolve_to(z.flatten(0, 1), zero, fold(stops))
        free = SolvedSDE(self.sde, self.solver, noise, query_step=self.query_step)
        future = free.evolve_to(history.z[:, -1], end, fold(times.maximum(last[:, None])))
        is_ahead = fold(times > last[:, None])[..., None]
        return LatentPaths(
            torch.where(is_ahead, future.z, history.z[:, :-1]).unflatten(0, (s, b)),
            history.cost[:, -1].unflatten(0, (s, b)),
            worst(history.status, future.status).reshape(s, b).amax(dim=0),
        )

    def path_kl(self, inference: Inference) -> Tensor:
        return self.paths(inference, inference.start[:, None], self.common_draws()).cost.mean(dim=0)

    def amortised(self) -> list[nn.Parameter]:
        return [*super().amortised(), *self.guide.parameters()]

    def _steer(self, inference: Inference) -> Callable[[Tensor, Tensor], Tensor]:
        """Steering at ``t`` and ``z`` of samples that were folded into the rows."""
        events, lengths = inference.batch.times - inference.start[:, None], inference.batch.lengths[:, None]
        b, n = events.shape
        if not n:  # no row has anywhere to go
            return lambda t, z: torch.zeros_like(z)
        ahead = self.guide.summarise_events(inference).flatten(0, 1)
        first = torch.arange(b, device=events.device)[:, None] * n

        def steer(t: Tensor, z: Tensor) -> Tensor:
            now = t[:b, None]  # of the first sample; the others keep the same time
            index = torch.minimum(torch.searchsorted(events, now, right=True), lengths - 1).clamp(min=0)
            lead = (events.gather(1, index) - now).clamp(min=0).to(z.dtype)
            here = ahead.index_select(0, (first + index)[:, 0])
            return self.guide(z.unflatten(0, (-1, b)), here, lead).flatten(0, 1)

        return steer

    def _noise(self, draws: Draws, times: Tensor, last: Tensor) -> tuple[BrownianPath, Tensor]:
        """Brownian motion from time 0 past all ``times`` (b m) and ``last`` (b,), and the path each row follows (s b).

        There is one path a sample where all rows share their numbers, else one a sample and series.
        """
        s, n_series, device = len(draws.start), len(last), times.device
        step = self.solver.max_step or self.query_step
        reach = step
        if n_series:
            latest = float(last.max())
            ahead = float(times.max()) - latest if times.numel() else 0.0
            # a slip in the time unit must not fill the memory: a solver stops there with a status of its own
            reach = latest + min(max(ahead, 0.0), step * getattr(self.solver, "max_steps", 10_000)) + 2.0 * step
        series = draws.rows
        if draws.start.shape[1] == 1:
            series = torch.zeros(n_series, dtype=torch.int64, device=device)
        elif series is None:
            series = torch.arange(n_series, device=device)
        n_paths = s * (int(series.max()) + 1) if n_series else s
        followed = torch.arange(s, device=device)[:, None] * (n_paths // s) + series
        drawn = -(-n_paths // 2) if draws.is_common else n_paths
        paths = BrownianPath.draw(
            draws.generator, drawn, self.n_latent, reach, self.query_step, depth=3, dtype=draws.start.dtype,
            device=device,
        )  # fmt: skip
        # Few paths must serve for all forecasts: with their reflections, their mean is right.
        return paths.antithetic() if draws.is_common else paths, followed


def build_latent_sde(
    n_channels: int,
    *,
    encoder: str | Part | Callable[[int, int], Encoder] = "backward_filter",
    sde: str | Part | DiagonalSDE = "neural",
    solver: str | Part | SDESolver = "euler_maruyama",
    n_state: int = 16,
    n_encoder: int = 64,
    n_hidden: int = 64,
    observation_scale: str = "channel",
    n_samples: int = 32,
    max_context: int = 128,
    n_features: int = 0,
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
    """
    prior = build(SDES, sde, "sde", n_state=n_state)
    reader = build_encoder(encoder, n_channels, n_encoder)
    return LatentSDE(
        reader,
        prior,
        Guide(prior.n_state, reader.n_hidden, n_channels, n_hidden),
        Emission(prior.n_state, n_channels, n_hidden, observation_scale),
        build(SDE_SOLVERS, solver, "solver"),
        n_samples=n_samples,
        max_context=max_context,
        n_features=n_features,
    )
