"""Residuals of a population: of the typical series, of individual modes, and conditionally weighted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.inference.population.decorrelation import check_root, decorrelate
from tsode.inference.population.given_effects import LawsGivenEffects, laws_given_effects
from tsode.inference.population.subjects import Subjects, derivatives
from tsode.likelihoods.log_normal import LogNormal

__all__ = ["FlatCells", "Residuals", "flat_cells", "residuals"]


class FlatCells(NamedTuple):
    """Cells of all channels side by side, ``k`` of them.

    Parameters
    ----------
    channel : array[k], int64
        Place in the order of ``KnownSystem.observed``.
    series, column : array[k], int64
    values : array[k]
    is_below, is_above : array[k], bool
        Which lie beyond a limit of quantification.
    """

    channel: np.ndarray
    series: np.ndarray
    column: np.ndarray
    values: np.ndarray
    is_below: np.ndarray
    is_above: np.ndarray

    @property
    def is_censored(self) -> np.ndarray:
        """Which have no value."""
        return self.is_below | self.is_above

    def of_series(self) -> list[np.ndarray]:
        """Places of the cells of each series that has any, by time and channel."""
        order = np.lexsort((self.channel, self.column, self.series))
        return np.split(order, np.flatnonzero(np.diff(self.series[order])) + 1)


class Residuals(NamedTuple):
    """What a population says of cells, ``k`` of them; residuals are NaN where a value is censored.

    Parameters
    ----------
    pred, ipred : array[k]
        Predictions for the typical series of the same covariates, and for the individual mode.
    res, ires : array[k]
        Values less these; for log-normal noise of logarithms.
    iwres : array[k]
        `ires` over the standard deviation of the noise at the individual mode.
    cwres : array[k]
        Values less their mean, decorrelated by their covariance, both by linearisation at the individual mode.
    """

    pred: np.ndarray
    ipred: np.ndarray
    res: np.ndarray
    ires: np.ndarray
    iwres: np.ndarray
    cwres: np.ndarray


def flat_cells(subjects: Subjects) -> FlatCells:
    """The observed cells of all channels."""
    every = list(subjects.joint.cells.values())
    channel = np.repeat(np.arange(len(every)), [len(cells.values) for cells in every])
    parts = (
        np.concatenate([getattr(cells, name).numpy() for cells in every])
        for name in ("series", "column", "values", "is_below", "is_above")
    )
    return FlatCells(channel, *parts)


def residuals(subjects: Subjects, theta: Tensor, eta: Tensor, root: str = "cholesky") -> Residuals:
    """Residuals at shared coordinates (p,) and the individual modes (n 1 q) of standardised effects.

    The linearisation is that of FOCE with interaction: of the values ``y`` of a series the mean is ``f(eta) - J eta``
    and the covariance ``J J' + V``, with the derivatives ``J`` of the predictions by effects that are standard normal,
    and the covariance ``V`` of the noise at the mode. Censored values have no part in it.

    Parameters
    ----------
    subjects : Subjects
        Each a problem of its own.
    theta : Tensor[p]
    eta : Tensor[n 1 q]
    root : {"cholesky", "symmetric"}
        Of the covariance; the values of a series stand in the order of time.

    References
    ----------
    Hooker, Staatz and Karlsson, "Conditional weighted residuals (CWRES): a model diagnostic for the FOCE method",
    Pharm. Res. 24, 2007.
    """
    check_root(root)
    cells = flat_cells(subjects)
    at = theta.detach().expand(len(eta), 1, -1)
    with torch.no_grad():
        typical, _ = _moments(subjects, laws_given_effects(subjects, at, torch.zeros_like(eta)[:, None]))
    with torch.enable_grad():
        effects = eta.detach()[:, None].requires_grad_()
        laws = laws_given_effects(subjects, at, effects)
        mean, sd = _moments(subjects, laws)
        (by_effects,) = derivatives([mean], effects, False)
    slope = by_effects[0].detach().numpy()
    partner, rho = np.full(len(cells.values), -1), np.zeros(len(cells.values))
    partner[laws.links.of.numpy()], rho[laws.links.of.numpy()] = laws.links.given.numpy(), laws.links.rho[0].detach()
    f, g, own = typical[0].numpy(), mean[0].detach().numpy(), sd[0].detach().numpy()
    is_log = np.array([isinstance(x.family, LogNormal) for x in subjects.joint.system.observed.values()])[cells.channel]
    values = cells.values.copy()
    values[is_log & ~cells.is_censored] = np.log(values[is_log & ~cells.is_censored])
    values[cells.is_censored] = np.nan
    expected = g - (slope * eta[cells.series, 0].numpy()).sum(axis=1)
    cwres = np.full(len(values), np.nan)
    for places in cells.of_series():
        seen = places[~cells.is_censored[places] & np.isfinite(own[places])]
        if len(seen):
            half = np.where(partner[seen][:, None] == seen, rho[seen][:, None], 0.0)
            correlation = np.eye(len(seen)) + half + half.T
            covariance = slope[seen] @ slope[seen].T + correlation * np.outer(own[seen], own[seen])
            cwres[seen] = decorrelate((values[seen] - expected[seen])[None], covariance, root)[0]
    pred, ipred = f.copy(), g.copy()
    pred[is_log], ipred[is_log] = np.exp(f[is_log]), np.exp(g[is_log])
    return Residuals(pred, ipred, values - f, values - g, (values - g) / own, cwres)


def _moments(subjects: Subjects, laws: LawsGivenEffects) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (b k) of every cell, NaN where there is no law; of logarithms if log-normal."""
    means, sds = [], []
    for channel, params in laws.params.items():
        family = subjects.joint.system.observed[channel].family
        if isinstance(family, LogNormal):
            mean, sd = params[..., 0], params[..., 1].exp()
        else:
            mean, sd = family.mean(params), family.variance(params).sqrt()
        is_fine = laws.is_fine[:, subjects.joint.cells[channel].series]
        means.append(torch.where(is_fine, mean, torch.nan))
        sds.append(torch.where(is_fine, sd, torch.nan))
    return torch.cat(means, dim=1), torch.cat(sds, dim=1)
