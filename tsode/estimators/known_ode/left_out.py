"""Series left out together with what each has of its own, which is integrated out."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.errors import ParameterError, SolverError, TsodeWarning
from tsode.estimators.known_ode.conditioned import _spread_out
from tsode.estimators.known_ode.own_given_shared import OwnGivenShared
from tsode.inference.infer import infer
from tsode.inference.known_density import KnownDensity
from tsode.inference.loo import LeaveOneOut, leave_one_out
from tsode.inference.settings import Settings
from tsode.inference.streams import key_of

__all__ = ["leave_out_series", "marginals_of_series"]

N_SHARED = 256  # draws of shared parameters at which marginal likelihoods are found
FEWEST = 100
EACH = Settings(
    n_prior=32, n_starts=2, n_importance=128, n_rounds=3, n_laws=3, n_chains=1, n_draws=16, enough=8.0, max_k=1.0
)  # of these small problems


def leave_out_series(model: Any) -> LeaveOneOut:
    """Log density of each series of a fitted `KnownODEForecaster` given all others, as of a new series.

    Where series share parameters, draws of these are weighed by the probability of the series, over all that it may
    have of its own. Where they share nothing the others tell nothing of it, and this is its evidence.
    """
    kept = model._kept
    if len(kept.nodes) == 1:
        density, u = model._of_fit()
        with isolated():
            return leave_one_out(marginals_of_series(density, u, kept.seed))
    if not bool(kept.log_evidence.isfinite().all()):
        raise ParameterError(
            f"inference={model.inference!r} gives no evidence, which is what is asked for: take another."
        )
    cells = torch.tensor(model._cells()["series"].tolist())
    scores = model._pointwise(kept.nodes)
    joint = scores.new_zeros(len(scores), len(kept.nodes)).index_add(1, cells, scores)
    with_itself = (kept.log_weights.T + joint).logsumexp(dim=0)
    return LeaveOneOut(kept.log_evidence, kept.pareto_k, (with_itself - kept.log_evidence).sum())


def marginals_of_series(density: KnownDensity, u: Tensor, seed: int) -> Tensor:
    """Log densities (k n) of all values of each series at draws of what is shared: its own parameters integrated out.

    Parameters
    ----------
    density : KnownDensity
        Of ``n`` series that are problems of their own.
    u : Tensor[n k p]
        Draws, of which the shared coordinates count; those at which an integral fails are left out.
    seed : int
    """
    places = [start for name, _, start, _ in density.space._blocks() if name not in density.space.own]
    shared = _spread_out(u[0][:, places], N_SHARED).expand(len(u), -1, -1)
    n, k = shared.shape[:2]
    ids = density.data.ids
    keys = [(key_of(key) + draw) % 2**31 for key in ids for draw in range(k)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)
        found = infer(OwnGivenShared(density, shared), "importance", seed, EACH, keys)
    evidence = found.log_evidence.reshape(n, k).T
    is_fine = evidence.isfinite().all(dim=1)
    if int(is_fine.sum()) < min(FEWEST, k):
        worst = ids[int(evidence.isfinite().double().mean(dim=0).argmin())]
        raise SolverError(
            f"What series {worst!r} has of its own is not integrated out: it fails at {k - int(is_fine.sum())} of {k} "
            "draws of what is shared."
        )
    return evidence[is_fine]
