"""Learn a pendulum from noisy angles at irregular times, with a field that keeps its energy and with one that need not.

One pendulum swings from rest at 2 rad; 160 angles are read in 30 time units, at random times, with errors of .05 rad.
Velocities are not seen: the fits find them. Both fields have the same data, optimiser and number of steps. Then the
pendulum is let go from 1 rad, a swing that no reading is of. The Hamiltonian field has learned a torque at every
angle on the way, and keeps whatever energy it starts with; the other one has learned one orbit, and knows of no other.
Writes output/pendulum_energy.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from tsode import solve
from tsode.dynamics import MLPDynamics, SeparableHamiltonian
from tsode.numerics import RK4, BlanesMoan, Leapfrog
from tsode.numerics.integrate import integrate

SEEN, FAR, NEW = 30.0, 100.0, 1.0
N_READINGS, ERROR = 160, 0.05
GAPS = 5  # between readings, of a piece that the fits shoot over
N_STEPS = 400
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)


class Swing(SeparableHamiltonian):
    """Unit mass, so that momentum is velocity, in a potential that is learned."""

    def __init__(self, potential=None):
        super().__init__(2, kinetic=lambda p, theta: 0.5 * p.square().sum(dim=1), potential=potential)

    def velocity(self, t, p, theta):  # as automatic differentiation has it of `kinetic`, but faster
        return p


# The data: angles as a protractor would give them.
truth = Swing(potential=lambda q, theta: -q.cos().sum(dim=1))
times = (SEEN * torch.rand(N_READINGS)).sort().values
times[0] = 0.0
path = solve(truth, {"angle": 2.0, "rate": 0.0}, times.numpy(), solver=BlanesMoan(max_step=0.1))
seen = torch.tensor(path["angle"].to_numpy()) + ERROR * torch.randn(N_READINGS)
print(pd.DataFrame({"ds": times, "angle": seen}).head(5).round(3).to_string(index=False), end="\n\n")


def fit(field, solver):
    """Multiple shooting: starts of short pieces are fitted with the weights, and tied together ever more tightly."""
    n_pieces = (N_READINGS - 1) // GAPS
    rows = GAPS * torch.arange(n_pieces)[:, None] + torch.arange(GAPS + 1)
    clock, angles = times[rows], seen[rows]
    slopes = (angles[:, -1] - angles[:, 0]) / (clock[:, -1] - clock[:, 0])
    starts = torch.nn.Parameter(torch.stack([angles[:, 0], slopes], dim=1))
    optimiser = torch.optim.Adam([*field.parameters(), starts], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, N_STEPS)
    for step in range(N_STEPS):
        states = [starts]
        for i in range(GAPS):
            states.append(integrate(field, states[-1], clock[:, i], clock[:, i + 1], solver).z)
        misses = torch.stack(states, dim=1)[..., 0] - angles
        breaks = states[-1][:-1] - starts[1:]
        loss = (misses.square().sum() + 1e3 ** (step / N_STEPS) * breaks.square().sum()) / ERROR**2 / N_READINGS
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return field


grid = torch.linspace(0.0, FAR, 801)


@torch.no_grad()
def let_go(field, solver):
    """Angle and energy of a swing from rest; its rate is the field's own, as is the state that rests."""
    rates = torch.linspace(-1.0, 1.0, 2001)
    at_rest = torch.stack([torch.full_like(rates, NEW), rates], dim=1)
    start = at_rest[field(torch.zeros_like(rates), at_rest)[:, 0].abs().argmin()]
    frame = solve(field, {"angle": float(start[0]), "rate": float(start[1])}, grid.numpy(), solver=solver)
    states = torch.tensor(frame[["angle", "rate"]].to_numpy())
    return states[:, 0], 0.5 * field(grid, states)[:, 0].square() - states[:, 0].cos()


hamiltonian = fit(Swing(), Leapfrog(n_steps=2))
paths = {
    "truth": let_go(truth, BlanesMoan(max_step=0.2)),
    "hamiltonian": let_go(hamiltonian, BlanesMoan(max_step=0.2)),
    "unconstrained": let_go(fit(MLPDynamics(2), RK4()), RK4(max_step=0.1)),
}
print(hamiltonian.check(torch.randn(1000, 2))[0], end="\n\n")
late = grid > 0.8 * FAR
errors = {
    name: {
        "angle, first 30": (angle - paths["truth"][0])[grid <= 30].square().mean().sqrt().item(),
        "energy, last fifth": (energy - paths["truth"][1])[late].square().mean().sqrt().item(),
    }
    for name, (angle, energy) in paths.items()
}
print("root mean square errors of the swing from 1 rad")
print(pd.DataFrame(errors).round(4).to_string())

colours = {"truth": "k", "hamiltonian": "tab:green", "unconstrained": "tab:red"}
figure, axes = plt.subplots(3, 1, figsize=(12, 8), layout="constrained")
axes[0].plot(times, seen, "k.", ms=4)
axes[0].set(title="what was seen: angles of a swing from 2 rad", xlabel="time")
for name, (angle, energy) in paths.items():
    axes[1].plot(grid[grid <= 50], angle[grid <= 50], color=colours[name], lw=1.2, label=name)
    axes[2].plot(grid, energy, color=colours[name], lw=1.2)
axes[1].set(title="what was not: the swing from 1 rad", xlabel="time")
axes[1].legend(loc="upper right", ncols=3)
axes[2].set(title="its energy", xlabel="time")
output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "pendulum_energy.png", dpi=120)
