"""Direct regression model: a linear location and a log-linear spread at any lead, with quantiles of what is left."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.models.direct.logs import N_RESIDENCE
from tsode.models.direct.scales import Scales
from tsode.models.direct.signals import N_GROWTH, N_SPREAD, Signals, arises, n_regressors, n_splits
from tsode.models.direct.trees import QuantileTrees
from tsode.models.filter_state import FilterState
from tsode.models.filters.base import MarginalModel

__all__ = ["COARSE", "FINE", "DirectModel"]

FINE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)
COARSE = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)  # each costs trees of its own


class DirectModel(MarginalModel):
    """One regression over all leads.

    The value of a channel is its last value, plus a line in `Signals.regressors`, plus a spread times a standardised
    error. All of the line but what `arises` from doses is multiplied by `Signals.fade`, which is 0 at the last value.
    The square of the spread is a sum of `Signals.growth`, of which a floor is left as the lead goes to zero, times the
    exponential of a line in `Signals.noise`. Both lines are held within what they gave in training, for where they end
    up beyond it nothing is known. The quantiles of the error are numbers of the channel, or with `trees` functions of
    `Signals.splits`.

    Parameters
    ----------
    n_channels, n_features, n_inputs : int
        Features are those that covariates give at a time, inputs those of events.
    has_trees : bool

    Attributes
    ----------
    span, gap, quick, residence, is_log, per_unit, least
        See `Scales`, of which these are the parts, in model time.
    growth : Tensor[c g]
        Parts of the variance.
    weight, bias, lowest, highest : Tensor[c p], Tensor[c], Tensor[c], Tensor[c]
        Of the difference of the location from the last value, and its ends.
    spread_weight, spread_bias, narrowest, widest : Tensor[c v], Tensor[c], Tensor[c], Tensor[c]
        Of the logarithm of the spread, and its ends.
    shape : Tensor[c q]
        Quantiles of the standardised error.
    arises : Tensor[p], bool
        Regressors that need no fade.
    trees : QuantileTrees or None
        Sets them instead.
    """

    span: Tensor
    gap: Tensor
    quick: Tensor
    residence: Tensor
    is_log: Tensor
    per_unit: Tensor
    least: Tensor
    growth: Tensor
    weight: Tensor
    bias: Tensor
    lowest: Tensor
    highest: Tensor
    spread_weight: Tensor
    spread_bias: Tensor
    narrowest: Tensor
    widest: Tensor
    shape: Tensor
    arises: Tensor

    def __init__(self, n_channels: int, n_features: int = 0, n_inputs: int = 0, has_trees: bool = False) -> None:
        law = QuantileKnots(COARSE if has_trees else FINE)
        super().__init__(n_channels, law)
        width = n_regressors(n_channels, n_features, n_inputs)
        # few numbers, which are computed where that is quick: a load looks at shapes on the device "meta" first
        zero, one = torch.tensor([0.0, 1.0], device="cpu")
        start = law.knots(law.from_moments(zero, one))
        for name in ("span", "gap"):
            self.register_buffer(name, torch.ones((), dtype=torch.float64))
        self.register_buffer("quick", torch.ones(n_channels, dtype=torch.float64))
        self.register_buffer("residence", torch.ones(N_RESIDENCE, dtype=torch.float64))
        self.register_buffer("is_log", torch.zeros(n_channels, dtype=torch.bool))
        self.register_buffer("per_unit", torch.zeros(n_features))
        self.register_buffer("least", torch.ones(n_features))
        self.register_buffer("growth", torch.eye(1, N_GROWTH).repeat(n_channels, 1))
        self.register_buffer("weight", torch.zeros(n_channels, width))
        self.register_buffer("spread_weight", torch.zeros(n_channels, N_SPREAD))
        for name in ("bias", "lowest", "highest", "spread_bias", "narrowest", "widest"):
            self.register_buffer(name, torch.zeros(n_channels))
        self.register_buffer("shape", start.repeat(n_channels, 1))
        n_split = n_splits(n_channels, n_features, n_inputs)
        self.register_buffer("arises", arises(n_channels, n_features, n_inputs), persistent=False)
        self.trees = QuantileTrees(len(COARSE), n_split) if has_trees else None

    @property
    def event_width(self) -> int:
        """Numbers of eight bytes, about, that a pass holds for each event of a history."""
        return 64 * self.n_channels

    def query_width(self, n_between: int = 0) -> int:
        """Numbers of eight bytes, about, that a forecast holds for each query time."""
        return 120 * self.n_channels + 3 * self.weight.shape[1]

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        super().resize_like(state)
        if self.trees is not None:
            self.trees.resize_like({name.removeprefix("trees."): x for name, x in state.items()})

    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        raise NotImplementedError("A direct regression reads a whole history at once: it has no state to go on from.")

    def predict_params(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> tuple[Tensor, Tensor]:
        signals = Signals.of(batch, query_times, side, self.scales)
        knots = torch.stack([self.quantiles(signals, channel) for channel in range(self.n_channels)], dim=2)
        assert isinstance(self.likelihood, QuantileKnots)
        return self.likelihood.from_quantiles(knots).to(batch.values.dtype), torch.zeros_like(batch.lengths)

    @property
    def scales(self) -> Scales:
        parts = self.span, self.gap, self.quick, self.residence, self.is_log, self.per_unit, self.least
        return Scales(*(part if part.dtype == torch.bool else part.double() for part in parts))

    def quantiles(self, signals: Signals, channel: int) -> Tensor:
        """Quantiles of a channel at the levels of the law: Tensor[r q]."""
        center, spread = self.location(signals, channel), self.scale(signals, channel)
        shape = self.shape[channel].double()
        if self.trees is not None:
            shape = shape + self.trees(signals.splits(channel).flatten(0, -2)).view(*center.shape, -1)
        return center[..., None] + spread[..., None] * shape

    def location(self, signals: Signals, channel: int) -> Tensor:
        """What standardised errors are counted from: Tensor[r]."""
        # a sum along the last axis, not a matrix product: that of a row is the same whatever stands beside it
        fade = signals.fade[..., channel]
        line = signals.regressors(channel) * torch.where(self.arises, 1.0, fade[..., None])
        step = (line * self.weight[channel].double()).sum(dim=-1) + fade * self.bias[channel].double()
        ends = self.lowest[channel].double(), self.highest[channel].double()
        return signals.last[..., channel] + step.clamp(*ends)

    def scale(self, signals: Signals, channel: int) -> Tensor:
        """Unit of standardised errors: Tensor[r]."""
        line = (signals.noise[..., channel, :] * self.spread_weight[channel].double()).sum(dim=-1)
        ends = self.narrowest[channel].double(), self.widest[channel].double()
        variance = (signals.growth(channel) * self.growth[channel].double()).sum(dim=-1)
        return variance.sqrt() * (line + self.spread_bias[channel].double()).clamp(*ends).exp()
