"""Bioavailability: how much of what is given reaches a series, by its constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch

__all__ = ["Availability"]


class Availability(nn.Module):
    """Factors ``exp(W c)`` of the inputs of a series with constants ``c``; 1 before training.

    Parameters
    ----------
    n_features : int
        Width of the covariates, the first of which are the constants.
    n_inputs, n_rates : int
        Columns of inputs at once, and of changes of a rate after them.
    """

    def __init__(self, n_features: int, n_inputs: int, n_rates: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.weight = nn.Parameter(torch.zeros(n_inputs + n_rates, n_features))

    def factors(self, constants: Tensor) -> Tensor:
        """Of each input: (b s) -> (b e)."""
        return (constants @ self.weight[:, : constants.shape[1]].mT).exp()

    def scale_inputs(self, batch: IrregularBatch) -> IrregularBatch:
        """The batch with its inputs at once scaled."""
        if batch.inputs is None or batch.covariates is None:
            return batch
        factor = self.factors(batch.covariates.static)[:, None, : self.n_inputs]
        scaled = batch.inputs[..., : self.n_inputs] * factor
        return batch.replace(inputs=torch.cat([scaled, batch.inputs[..., self.n_inputs :]], dim=2))

    def scale_rates(self, rates: Tensor, constants: Tensor | None) -> Tensor:
        """Held rates (b n r) of series with these constants."""
        return rates if constants is None else rates * self.factors(constants)[:, None, self.n_inputs :]
