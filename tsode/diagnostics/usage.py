"""Usage of the latent state of a fitted forecaster: how much it tells about the series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tsode._isolation import isolated
from tsode.errors import ParameterError
from tsode.estimators.forecasters.latent import LatentForecaster, warn_unless_used
from tsode.estimators.forecasters.pieces import pieces
from tsode.models.latent.base import LatentModel
from tsode.training.latent_usage import LatentUsage, measure_usage

__all__ = ["LatentUsage", "latent_usage"]


def latent_usage(forecaster: LatentForecaster, X: Any = None) -> LatentUsage:
    """Measure how much the latent state of a fitted forecaster tells about the series.

    Parameters
    ----------
    forecaster : LatentForecaster
        A `LatentODEForecaster` or the like, fitted.
    X : same kinds as in fit, optional
        Series to look at; by default those given to fit.

    Returns
    -------
    LatentUsage
        Active units, mutual information and the KL of each coordinate, in nats.

    Warns
    -----
    TsodeWarning
        If nothing is used: the posterior is the prior whatever was seen.

    Raises
    ------
    ParameterError
        If the forecaster has no latent state.
    """
    if not isinstance(forecaster, LatentForecaster):
        raise ParameterError(
            f"latent_usage looks at a latent model, but {type(forecaster).__name__} has none: "
            "fit a LatentODEForecaster."
        )
    forecaster._check_fitted()
    model = forecaster.module_
    assert isinstance(model, LatentModel)
    reader = replace(forecaster.reader_, events=None, covariates=None)
    panel = forecaster._panel if X is None else reader.read(X, beside=forecaster._panel)
    query = reader.query_of(panel, horizon=reader.horizon)
    inferences = []
    with isolated(), torch.no_grad():
        for piece in pieces(reader, query, panel, model, model.draws.dtype, model.draws.device, is_joint=True):
            inferences.append(model.infer(piece.batch))
    mean, log_scale = (torch.cat([getattr(part, name) for part in inferences]) for name in ("mean", "log_scale"))
    with isolated(), torch.no_grad():
        path_kl = torch.cat([model.path_kl(part) for part in inferences])
    usage = measure_usage(mean, log_scale, torch.Generator().manual_seed(0), float(path_kl.mean()))
    warn_unless_used(usage)
    return usage
