"""Choose hyperparameters with scikit-learn: over time in one series, over people in a panel.

A forecaster is an estimator like any other: `score` is higher for better forecasts, so searches need nothing more.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsode import JumpODEForecaster
from tsode.datasets import load_nyc_weather, load_theophylline

# One wide frame, indexed by time, NaN = not observed. Each fold learns from the past and forecasts the next two days.
weather = load_nyc_weather().query("unique_id == 'JFK'").set_index("ds")
weather = weather.loc["2013-09":"2013-10", ["temperature_degf", "humidity_pct", "pressure_hpa"]]
pipeline = make_pipeline(
    StandardScaler().set_output(transform="pandas"),
    JumpODEForecaster(horizon="48h", n_static=8, max_context=48, batch_size=16, max_epochs=4, random_state=0),
)
grid = {"jumpodeforecaster__n_modes": [4, 16]}
over_time = GridSearchCV(pipeline, grid, cv=TimeSeriesSplit(n_splits=3, test_size=48))
over_time.fit(weather)

# A long panel. Each fold learns from some people and forecasts others, every row from the rows before it.
panel = load_theophylline()  # unique_id, ds (hours), theophylline_mg_l: 12 people, 11 samples each
forecaster = JumpODEForecaster(
    horizon=12.0, n_static=8, batch_size=16, learning_rate=1e-2, max_epochs=8, random_state=0
)
over_people = GridSearchCV(forecaster, {"n_modes": [4, 16]}, cv=GroupKFold(n_splits=3))
over_people.fit(panel, groups=panel["unique_id"])

searches = {"JFK weather, TimeSeriesSplit": over_time, "theophylline, GroupKFold": over_people}
columns = ["params", "mean_test_score", "std_test_score", "rank_test_score"]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for ax, (name, search) in zip(axes, searches.items()):
    results = pd.DataFrame(search.cv_results_)
    print(f"\n{name}: log score per value, higher is better\n")
    print(results[columns].round(3).to_string(index=False))
    modes = [str(*params.values()) for params in results["params"]]
    ax.errorbar(modes, results["mean_test_score"], results["std_test_score"], fmt="o", capsize=4)
    ax.set(title=name, xlabel="n_modes", ylabel="log score (mean ± sd over folds)")
    ax.margins(x=0.5)

# The best pipeline is fitted anew on all its data; its scaler undoes the scaling.
scaler, forecaster = over_time.best_estimator_
forecast = forecaster.predict(horizon=["1h", "24h"])
forecast[:] = scaler.inverse_transform(forecast)
print("\nThe best weather forecaster, after the last observation:\n")
print(forecast.round(1).to_string())
Path("output").mkdir(exist_ok=True)
figure.savefig("output/sklearn_grid_search.png", dpi=150)
print("\nPicture: output/sklearn_grid_search.png")
