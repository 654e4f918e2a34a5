"""Learn physics from bounces: gravity, restitution and the floor, through the times of the bounces.

Five balls are let go at their own times and heights; a camera reads each height now and then, with errors of 2 cm. The
time of a bounce is nowhere in the data. It follows from the parameters, by a crossing of the floor, and gradients flow
through it, so an ordinary optimiser finds what made the data. Writes output/bouncing_ball.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tsode import Trigger, integrate_triggers
from tsode.numerics import RK4

TRUTH = {"gravity": 9.81, "restitution": 0.8, "floor": 0.05}
START = {"gravity": 8.0, "restitution": 0.65, "floor": 0.15}
N_READINGS, ERROR = 30, 0.02
torch.set_default_dtype(torch.float64)

balls = pd.DataFrame({"released": [0.0, 0.3, 1.0, 2.5, 4.0], "height": [1.0, 1.3, 0.8, 1.1, 0.9]}, index=list("ABCDE"))
released = torch.tensor(balls["released"].to_numpy())
at_rest = torch.stack([torch.tensor(balls["height"].to_numpy()), torch.zeros(len(balls))], dim=1)


def throw(parameters, times, end):
    """Solve (height, velocity) of all balls to `end`, and report it at each ball's own times."""

    def fall(t, z):
        return torch.stack([z[:, 1], -parameters["gravity"].expand(len(z))], dim=1)

    def bounce(t, z):
        return torch.stack([z[:, 0], -parameters["restitution"] * z[:, 1]], dim=1)

    floor = Trigger(lambda t, z: z[:, 0] - parameters["floor"], direction=-1, reset=bounce)
    # free fall is a parabola, on which even a single step of RK4 is exact
    return integrate_triggers(fall, at_rest, released, end, RK4(), [floor], times=times).checked(list(balls.index))


def tensors(values):
    return {name: torch.tensor(value) for name, value in values.items()}


# The data: a long frame with irregular times, as a camera would give it.
rng = np.random.default_rng(0)
seconds = released[:, None] + torch.tensor(np.sort(rng.uniform(0.0, 1.8, (len(balls), N_READINGS)), axis=1))
heights = throw(tensors(TRUTH), seconds, released + 1.8).states[..., 0]
frame = pd.DataFrame(
    {
        "unique_id": np.repeat(balls.index, N_READINGS),
        "ds": seconds.flatten().numpy(),
        "height": heights.flatten().numpy() + rng.normal(0.0, ERROR, heights.numel()),
    }
)
print(frame.groupby("unique_id").head(2).round(3).to_string(index=False), end="\n\n")

# The fit: least squares on the heights alone.
times = torch.tensor(frame["ds"].to_numpy().reshape(len(balls), N_READINGS))
seen = torch.tensor(frame["height"].to_numpy().reshape(len(balls), N_READINGS))
parameters = {name: value.requires_grad_() for name, value in tensors(START).items()}
optimiser = torch.optim.LBFGS(parameters.values(), max_iter=50, line_search_fn="strong_wolfe")


def loss():
    optimiser.zero_grad()
    error = (throw(parameters, times, released + 1.8).states[..., 0] - seen).square().mean()
    error.backward()
    return error


optimiser.step(loss)
learned = {name: value.item() for name, value in parameters.items()}
paths = {}
with torch.no_grad():
    grid = released[:, None] + torch.linspace(0.0, 1.8, 400)
    for name, values in {"truth": TRUTH, "start": START, "learned": learned}.items():
        paths[name] = throw(tensors(values), grid, released + 1.8)
table = pd.DataFrame({"truth": TRUTH, "start": START, "learned": learned})
third = {name: (path.event_times[0, 2] - released[0]).item() for name, path in paths.items()}
table.loc["third bounce of A (s)"] = third
print(table.round(3).to_string())
print(f"\nRoot mean square error of the heights: {loss().sqrt().item():.3f} m, of which the readings' own is {ERROR} m")

figure, (above, below) = plt.subplots(2, figsize=(9, 5.5), sharex=True, layout="constrained")
style = {"truth": ("0.75", 4, "-"), "start": ("tab:orange", 1.2, "--"), "learned": ("tab:blue", 1.5, "-")}
for name, (color, width, dashes) in style.items():
    path = paths[name]
    bounces = path.event_times[0][torch.isfinite(path.event_times[0])]
    # both limits at each bounce, so that the velocity jumps
    at = torch.cat([grid[0], bounces, bounces])
    states = torch.cat([path.states[0], path.z_minus[0, : len(bounces)], path.z_plus[0, : len(bounces)]])
    order = at.argsort(stable=True)
    for axes, k in ((above, 0), (below, 1)):
        axes.plot(at[order], states[order, k], color=color, lw=width, ls=dashes, label=name)
    if name != "start":
        above.plot(bounces, torch.full_like(bounces, -0.06), "|", color=color, ms=14, mew=width)
of_a = frame["unique_id"] == "A"
above.plot(frame.loc[of_a, "ds"], frame.loc[of_a, "height"], ".", color="black", label="readings")
above.set(ylabel="height (m)", title="Ball A: bounce times (ticks) and a restitution learned from heights alone")
above.legend(frameon=False, fontsize="small", ncols=4, loc="upper right")
below.set(xlabel="seconds", ylabel="velocity (m/s)")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/bouncing_ball.png", dpi=150)
print("\nPicture: output/bouncing_ball.png")
