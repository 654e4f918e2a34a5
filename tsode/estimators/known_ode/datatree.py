"""Posterior as an xarray DataTree in the layout of ArviZ 1.0."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.estimators.known_ode.cell_laws import drawn_at_cells
from tsode.estimators.known_ode.conditioned import settings_for

__all__ = ["datatree_of"]


def datatree_of(model: Any) -> Any:
    """The posterior of a fitted `KnownODEForecaster`; see its `to_datatree`."""
    try:
        from xarray import Dataset, DataTree
    except ImportError as error:
        raise ImportError('to_datatree needs xarray, 2024.10 or later: `pip install "tsode[arviz]"`.') from error
    density, (draws, n_chains) = model._density, _draws(model)
    with isolated(), torch.no_grad():
        values = density.space.unpack(draws).values  # each (g k s)
        log_prob, log_likelihood = density.log_prob(draws), model._pointwise(draws)
        of_series, u = model._of_fit(draws=draws)
        drawn = drawn_at_cells(of_series, u, torch.Generator().manual_seed(model._kept.seed))

    def variable(of_draws: Tensor, *along: str) -> tuple[list[str], np.ndarray]:
        """Values (k ...) of all draws, chain after chain."""
        return ["chain", "draw", *along], of_draws.unflatten(0, (n_chains, -1)).numpy()

    ids = list(model._kept.data.ids)
    series = {str(model.id_col): _labels(ids)} if len(ids) > 1 else {}
    places = {"chain": np.arange(n_chains), "draw": np.arange(draws.shape[1] // n_chains)}
    posterior = {
        name: variable(values[name].transpose(0, 1).flatten(1), *series)
        if name in density.space.own and series
        else variable(values[name][0, :, 0])
        for name in density.space.priors
    }
    cells: dict[str, Any] = {}
    observed, scores, replicated = {}, {}, {}
    parts = log_likelihood.split([len(of_channel.values) for of_channel in density.cells.values()], dim=1)
    for (channel, of_channel), score in zip(density.cells.items(), parts):
        cell = f"{channel}_cell"
        keys, times = model._labels(of_channel.series, density.data.times[of_channel.series, of_channel.column])
        cells |= {cell: np.arange(len(keys)), f"{channel}_series": (cell, _labels(keys)),
                  f"{channel}_time": (cell, times)}  # fmt: skip
        observed[channel] = ([cell], of_channel.values.numpy())
        scores[channel] = variable(score, cell)
        replicated[channel] = variable(drawn[channel].T, cell)
    lp = variable(log_prob.T, *series) if len(log_prob) > 1 else variable(log_prob[0])
    groups = {
        "posterior": Dataset(posterior, places | series),
        "posterior_predictive": Dataset(replicated, places | cells),
        "log_likelihood": Dataset(scores, places | cells),
        "sample_stats": Dataset({"lp": lp}, places | (series if len(log_prob) > 1 else {})),
        "observed_data": Dataset(observed, cells),
    }
    for group in groups.values():
        group.attrs = {"inference_library": "tsode", "engine": ", ".join(sorted(set(model._kept.engine)))}
    return DataTree.from_dict(groups)


def _draws(model: Any) -> tuple[Tensor, int]:
    """Draws (g k p), chain after chain, and how many chains there are: one where the engine has none."""
    nodes, n_chains = model._kept.nodes, settings_for(model.n_draws).n_chains
    if model._kept.engine == ("hmc",) and nodes.shape[1] % n_chains == 0:
        return nodes, n_chains
    return model.module_.draws, 1


def _labels(ids: list[Any]) -> np.ndarray:
    """Ids as a coordinate: those of several kinds as text."""
    kinds = {type(key) for key in ids}
    return np.array(ids if len(kinds) == 1 and not kinds <= {tuple} else list(map(str, ids)))
