"""Latent ODE as a forecaster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tsode._registry import Part
from tsode.estimators.forecasters.latent import LatentForecaster
from tsode.estimators.parameters import Check, at_least, part_of
from tsode.evolutions.base import Evolution
from tsode.models.latent.ode import LatentODE, build_latent_ode
from tsode.numerics import SOLVERS
from tsode.numerics.base import Gradient, Solver
from tsode.numerics.gradients import GRADIENTS

__all__ = ["LatentODEForecaster"]


@dataclass(kw_only=True, eq=False, repr=False)
class LatentODEForecaster(LatentForecaster):
    """Forecast irregular series with a latent path that follows an ODE from a random start.

    An encoder reads the history backward to its first event and gives a normal posterior of the latent state there,
    parameters of the series included; the state follows the ODE through history and future, and a network reads the
    observations off it. Forecasts are mixtures over paths drawn from the posterior. Suits series that follow one law
    from different starts and with different parameters, and filling gaps: `impute` uses what came before and after.

    Parameters
    ----------
    encoder : {"backward_filter", "backward_ode_rnn", "set_attention"}, Part or callable
        Or ``(n_channels, n_hidden) -> Encoder``.
    evolution : str, Part or Evolution
        "linear" (closed form, default), "semilinear" (the same with a neural correction), "mlp", "mean_reverting" ...,
        or an instance.
    loss : {"crps", "nll", "mse", "quantile", "elbo", "iwae"}
        What training minimises: a score of the forecasts with a KL, or a bound on the log evidence of history and
        future, see `tsode.training.latent_objective.LatentObjective`.
    kl_schedule : {"constant", "linear", "cyclical"}
        Weight of the KL as training goes on, see `tsode.training.kl_schedule`.
    kl_weight : float
        Weight of the KL beside a score; a bound does not read it.
    free_bits : float
        Nats a latent coordinate may tell at no cost.
    lagging : bool
        Train the encoder ahead of the rest while that makes the latent tell more, against a posterior that collapses;
        see `tsode.training.lagging_inference`. Costs several times the training time while it lasts.
    reconstruction : float
        Weight of the score of the history beside that of the forecast; a bound does not read it.
    n_samples : int
        Paths in a forecast.
    n_train_samples : int
        Paths a series in a training step.
    n_modes : int
        Size of the linear and semilinear evolutions.
    n_state : int
        Moving coordinates of the other evolutions.
    n_static : int
        Latent parameters of a series: coordinates that do not move, which the evolution and the readout may read.
    n_encoder, n_hidden : int
        Width of the encoder; hidden units of the readout.
    observation_scale : {"channel", "state"}
        Whether the spread of an observation about its path is one learned number a channel, or depends on the state.
    solver : str or Solver
        For evolutions that are solved: "rk4", "midpoint", "dopri5", "exponential_difference" (for "semilinear"), ...,
        or an instance.
    gradient : str, Part or Gradient
        As in `JumpODEForecaster`.
    n_segments : int
        Multiple shooting: contexts are cut into so many segments in training, so that no path is followed through a
        long series before the field is known. For series of many turns, on which a path from the first observation
        learns no more than the mean.
    continuity : float
        Weight, at the end of training, of the gaps between segments; see
        `tsode.training.latent_objective.LatentObjective`.
    max_context : int
        Most observations that the encoder is shown: the last ones for a forecast, those around a gap for `impute`.
    horizon, max_epochs, batch_size, learning_rate, weight_decay, drop, early_stopping, patience, max_seconds,
    validation_fraction, n_levels, penalties
        As in `JumpODEForecaster`.
    scale, support, time_unit, device, dtype, warm_start, random_state, verbose, callbacks, id_col, time_col, target,
    duplicates
        As in `JumpODEForecaster`.
    past_covariates, known_path, calendar
        As in `JumpODEForecaster`. A small network of what is known is added to the observations; the latent path
        explains what is left over.

    Attributes
    ----------
    module_ : LatentODE
        The fitted model, in scaled units and model time.
    history_ : DataFrame
        One row an epoch, with the KL and the mutual information of series and latent state in nats.
    n_iter_, channels_, horizon_, time_unit_, last_times_ : see `BaseForecaster`.

    Examples
    --------
    >>> from tsode import LatentODEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> frame = load_theophylline()
    >>> forecaster = LatentODEForecaster(max_epochs=2, n_modes=8, n_static=4, random_state=0).fit(frame)
    >>> forecaster.predict(horizon=2.0).columns.tolist()
    ['unique_id', 'ds', 'theophylline_mg_l']
    """

    evolution: str | Part | Evolution = "linear"
    loss: str = "crps"
    kl_weight: float = 0.01
    n_samples: int = 16
    n_modes: int = 32
    n_state: int = 32
    n_static: int = 16
    observation_scale: str = "state"
    solver: str | Part | Solver = "rk4"
    gradient: str | Part | Gradient = "backprop"

    reads_events = True
    checks: ClassVar[dict[str, Check]] = {
        "n_modes": at_least(1),
        "n_static": at_least(0),
        "solver": part_of(SOLVERS),
        "gradient": part_of(GRADIENTS),
    }

    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> LatentODE:
        return build_latent_ode(
            n_channels,
            encoder=self.encoder,
            evolution=self.evolution,
            solver=self.solver,
            gradient=self.gradient,
            n_modes=self.n_modes,
            n_state=self.n_state,
            n_static=self.n_static,
            n_encoder=self.n_encoder,
            n_hidden=self.n_hidden,
            observation_scale=self.observation_scale,
            n_samples=self.n_samples,
            max_context=self.max_context,
            n_features=n_features,
            n_inputs=n_inputs,
        )
