"""What state-triggered events cost, as a ratio to the same solve without them.

    python tests/benchmarks/events_speed.py [--repeats N]

Workload: 64 rows of 16 coordinates that follow a perceptron field 16-64-64-16 over one unit of time, with the state
asked for at 20 times of each row's own; forward, and forward with backward. RK4 takes 8 steps, Dopri5 its own (rtol
1e-6). Plain is `integrate_to`. "never" watches one surface that no row reaches; "3 firings" watches a clock that each
row passes three times, with a reset. Rows are measured in turns in one process on one thread; a ratio is the median
over rounds of CPU time by the plain solve's in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tsode.dynamics import MLPDynamics
from tsode.numerics import RK4, Dopri5
from tsode.numerics.base import Solver
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.integrate import integrate_to
from tsode.numerics.surfaces import Trigger

QUERY_STEP = 0.125
WARM_UP = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    field = MLPDynamics(16)
    z, t0 = torch.randn(64, 16), torch.zeros(64, dtype=torch.float64)
    times = torch.rand(64, 20, dtype=torch.float64).sort(dim=1).values
    times[:, -1] = 1.0
    never = Trigger(lambda t, z: z[:, 0] - 100.0)
    # rows pass it at times of their own
    shift = torch.linspace(0.01, 0.2, 64, dtype=torch.float64)
    thrice = Trigger(lambda t, z: torch.sin((t + shift) * 2 * torch.pi * 3.0), 1, lambda t, z: 0.5 * z)

    def events(solver: Solver, event: Trigger) -> Callable[[], Tensor]:
        return lambda: (
            integrate_triggers(field, z, t0, t0 + 1.0, solver, [event], times=times, query_step=QUERY_STEP).states
        )

    print(f"{'':10}{'':18}{'plain ms':>9}{'never':>8}{'3 firings':>11}")
    for name, solver in {"RK4": RK4(), "Dopri5": Dopri5()}.items():
        n_events = integrate_triggers(field, z, t0, t0 + 1.0, solver, [thrice], query_step=QUERY_STEP).n_events
        solves = {
            "plain": lambda solver=solver: integrate_to(field, z, t0, times, solver, query_step=QUERY_STEP).z,
            "never": events(solver, never),
            "3 firings": events(solver, thrice),
        }
        for part in ("forward", "forward+backward"):
            seconds: dict[str, list[float]] = {key: [] for key in solves}
            for _ in range(WARM_UP + repeats):
                for key, solve in solves.items():
                    begun = time.process_time()
                    if part == "forward":
                        with torch.no_grad():
                            solve()
                    else:
                        solve().sum().backward()
                    seconds[key].append(time.process_time() - begun)
            kept = {key: taken[WARM_UP:] for key, taken in seconds.items()}
            ratios = [
                statistics.median(mine / plain for mine, plain in zip(kept[key], kept["plain"]))
                for key in ("never", "3 firings")
            ]
            plain = 1e3 * statistics.median(kept["plain"])
            print(f"{name:10}{part:18}{plain:>9.1f}{ratios[0]:>8.2f}{ratios[1]:>11.2f}", flush=True)
        print(f"{'':10}firings a row: {n_events.double().mean():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
