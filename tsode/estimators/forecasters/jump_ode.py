"""Jump ODE filter as a forecaster: the default of the library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from tsode._isolation import isolated
from tsode._random import OwnDraws
from tsode._registry import Part, lookup
from tsode.core.series import Series
from tsode.errors import ParameterError
from tsode.estimators.forecasters.growing import GrowingForecaster
from tsode.estimators.forecasters.pieces import pieces
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.estimators.forecasters.supports import check_law
from tsode.estimators.parameters import Check, at_least, boolean_or_auto, one_of, or_value, part_of, share
from tsode.evolutions.base import Evolution
from tsode.frames.inputs import GIVEN
from tsode.frames.panel import Panel
from tsode.jumps import JUMPS
from tsode.jumps.base import JumpMap
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.base import ForecastModel
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.ensemble import Ensemble, can_be_several
from tsode.models.filters.jump_filter import JumpFilter
from tsode.numerics import SOLVERS
from tsode.numerics.base import Gradient, Solver
from tsode.numerics.gradients import GRADIENTS
from tsode.training.calibration import calibrate, each_of
from tsode.training.cross_fit import MANY_SERIES, N_FOLDS, cross_fitted
from tsode.training.expert import MOST_CHANNELS, fit_expert
from tsode.training.interruption import kept_if_interrupted
from tsode.training.objective import SCORES, FilterObjective, channel_weights
from tsode.training.readout_posterior import fit_readout_posterior
from tsode.training.validation import score_windows
from tsode.training.windows import FEWEST_SERIES, Split, Window, split_for_validation, validation_windows

__all__ = ["JumpODEForecaster"]


WANTED = 100  # windows of each fold
MOST_PASSES = 1000  # lest a number in a file keep a forecast busy for ever


@dataclass(kw_only=True, eq=False, repr=False)
class JumpODEForecaster(GrowingForecaster):
    """Forecast irregular series with a latent state that flows by an ODE and jumps at observations.

    The default is a filter of complex modes that rotate and decay in closed form, with rates set per series by static
    parts of the state, and a gated recurrent jump on what was not predicted. It is trained on random windows of the
    series for forecasts up to one horizon, under a proper score.

    Parameters
    ----------
    model : {"innovation", "ode_rnn", "gru_ode_bayes", "neural_jump_ode", "semilinear"} or None
        A named member of the filter family; it sets `evolution`, `jump` and `solver`. None: they are taken as given.
    evolution : str, Part or Evolution
        "linear" (closed form, default), "semilinear" (the same with a neural correction), "mlp", "gru_ode",
        "mean_reverting", one that keeps a promise (see `tsode.dynamics`), such a name with settings
        (``tsode.part("mlp", width=32)``), or an instance.
    jump : str, Part or callable
        "innovation_gru" (default), "gru", "bayes_gru", "neural_jump", or ``(n_state, n_channels) -> JumpMap``.
    likelihood : {"normal_mixture", "normal", "student_t", "laplace"}, Part or Likelihood
        The default mixes three normals, which follow skew, heavy tails and values that come again and again (no rain).
    loss : {"crps", "nll", "mse", "quantile"}
        Score that training minimises. The CRPS gives usable intervals at no cost in squared error.
    n_modes, n_static : int
        Size of the linear and semilinear evolutions.
    n_state : int
        Width of the state of the other evolutions.
    n_hidden : int
        Hidden units of the readout.
    solver : str, Part or Solver
        For evolutions that are solved: "midpoint", "rk4", "euler", "dopri5", "exponential_euler" (for "gru_ode"),
        "exponential_difference" (for "semilinear"), ..., or an instance.
    gradient : str, Part or Gradient
        Way to the gradient of evolutions that are solved, see `tsode.numerics.integrate.integrate`: "backprop",
        "checkpoint" or "binomial" for less memory, "forward", "adjoint", "auto" ..., or an instance.
    n_members : "auto" or int
        Models with random weights of their own that are trained on the same windows in one pass. The forecast is the
        equal-weight mixture of theirs; what they disagree about is a part of `predict_spread`. Parts given as instances
        are copied, weights and all. "auto" is two of the default parts, and one of others, which do not share a pass;
        of 10 to 399 series it is four of the default parts, each of which leaves out another quarter of the series.
        What is left out says when to stop, how wide intervals are and how much the expert counts.
    expert : {"auto", None}
        A small model beside the filter: `LinearSDEForecaster` with nine classes of rates, fitted after it, on panels of
        at most four channels without events. Held-out forecasts decide by lead time how much of the forecast
        is of either; where the filter is good enough it is left as it is, to the bit.
    gate : bool
        Whether the readout starts from the value last seen of a channel.
    n_passes : int
        Times a history is run over, each time from where the last pass ended, so that its early part is read with
        knowledge of the later one. One by default; see `tsode.models.filters.jump_filter.JumpFilter`.
    informative_times : bool
        Whether it is modelled when observations come (a patient who gets worse is looked at more often): the state
        then learns from the timing of observations too, and `predict_intensity` forecasts their rate.
    horizon : "auto", duration or float
        How far ahead the model is trained to forecast: a duration for datetimes ("6h"), a number for numeric time.
        "auto" is half the median span of the series,
        silences left out.
    max_context : int
        Most observations of context in a training window. Forecasts always use the whole history.
    max_epochs, batch_size, learning_rate, weight_decay
        Of the training loop, see `tsode.training.loop.TrainingPlan`.
    zero_input_response : bool or "auto"
        Whether channels answer to events alone, and decay to a level of rest without any (the concentration of a drug):
        doses and infusions add to the modes, which are read in proportion; what is observed says how large a gain a
        series has, and how fast it decays, but moves no mode. For the "linear" evolution; `jump` and `gate` are not
        used then. "auto" trains both, where doses with an amount are among the events of fewer than
        400 series, and keeps what forecasts held-out windows better; without such events it changes nothing. All
        channels answer alike: of channels that no dose moves, nothing but a level is then forecast. Callbacks are
        called with the rows of both.
    bioavailability : bool
        Whether what is given to a series is multiplied by a learned factor, log-linear in its constants in ``static=``:
        how much of a dose or an infusion reaches it. Before training the factor is 1.
    drop : float
        Up to which share of the values of a context is hidden in training.
    dropout : float
        Share of the readout's hidden units dropped in training.
    balance : float
        How far channels that are seldom seen are made up for in training, from 0 (every value counts the same) to 1
        (every channel does), see `tsode.training.objective.channel_weights`.
    n_levels : int
        Of multilevel training, for evolutions that are solved: with 3 the first third of the epochs takes steps four
        times as long as those of the solver, the second third steps twice as long, for fewer evaluations of the field.
    penalties : str, Part, Penalty, list of these, or None
        On the field of an evolution that is solved, at states that training visits: "contraction" (paths come nearer
        to each other), "energy" (one that is given or learned stands still), ``part("contraction", rate=0.1)``, or an
        instance; see `tsode.training.penalties`.
    early_stopping : bool
        Bring the learning rate down, and then stop, when the validation score has not improved for `patience` epochs;
        else at the end of `max_epochs`. The best epoch is kept either way.
    max_seconds : float or None
        Time for the epochs of a training, about: the learning rate comes down in time, so that what ends early ends
        well. None: as long as it takes. The weights then depend on how fast the machine is.
    patience : int
    validation_fraction : float
        Share of the series held out; with fewer than ten series, the last part of each.
    scale : {"auto", "standard", "robust", "none"}
        Internal scaling of each channel ("auto" is "standard"). Results are in the data's own units.
    support : {"real", "positive", "unit", "auto"}, pair (low, high), or dict of channel to one of these
        What values a channel may have. One that is "positive", from 0 on, is learned by its logarithm or its root,
        whichever makes forecasts of one half of the data from the other likelier; one between two ends ("unit" is from
        0 to 1) by its logit; ``(low, None)`` is positive above `low`. Scaling comes after that. No quantile, sample or
        mean leaves the support, and means, densities and scores are those of the law in the data's own units.
        Values at an end may be among the data: then the end has a chance of its own. If fit saw none there, a later
        one is read as half as far from it as the nearest in fit. A value outside is an error.
        "auto" leaves a channel as it is, unless all of its values are positive (or inside of 0 and 1) and straight
        lines forecast one half of the data from the other with a likelihood that is better for more than chance, and a
        CRPS no worse, on such a scale. A later value that this does not allow for is read as if it stood at the end,
        with a warning.
        A dict leaves other channels real, as past covariates are that it does not name. Any but "real" needs a
        `likelihood` of normals.
        Where all are "real", an end of the range that three or more series of ten or more reach exactly, turn back at
        and pile up at is taken for an end of the channel's scale (zeros of counts, 3 and 15 of a score): means,
        quantiles and samples of a likelihood of normals go no farther, unless the latest value of a series has. Without
        events and covariates, nor do they where a hundred series or more had been as far out as the latest value and
        none passed the end within a horizon: the next one does one time in 101. A trend goes on, where it has come to.
    time_unit : "auto", duration or float
        One unit of model time. "auto" is one horizon, unless the data are of a scale far from it.
    device : str
        "auto" takes a GPU where there is one.
    dtype : {"float32", "float64"}
    warm_start : bool
        Continue from the weights of an earlier fit on the same channels.
    random_state : int, generator or None
        Seed of everything random in fit; global seeds are neither read nor set.
    verbose : int
        1 = a progress line.
    callbacks : sequence of callable
        Called with each epoch's row of the history; one that returns True stops training.
    id_col, time_col : str
        Columns of a long frame.
    target : label, list of labels or None
        Channels; None = all other columns.
    past_covariates : label, list of labels or None
        Columns that are looked at where they have been observed, but not forecast: the state jumps at them as at any
        other channel. Training forecasts them along the way; validation looks at the others alone.
    known_path : {"linear", "last"}
        What covariates given as ``known=`` are between two of their times: on a straight line, or the value before.
    calendar : "auto", list of {"day", "week", "year"}, or None
        Cycles of the calendar that the model is told, for datetimes. "auto" takes day and year where the data span them
        twice and look at them more than twice a turn; ``calendar_`` and the repr of a fitted forecaster say which.
    duplicates : {"error", "mean"}
        What to do with two values of one channel at one time.

    Attributes
    ----------
    module_ : JumpFilter or Ensemble
        The fitted model, in scaled units and model time.
    history_ : DataFrame
        One row an epoch.
    n_iter_ : int
        Epochs done.
    transforms_ : dict of channel to str
        Scale on which each is learned, by `support`: "identity", "sqrt", "log" or "logit".
    channels_, horizon_, time_unit_, last_times_ : see `BaseForecaster`.

    Examples
    --------
    >>> from tsode import JumpODEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> frame = load_theophylline()
    >>> forecaster = JumpODEForecaster(max_epochs=2, n_modes=8, n_static=4, random_state=0).fit(frame)
    >>> forecaster.predict(horizon=2.0).columns.tolist()
    ['unique_id', 'ds', 'theophylline_mg_l']
    """

    reads_events = True
    holds_rates = True

    @property
    def has_linear_inputs(self) -> bool:  # type: ignore[override]
        """Whether the effect of an event is in proportion to its amount."""
        return self.zero_input_response not in (False, "auto")

    model: str | None = field(default=None, kw_only=False)
    evolution: str | Part | Evolution = "linear"
    jump: str | Part | Callable[[int, int], JumpMap] = "innovation_gru"
    likelihood: str | Part | Likelihood = "normal_mixture"
    loss: str = "crps"
    n_modes: int = 32
    n_static: int = 16
    n_state: int = 64
    n_hidden: int = 64
    solver: str | Part | Solver = "midpoint"
    gradient: str | Part | Gradient = "backprop"
    n_members: int | str = "auto"
    expert: str | None = "auto"
    gate: bool = True
    n_passes: int = 1
    informative_times: bool = False
    zero_input_response: bool | str = "auto"
    bioavailability: bool = False
    drop: float = 0.6
    dropout: float = 0.0
    balance: float = 0.5
    max_epochs: int = 24
    batch_size: int = 128
    learning_rate: float = 2e-2

    checks: ClassVar[dict[str, Check]] = {
        "loss": one_of(SCORES),
        **dict.fromkeys(("n_modes", "n_state", "n_hidden"), at_least(1)),
        "n_passes": at_least(1, MOST_PASSES),
        "n_static": at_least(0),
        "n_members": or_value("auto", at_least(1)),
        "zero_input_response": boolean_or_auto,
        "expert": or_value(None, one_of({"auto": None})),
        "dropout": share(),
        "balance": share("[", "]"),
        "solver": part_of(SOLVERS),
        "gradient": part_of(GRADIENTS),
        "jump": lambda name, value, default: None if callable(value) else part_of(JUMPS)(name, value, default),
    }

    def reader_settings(self) -> ReaderSettings:
        check_law(self.likelihood, self.support)
        return super().reader_settings()

    def predict_intensity(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
    ) -> Any:
        """Forecast the rate at which observations of a series come, for a model with ``informative_times=True``.

        Given all that came strictly before a time, and that nothing came since. See `predict` for the parameters.

        Returns
        -------
        Series, DataFrame or list
            The kind of `predict`, with a column ``intensity``: expected observations per unit of the times, or per
            hour where these are datetimes or timedeltas.
        """
        query, panel = self._read_query(X, times, horizon, context, events, static, known)
        module: Any = self.module_
        members = module.members
        if not self.informative_times:
            raise ParameterError("It was not modelled when observations come: fit with informative_times=True.")
        is_clock = isinstance(self.time_unit_, np.timedelta64)
        unit = self.reader_.timeline.duration(np.timedelta64(1, "h") if is_clock else 1.0)
        table = np.empty((1, sum(map(len, query.times))))
        for piece in pieces(self.reader_, query, panel, module, *self._dtype_and_device):
            with isolated(), torch.no_grad():
                rates = torch.stack([member.rate(piece.batch, piece.query_times) for member in members]).mean(dim=0)
                table[0, piece.at] = unit * piece.asked(rates).cpu().double().numpy()
        return self.reader_.write(query, ["intensity"], table, X)

    def _split(self, series: list[Series], horizon: float, generator: torch.Generator) -> Split:
        few = cross_fitted(series) if self.n_members == "auto" and not self.informative_times else None
        return super()._split(series, horizon, generator) if few is None else few

    def _build_for(self, split: Split, n_channels: int, n_inputs: int, n_features: int, **rates: int) -> MarginalModel:
        several = 2 if split.folds is None else N_FOLDS
        return self._build(n_channels, n_inputs, n_features, rates.get("n_rates", 0), several)

    def _build_like(self, weights: Mapping[str, Any], *widths: int, **rates: int) -> MarginalModel:
        is_response = any(name.endswith("readout.response.weight") for name in weights)
        n_channels, n_inputs, n_features = widths
        return self._build(n_channels, n_inputs, n_features, rates.get("n_rates", 0), zero_input=is_response)

    def _parts(self) -> dict[str, Any]:
        """Evolution, jump and solver."""
        given = {"evolution": self.evolution, "jump": self.jump, "solver": self.solver}
        return given if self.model is None else given | lookup(FILTERS, self.model, "model")

    def _build(
        self,
        n_channels: int,
        n_inputs: int,
        n_features: int,
        n_rates: int = 0,
        several: int = 2,
        zero_input: bool | None = None,
    ) -> MarginalModel:
        parts = self._parts()
        if zero_input is None:
            zero_input = self.has_linear_inputs and n_inputs > 0

        def build(parts: dict[str, Any]) -> JumpFilter:
            return build_filter(
                n_channels,
                **parts,
                gradient=self.gradient,
                likelihood=self.likelihood,
                n_modes=self.n_modes,
                n_static=self.n_static,
                n_state=self.n_state,
                n_hidden=self.n_hidden,
                gate=self.gate,
                dropout=self.dropout,
                n_passes=self.n_passes,
                n_inputs=n_inputs - n_rates,
                n_rates=n_rates,
                n_features=n_features,
                informative_times=self.informative_times,
                zero_input=zero_input,
                bioavailability=self.bioavailability and n_inputs > 0,
            )

        n_members = self.n_members
        members = [build(parts if n_members in (1, "auto") else copy.deepcopy(parts))]
        if isinstance(n_members, str):  # copies of instances would be alike
            are_named = all(
                isinstance(part, str | Part) for part in (parts["evolution"], parts["jump"], self.likelihood)
            )
            n_members = several if are_named and can_be_several(members[0]) else 1
        members += [build(copy.deepcopy(parts)) for _ in range(1, n_members)]
        return members[0] if n_members == 1 else Ensemble(members)

    def _tell(self, module: ForecastModel, panel: Panel, reader: DataReader) -> None:
        if self.bioavailability and not (reader.covariates and reader.covariates.n_static):
            raise ParameterError(
                "bioavailability=True scales what is given by the constants of a series, but static= was not given: "
                "give static= to fit, or leave bioavailability out."
            )

    def _train_fresh(
        self, module: ForecastModel, split: Split, reader: DataReader, generator: torch.Generator
    ) -> tuple[ForecastModel, list[dict[str, float]]]:
        kept = super()._train_fresh(module, split, reader, generator)
        named = self._parts()
        has_doses = reader.events is not None and any(part != GIVEN for *_, part in reader.events.columns)
        is_linear = (named["evolution"], named["jump"]) == ("linear", "innovation_gru") and self.n_static > 0
        is_tried = self.zero_input_response == "auto" and len(split.train) < MANY_SERIES
        if not (is_tried and has_doses and is_linear):
            return kept
        assert isinstance(module, MarginalModel)
        own = torch.Generator().manual_seed(generator.initial_seed())
        draws, widths = OwnDraws(own), (len(reader.channels), reader.n_inputs, reader.n_features)
        with draws:
            other = self._build(*widths, **reader.rates, several=len(module.members), zero_input=True)
        other = other.to(self._torch_device(), self._torch_dtype())
        with draws.in_training(other):
            tried = super()._train_fresh(other, split, reader, own)
        return min(kept, tried, key=lambda fit: min(row["valid_loss"] for row in fit[1]))

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        assert isinstance(module, MarginalModel)
        if split.folds is not None and len(module.members) != N_FOLDS:  # of an earlier fit, or of parts of another kind
            whole = split_for_validation(split.train, self.validation_fraction, horizon, generator)
            split = replace(whole, n_targets=split.n_targets)
        sampler, windows = self._windows(split, horizon)
        n_targets = split.n_targets or module.n_channels
        held_out, folds = self._held_out(module, split, horizon, windows)
        weight = channel_weights(split.train, self.balance).to(self._torch_device(), self._torch_dtype())
        objective = FilterObjective(self.loss, horizon=horizon, weight=weight, folds=folds)
        judged = weight.clone()
        judged[n_targets:] = 0.0
        module.expert = module.posterior = None
        history = self._learn(
            module, sampler, objective, lambda _: score_windows(held_out, self.loss, judged), generator
        )
        with kept_if_interrupted(module, "intervals were calibrated"):
            calibrate(module, held_out)
            every = [window for _, window in each_of(held_out)]
            module.posterior = fit_readout_posterior(module, every, split.train)
        if self.expert is not None and module.n_channels <= MOST_CHANNELS and self._can_be_mixed(module, split):
            own = torch.Generator().manual_seed(generator.initial_seed())  # so that the filter's numbers stay
            with kept_if_interrupted(module, "an expert was fitted"):
                module.expert = fit_expert(module, held_out, split.train, self.max_context, n_targets, own, split.folds)
        return history

    def _held_out(
        self, module: MarginalModel, split: Split, horizon: float, windows: list[Window]
    ) -> tuple[list[tuple[MarginalModel, list[Window]]], torch.Tensor | None]:
        """Windows beside who is judged on them, and the fold of each series where members leave one out."""
        if split.folds is None:
            return [(module, windows)], None
        folds, pairs = torch.from_numpy(split.folds), []
        for fold, member in enumerate(module.members):
            of_fold = [row for row, k in zip(split.train, split.folds) if k == fold]
            own = validation_windows(of_fold, None, horizon, self.max_context, self._torch_dtype(), wanted=WANTED)
            pairs.append((member, [window.to(self._torch_device()) for window in own]))
        return pairs, folds.to(self._torch_device())

    def _can_be_mixed(self, module: MarginalModel, split: Split) -> bool:
        """Whether the expert can stand beside the filter: it reads no events, and both are mixtures of normals."""
        has_events = any(row.inputs.shape[1] for row in split.train)
        return isinstance(module.likelihood, NormalMixture) and not has_events and len(split.train) >= FEWEST_SERIES
