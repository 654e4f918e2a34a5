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
"""``(k, z) -> log rate, target``: the pull at the end of step ``k`` and state ``z`` (s b d), (s b d) each."""


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
    dt = layout.ends - layout.starts
    log_dt = torch.where(is_steered & (dt > 0), dt.log(), -torch.inf)
    n_steered = int((is_steered.any(dim=0) * torch.arange(1, n_steps + 1, device=dt.device)).max()) if n_steps else 0
    clocks = layout.starts.mT[:, None].expand(-1, s, -1).reshape(n_steps, s * b).unbind()
    lengths = dt.to(z.dtype).mT[:, None, :, None].expand(-1, s, -1, -1).reshape(n_steps, s * b, 1).unbind()
    log_lengths = log_dt.to(z.dtype).mT[..., None].unbind()
    noise = _widened(at_nodes.diff(dim=2).to(z.dtype), d).unbind(dim=2)

    first = z
    starts, ends, diffusions, odds, offsets = [], [], [], [], []
    for k in range(n_steps):
        if pushes is not None:
            z = z + pushes[:, k]
        flat, dw = z.flatten(0, 1), noise[k]
        stages = solver.stages(sde, clocks[k], flat)
        if k < n_steered:
            free, g = torch.addcmul(flat, stages[0], lengths[k]).view_as(z), stages[1].view_as(z)
            log_rate, target = pull(k, free)
            odd, offset = log_rate + log_lengths[k], (target - free) / g
            dw = torch.addcmul((-0.5 * nn.functional.softplus(odd)).exp() * dw, torch.sigmoid(odd), offset)
            odds.append(odd)
            offsets.append(offset)
        starts.append(z)
        diffusions.append(stages[1].view_as(z))
        z = solver.complete(sde, clocks[k], lengths[k], flat, stages, dw.flatten(0, 1))[0].view_as(z)
        ends.append(z)
    if not n_steps:
        nothing = z[:, :, None][:, :, :0]
        return SteeredPath(layout, nothing, nothing, first, nothing, z.new_zeros(s, b), layout.status)
    cost = _divergence(odds, offsets, log_lengths) if odds else z.new_zeros(s, b)
    path = SteeredPath(
        layout, *(torch.stack(x, dim=2) for x in (starts, ends)), first, torch.stack(diffusions, 2), cost, layout.status
    )
    return _up_to_failure(path)


def _divergence(odds: list[Tensor], offsets: list[Tensor], log_lengths: tuple[Tensor, ...]) -> Tensor:
    """Of normal noise with gain ``sigmoid(odds)`` and its mean at that share of the `offsets` (s b d): Tensor[s b]."""
    odd, offset = torch.stack(odds), torch.stack(offsets)
    log_dt = torch.stack(log_lengths[: len(odds)])[:, None]
    gain = torch.sigmoid(odd)
    # gain**2 / dt: zero with the gain where a step has no length
    weight = gain.square() * torch.where(log_dt > -torch.inf, -log_dt, 0.0).exp()
    return 0.5 * (nn.functional.softplus(odd) - gain + weight * offset.square()).sum(dim=(0, 3))


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
