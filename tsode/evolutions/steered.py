"""Steps of a stochastic equation whose noise is steered to a target, and the divergence that this costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tsode.core.status import Status
from tsode.numerics.sde import DiagonalSDE
from tsode.numerics.sde_steps import SDEStep
from tsode.numerics.step_layout import StepLayout

__all__ = ["Pull", "SteeredPath", "run_steered"]

Pull = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""``(k, z) -> log rate, target``: the pull on ``z`` (s*b d), samples folded into rows, at the end of step ``k``."""


@dataclass(frozen=True)
class SteeredPath:
    """States at both ends of each step, and how to read those between.

    Parameters
    ----------
    layout : StepLayout
        Of b rows.
    starts, ends : Tensor[s b k d]
        States at the start of each step, and at its end before any push there.
    first : Tensor[s b d]
        States at time 0, before any push.
    diffusion : Tensor[s b k d]
        At the start of each step.
    cost : Tensor[s b]
        Divergence of the steered law from the free one, in nats.
    status : Tensor[b], int64
    """

    layout: StepLayout
    starts: Tensor
    ends: Tensor
    first: Tensor
    diffusion: Tensor
    cost: Tensor
    status: Tensor

    def read(self, times: Tensor, at_times: Tensor, at_nodes: Tensor) -> Tensor:
        """States at ``times`` (b m), float64, not negative: Tensor[s b m d].

        Inside a step the noise is a Brownian bridge between its ends, in the steered law as in the free one, so that
        to read a path costs nothing. A state at the time of a push does not know it.

        Parameters
        ----------
        at_times : Tensor[s b m k]
            Values of the Brownian motion at `times`, k at most d.
        at_nodes : Tensor[s b n+1 k]
            Its values at the start and at the end of each step.
        """
        (b, n_steps), layout, d = self.layout.ends.shape, self.layout, self.first.shape[-1]
        if not n_steps:
            return self.first[:, :, None].expand(*at_times.shape[:3], d)
        step = torch.searchsorted(layout.ends, times.contiguous()).clamp(max=n_steps - 1)
        start, end = layout.starts.gather(1, step), layout.ends.gather(1, step)
        share = ((times - start) / torch.where(end > start, end - start, 1.0)).clamp(0.0, 1.0)[..., None]
        rows = torch.arange(b, device=step.device)[:, None]
        share = share.to(self.ends.dtype)
        z0, z1, g = (of_steps[:, rows, step] for of_steps in (self.starts, self.ends, self.diffusion))
        bridge = at_times - torch.lerp(at_nodes[:, rows, step], at_nodes[:, rows, step + 1], share.to(at_times))
        bridge = torch.where(share < 1, _widened(bridge, d), 0.0)
        between = torch.lerp(z0, z1, share) + g * bridge
        return torch.where((times > 0)[..., None], between, self.first[:, :, None])


def run_steered(
    solver: SDEStep,
    sde: DiagonalSDE,
    z: Tensor,
    layout: StepLayout,
    at_nodes: Tensor,
    pull: Pull,
    is_steered: Tensor,
    pushes: Tensor | None = None,
) -> SteeredPath:
    """Carry states ``z`` (s b d) through all steps of a layout, some of which are steered.

    In a steered step each coordinate's noise ``dW ~ N(0, dt)`` is replaced by the one that ends near a target ``c``,
    that is, ``N(0, dt)`` times a likelihood ``exp(-rate (c - z1)**2 / (2 g**2))`` of the end ``z1``, worked out as if
    the step were ``z1 = m + g dW``, with ``m`` its end without noise: of the gain ``K = rate dt / (1 + rate dt)``, it
    is normal with mean ``K (c - m) / g`` and variance ``(1 - K) dt``. As steps shrink, ``rate (c - z)`` is what is
    added to the drift. Steps may be of any length and the rate as large as it likes. Where the process is linear and
    rate and target are those of the exact likelihood of what is ahead, the steered steps are the exact posterior's.

    The cost is the Kullback-Leibler divergence of this noise from the free one: exact for the equation in these steps,
    so that a bound on the evidence made of it is a bound, however coarse they are.

    Parameters
    ----------
    at_nodes : Tensor[s b n+1 k]
        Brownian motion at the start and at the end of each step; coordinates past its last column have no noise.
    is_steered : Tensor[b n], bool
    pushes : Tensor[b n d], optional
        What is added to the state at the start of each step.

    References
    ----------
    Heng, Bishop, Deligiannidis and Doucet, "Controlled sequential Monte Carlo", Annals of Statistics 48, 2020.
    """
    (s, b, d), n_steps = z.shape, layout.ends.shape[1]
    if not n_steps:
        nothing = z[:, :, None][:, :, :0]
        return SteeredPath(layout, nothing, nothing, z, nothing, z.new_zeros(s, b), layout.status)

    def by_step(of_steps: Tensor) -> tuple[Tensor, ...]:
        """What is known of each step, (b n ...) or (s b n ...), with samples folded into the rows: n of (s*b ...)."""
        of_steps = of_steps if of_steps.dim() == 4 else of_steps.expand(s, *of_steps.shape)
        return of_steps.flatten(0, 1).unbind(dim=1)

    dt = layout.ends - layout.starts
    is_steered = is_steered & (dt > 0)
    log_dt = torch.where(is_steered, dt.log(), -torch.inf).to(z.dtype)[..., None]
    n_steered = int((is_steered.any(dim=0) * torch.arange(1, n_steps + 1, device=dt.device)).max())
    clocks, lengths, log_lengths = by_step(layout.starts), by_step(dt.to(z.dtype)[..., None]), by_step(log_dt)
    noise = by_step(_widened(at_nodes.diff(dim=2).to(z.dtype), d))
    push = None if pushes is None else by_step(pushes)

    sde, first, z = sde.prepared(), z, z.flatten(0, 1)
    starts, ends, diffusions, odds, offsets = [], [], [], [], []
    for k in range(n_steps):
        if push is not None:
            z = z + push[k]
        starts.append(z)
        stages, dw = solver.stages(sde, clocks[k], z), noise[k]
        if k < n_steered:
            free = torch.addcmul(z, stages[0], lengths[k])
            log_rate, target = pull(k, free)
            odd, offset = log_rate + log_lengths[k], (target - free) / stages[1]
            dw = torch.addcmul((-0.5 * nn.functional.softplus(odd)).exp() * dw, torch.sigmoid(odd), offset)
            odds.append(odd)
            offsets.append(offset)
        diffusions.append(stages[1])
        z = solver.complete(sde, clocks[k], lengths[k], z, stages, dw)[0]
        ends.append(z)
    stacked = [torch.stack(states, dim=1).unflatten(0, (s, b)) for states in (starts, ends, diffusions)]
    cost = z.new_zeros(s, b)
    if odds:
        cost = _divergence(torch.stack(odds), torch.stack(offsets), torch.stack(log_lengths[:n_steered])).view(s, b)
    return _up_to_failure(SteeredPath(layout, stacked[0], stacked[1], first, stacked[2], cost, layout.status))


def _divergence(odds: Tensor, offsets: Tensor, log_dt: Tensor) -> Tensor:
    """Of normal noise with gain ``sigmoid(odds)`` (n b d) and its mean at that share of the `offsets`: Tensor[b]."""
    gain = torch.sigmoid(odds)
    # gain**2 / dt: zero with the gain where a step has no length
    weight = gain.square() * torch.where(log_dt > -torch.inf, -log_dt, 0.0).exp()
    return 0.5 * (nn.functional.softplus(odds) - gain + weight * offsets.square()).sum(dim=(0, 2))


def _widened(noise: Tensor, d: int) -> Tensor:
    return nn.functional.pad(noise, (0, d - noise.shape[-1])) if noise.shape[-1] < d else noise


def _up_to_failure(path: SteeredPath) -> SteeredPath:
    """The same path; where a row of it fails, it stays in its last finite state and says so in its status."""
    is_finite = path.ends.isfinite().all(dim=3)
    if bool(is_finite.all()):
        return path
    is_good = is_finite.cummin(dim=2).values
    has_failed, n_steps = ~is_good[:, :, -1], is_good.shape[2]
    at = is_good.sum(dim=2).clamp(max=n_steps - 1)[..., None, None]
    stuck = path.starts.gather(2, at.expand(-1, -1, 1, path.starts.shape[3]))
    starts, ends = (torch.where(is_good[..., None], states, stuck) for states in (path.starts, path.ends))
    status = torch.where(has_failed.any(dim=0), int(Status.NON_FINITE), path.status)
    return replace(
        path,
        starts=starts,
        ends=ends,
        diffusion=torch.where(is_good[..., None], path.diffusion, 0.0),
        cost=torch.where(has_failed, 0.0, path.cost),
        status=status,
    )
