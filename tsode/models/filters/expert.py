"""Expert beside a learned filter: a small exact model, mixed in by a share that depends on the lead time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.status import worst
from tsode.likelihoods.normal_groups import NormalGroups
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.filter_state import FilterState
from tsode.models.filters.expert_posterior import moved
from tsode.models.linear.rate_classes import RateClasses
from tsode.models.linear.sde import StableLinearSDE

__all__ = ["N_SHARES", "Expert", "linear_expert"]

N_SHARES = 3  # knots of the share over lead times
N_CLASSES = 9
LEAST = 1e-12  # weight of a model that is left out: its logarithm is a number


class Expert(nn.Module):
    """Linear-Gaussian model of a few states with rates of each series, and how much a filter's forecast counts.

    With the share ``w`` at a lead time, the filter's mean ``a`` and the expert's ``p``, the forecast is the mixture of
    both distributions, with weights ``w`` and ``1 - w``, each moved so that its mean is ``p + w (a - p)``.

    Parameters
    ----------
    model : RateClasses
    n_groups : int
        Members of the filter, whose mixture has equally many components of each.

    Attributes
    ----------
    lead, share : Tensor[3]
        Knots in model time, and the filter's share there; on a line between, constant outside.
    moves : Tensor[s d] or None
        Of the parameters, within their posterior; see `tsode.models.filters.expert_posterior`.
    """

    lead: Tensor
    share: Tensor
    moves: Tensor | None

    def __init__(self, model: RateClasses, n_groups: int) -> None:
        super().__init__()
        self.model = model
        self.n_groups = n_groups
        self.register_buffer("lead", torch.arange(float(N_SHARES), dtype=torch.float64))
        self.register_buffer("share", torch.ones(N_SHARES, dtype=torch.float64))
        self.register_buffer("moves", None)

    def forecast(
        self, batch: IrregularBatch, query_times: Tensor, side: str = "left", state: FilterState | None = None
    ) -> Forecast:
        """The expert's own forecast, in double precision; see `tsode.models.filters.base.MarginalModel.forecast`."""
        whole, before = self._begun(batch, state)
        return self.model.forecast(whole, query_times, side, before)

    def unknown(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> Tensor:
        """Variance of the expert's own means that its parameters leave: Tensor[b m c].

        With `state`, moved parameters go on from what those found have made of the events before.
        """
        whole, before = self._begun(batch, state)
        middle = self.model.forecast(whole, query_times, side, before).mean
        total = torch.zeros_like(middle)
        for other in () if self.moves is None else moved(self.model, self.moves):
            total += (other.forecast(whole, query_times, side, before).mean - middle).square()
        return total

    def advance(self, batch: IrregularBatch, state: FilterState | None) -> Tensor:
        """Its state after all events of a batch that come after `state`: Tensor[b e]."""
        whole, before = self._begun(batch, state)
        return self.model.advance(whole, before)

    @staticmethod
    def _begun(batch: IrregularBatch, state: FilterState | None) -> tuple[IrregularBatch, Tensor | None]:
        """The batch in double precision from where the state stands, and its own part of that."""
        batch = batch.to(dtype=torch.float64)
        return (batch, None) if state is None else (state.before(batch), state.beside)

    def share_at(self, lead: Tensor) -> Tensor:
        """The filter's share at lead times (...)."""
        right = torch.searchsorted(self.lead, lead.double().contiguous()).clamp(1, N_SHARES - 1)
        before, after = self.lead[right - 1], self.lead[right]
        at = ((lead - before) / (after - before)).clamp(0.0, 1.0)
        return torch.lerp(self.share[right - 1], self.share[right], at)

    def mix(
        self, forecast: Forecast, batch: IrregularBatch, lead: Tensor, side: str, state: FilterState | None = None
    ) -> Forecast:
        """A filter's forecast together with the expert's, from the same history; `lead` (b m) is since its end."""
        family, own = forecast.family, self.forecast(batch, forecast.query_times, side, state)
        assert isinstance(family, NormalMixture)
        assert isinstance(own.family, NormalMixture)
        a, p = family.mean(forecast.params), own.mean.to(forecast.params)
        share = self.share_at(lead).to(a)[..., None]
        mean = p + share * (a - p)
        blocks = []
        for of, params, middle, weight in (
            (family, forecast.params, a, share),
            (own.family, own.params.to(a), p, 1.0 - share),
        ):
            location, log_scale, log_weight = params.unflatten(-1, (3, of.n_components)).unbind(-2)
            log_share = weight.clamp(min=LEAST).log()[..., None]
            blocks.append((location + (mean - middle)[..., None], log_scale, log_weight.log_softmax(-1) + log_share))
        joined = torch.cat([torch.cat(parts, dim=-1) for parts in zip(*blocks)], dim=-1)
        sizes = [family.n_components // self.n_groups] * self.n_groups + [own.family.n_components]
        return Forecast(forecast.query_times, joined, NormalGroups(sizes), worst(forecast.status, own.status))


def linear_expert(n_channels: int, n_features: int) -> RateClasses:
    """A fresh model of five states more than channels, whose frequencies differ between series."""
    return RateClasses({"frequency": N_CLASSES}, StableLinearSDE(n_channels, n_features=n_features))


def expert_like(state: Mapping[str, Tensor], n_groups: int) -> Expert:
    """An expert with room for what a file holds of it: names after ``expert.``."""
    effect = state.get("model.base.effect")
    model = linear_expert(len(state["model.base.readout"]), 0 if effect is None else effect.shape[1])
    expert = Expert(model, n_groups)
    if "moves" in state:
        n_moves, n_parameters = state["moves"].numel(), sum(p.numel() for p in model.parameters())
        expert.moves = expert.lead.new_zeros(n_moves // n_parameters, n_parameters)
    return expert
