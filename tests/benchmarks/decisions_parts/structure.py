"""Structures: networks of three nodes, of which the data tell one, two that are alike, or nothing."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal

import tsode
from tests.benchmarks.structural_parts.report import Report
from tests.structures.networks import EDGES, data, forecaster, hill, linear
from tests.structures.test_evidence import SD, TIMES, polynomial
from tsode.inference.priors import LogNormal

__all__ = ["run"]

TRUE, ALIKE = 0.95, 0.02
STRENGTHS = {"xy": 0.8, "yx": 0.6, "xz": 0.9, "zx": -0.7}
# where nothing drives y and z they are the same curve, so that which of them acts on x cannot be told
TRUTHS = ((), ("xy",), ("xz", "yx"), ("xy", "yx"), ("xz", "zx"), ("xy", "yx", "xz"), ("xy", "yx", "xz", "zx"))
PAIRS = ((("xy", "yx"), ("xz", "zx")), (("xy",), ("xz",)), (("yx", "xz"), ("zx", "xy")))


def run(report: Report) -> None:
    warnings.simplefilter("ignore")
    closed_form(report)
    informative(report, "linear", linear, None, 0.0005)
    informative(report, "Hill", hill, LogNormal(-0.5, 0.7), 0.0005)
    alike(report)
    uninformative(report)


def name_of(carriers) -> str:
    return " + ".join(name for name, carrier in EDGES.items() if carrier in carriers) or "none"


def closed_form(report: Report) -> None:
    worst, errors = 0.0, []
    for seed in range(report.count(5)):
        rng = np.random.default_rng(seed)
        x = 0.8 * TIMES - 0.3 * TIMES**3 + SD * rng.standard_normal(len(TIMES))
        rows = pd.DataFrame({"unique_id": "a", "ds": TIMES, "x": x})
        names = {f"t{n}": f"k{n}" for n in range(4)}
        found = tsode.compare_structures(polynomial(4), names, rows, random_state=seed).table
        logs = {}
        for present in itertools.product([False, True], repeat=4):
            terms = [n for n in range(4) if present[n]]
            basis = np.stack([TIMES ** (n + 1) / (n + 1) for n in terms], 1) if terms else np.zeros((len(TIMES), 0))
            mean = basis @ np.array([0.5 * n for n in terms])
            covariance = basis @ np.diag([(1.0 + n) ** 2 for n in terms]) @ basis.T + SD**2 * np.eye(len(TIMES))
            logs[" + ".join(f"t{n}" for n in terms) or "none"] = multivariate_normal(mean, covariance).logpdf(x)
        truth = pd.Series(logs).reindex(found.index)
        gap = (found["log_evidence"] - truth).abs()
        errors.append(float((gap / (found["log_evidence_se"] + 2.5e-4)).max()))
        share = np.exp(truth - truth.max())
        worst = max(worst, float((found["probability"] - share / share.sum()).abs().max()))
    report.at_most("16 linear-normal structures: |log evidence - closed form|, Monte Carlo errors", max(errors), 4.0)
    report.at_most("the same: |probability - closed form|", worst, ALIKE)


def informative(report: Report, name: str, law, strength, sd: float) -> None:
    """Several truths and seeds; noise is so small that a needless edge costs more than chance makes of it."""
    shares, seconds, tops = [], [], 0
    cases = report.some([(truth, seed) for seed, truth in enumerate(TRUTHS)])
    for truth, seed in cases:
        strengths = {k: abs(STRENGTHS[k]) if strength else STRENGTHS[k] for k in truth}
        rows = data(strengths, law, sd=sd, n=40, seed=100 + seed)
        started = time.process_time()
        found = tsode.compare_structures(forecaster(law, strength=strength), EDGES, rows, random_state=seed)
        seconds.append(time.process_time() - started)
        shares.append(float(found.table.loc[name_of(truth), "probability"]))
        tops += found.table.index[0] == name_of(truth)
    report.at_least(
        f"{name}: probability of the true one of 16, median of {len(cases)}", float(np.median(shares)), TRUE
    )
    report.at_least(f"{name}: share of cases above {TRUE}", float(np.mean(np.array(shares) > TRUE)), 1.0)
    report.note(f"{name}: least {min(shares):.3f}; the true one is first in {tops} of {len(cases)}")
    report.note(f"{name}: {np.median(seconds):.1f} CPU-s for 16 structures, at most {max(seconds):.1f}")


def alike(report: Report) -> None:
    """Of y and z only the sum is seen."""
    gaps, named, others = [], [], 0
    for seed, pair in enumerate(report.some(PAIRS)):
        rows = data({k: STRENGTHS[k] for k in pair[0]}, seen=("x", "total"), seed=seed)
        found = tsode.compare_structures(forecaster(seen=("x", "total")), EDGES, rows, random_state=seed)
        one, other = (name_of(k) for k in pair)
        gaps.append(abs(float(found.table["probability"][one] - found.table["probability"][other])))
        equal = [set(c.structures) for c in found.classes if c.kind == "equivalent"]
        named.append({one, other} in equal)
        swap = {"x->y": "x->z", "x->z": "x->y", "y->x": "z->x", "z->x": "y->x"}
        for names in equal:
            for structure in names:
                mirrored = {swap[edge] for edge in structure.split(" + ") if edge != "none"}
                others += not any(mirrored == set(o.split(" + ")) - {"none"} for o in names)
    report.at_most("equivalent structures: difference of their probabilities", max(gaps), ALIKE)
    report.at_least("the same: share of pairs named as equivalent", float(np.mean(named)), 1.0)
    report.at_most("the same: others that are named so and are not", float(others), 0.0)


def uninformative(report: Report) -> None:
    gaps = []
    for seed in range(report.count(4)):
        rows = data({"xy": 0.8}, n=3, seed=seed)
        prior = {"x->y": 0.2, "z->x": 0.7} if seed % 2 else 0.5
        found = tsode.compare_structures(forecaster(sd=300.0), EDGES, rows, prior=prior, random_state=seed).table
        gaps.append(float((found["probability"] - found["prior"]).abs().max()))
    report.at_most("data without information: |probability - prior|", max(gaps), ALIKE)
