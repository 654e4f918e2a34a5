"""Fit known dynamics through doses, then ask what other doses would do.

Theophylline swallowed once by twelve people: absorbed from the gut at a rate ka, spread over a volume V, and eliminated
with a clearance CL. Each person's parameters are found by gradients through the solver, pulled towards those of all;
then one of them gets twice the dose, and the dose again every twelve hours until nothing changes any more. Writes
output/theophylline_doses.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tsode import solve, solve_schedule
from tsode.datasets import load_theophylline, load_theophylline_doses
from tsode.frames import read_schedule
from tsode.numerics import Dopri5

NAMES = ["ka (1/h)", "CL (L/h)", "V (L)"]
SPREAD, NOISE = 0.3, 0.7  # of the logarithms between people, and of a measurement in mg/L

seen = load_theophylline()
doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"}).assign(target="gut")
schedule = read_schedule(seen, doses, states=["gut", "blood"])
observed = torch.tensor(seen["theophylline_mg_l"].to_numpy())


def field_of(parameters):
    """Right-hand side for people with these ka, CL and V, one row each."""
    ka, clearance, volume = parameters.unbind(-1)

    def field(t, z):
        gut, blood = z.unbind(-1)
        return torch.stack([-ka * gut, ka * gut - clearance / volume * blood], dim=-1)

    return field


def concentrations(parameters):
    amounts = solve_schedule(field_of(parameters), [0.0, 0.0], schedule, solver=Dopri5(rtol=1e-6, atol=1e-6))
    return amounts[:, 1] / parameters[schedule.row, 2]  # `row`: whose answer it is


population = torch.tensor([1.0, 2.0, 40.0], dtype=torch.float64).log().requires_grad_()
deviation = torch.zeros(len(schedule.ids), 3, dtype=torch.float64, requires_grad=True)
search = torch.optim.LBFGS([population, deviation], max_iter=60, line_search_fn="strong_wolfe")


def loss():
    search.zero_grad()
    error = (concentrations((population + deviation).exp()) - observed) / NOISE
    value = error.square().sum() + (deviation / SPREAD).square().sum()
    value.backward()
    return value


search.step(loss)
with torch.no_grad():
    fitted = (population + deviation).exp()
    error = (concentrations(fitted) - observed).numpy()
    alike = (concentrations(population.exp().expand(len(fitted), 3)) - observed).numpy()
people = pd.DataFrame(fitted.numpy(), pd.Index(schedule.ids, name="person"), NAMES)
for name, errors in (("RMSE (mg/L)", error), ("RMSE, all alike", alike)):
    people[name] = np.sqrt(pd.Series(errors**2).groupby(seen["unique_id"]).mean())
people.loc["all"] = [*population.exp().tolist(), np.sqrt((error**2).mean()), np.sqrt((alike**2).mean())]
print(people.round(2).to_string())

one = schedule.ids.index(9)
field, volume = field_of(fitted[one : one + 1]), fitted[one, 2].item()
dose = float(doses["amount"][one])
plans = {
    "as given": {"amount": [dose]},
    "twice the dose": {"amount": [2 * dose]},
    "every 12 hours": {"amount": [dose], "every": [12.0], "n_more": [7]},
    "every 12 hours for ever": {"amount": [dose], "every": [12.0], "n_more": [7], "steady_state": [True]},
}
curves = {}
for name, plan in plans.items():
    events = pd.DataFrame({"ds": [0.0], "target": ["gut"]} | plan)
    found = solve(field, {"gut": 0.0, "blood": 0.0}, np.linspace(0, 96, 385), events=events, side="after")
    curves[name] = found.set_index("ds")["blood"] / volume
last = {name: curve.loc[84.0:] for name, curve in curves.items()}
print(f"\nPerson {schedule.ids[one]}, {dose:.0f} mg: mg/L in the blood\n")
table = {name: [curve.max(), last[name].min(), last[name].max()] for name, curve in curves.items()}
print(pd.DataFrame(table, ["highest", "84-96 h, lowest", "84-96 h, highest"]).T.round(2).to_string())

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
smooth = solve(field_of(fitted), [0.0, 0.0], np.linspace(0, 24, 97), events=doses, states=["gut", "blood"])
for k, person in enumerate([1, 5, 9]):
    row = schedule.ids.index(person)
    curve, points = smooth[smooth["unique_id"] == person], seen[seen["unique_id"] == person]
    left.plot(points["ds"], points["theophylline_mg_l"], ".", color=f"C{k}")
    left.plot(curve["ds"], curve["blood"] / fitted[row, 2].item(), color=f"C{k}", label=f"person {person}")
left.plot(0, 0, "^", color="black", ms=6, label="dose", clip_on=False)
left.set_ylim(bottom=0)
left.set(xlabel="hours since the dose", ylabel="theophylline (mg/L)", title="Measured and fitted")
left.legend(frameon=False, fontsize="small")
for name, curve in curves.items():
    right.plot(curve.index, curve, "--" if "for ever" in name else "-", label=name)
right.plot(np.arange(0, 96, 12), np.zeros(8), "^", color="black", ms=6, label="dose", clip_on=False)
right.set(xlabel="hours", title=f"Person {schedule.ids[one]}: what other doses would do")
right.set_ylim(bottom=0)
right.legend(frameon=False, fontsize="small", ncols=2)
Path("output").mkdir(exist_ok=True)
figure.savefig("output/theophylline_doses.png", dpi=150)
print("\nPicture: output/theophylline_doses.png")
