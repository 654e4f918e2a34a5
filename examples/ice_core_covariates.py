"""Carbon dioxide of three ice ages from the temperature record: a covariate that is known ahead.

One core from Antarctica holds both: the temperature of the last 800,000 years, from the ice, and the CO2 of the air,
from bubbles in it, measured at other depths. CO2 is learned up to 250,000 years ago and then forecast to the present:
from its own past alone, and told the temperature all along (`known=`). Which causes which is another question: the
covariate only has to be known. Writes output/ice_core_covariates.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tsode import ConstantForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.datasets import load_palaeoclimate
from tsode.metrics import coverage, rmse
from tsode.plots import plot_fan

CUT, MODERN = -250.0, -0.2  # thousands of years; after the last one, CO2 is of people's making

core = load_palaeoclimate().query("unique_id == 'epica_dome_c' and -803 < ds").set_index("ds")
co2 = core["co2_ppm"].dropna()
co2 = co2.groupby(np.round(co2.index, 1)).mean()[:MODERN]
temperature = core["temperature_anomaly_k"].dropna()
temperature = temperature.groupby(np.ceil(temperature.index * 2.0) / 2.0).mean()  # means of half a millennium
train, test = co2[:CUT], co2[CUT:]

settings = {"horizon": 50.0, "random_state": 0}
asked = {
    "mean of the past": (ConstantForecaster(horizon=50.0), {}),
    "last value": (LastValueForecaster(horizon=50.0), {}),
    "linear SDE": (LinearSDEForecaster(**settings), {}),
    "linear SDE, told the temperature": (LinearSDEForecaster(**settings), {"known": temperature}),
}
print(f"CO2 of {len(test)} samples of the last 250,000 years, learned from {len(train)} older ones:\n")
print(f"{'':34}RMSE, ppm   share in the 80 % band")
fans = {}
for name, (forecaster, known) in asked.items():
    fitted = forecaster.fit(train, **known)
    answer = fitted.predict_interval(times=test.index, level=80)
    low, high = answer["co2_ppm-lo-80"], answer["co2_ppm-hi-80"]
    print(f"{name:34}{rmse(test, answer['co2_ppm']):9.1f}{coverage(test, low, high):15.2f}")
    fans[name] = fitted.predict_interval(times=np.arange(-350.0, 0.0, 0.5), level=(50, 80, 95))

figure, axes = plt.subplots(3, 1, figsize=(9, 8), sharex=True, height_ratios=[2, 2, 1], layout="constrained")
for axis, name in zip(axes, list(asked)[2:]):
    plot_fan(train, fans[name], truth=test, label="CO2 (ppm)", ax=axis)
    axis.set_xlabel("")
    axis.set_title(name, loc="left", fontsize="medium")
axes[2].plot(temperature[-350.0:], color="firebrick", lw=0.8)
axes[2].set(ylabel="temperature\nanomaly (K)", xlabel="thousands of years relative to 1950")
Path("output").mkdir(exist_ok=True)
figure.savefig("output/ice_core_covariates.png", dpi=150)
print("\nPicture: output/ice_core_covariates.png")
