"""Every picture that tsode draws, from the data that come with it, on one page: ``make gallery``.

Writes output/gallery/index.html, which needs no other file.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tsode import (
    AutoForecaster,
    JumpODEForecaster,
    KnownODEForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    PointProcessForecaster,
    compare_structures,
    part,
    plan,
)
from tsode.control import ChanceLimit, Doses, TargetRange
from tsode.datasets import (
    load_cgm,
    load_earthquakes,
    load_lynx_hare,
    load_mauna_loa_co2,
    load_physionet2012,
    load_theophylline,
    load_theophylline_doses,
    load_theophylline_static,
)
from tsode.diagnostics import forgetting, influence, innovations, rank_histogram, sensitivity, spread_skill
from tsode.errors import TsodeWarning
from tsode.inference import AdditiveNoise, Normal
from tsode.influence import influence as influence_of_series
from tsode.plots import (
    Page,
    plot_basin,
    plot_bifurcation,
    plot_calibration,
    plot_crossing,
    plot_decomposition,
    plot_effects,
    plot_fan,
    plot_forest,
    plot_gaps,
    plot_goodness_of_fit,
    plot_growth,
    plot_history,
    plot_inclusion,
    plot_individual_fits,
    plot_influence,
    plot_influence_ranking,
    plot_innovations,
    plot_intensity,
    plot_latent,
    plot_leaderboard,
    plot_pairs,
    plot_phase,
    plot_pit,
    plot_plan,
    plot_plume,
    plot_posterior_predictive,
    plot_prior_posterior,
    plot_profiles,
    plot_rank_histogram,
    plot_sensitivity,
    plot_spectrum,
    plot_spread_skill,
    plot_visual_predictive_check,
    plot_what_if,
)
from tsode.stability import (
    basin,
    basin_distance,
    continuation,
    finite_time_exponents,
    fixed_points,
    invariant_manifold,
    lyapunov_spectrum,
)
from tsode.systems import lotka_volterra, one_compartment_oral

started = time.process_time()
page = Page("Gallery of tsode")
page.text("Drawn by examples/gallery.py from the data that come with tsode, with small models that are quick to fit.")

page.heading("plot_gaps: how irregular the data are")
vitals = ["HR", "Temp", "MAP", "GCS", "Glucose", "pH"]
stays = load_physionet2012()[["unique_id", "ds", *vitals]].dropna(subset=vitals, how="all")
axes = plot_gaps(stays)
axes.set_xlabel("gap (hours)")
page.figure(axes, "Vital signs and laboratory values of 400 stays in intensive care.")

page.heading("plot_fan: a forecast, and how sure it is")
glucose = load_cgm()
glucose["ds"] = pd.to_timedelta(glucose["ds"], unit="min")
horizon, cut, person = pd.Timedelta("2h"), pd.Timedelta("4D"), "1636-69-035"
recent = glucose[(glucose["ds"] > cut - pd.Timedelta("30h")) & (glucose["ds"] <= cut + horizon)]
past, future = recent[recent["ds"] <= cut], recent[recent["ds"] > cut]
# Some sensors dropped out long before: a warning names them.
warnings.filterwarnings("ignore", "The history of series", TsodeWarning)
forecaster = JumpODEForecaster(horizon=horizon, max_epochs=5, n_modes=16, random_state=0).fit(past)
times = pd.timedelta_range(cut - pd.Timedelta("21h"), cut + horizon, freq="4min")
one = past[past["unique_id"] == person]
bands = forecaster.predict_interval(times=times, context=one, level=(50, 80, 95))
page.figure(
    plot_fan(one, bands, truth=future[future["unique_id"] == person], label="glucose (mg/dL)"),
    "Glucose of one person: each point of the fan is forecast from what had been read before it.",
)

page.heading("plot_calibration and plot_pit: whether intervals hold")
future = future[future["unique_id"].isin(past["unique_id"])]
quantiles = forecaster.predict_quantiles(future, quantiles=np.arange(1, 40) / 40)
page.figure(plot_calibration(future, quantiles, history=past), "Two hours of 57 people after the cut.")
page.figure(plot_pit(future, quantiles, history=past), "The same readings: where they lie in their forecasts.")

page.heading(
    "plot_plume, plot_innovations, plot_spread_skill, plot_rank_histogram: an ensemble, and whether it is right"
)
ensemble = forecaster.sample(times=times[times > cut], context=one, n_samples=60, random_state=0)
axes = plot_plume(one, ensemble, truth=future[future["unique_id"] == person], label="glucose (mg/dL)")
page.figure(axes, "The forecast of the fan as sixty paths that belong together.")
page.figure(plot_innovations(innovations(forecaster, one)).axes[0], "Errors one reading ahead, by their own forecasts.")
few = recent[recent["unique_id"].isin(future["unique_id"].unique()[:12])]
verified = {"cutoffs": [cut], "horizon": horizon}
page.figure(plot_spread_skill(spread_skill(forecaster, few, **verified)), "What they claim of twelve people's errors.")
ranks = rank_histogram(forecaster, few, **verified)
page.figure(plot_rank_histogram(ranks).axes[0], "Where readings lie among paths: even is right.")

page.heading("plot_decomposition: what a series is made of")
co2 = load_mauna_loa_co2().set_index("ds")["co2_ppm"]["1985":"1993"][::2]
year = part("season", period="365.25D", n_harmonics=3, name="year")
structural = LinearSDEForecaster(components=["slope", "ou", year], random_state=0).fit(co2)
axes = plot_decomposition(structural, horizon="730D", label="CO2 (ppm)")
page.figure(axes[0], "CO2 at Mauna Loa: trend, season and rest, and the two years ahead.")

page.heading("plot_history: how training went")
page.figure(plot_history(forecaster), "The fit behind the fan.")
orbit = pd.DataFrame({"ds": np.sort(np.random.default_rng(0).uniform(0.0, 20.0, 100))})
orbit["x"], orbit["y"] = np.cos(orbit["ds"]) * np.exp(-0.03 * orbit["ds"]), -np.sin(orbit["ds"])
orbit["y"] *= np.exp(-0.03 * orbit["ds"])
solved = JumpODEForecaster(
    evolution="mlp", jump="gru", solver="dopri5", n_state=8, n_hidden=16, horizon=2.0, max_context=8, max_epochs=4,
    batch_size=32, n_members=1, random_state=0,
).fit(orbit.set_index("ds"))  # fmt: skip
page.figure(plot_history(solved), "A neural field and an adaptive solver, whose evaluations are counted.")

page.heading("plot_leaderboard: which forecasters were tried, and how they did")
tried = AutoForecaster(horizon=12.0, budget=10, random_state=0).fit(load_theophylline())
page.figure(plot_leaderboard(tried), "Ten seconds of trying on the theophylline of twelve people.")
page.text(tried.explain())

page.heading("plot_phase: where a vector field leads")
page.figure(
    plot_phase(solved.module_.evolution.dynamics, xlim=(-2, 2), ylim=(-2, 2)), "That field, two of eight states."
)


def hunt(t, z):
    prey, hunter = z.unbind(1)
    return torch.stack([prey * (1.0 - hunter), hunter * (prey - 1.0)], dim=1)


z, paths = torch.tensor([[1.0, 0.3], [1.0, 0.6]], dtype=torch.float64), []
for _ in range(800):  # midpoint rule
    z = z + 0.01 * hunt(None, z + 0.005 * hunt(None, z))
    paths.append(z)
axes = plot_phase(hunt, torch.stack(paths, dim=1), xlim=(0, 3), ylim=(0, 3), labels=("prey", "hunters"))
page.figure(axes, "A known field: hunters and prey.")


def double_well(t, z):
    place, speed = z.unbind(1)
    return torch.stack([speed, place - place**3 - 0.2 * speed], dim=1)


curves = [invariant_manifold(double_well, [0.0, 0.0], which=which) for which in ("unstable", "stable")]
wells = fixed_points(double_well, box=[(-2, 2), (-2, 2)], names=["place", "speed"])
axes = plot_phase(
    double_well, points=wells, manifolds=curves, xlim=(-2, 2), ylim=(-1.5, 1.5), labels=("place", "speed")
)
page.figure(axes, "A damped double well: where it rests, and the curves that lead to and from its saddle.")

page.heading("plot_basin: which rest a state comes to")
basins = basin(double_well, [(-2, 2), (-2, 2)], n=80, names=["place", "speed"])
page.figure(
    plot_basin(basins, basin_distance(double_well, [[1.0, 0.0], [0.3, 0.0]], basins)),
    "The double well's two basins, with the distance of two states to the edge of theirs.",
)

page.heading("plot_bifurcation: what a parameter changes")


def born_hard(t, z, p):
    square = (z**2).sum(dim=1)
    return (p + square - square**2)[:, None] * z + torch.stack([-z[:, 1], z[:, 0]], dim=1)


rest = continuation(born_hard, [0.0, 0.0], (-0.5, 0.5))
cycles = continuation(born_hard, rest[rest["event"] == "hopf"], (-0.5, 0.5), of="cycles")
page.figure(
    plot_bifurcation([rest, cycles]), "A subcritical Hopf point, whose cycles turn at a fold and are stable from there."
)

page.heading("plot_spectrum: along how many directions errors grow")


def lorenz(t, z):
    x, y, w = z.unbind(dim=1)
    return torch.stack([10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w], dim=1)


chaotic = lyapunov_spectrum(lorenz, [1.0, 1.0, 20.0], duration=10.0, transient=10.0, n_starts=64)
page.figure(plot_spectrum(chaotic), "Lyapunov exponents of the Lorenz equations: one above zero, one along the flow.")

page.heading("plot_latent: a state that flows and jumps")
drug = load_theophylline()
dosed = load_theophylline_doses().rename(columns={"dose_mg": "amount"})
small = {"horizon": 6.0, "n_modes": 8, "n_static": 4, "random_state": 0}
jumping = JumpODEForecaster(**small, max_epochs=15).fit(drug, events=dosed)
axes = plot_latent(jumping, series=3)
axes.set_xlabel("hours")
page.figure(axes, "A jump ODE: hollow dots before an observation or dose, full dots after.")
again = pd.concat([dosed, dosed.assign(ds=12.0)])
smooth = LatentODEForecaster(**small, max_epochs=10).fit(drug, events=dosed)
axes = plot_latent(smooth, series=3, events=again)
axes.set_xlabel("hours")
page.figure(axes, "A latent ODE jumps at doses alone, here a second at hour 12.")

page.heading("plot_sensitivity, plot_influence: what the past counts")
straight = LinearSDEForecaster(horizon=6.0, max_epochs=10, random_state=0).fit(drug, events=dosed)
axes = plot_sensitivity(sensitivity(straight, times=[6.0]), series=3)
axes.set_xlabel("hours")
page.figure(axes, "Derivatives of a forecast by each past concentration (mg/l) and by the dose (mg).")
kept = forgetting(straight).attrs["half_life"]
axes = plot_influence(influence(straight, share=0.1), half_life=kept)
page.figure(axes, "Influence of an early observation on later predictions, and the half-life of forgetting.")

page.heading("plot_influence_ranking: which series, and which of their values, decide the fit")
ranked = influence_of_series(straight, horizon=6.0, method="implicit")
page.figure(
    plot_influence_ranking(ranked),
    "How far forecasts of all twelve people move when one of them is left out of training.",
)
leading = ranked["series"].iloc[0]
values = influence_of_series(straight, horizon=6.0, of="observations", series=leading, method="implicit")
page.figure(
    plot_influence_ranking(values),
    "The same without one value of the person who counts most: the series, and hours since the dose.",
)

page.heading("plot_crossing: when a level is crossed, and which of two first")
ahead = [f"{days}D" for days in range(30, 3000, 30)]
crossed = structural.predict_crossing("co2_ppm", {"360 ppm": 360.0, "365 ppm": 365.0}, horizon=ahead, random_state=0)
page.figure(plot_crossing(crossed), "CO2 at Mauna Loa, from the data up to 1993: levels are crossed in spring.")

page.heading("plot_what_if: forecasts under two plans")
solved = JumpODEForecaster(
    evolution="mlp", jump="gru", n_state=8, n_hidden=16, horizon=24.0, max_epochs=20, random_state=0
).fit(drug, events=dosed)
plans = {"one dose": dosed, "a second dose at hour 12": again}
seen = drug[drug["ds"] < 12.0]
answer = solved.what_if(plans, times={3: np.linspace(0.5, 30.0, 119)}, context=seen, random_state=0)
axes = plot_what_if(answer, "theophylline_mg_l", series=3, history=seen, events=plans, label="theophylline (mg/L)")
axes.set_xlabel("hours")
page.figure(
    axes, "How forecasts differ. This model has seen one dose a person: the second shows the picture, not the drug."
)

page.heading("plot_growth: errors of the state along a forecast")
pelts = load_lynx_hare().rename(columns={"hare": "prey", "lynx": "predator"})
hunted = lotka_volterra(prey_level=30, predator_level=20, period=10)
cycles = KnownODEForecaster(system=hunted, inference="laplace", random_state=0).fit(pelts)
forecast = cycles.predict_interval(times=np.linspace(1920.5, 1940.0, 79), level=(50, 80, 95))
figure, (above, below) = plt.subplots(2, figsize=(9, 6), sharex=True, layout="constrained")
plot_fan(pelts, forecast, "prey", label="hares (thousands)", ax=above)
plot_growth(finite_time_exponents(cycles, times=np.linspace(0.25, 20.0, 80)), tolerance=4.0, fan=above, ax=below)
above.set_xlabel("")
page.figure(below, "Hares and lynxes: by how much the worst small error of the state has grown, below the forecast.")

page.heading("plot_individual_fits and four more: posteriors of equations that are known")
own = ["absorption", "clearance", "volume"]
body = one_compartment_oral(absorption=1.5, clearance=3.0, volume=32.0, level=5.0, spread=0.5)
body = body.with_(per_series=own, parameters={"sd": 0.25})  # mg/L, of the assay
levels = drug[drug["unique_id"].isin([3, 6, 9])].rename(columns={"theophylline_mg_l": "concentration"})
known = KnownODEForecaster(system=body, inference="laplace", random_state=0)
known.fit(levels, events=dosed.assign(target="depot").query("unique_id in [3, 6, 9]"))
page.figure(plot_individual_fits(known).axes[0], "Three people who share the noise alone: curves with two bands.")
page.figure(plot_posterior_predictive(known).axes[0], "The data beside replicates, and where they lie.")
page.figure(plot_pairs(known, [f"{name}[3]" for name in own]).axes[0], "What the data tell of one of them together.")
page.figure(plot_prior_posterior(known, [f"{name}[3]" for name in own]).axes[0], "Each by itself, with its prior.")
page.figure(plot_forest(known, [f"clearance[{key}]" for key in (3, 6, 9)]), "Clearance of the three.")

page.heading("plot_plan: doses that keep a person in range")
target, limit = (
    TargetRange("concentration", 6.0, 12.0, probability=0.5),
    ChanceLimit("concentration", above=14.0, probability=0.1),
)
tablets = Doses([26.0, 34.0, 42.0, 50.0], "depot", high=400.0, available=50.0)
given = dosed.assign(target="depot").query("unique_id == 3")
planned = plan(
    known, target, constraints=limit, actions=tablets, events=given, times=58.0, series=3, if_infeasible="closest",
    random_state=0,
)  # fmt: skip
axes = plot_plan(planned, target=target, limit=limit, history=levels, label="theophylline (mg/L)")
axes.set_xlabel("hours")
page.figure(axes, "Tablets of 50 mg for one of the three, through the posterior, and doing nothing more.")

page.heading("plot_inclusion: which terms of the equations the data support")


def wired(t, z, p):
    x, y = z.unbind(1)
    return p.yx * y - x, p.xy * x - 0.5 * y


network = KnownODEForecaster(
    wired, states=["x", "y"], parameters={"xy": Normal(0, 1), "yx": Normal(0, 1)}, initial={"x": 1.0, "y": 1.0},
    observed={name: AdditiveNoise(name, sd=0.02) for name in "xy"}, initial_time=0.0,
)  # fmt: skip
times = np.linspace(0.25, 5.0, 20)  # of y' = .8 x - y / 2, x' = -x
looks = pd.DataFrame({"ds": times, "x": np.exp(-times), "y": 2.6 * np.exp(-times / 2) - 1.6 * np.exp(-times)})
looks[["x", "y"]] += 0.02 * np.random.default_rng(0).normal(size=(20, 2))
wirings = compare_structures(network, {"x->y": "xy", "y->x": "yx"}, looks, random_state=0)
page.figure(plot_inclusion(wirings)[0], "Two nodes: one edge that is there, and one that is not.")

page.heading("plot_goodness_of_fit and three more: populations")
people = KnownODEForecaster(
    system=body.with_(per_series=(), parameters={"sd": body.parameters["sd"]}),
    random_effects=own,
    covariates={"clearance": {"weight_kg": 0.75}},
    inference="likelihood",
    n_starts=1,
    random_state=0,
).fit(
    drug.rename(columns={"theophylline_mg_l": "concentration"}).query("ds > 0"),
    events=dosed.assign(target="depot"),
    static=load_theophylline_static(),
)
page.figure(plot_goodness_of_fit(people).axes[0], "Twelve people of one population: values beside predictions.")
page.figure(plot_visual_predictive_check(people).axes[0], "Quantiles of the data beside bands of simulated ones.")
page.figure(plot_effects(people).axes[0], "What people differ in, beside their weight.")
profiles = people.profile(["clearance", "volume", "omega_clearance", "omega_volume"])
page.figure(plot_profiles(profiles).axes[0], "How far what they share may be off, by the likelihood.")

page.heading("plot_intensity: when the next event comes")
quakes = load_earthquakes().query("split == 'train'").drop(columns="split")
quakes = quakes[quakes["unique_id"].isin([f"train-{k}" for k in range(30)])]
process = PointProcessForecaster("hawkes", max_epochs=6, random_state=0).fit(quakes)
stream = quakes[quakes["unique_id"] == "train-0"]
times = np.linspace(stream["ds"].iloc[0], stream["ds"].iloc[-1] + 10.0, 800)
rates = process.predict_intensity(times=times, context=stream)
axes = plot_intensity(stream, rates, next_event=process.predict_next(context=stream), label="earthquakes an hour")
axes.set_xlabel("hours")
page.figure(axes, "A self-exciting process of earthquakes, by class of magnitude.")

page.write("output/gallery/index.html")
print(f"Page: output/gallery/index.html ({time.process_time() - started:.0f} CPU seconds)")
