"""Models that forecast marginals; a fitted error process gives joint samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.likelihoods.base import Likelihood
from tsode.models.base import ForecastModel
from tsode.models.filter_state import FilterState
from tsode.models.filters.expert import Expert, expert_like
from tsode.models.filters.readout_posterior import ReadoutPosterior, last_read
from tsode.models.reach import Reach
from tsode.models.residual_process import ResidualProcess
from tsode.models.spread_calibration import SpreadCalibration

__all__ = ["MarginalModel"]


class MarginalModel(ForecastModel):
    """A model that forecasts marginals; joint paths are tied by the `ResidualProcess` fitted after training.

    Parameters
    ----------
    n_channels : int
    likelihood : Likelihood

    Attributes
    ----------
    residuals : ResidualProcess
    spread : SpreadCalibration
        Both set on validation data after training.
    expert : Expert or None
        A small exact model that is mixed in where held-out forecasts are better with it.
    reach : Reach
        What training has shown, and what holds beyond it.
    posterior : ReadoutPosterior or None
        What is not known of the readouts; None in files of before, and where there is no last layer to know it of.
    """

    expert: Expert | None
    posterior: ReadoutPosterior | None

    def __init__(self, n_channels: int, likelihood: Likelihood) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.likelihood = likelihood
        self.residuals = ResidualProcess(n_channels)
        self.spread = SpreadCalibration(n_channels)
        self.expert = None
        self.posterior = None
        self.reach = Reach(n_channels)

    @property
    def members(self) -> Sequence[MarginalModel]:
        """The models that learn, each by itself: this one alone, or those of an ensemble."""
        return [self]

    @property
    def n_params(self) -> int:
        """Parameters of the likelihood of all channels."""
        return self.n_channels * self.likelihood.n_params

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Make room for what a file holds that the parameters of an estimator do not say: an expert, a posterior."""
        of_expert = {name.removeprefix("expert."): x for name, x in state.items() if name.startswith("expert.")}
        self.expert = expert_like(of_expert, len(self.members)) if of_expert else None
        has_posterior = any(name.startswith("posterior.") for name in state)
        self.posterior = ReadoutPosterior.of(self.members) if has_posterior else None

    @abstractmethod
    def predict_params(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Parameters as trained (b m c p), and status of each row; see `forecast` for `state`."""

    @abstractmethod
    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        """State after all events of `batch`, each row of which has some, and which come after `state` where given.

        Only of a model that `can_resume`.
        """

    def with_expert(self, after: FilterState, batch: IrregularBatch, before: FilterState | None) -> FilterState:
        """The state after a batch, with that of the expert where there is one."""
        return after if self.expert is None else replace(after, beside=self.expert.advance(batch, before))

    def forecast(
        self, batch: IrregularBatch, query_times: Tensor, side: str = "left", state: FilterState | None = None
    ) -> Forecast:
        """As of every `ForecastModel`; with `state`, its events precede those of `batch` and all query times."""
        batch = self.reach.plausible(batch, state)

        def lead_of(times: Tensor) -> Tensor:
            return batch.since_last(times, side) if state is None else state.since_last(batch, times, side)

        def ask(times: Tensor) -> Forecast:
            params, status = self.predict_params(batch, times, side, state)
            lead = lead_of(times)
            factor = self.spread(lead).to(params)
            forecast = Forecast(times, self.likelihood.rescale(params, factor), self.likelihood, status)
            return forecast if self.expert is None else self.expert.mix(forecast, batch, lead, side, state)

        return self.reach.answer(ask, batch, query_times, lead_of(query_times), side, state)

    def epistemic_share(
        self, batch: IrregularBatch, query_times: Tensor, side: str = "left", state: FilterState | None = None
    ) -> Tensor | None:
        """Share of the variance of `forecast` that is epistemic: Tensor[b m c], or None where its family tells all.

        What members disagree about, and what is not known of the readouts and of the expert, as much as either counts.
        Beyond the horizon the share stays as it is there.
        """
        if self.posterior is None and (self.expert is None or self.expert.moves is None):
            return None
        batch = self.reach.plausible(batch, state)
        lead = batch.since_last(query_times, side) if state is None else state.since_last(batch, query_times, side)
        times, lead = self.reach.shown(query_times, lead)
        forecast = self.forecast(batch, times, side, state)
        assert isinstance(forecast.family, Likelihood)
        variance = forecast.family.epistemic(forecast.params)
        share = lead.new_ones(()) if self.expert is None else self.expert.share_at(lead)[..., None]
        if self.posterior is not None:
            with last_read(self.members) as read:
                self.predict_params(batch, times, side, state)
            of_readouts = self.posterior([h.reshape(*times.shape, -1) for h in read])
            variance = variance + (share**2).to(variance) * of_readouts
        if self.expert is not None and not bool((share == 1.0).all()):
            variance = variance + ((1.0 - share) ** 2 * self.expert.unknown(batch, times, side, state)).to(variance)
        return (variance / forecast.variance).clamp(max=1.0)

    def sample(
        self,
        batch: IrregularBatch,
        query_times: Tensor,
        n_samples: int,
        generator: torch.Generator,
        state: FilterState | None = None,
        forecast: Forecast | None = None,
    ) -> Tensor:
        """Draw joint paths: the forecast's own marginals, tied together by the fitted `ResidualProcess`.

        With `forecast`, that at `query_times`, which must be sorted then, the history is not run over again.
        """
        order = query_times.argsort(dim=1, stable=True)
        ordered = query_times.gather(1, order)
        if forecast is None:
            forecast = self.forecast(batch, ordered, state=state)
        scores = self.residuals.normal_scores(forecast, batch.n_seen(ordered), n_samples, generator)
        p = torch.special.ndtr(scores.double()).clamp(1e-12, 1.0 - 1e-12)
        paths = forecast.family.quantile(forecast.params.double(), p).to(forecast.params)
        back = order.argsort(dim=1)[None, ..., None].expand_as(paths)
        return paths.gather(2, back)
