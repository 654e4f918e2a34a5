"""Speed of training and prediction as a ratio to a plain GRU.

    python tests/benchmarks/speed.py [--repeats N] [--check] [--scaling] [--ensembles] [--inputs]

Workload: 64 series with 60 own times each in [0, 1], 8 channels of which 70 % are missing, 20 targets in (1, 1.25].
One step is forward + backward + AdamW (fused); the loss is the CRPS of the 20 targets on both sides. The floor is
`torch.nn.GRU` of the same state size on the padded ``[values, mask, gap]``, with a head of two perceptrons on
``(state, lead time)``: location and log scale, as wide as the filter's readout. The filter goes through the same calls
as in training: ``filter`` and ``ahead``. "whole objective" adds one-step predictions to the loss on both sides.

The bar on prediction is for one evaluation of the field a gap: two (midpoint) and four (RK4) cost 3.5 and 8 times the
GRU's arithmetic, so their predictions, at about 2.8 and 4.3 times the GRU's, are shown without a bar.

Latent models: a step is the negative evidence bound of all 80 times, by one path a series, and its floor the GRU's own
step, as wide as the encoder's state; "decode" is forward and backward of that path alone, to all 80 times.

Rows are measured in one process on one thread, one after the other in every round. A ratio is the median over rounds
of CPU time by the floor's CPU time in the same round: absolute times on a busy machine vary by more than the bars.
`--check` ends with a non-zero exit code if a bar does not hold. `--scaling` shows a step's time against observations
and series; it must hardly depend on whether times are shared, nor, up to the readout, on the number of targets.
`--ensembles` shows instead what M members trained in one pass cost in units of one, for the objective of training on
windows whose contexts are cut at random. `--inputs` shows instead what such a step costs with three inputs a series at
known times, anywhere in context and horizon, in units of one with three more observations.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.dynamics import GRUODE, MLPDynamics
from tsode.evolutions.base import Solved
from tsode.likelihoods import Normal
from tsode.models.filters.build import build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import Filtered, JumpFilter
from tsode.models.filters.kernels import evolve_to
from tsode.models.latent.ode import LatentODE, build_latent_ode
from tsode.numerics import RK4, Euler, ExponentialEuler, Midpoint
from tsode.training.latent_objective import LatentObjective
from tsode.training.objective import FilterObjective
from tsode.training.windows import Window

Job = Callable[[], object]
WARM_UP = 3  # rounds that are not counted
PREDICT_BAR = 2.5  # times the GRU's prediction, for rows with one evaluation of the field a gap
GRID_BAR, TARGETS_BAR = 1.1, 1.15
LATENT_BAR, DECODE_BAR = 3.0, 0.9
INPUTS_BAR = 1.3


class Work(NamedTuple):
    batch: IrregularBatch
    query_times: Tensor
    truth: Tensor


class PlainGRU(nn.Module):
    """The floor: a GRU that knows the gaps, and a head that knows the lead time."""

    def __init__(self, n_state: int, n_hidden: int, n_channels: int = 8) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * n_channels + 1, n_state, batch_first=True)
        self.location, self.log_scale = (
            nn.Sequential(nn.Linear(n_state + 1, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_channels))
            for _ in range(2)
        )

    def filter(self, batch: IrregularBatch) -> Tensor:
        gap = batch.times.diff(dim=1, prepend=batch.times[:, :1])[..., None].to(batch.values.dtype)
        return self.gru(torch.cat([batch.values, batch.mask.to(gap.dtype), gap], dim=2))[0]

    def head(self, state: Tensor, lead: Tensor) -> Tensor:
        inputs = torch.cat([state.expand(*lead.shape, -1), lead[..., None].to(state.dtype)], dim=-1)
        return torch.stack([self.location(inputs), self.log_scale(inputs)], dim=-1)


def draw(
    n_series: int = 64, n_events: int = 60, n_targets: int = 20, n_channels: int = 8, shared: bool = False
) -> Work:
    """Random series; with `shared` they all have the same times."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    n_grids = 1 if shared else n_series
    times = uniform(n_grids, n_events).sort(dim=1).values.expand(n_series, -1)
    targets = 1.0 + 0.25 * (1.0 - uniform(n_grids, n_targets)).sort(dim=1).values.expand(n_series, -1)
    mask = uniform(n_series, n_events, n_channels) < 0.3
    values = torch.randn(mask.shape, generator=generator) * mask
    lengths = torch.full((n_series,), n_events)
    truth = torch.randn(n_series, n_targets, n_channels, generator=generator)
    return Work(IrregularBatch(times.contiguous(), values, mask, lengths), targets.contiguous(), truth)


class Own(NamedTuple):
    """The library's side of a comparison."""

    model: JumpFilter

    def forecast(self, work: Work) -> tuple[Tensor, Filtered]:
        filtered = self.model.filter(work.batch)
        return self.model.predict_after_last(filtered, work.query_times)[0], filtered

    def loss(self, work: Work, whole: bool = False) -> Tensor:
        params, filtered = self.forecast(work)
        loss = Normal().crps(params, work.truth).mean()
        if whole:
            values, mask = (
                t.flatten(0, 1)[filtered.events.flat_index] for t in (filtered.batch.values, filtered.batch.mask)
            )
            loss = loss + 0.5 * one_step_loss(self.model.one_step(filtered), values, mask)
        return loss

    def carry(self, work: Work, gradient: Tensor) -> None:
        """Forward and backward to the states at the targets, without the readout."""
        path = self.model.filter(work.batch).path
        states = evolve_to(self.model.evolution, path.z_end, path.times[:, -1], work.query_times).z
        states.backward(gradient)


class Floor(NamedTuple):
    """The GRU's side."""

    model: PlainGRU

    def forecast(self, work: Work) -> tuple[Tensor, Tensor]:
        states = self.model.filter(work.batch)
        return self.model.head(states[:, -1:], work.query_times - work.batch.times[:, -1:]), states

    def loss(self, work: Work, whole: bool = False) -> Tensor:
        params, states = self.forecast(work)
        loss = Normal().crps(params, work.truth).mean()
        if whole:
            before, times = nn.functional.pad(states[:, :-1], (0, 0, 1, 0)), work.batch.times
            gaps = times.diff(dim=1, prepend=times[:, :1])
            loss = loss + 0.5 * one_step_loss(self.model.head(before, gaps), work.batch.values, work.batch.mask)
        return loss


class Row(NamedTuple):
    make: Callable[[], JumpFilter]
    n_state: int  # of the GRU it is compared with
    n_hidden: int
    bar: float
    predict_bar: float | None = PREDICT_BAR

    def sides(self) -> tuple[Own, Floor]:
        torch.manual_seed(0)
        return Own(self.make()), Floor(PlainGRU(self.n_state, self.n_hidden))


def linear(n_modes: int, n_static: int) -> JumpFilter:
    return build_filter(8, n_modes=n_modes, n_static=n_static)


def ode_rnn(evolution: Solved) -> JumpFilter:
    return build_filter(8, evolution=evolution, jump="gru", n_hidden=64)


ROWS = {
    "jump filter, 32 modes + 16 statics": Row(lambda: linear(32, 16), 80, 128, 1.6),
    "jump filter, 64 modes + 32 statics": Row(lambda: linear(64, 32), 160, 128, 1.6),
    "ODE-RNN 32-64-64-32, Euler": Row(lambda: ode_rnn(Solved(MLPDynamics(32), Euler())), 32, 64, 1.5),
    "ODE-RNN 32-64-64-32, midpoint": Row(lambda: ode_rnn(Solved(MLPDynamics(32), Midpoint())), 32, 64, 2.1, None),
    "ODE-RNN 32-64-64-32, RK4": Row(lambda: ode_rnn(Solved(MLPDynamics(32), RK4())), 32, 64, 3.1, None),
    "GRU-ODE 32, exponential step": Row(lambda: ode_rnn(Solved(GRUODE(32), ExponentialEuler())), 32, 64, 1.7),
}


LATENT_ROWS: dict[str, dict[str, Any]] = {
    "latent ODE, RNN 32, field 32-64-64-32, RK4": {
        "encoder": "backward_ode_rnn", "evolution": "mlp", "n_state": 32, "n_static": 0, "n_encoder": 32,
    },
    "latent ODE, set 32, field 32-64-64-32, RK4": {
        "encoder": "set_attention", "evolution": "mlp", "n_state": 32, "n_static": 0, "n_encoder": 32,
    },
    "latent ODE, filter, 32 modes + 16 statics": {},
}  # fmt: skip


def one_step_loss(params: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    return (Normal().crps(params, values) * mask).sum() / mask.sum()


def training(model: nn.Module, loss: Callable[[], Tensor]) -> Job:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step


def measure(jobs: dict[str, Job], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each job in each round; the jobs take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    gc.collect()
    gc.disable()
    for _ in range(WARM_UP + repeats):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            seconds[name].append(time.process_time() - start)
    gc.enable()
    return {name: taken[WARM_UP:] for name, taken in seconds.items()}


def ratio(seconds: dict[str, list[float]], name: str, floor: str) -> float:
    return statistics.median(mine / other for mine, other in zip(seconds[name], seconds[floor]))


def milliseconds(seconds: dict[str, list[float]], name: str) -> float:
    return 1e3 * statistics.median(seconds[name])


def verdict(value: float, bar: float | None) -> str:
    if bar is None:
        return f"{value:5.2f}"
    return f"{value:5.2f} <= {bar:<4} {'ok' if value <= bar else 'NO'}"


def compare(repeats: int) -> bool:
    """Print every row beside its floor; True if all bars hold."""
    work, good = draw(), True
    print(f"{'':36}{'floor ms':>9}{'own ms':>8}   {'step':<17}{'predict':<17}{'plain loop':>10}{'whole objective':>17}")
    for name, row in ROWS.items():
        own, floor = row.sides()
        plain, _ = row.sides()
        plain.model.use_fused = False
        sides: dict[str, Own | Floor] = {"floor": floor, "own": own, "plain": plain}
        step = measure({k: training(side.model, partial(side.loss, work)) for k, side in sides.items()}, repeats)
        del sides["plain"]
        predict = measure({k: torch.no_grad()(partial(side.forecast, work)) for k, side in sides.items()}, repeats)
        whole = measure({k: training(side.model, partial(side.loss, work, True)) for k, side in sides.items()}, repeats)
        mine, ahead = ratio(step, "own", "floor"), ratio(predict, "own", "floor")
        good &= mine <= row.bar and (row.predict_bar is None or ahead <= row.predict_bar)
        times = f"{milliseconds(step, 'floor'):9.1f}{milliseconds(step, 'own'):8.1f}"
        bars = f"{verdict(mine, row.bar):<17}{verdict(ahead, row.predict_bar):<17}"
        beside = f"{ratio(step, 'plain', 'floor'):10.2f}{ratio(whole, 'own', 'floor'):17.2f}"
        print(f"{name:36}{times}   {bars}{beside}", flush=True)
    return good


def compare_latent(repeats: int) -> bool:
    """Print the latent models beside the floor; True if all bars hold."""
    work, good = draw(), True
    everything = torch.ones_like(work.truth, dtype=torch.bool)
    targets = IrregularBatch(work.query_times, work.truth, everything, torch.full((len(everything),), 20))
    window = Window(work.batch, targets, work.batch)
    start, times = work.batch.times[:, 0], torch.cat([work.batch.times, work.query_times], dim=1)
    print(f"\n{'':44}{'floor ms':>9}{'own ms':>8}   {'step':<17}{'decode':<17}")
    for name, parts in LATENT_ROWS.items():
        torch.manual_seed(0)
        model = build_latent_ode(8, **parts)
        floor = Floor(PlainGRU(model.encoder.n_hidden, 64))
        objective = LatentObjective("elbo", 1, torch.Generator().manual_seed(0))
        z = torch.randn(len(start), model.n_latent, requires_grad=True)
        push = torch.randn(*times.shape, model.n_latent)
        jobs: dict[str, Job] = {
            "floor": training(floor.model, partial(floor.loss, work)),
            "own": training(model, partial(bound_loss, objective, model, window)),
            "decode": partial(decode, model, z, start, times, push),
        }
        seconds = measure(jobs, repeats)
        mine, path = ratio(seconds, "own", "floor"), ratio(seconds, "decode", "floor")
        good &= mine <= LATENT_BAR and path <= DECODE_BAR
        times_taken = f"{milliseconds(seconds, 'floor'):9.1f}{milliseconds(seconds, 'own'):8.1f}"
        print(f"{name:44}{times_taken}   {verdict(mine, LATENT_BAR):<17}{verdict(path, DECODE_BAR):<17}", flush=True)
    return good


def bound_loss(objective: LatentObjective, model: LatentODE, window: Window) -> Tensor:
    return objective(model, window)[0]


def decode(model: LatentODE, z: Tensor, start: Tensor, times: Tensor, push: Tensor) -> None:
    evolve_to(model.evolution, z, start, times).z.backward(push)


def scaling(repeats: int) -> bool:
    """Print a step's time against each size of the workload; True if the two bars hold."""
    good = True
    for name, row in ROWS.items():
        own, floor = row.sides()
        print(f"\n{name}: ms a step (ratio to the floor)")
        for size, counts in (("n_events", (20, 60, 180, 400)), ("n_series", (16, 64, 256, 512))):
            print(f"  {size:<10}", end="")
            for count in counts:
                work = draw(count, 60) if size == "n_series" else draw(64, count)
                sides: dict[str, Own | Floor] = {"own": own, "floor": floor}
                jobs = {k: training(side.model, partial(side.loss, work)) for k, side in sides.items()}
                seconds = measure(jobs, max(5, repeats * 3840 // work.batch.mask[..., 0].numel()))
                print(f"{count:>5}: {milliseconds(seconds, 'own'):6.1f} ({ratio(seconds, 'own', 'floor'):.2f})", end="")
            print()
        grids = {"different": draw(), "shared": draw(shared=True)}
        seconds = measure({k: training(own.model, partial(own.loss, work)) for k, work in grids.items()}, repeats)
        change = ratio(seconds, "different", "shared")
        carries: dict[str, Job] = {}
        for count in (20, 200):
            gradient = torch.randn(64, count, own.model.evolution.n_state)
            carries[str(count)] = partial(own.carry, draw(n_targets=count), gradient)
        seconds = measure(carries, repeats)
        growth = ratio(seconds, "200", "20")
        print(f"  all times different / one shared grid   {verdict(change, GRID_BAR)}")
        print(f"  200 targets / 20, without the readout   {verdict(growth, TARGETS_BAR)}", flush=True)
        good &= change <= GRID_BAR and growth <= TARGETS_BAR
    return good


def cut_at_random(work: Work) -> Window:
    """A training window: each series keeps 2 to all of its events before the targets."""
    n_series, n_events = work.batch.times.shape
    lengths = torch.randint(2, n_events + 1, (n_series,), generator=torch.Generator().manual_seed(1))
    is_event = torch.arange(n_events) < lengths[:, None]
    times = torch.where(is_event, work.batch.times, work.batch.times.gather(1, lengths[:, None] - 1))
    context = IrregularBatch(times, work.batch.values, work.batch.mask & is_event[..., None], lengths)
    n_targets = torch.full((n_series,), work.truth.shape[1])
    targets = IrregularBatch(work.query_times, work.truth, torch.ones_like(work.truth, dtype=torch.bool), n_targets)
    return Window(context, targets, context)


def with_inputs(window: Window, n_inputs: int = 3) -> Window:
    """The window with inputs at random times up to the last target, each an event of its own."""
    context, generator = window.context, torch.Generator().manual_seed(2)
    n_series, n_events = context.times.shape
    when = 1.25 * torch.rand(n_series, n_inputs, generator=generator, dtype=torch.float64)
    is_event = torch.cat([context.is_event, torch.ones_like(when, dtype=torch.bool)], dim=1)
    times = torch.cat([context.times, when], dim=1)
    order = times.where(is_event, torch.inf).argsort(dim=1, stable=True)
    lengths = is_event.sum(dim=1)
    times = times.gather(1, order)
    last = times.gather(1, lengths[:, None] - 1)
    times = torch.where(torch.arange(times.shape[1]) < lengths[:, None], times, last)
    pick = order[..., None].expand(-1, -1, context.n_channels)
    values, mask = (nn.functional.pad(t, (0, 0, 0, n_inputs)).gather(1, pick) for t in (context.values, context.mask))
    amounts = torch.rand(n_series, n_inputs, 2, generator=generator)
    inputs = nn.functional.pad(amounts, (0, 0, n_events, 0)).gather(1, order[..., None].expand(-1, -1, 2))
    longer = IrregularBatch(times, values, mask, lengths, inputs=inputs)
    return Window(longer, window.targets, longer)


def inputs(repeats: int) -> bool:
    """Print the cost of a training step with three inputs in units of one with three more observations."""
    objective, good = FilterObjective(), True
    plain, fed = cut_at_random(draw(n_events=63)), with_inputs(cut_at_random(draw()))
    for title, settings in {
        "default, 32 modes + 16 statics": {"n_modes": 32, "n_static": 16, "n_hidden": 64},
        "ODE-RNN, midpoint": {"evolution": "mlp", "jump": "gru", "n_state": 32},
    }.items():
        jobs: dict[str, Job] = {}
        for name, window, width in (("observations", plain, 0), ("inputs", fed, 2)):
            torch.manual_seed(0)
            model = build_filter(8, n_inputs=width, **settings)
            jobs[name] = training(model, lambda model=model, window=window: objective(model, window)[0])
        cost = ratio(measure(jobs, repeats), "inputs", "observations")
        print(f"{title:<32} with 3 inputs / with 3 observations more   {verdict(cost, INPUTS_BAR)}", flush=True)
        good &= cost <= INPUTS_BAR
    return good


def ensembles(repeats: int) -> None:
    """Print the cost of a training step of an ensemble in units of one model's."""
    window, objective = cut_at_random(draw()), FilterObjective()
    for n_modes, n_static in ((16, 8), (32, 16), (64, 32)):
        jobs: dict[str, Job] = {}
        for n_members in range(1, 6):
            torch.manual_seed(0)
            members = [linear(n_modes, n_static) for _ in range(n_members)]
            model = members[0] if n_members == 1 else Ensemble(members)
            jobs[str(n_members)] = training(model, lambda model=model: objective(model, window)[0])
        seconds = measure(jobs, repeats)
        ratios = "  ".join(f"{name}: {ratio(seconds, name, '1'):.2f}" for name in jobs)
        print(
            f"{n_modes} modes + {n_static} statics: {milliseconds(seconds, '1'):.1f} ms; members: {ratios}", flush=True
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=40, help="rounds; more on a busy machine")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar does not hold")
    parser.add_argument("--scaling", action="store_true", help="time against observations, series, times and targets")
    parser.add_argument("--ensembles", action="store_true", help="only what members trained in one pass cost")
    parser.add_argument("--inputs", action="store_true", help="only what inputs at known times cost")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.ensembles:
        ensembles(arguments.repeats)
        return 0
    if arguments.inputs:
        return int(not inputs(arguments.repeats) and arguments.check)
    good = compare(arguments.repeats)
    good &= compare_latent(arguments.repeats)
    if arguments.scaling:
        good &= scaling(arguments.repeats)
    return int(arguments.check and not good)


if __name__ == "__main__":
    sys.exit(main())
