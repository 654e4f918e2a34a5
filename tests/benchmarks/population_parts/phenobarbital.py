"""Phenobarbital in 59 newborns: published estimates, and levels of newborns that were left out.

The data are read from TSODE_REAL_DATA, for their licence forbids to bundle them. Doses are per kg of birth weight, so
that clearance and volume are in proportion to it. The published model (Grasela and Donn, Dev. Pharmacol. Ther. 8, 1985)
is FO, with a volume that differs where the Apgar score is below 5. Forecasts are by the model of lowest BIC among those
below, chosen once by the likelihood of all 59; errors of forecasts have no part in the choice.

Each newborn is left out alone: the model is fitted to 58, all folds side by side, and every later level is forecast as
the median over the individual posterior given the levels before it, as in ``tests/benchmarks/phenobarbital.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tests.benchmarks.phenobarbital import FOLDER, read
from tests.benchmarks.structural_parts.report import Report
from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.inference.effects.covariates import Covariates
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, CombinedNoise, LogNormalNoise, ProportionalNoise
from tsode.inference.noise.base import Noise
from tsode.inference.observations import Observations
from tsode.inference.population.draw_effects import draw_effects
from tsode.inference.population.estimate import Estimate, maximum_likelihood
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.refit import Refitted, first_metric, refit
from tsode.inference.priors import LogNormal, Normal

__all__ = ["run"]

PUBLISHED, NEAR = {"cl": 0.0047, "v": 0.96}, 0.05
RECORD = 0.173  # of a linear SDE that is told of the doses
N_DRAWS, N_STARTS, N_PRIOR = 200, 3, 32
LOW_APGAR = 5
NOISES: dict[str, Noise] = {
    "additive": AdditiveNoise(lambda t, z, p: z[:, 0] / p.v, sd="sd"),
    "proportional": ProportionalNoise(lambda t, z, p: z[:, 0] / p.v, cv="cv"),
    "log-normal": LogNormalNoise(lambda t, z, p: z[:, 0] / p.v, sd="cv"),
    "combined": CombinedNoise(lambda t, z, p: z[:, 0] / p.v, sd="sd", cv="cv"),
}
WIDTHS = {"sd": LogNormal(math.log(3.0), 0.7), "cv": LogNormal(math.log(0.1), 0.7)}
BY_APGAR = {"v": {"apgar": {"low": Normal(0.0, 0.3)}}}
BY_WEIGHT = {name: {"weight": Normal(0.0, 0.3)} for name in ("cl", "v")}
VARIANTS: dict[str, dict] = {name: {"noise": name} for name in NOISES} | {
    "proportional, volume by Apgar": {"noise": "proportional", "covariates": BY_APGAR},
    "proportional, correlated": {"noise": "proportional", "effects": {("cl", "v"): None}},
    "proportional, powers of weight": {"noise": "proportional", "covariates": BY_WEIGHT},
}


class Newborns:
    """Levels, doses and covariates of all newborns."""

    def __init__(self) -> None:
        levels, doses = read()
        self.ids = list(levels["unique_id"].unique())
        of_level, of_dose = dict(iter(levels.groupby("unique_id"))), dict(iter(doses.groupby("unique_id")))
        self.levels = [of_level[key] for key in self.ids]
        self.doses = [of_dose[key].sort_values("ds") for key in self.ids]
        table = pd.read_parquet(FOLDER / "pk_phenobarb_static.parquet").set_index("series").loc[self.ids]
        apgar = np.where(table["apgar"].to_numpy() < LOW_APGAR, "low", "other")
        self.static = {"weight": table["weight_kg"].to_numpy(), "apgar": apgar}

    def density(
        self, rows: Sequence[int], seen: Sequence[int], noise: str, effects=("cl", "v"), covariates=None
    ) -> KnownDensity:
        """Of newborns by their places, of each of which so many levels were seen."""
        times = [self.levels[k]["ds"].to_numpy()[:n] for k, n in zip(rows, seen)]
        values = [self.levels[k]["mg_per_l"].to_numpy()[:n] for k, n in zip(rows, seen)]
        given = _padded([self.doses[k]["ds"].to_numpy() for k in rows], np.inf)
        none, whole = torch.zeros_like(given), torch.zeros_like(given, dtype=torch.long)
        events = ScheduledEvents(
            given, whole + int(EventKind.ADD), whole, _padded([self.doses[k]["amount"].to_numpy() for k in rows], 0.0),
            none, none, whole, none, whole.bool(),
        )  # fmt: skip
        terms = None
        if covariates is not None:
            read_terms = Covariates.read(covariates)
            terms = Covariates(read_terms.terms, read_terms.fitted(self.static, self.ids).middle)
        system = KnownSystem(
            lambda t, z, p: (-p.cl / p.v * z[:, 0],),
            ["body"],
            {"cl": LogNormal(math.log(0.005), 0.7), "v": LogNormal(0.0, 0.7)}
            | {name: WIDTHS[name] for name in NOISES[noise].settings().values()},
            {"body": 0.0},
            {"level": NOISES[noise]},
            population=Population(RandomEffects.read(effects), terms),
        )
        last = [x[-1] for x in times]
        data = Observations(
            [self.ids[k] for k in rows], torch.minimum(_padded(times, last)[:, 0], given[:, 0]),
            _padded(times, last), _padded(values, np.nan)[..., None], events,
            static={name: column[list(rows)] for name, column in self.static.items()},
        )  # fmt: skip
        return KnownDensity(system, data)

    def whole(self, **variant) -> KnownDensity:
        return self.density(range(len(self.ids)), [len(x) for x in self.levels], **variant)


def _padded(rows: Sequence[np.ndarray], fill: float | Sequence[float]) -> Tensor:
    width = max(map(len, rows))
    fills = np.broadcast_to(fill, len(rows))
    return torch.tensor(np.stack([np.append(row, [x] * (width - len(row))) for row, x in zip(rows, fills)]))


def run(report: Report) -> None:
    if not (FOLDER / "pk_phenobarb.parquet").exists():
        report.skip("phenobarbital: its licence forbids to bundle it; set TSODE_REAL_DATA to the folder that has it")
        return
    newborns = Newborns()
    found = _fit(report, newborns, "fo", {"noise": "additive", "covariates": BY_APGAR})[2]
    for name, value in PUBLISHED.items():
        report.at_most(f"fo: {name} {found[name]:.4f} off the published {value}, relative",
                       abs(found[name] / value - 1.0), NEAR)  # fmt: skip
    for name in METHODS:
        _fit(report, newborns, name, {"noise": "additive"})
    fits = {name: _fit(report, newborns, "focei", variant) for name, variant in VARIANTS.items()}
    started = time.process_time()
    lengths = np.array([len(x) for x in newborns.levels])
    folds = {name: _left_out(*fit[:2]) for name, fit in fits.items()}
    n_undone = sum(int((~fold.is_done).sum()) for fold in folds.values())
    report.at_most(f"fits to 58 that have not converged, of {59 * len(folds)}", n_undone, 0.0)
    bic = np.stack([2.0 * fold.loss.numpy() + fold.theta.shape[1] * np.log(lengths.sum() - lengths)
                    for fold in folds.values()])  # fmt: skip
    taken, errors = bic.argmin(axis=0), []
    for place, (name, fold) in enumerate(folds.items()):
        which = np.flatnonzero(taken == place)
        report.note(f"{name}: lowest BIC in {len(which)} folds")
        if len(which):
            errors.append(_later_errors(newborns, VARIANTS[name], which, fold.theta))
    error = np.concatenate(errors)
    report.at_most(f"log RMSE of {len(error)} later levels", float(np.sqrt(np.mean(error**2))), RECORD)
    report.note(f"{time.process_time() - started:.1f} CPU-s for all folds and forecasts")


def _fit(
    report: Report, newborns: Newborns, method: str, variant: dict
) -> tuple[MarginalDensity, Estimate, dict[str, float]]:
    density = MarginalDensity(newborns.whole(**variant), METHODS[method]())
    started = time.process_time()
    found = maximum_likelihood(density, torch.Generator().manual_seed(0), N_STARTS, N_PRIOR)
    seconds = time.process_time() - started
    priors = density.joint.space.priors
    values = {name: float(priors[name].constrain(u)[0]) for name, u in zip(density.names, found.theta)}
    report.note(f"{method:<10} {found.objective:9.3f}  " + "  ".join(f"{k} {x:.4f}" for k, x in values.items())
                + f"   {found.n_at_best} of {len(found.ends)} starts, {seconds:.1f} CPU-s")  # fmt: skip
    return density, found, values


def _left_out(density: MarginalDensity, whole: Estimate) -> Refitted:
    """Estimates from all but one of the newborns each, side by side."""
    n = len(whole.eta)
    inverse = first_metric(whole)
    # what a newborn adds to the slope, by the curvature: Newton's step from the estimate with it
    start = whole.theta - whole.scores @ inverse
    return refit(density, whole, start, inverse.expand(n, -1, -1), 1.0 - torch.eye(n, dtype=torch.float64))


def _later_errors(newborns: Newborns, variant: dict, which: np.ndarray, folds: Tensor) -> np.ndarray:
    """Errors of the logarithms of all later levels of some newborns."""
    asks = [(k, j) for k in which.tolist() for j in range(1, len(newborns.levels[k]))]
    rows = [k for k, _ in asks]
    density = MarginalDensity(newborns.density(rows, [j for _, j in asks], **variant), METHODS["laplace"]())
    theta = folds[rows][:, None].expand(-1, N_DRAWS, -1)
    eta = draw_effects(density, theta, None, torch.Generator().manual_seed(0))[:, :, None]
    when = torch.tensor([[newborns.levels[k]["ds"].iloc[j]] for k, j in asks], dtype=torch.float64)
    apart = density.subjects
    states, _ = apart.joint.trajectories(apart.points(theta, eta), when)
    values = apart.joint.space.unpack(apart.points(theta, eta)).values["v"]
    level = states[:, :, 0, 0, 0] / values[:, :, 0]
    truth = np.log([newborns.levels[k]["mg_per_l"].iloc[j] for k, j in asks])
    return level.log().quantile(0.5, dim=1).numpy() - truth
