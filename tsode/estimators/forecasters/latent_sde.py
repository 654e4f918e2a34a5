"""Latent SDE as a forecaster."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tsode._registry import Part
from tsode.errors import ParameterError
from tsode.estimators.forecasters.latent import LatentForecaster
from tsode.models.latent.sde import LatentSDE, build_latent_sde
from tsode.numerics.sde import DiagonalSDE, SDESolver

__all__ = ["LatentSDEForecaster"]


@dataclass(kw_only=True, eq=False, repr=False)
class LatentSDEForecaster(LatentForecaster):
    """Forecast irregular series with a latent path that follows a stochastic differential equation.

    An encoder reads the history backward; a normal posterior stands at its first event, and from there a path is
    guided through the history by what the encoder read ahead of it. After the last event the path follows the learned
    equation, with noise: what is not known of the future grows with the lead time, and each sampled path is one joint
    draw of all channels and times. Suits series whose course is itself random: prices, turbulence, most of physiology.

    Parameters
    ----------
    encoder : {"backward_filter", "backward_ode_rnn", "set_attention"}, Part or callable
        Or ``(n_channels, n_hidden) -> Encoder``.
    sde : str, Part or DiagonalSDE
        "neural" (default), "ornstein_uhlenbeck", or an instance, whose type says its calculus (`Ito` or
        `Stratonovich`).
    loss : {"elbo", "crps", "nll", "mse", "quantile"}
        What training minimises: a bound on the log evidence of history and future, with the divergence of the guided
        path from the free one in it; or a score of the forecasts with these divergences. A score is taken path by
        path and so asks for less noise than there is.
    kl_schedule : {"constant", "linear", "cyclical"}
        Weight of the divergences as training goes on, see `tsode.training.kl_schedule`.
    kl_weight : float
        Weight of the divergences beside a score; a bound does not read it.
    free_bits : float
        Nats a coordinate of the start may tell at no cost.
    lagging : bool
        Train the posterior ahead of the rest while that makes it tell more; see `tsode.training.lagging_inference`.
    reconstruction : float
        Weight of the score of the history beside that of the forecast; a bound does not read it.
    n_samples : int
        Paths in a forecast.
    n_train_samples : int
        Paths a series in a training step.
    n_state : int
        Coordinates of the latent state, each with noise of its own.
    n_encoder, n_hidden : int
        Width of the encoder; hidden units of the guide and of the readout.
    observation_scale : {"channel", "state"}
        Whether the spread of an observation about its path is one learned number a channel, or depends on the state.
    solver : {"heun_maruyama", "euler_maruyama", "milstein", "torchsde"}, Part or SDESolver
        Steps go from observation to observation and are at most an eighth of the time unit, unless an instance says
        otherwise.
    n_segments, continuity
        As in `LatentODEForecaster`.
    max_context : int
        Most observations that the encoder is shown: the last ones for a forecast, those around a gap for `impute`.
    horizon, max_epochs, batch_size, learning_rate, weight_decay, drop, early_stopping, patience, max_seconds,
    validation_fraction
        As in `JumpODEForecaster`.
    scale, support, time_unit, device, dtype, warm_start, random_state, verbose, callbacks, id_col, time_col, target,
    duplicates
        As in `JumpODEForecaster`. The noise of all forecasts follows from `random_state` as well.
    past_covariates, known_path, calendar
        As in `JumpODEForecaster`. A small network of what is known is added to the observations; the latent path
        explains what is left over.

    Attributes
    ----------
    module_ : LatentSDE
        The fitted model, in scaled units and model time.
    history_ : DataFrame
        One row an epoch, with the KL (of start and path) and the mutual information of series and start in nats.
    n_iter_, channels_, horizon_, time_unit_, last_times_ : see `BaseForecaster`.

    References
    ----------
    Li et al., "Scalable gradients for stochastic differential equations", AISTATS 2020.

    Examples
    --------
    >>> from tsode import LatentSDEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> frame = load_theophylline()
    >>> forecaster = LatentSDEForecaster(max_epochs=2, n_state=4, random_state=0).fit(frame)
    >>> forecaster.predict(horizon=2.0).columns.tolist()
    ['unique_id', 'ds', 'theophylline_mg_l']
    """

    sde: str | Part | DiagonalSDE = "neural"
    loss: str = "elbo"
    kl_weight: float = 0.1
    n_samples: int = 32
    n_state: int = 16
    observation_scale: str = "channel"
    solver: str | Part | SDESolver = "heun_maruyama"

    reads_events = True

    def _check_parameters(self, but: Collection[str] = ()) -> None:
        super()._check_parameters(but)
        if self.loss == "iwae":
            raise ParameterError(
                "loss='iwae' needs the likelihood ratio of each path, but here only its mean, the path KL, is kept: "
                "use loss='elbo'."
            )

    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> LatentSDE:
        return build_latent_sde(
            n_channels,
            encoder=self.encoder,
            sde=self.sde,
            solver=self.solver,
            n_state=self.n_state,
            n_encoder=self.n_encoder,
            n_hidden=self.n_hidden,
            observation_scale=self.observation_scale,
            n_samples=self.n_samples,
            max_context=self.max_context,
            n_features=n_features,
            n_inputs=n_inputs,
        )
