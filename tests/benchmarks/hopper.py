"""Learned contact jumps against smooth dynamics on a simulated hopper.

    python tests/benchmarks/hopper.py [--seeds 0 1] [--updates N]

Data: 1 000 throws of the MuJoCo hopper (14 positions and velocities, 100 steps of 5 ms), in `hopper_sim.parquet` of the
folder named by TSODE_REAL_DATA; standardised by the training throws. 700 throws train, 150 choose the update to keep,
150 are tested. A forecast starts from the state at one step and is asked for at 8 of the following 30 steps, drawn for
each row: irregular times up to 0.15 s, which is the unit of model time.

Models: a neural field under RK4; the same field with more hidden units, and with five times the updates, still less
CPU time than the model with jumps; the field with a learned surface and a learned reset (perceptrons), through
`Triggered`. Same batches, learning rate and seeds for all, and else the same updates. The table gives the mean squared
error on the test throws in variances, over the seeds, for all targets and for those by whose time the foot is on the
ground or was, as the acceleration of the torso tells (more than 30 m/s^2 between two steps).

With two seeds the learned contact is better than the same field by about one standard deviation, and worse than more
hidden units or more updates: it does not pay here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from tsode.dynamics import MLPDynamics
from tsode.evolutions.base import Evolution, Solved
from tsode.evolutions.triggered import Triggered
from tsode.numerics import RK4
from tsode.numerics.surfaces import Trigger

FILE = (
    Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "real"))
    / "hopper_sim.parquet"
)
N_STEPS, N_TARGETS, N_STATE, BATCH = 30, 8, 14, 128
IMPACT = 30.0  # m/s^2; free fall is 9.81


class Guard(nn.Module):
    """A learned surface."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(N_STATE, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.layers(z)[:, 0]


class Contact(nn.Module):
    """A learned reset, small at first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(N_STATE, 64), nn.Tanh(), nn.Linear(64, N_STATE))
        with torch.no_grad():
            self.layers[-1].weight.mul_(0.1)
            self.layers[-1].bias.zero_()

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return z + self.layers(z)


def smooth(width: int) -> Evolution:
    return Solved(MLPDynamics(N_STATE, width), RK4(), query_step=0.125)


def jumping(width: int) -> Evolution:
    contact = Trigger(Guard(), direction=-1, reset=Contact())
    return Triggered(MLPDynamics(N_STATE, width), RK4(), [contact], query_step=0.125, max_events=5)


# each with a factor on the number of updates
MODELS: dict[str, tuple[Callable[[], Evolution], int]] = {
    "smooth field": (lambda: smooth(64), 1),
    "smooth field, wider": (lambda: smooth(80), 1),
    "smooth field, 5 x updates": (lambda: smooth(64), 5),
    "field and learned contact": (lambda: jumping(64), 1),
}


class Batch:
    """Starts and targets drawn from throws (n step 14)."""

    def __init__(self, throws: Tensor, impacts: Tensor, n_rows: int, generator: torch.Generator) -> None:
        row = torch.randint(len(throws), (n_rows, 1), generator=generator)
        first = torch.randint(throws.shape[1] - N_STEPS, (n_rows, 1), generator=generator)
        lead = torch.rand(n_rows, N_STEPS, generator=generator).argsort(dim=1)[:, :N_TARGETS].sort(dim=1).values + 1
        self.start = throws[row[:, 0], first[:, 0]]
        self.targets = throws[row, first + lead]
        self.times = lead.double() / N_STEPS
        so_far = impacts.cumsum(dim=1)
        self.is_after_impact = so_far[row, first + lead] > so_far[row, first]

    def errors(self, evolution: Evolution | None) -> Tensor:
        """Squared errors (row target); of the last value where there is no model."""
        # a row that fails keeps its last finite state
        if evolution is None:
            return (self.start[:, None] - self.targets).square().mean(dim=2)
        states = evolution.evolve_to(self.start, self.times.new_zeros(len(self.times)), self.times).z
        return (states - self.targets).square().mean(dim=2)


def read() -> tuple[list[Tensor], list[Tensor]]:
    """Throws of training, validation and test, standardised, and whether the torso is hit in each step."""
    table = pd.read_parquet(FILE)
    wide = table.pivot_table(index=["series", "time"], columns="channel", values="value", observed=True)
    values = torch.tensor(wide.to_numpy(dtype="float32")).reshape(-1, 100, N_STATE)
    vertical = values[..., list(wide.columns).index("qvel1")]
    impacts = nn.functional.pad(vertical.diff(dim=1).abs() > IMPACT * 0.005, (1, 0))
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    parts = [values[order[a:b]] for a, b in ((0, 700), (700, 850), (850, 1000))]
    mean, scale = parts[0].mean(dim=(0, 1)), parts[0].std(dim=(0, 1))
    hits = [impacts[order[a:b]] for a, b in ((0, 700), (700, 850), (850, 1000))]
    return [(part - mean) / scale for part in parts], hits


def fit(
    make: Callable[[], Evolution], throws: list[Tensor], hits: list[Tensor], seed: int, n_updates: int
) -> Evolution:
    """Train, and return the model at the update that was best on the validation throws."""
    torch.manual_seed(seed)
    model, generator = make(), torch.Generator().manual_seed(seed)
    checked = Batch(throws[1], hits[1], 1000, torch.Generator().manual_seed(1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=n_updates)
    best, kept = float("inf"), model.state_dict()
    for k in range(n_updates):
        optimiser.zero_grad()
        loss = Batch(throws[0], hits[0], BATCH, generator).errors(model).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (k + 1) % (n_updates // 10) == 0:
            with torch.no_grad():
                score = float(checked.errors(model).mean())
            if score < best:
                best, kept = score, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} +- {statistics.stdev(values) if len(values) > 1 else 0.0:.4f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--updates", type=int, default=400)
    arguments = parser.parse_args()
    if not FILE.exists():
        print(f"{FILE} is not there: set TSODE_REAL_DATA to the folder that holds it.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    throws, hits = read()
    tested = Batch(throws[2], hits[2], 4000, torch.Generator().manual_seed(2))
    after = tested.is_after_impact

    def scores(model: Evolution | None) -> tuple[float, float, float]:
        with torch.no_grad():
            errors = tested.errors(model)
        return float(errors.mean()), float(errors[after].mean()), float(errors[~after].mean())

    print(f"{arguments.updates} updates of {BATCH} rows, seeds {arguments.seeds}; {float(after.float().mean()):.0%} of "
          f"the {after.numel()} test targets lie after an impact")  # fmt: skip
    print(f"{'':28}{'all':>18}{'after an impact':>20}{'before any':>20}{'weights':>9}{'CPU s':>7}")
    last = scores(None)
    print(
        f"{'last value':28}" + "".join(f"{value:>{width}.4f}" for value, width in zip(last, (18, 20, 20))), flush=True
    )
    for name, (make, factor) in MODELS.items():
        found, begun = [], time.process_time()
        for seed in arguments.seeds:
            model = fit(make, throws, hits, seed, factor * arguments.updates)
            found.append(scores(model))
        seconds = (time.process_time() - begun) / len(arguments.seeds)
        columns = "".join(f"{spread(list(part)):>{width}}" for part, width in zip(zip(*found), (18, 20, 20)))
        n_weights = sum(p.numel() for p in model.parameters())
        print(f"{name:28}{columns}{n_weights:>9}{seconds:>7.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
