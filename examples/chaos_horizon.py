"""How far ahead a chaotic series can be forecast: the Lorenz equations from sixty noisy rows.

The posterior of the parameters gives every Lyapunov exponent a band, and the growth of errors along the forecast says
when the fan has to open. Saves output/chaos_horizon.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp

from tsode import KnownODEForecaster
from tsode.inference import LogNormal, Normal
from tsode.inference.noise import AdditiveNoise
from tsode.plots import plot_fan, plot_growth
from tsode.stability import finite_time_exponents, fitted_system, lyapunov_spectrum, predictability_horizon

NAMES = ["x", "y", "z"]
END, AHEAD = 3.0, 6.0


def truth(t, u):
    x, y, z = u
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


rng = np.random.default_rng(3)
times = np.sort(rng.uniform(0.0, END, 60))
dense = np.linspace(0.0, END + AHEAD, 901)
path = solve_ivp(truth, (0.0, END + AHEAD), [-1.0, 1.0, 18.0], rtol=1e-10, atol=1e-10, dense_output=True).sol
seen = pd.DataFrame((path(times) + 0.3 * rng.normal(size=(3, 60))).T, columns=NAMES).assign(unique_id="one", ds=times)
future = pd.DataFrame(path(dense).T, columns=NAMES).assign(unique_id="one", ds=dense)
future = future[future["ds"] > times[-1]]


def rates(t, u, p):
    x, y, z = u.unbind(dim=-1)
    return p.sigma * (y - x), x * (p.rho - z) - y, x * y - p.beta * z


model = KnownODEForecaster(
    rates,
    states=NAMES,
    parameters={
        "sigma": LogNormal(np.log(10), 0.2),
        "rho": LogNormal(np.log(28), 0.2),
        "beta": LogNormal(np.log(2.7), 0.2),
        "noise": LogNormal(-1.0, 1.0),
    },
    initial={"x": Normal(0, 15), "y": Normal(0, 15), "z": Normal(25, 15)},
    observed={name: AdditiveNoise(name, sd="noise") for name in NAMES},
    segments="auto",
    inference="laplace",
    horizon=AHEAD,
    random_state=0,
).fit(seen)
print(model.summary()[["mean", "sd", "q05", "q95"]].round(3).to_string())

system = fitted_system(model, n_draws=16)
spectrum = lyapunov_spectrum(system, duration=20.0, transient=10.0)
print("\nLyapunov exponents of the posterior (the truth has 0.906, 0 and -14.57):\n")
print(spectrum.round(3).to_string())
horizon = predictability_horizon(spectrum, error=0.1, tolerance=8.0)
print(f"\nAn error of 0.1 is one of 8, as large as x itself, after {horizon['q05']:.2f} to {horizon['q95']:.2f}.")

bands = model.predict_interval(times=future["ds"].to_numpy()[::2], level=(50, 80, 95))
growth = finite_time_exponents(system, times=np.linspace(0.1, AHEAD, 60))
figure, (above, below) = plt.subplots(2, figsize=(9, 6), sharex=True, layout="constrained", height_ratios=[2, 1])
plot_fan(seen, bands, "x", truth=future[future["ds"].isin(dense[::20])], ax=above)
above.set_xlabel("")
plot_growth(growth, tolerance=8.0 / 0.1, fan=above, ax=below)
below.set_xlabel("time")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/chaos_horizon.png", dpi=120)
