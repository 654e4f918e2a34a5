"""Linear-Gaussian SDE as a forecaster: exact filter, fitted by maximum likelihood."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.base import LearnedForecaster
from tsode.estimators.forecasters.known_system import SystemSettings, read_start
from tsode.estimators.forecasters.pieces import pieces
from tsode.estimators.forecasters.rate_axes import check_rates, rate_axes
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.estimators.forecasters.structural_diagnosis import StructuralDiagnosis
from tsode.estimators.forecasters.structure import (
    build_structure,
    check_components,
    check_joint,
    fit_jointly,
    fit_structure,
    is_sharp,
)
from tsode.estimators.parameters import Check, at_least, mapping, one_of, or_value
from tsode.frames.panel import Panel
from tsode.frames.standard_errors import error_columns, match_errors
from tsode.models.base import ForecastModel
from tsode.models.folded.model import FoldedModel
from tsode.models.linear.gaussian import LinearGaussianModel
from tsode.models.linear.rate_classes import RateClasses
from tsode.models.linear.sde import LinearSDE, StableLinearSDE
from tsode.models.structural.joint_model import JointStructuralModel
from tsode.models.structural.model import StructuralModel
from tsode.training.fit_by_mode import fit_by_mode
from tsode.training.held_out_likelihood import held_out_loss
from tsode.training.loop import train
from tsode.training.series_pieces import held_out_pieces, pieces_of
from tsode.training.windows import Split

__all__ = ["LinearSDEForecaster"]

STEPS_AN_EPOCH = 10  # so that a small panel, whose epoch is one batch, is not validated after every step
FARTHEST_LEARNED = 10.0  # robust standard deviations: beyond, nothing is learned where scale="robust"


@dataclass(kw_only=True, eq=False, repr=False)
class LinearSDEForecaster(LearnedForecaster, StructuralDiagnosis):
    """Forecast irregular series with a stationary linear SDE seen through noise: the Kalman filter in continuous time.

    Few parameters and exact answers: forecasts, samples and intervals are those of one Gaussian process, missing
    values cost nothing, and `impute` uses what came before and after. It is fitted by maximum likelihood and suits
    few series, noise, and channels that move together; it learns one set of rates for all series, or with
    `series_rates` how far they lie apart, at the mode of a posterior.
    After a long silence it returns to the mean of the training data. Events at known times move the state by a learned
    matrix times their amounts, so that twice the dose has twice the effect. Covariates, their moving averages and the
    calendar add a learned matrix times them to what is observed, so their effects are straight lines too.

    With ``components=`` it is a structural model instead, fitted by its evidence: each channel by itself is a sum of a
    trend, seasons, cycles and what is left, which goes on where the data end; `decompose` takes it apart, and `summary`
    says what was found. Then forecasts are mixtures over structures and parameters, and
    what is said below of `n_state` and of the training loop does not hold.

    Parameters
    ----------
    components : "auto", list of names and parts, or None
        What the series is a sum of. Trends are ``"level"``, ``"slope"`` and ``"damped_slope"``, and
        ``part("changepoints", times=[...])`` steps and bends them at times within the data (numbers; for datetimes
        strings or timestamps); then there are ``"season"``, ``"quasi_season"`` and ``"cycle"``, and for what is left
        ``"ou"``, ``"long_ou"``, ``"matern"`` and ``"carma"``. `tsode.part` gives
        settings, as in ``part("season", period="1D", n_harmonics=3, name="day")``; without a period one is looked for
        in the data. "auto" averages the structures for which there is evidence. ``["sharp_season"]`` is a model of its
        own, of series that repeat exactly, each with its own period. None: a stable system of `n_state` states.
        A channel with fewer values than they have parameters is forecast by a level and noise, with a warning.
        ``examples/docs/COMPONENTS.md`` has their formulas and settings.
    support : {"real", "positive", "unit", "auto"}, pair (low, high), or dict of channel to one of these
        Of the values, as in `JumpODEForecaster`; events and covariates then add to what stands on that scale. With
        ``components=`` "positive" takes root or logarithm, "unit" the logit and "auto" also the values as they are,
        whichever is likelier; pairs are not taken. Not with `system`.
    per_series : bool
        With ``components=``, whether each series has parameters of its own, drawn towards those of the panel; otherwise
        they share them. Each has states of its own either way.
    robust : bool or None
        With `components`, whether a value beyond what normal noise gives is weighed as by a Student-t law, judged by
        what came before it alone; the fourth in a row on one side is believed, as a new level. Where nothing stands
        out, nothing changes. None: with ``components="auto"`` yes, with a list no.
    noise_col : label, dict of target to label, or None
        With ``components=``, the column of the standard errors of the observations, in their units. A value counts for
        as much as its own error lets it, beside the noise that is fitted; NaN: by the latter alone. Observations to
        come are taken to have the median error of those in fit.
    channels : {"own", "joint"}
        With ``components=``, whether each channel is modelled by itself, or all of them together: by the same
        components with the same parameters, but for their units and noise, and with innovations that are correlated.
        Then what one channel shows tells about the others, as where one stops or has gaps. The cost of an observation
        time grows with the third power of the number of channels, or faster.
    system : dict or None
        Matrices of a known system, as arguments of `tsode.models.linear.sde.LinearSDE`: ``drift``, ``diffusion``,
        ``readout``, ``noise`` and, if wanted, ``offset``, ``readout_offset``, ``initial_mean``, ``initial_cov``. They
        are in the data's own units, with time in `time_unit` ("auto" is 1 for numeric times); then nothing is
        learned. None: a stable system is fitted.
    initial_time : time, optional
        When ``initial_mean`` and ``initial_cov`` of `system` hold, in the kind of the data's times and no later than
        any of them, such as the time of a dose or of switching on. By default when a series is first observed.
    n_state : int or None
        Hidden states. None: five more than channels.
    series_rates : int, dict or None
        Classes of series that differ in how fast they turn, such as 9. Their exact forecasts are mixed by how well each
        explains what was seen of a series; how far they lie apart is learned. A dict of an axis ("frequency", "damping"
        or, both at once, "speed") to its number of classes has other rates differ, or several. None: one for all.
        With classes nothing is held out, and an epoch is a search of up to a hundred quasi-Newton steps on ever more of
        the series, of which `batch_size` are worked on at once; `max_epochs` is the most of these, and the other
        parameters of training do not matter.
    horizon : "auto", duration or float
        How far ahead `predict` asks by default, and the scale of the rates at the start of training: a duration for
        datetimes ("6h"), a number for numeric time. "auto" is half the median span of the series, silences left out.
    max_context : int
        Longer series are trained on in pieces of this many observation times. Forecasts use the whole history.
    max_epochs, batch_size, learning_rate, max_seconds
        Of the training loop, see `tsode.training.loop.TrainingPlan`. An epoch is at least ten steps. Components of long
        series are learned from fewer rows where the search for them has taken half of `max_seconds`.
    early_stopping : bool
        Bring the learning rate down, and then stop, when the validation likelihood has not improved for `patience`
        epochs. The best epoch is kept either way.
    patience : int
    validation_fraction : float
        Share of the series held out; with fewer than ten series, the last part of each.
    scale
        As in `JumpODEForecaster`; with "robust", nothing is learned from values beyond ten robust standard deviations,
        for a likelihood that is normal would follow them.
    time_unit, device, warm_start, random_state, verbose, callbacks, id_col, time_col, target, duplicates
        As in `JumpODEForecaster`.
    past_covariates, known_path, calendar
        As in `JumpODEForecaster`. With `system` there is no calendar.
    dtype : {"float64", "float32"}
        Double by default: covariances lose half their digits.

    Attributes
    ----------
    module_ : StableLinearSDE, LinearSDE or StructuralModel
        The fitted model, in model time; ``module_.system()`` gives the matrices of a stable system, in scaled units.
    components_, weights_, transforms_ : dict by channel
        With ``components=``: the components of the likeliest structure, and the weight of each structure in the
        forecast. Always: the scale on which the channel is modelled.
    history_, n_iter_, channels_, horizon_, time_unit_, last_times_ : see `BaseForecaster`.

    Examples
    --------
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> forecaster = LinearSDEForecaster(max_epochs=1, random_state=0).fit(load_theophylline())
    >>> forecaster.predict_interval(horizon=2.0, level=80).columns.tolist()[2:]
    ['theophylline_mg_l', 'theophylline_mg_l-lo-80', 'theophylline_mg_l-hi-80']

    A trend and a season of one series, taken apart a year beyond its end:

    >>> from tsode import part
    >>> from tsode.datasets import load_mauna_loa_co2
    >>> co2 = load_mauna_loa_co2().set_index("ds")["co2_ppm"]["1990":"1993"]
    >>> year = part("season", period="365.25D", n_harmonics=2, name="year")
    >>> forecaster = LinearSDEForecaster(components=["slope", year], random_state=0).fit(co2)
    >>> forecaster.decompose(horizon="365D", level=80).columns.tolist()[::3]
    ['co2_ppm-fit', 'co2_ppm-trend', 'co2_ppm-year']
    """

    n_state: int | None = field(default=None, kw_only=False)
    components: Any = None
    per_series: bool = False
    robust: bool | None = None
    noise_col: Any = None
    channels: str = "own"
    system: dict[str, Any] | None = None
    initial_time: Any = None
    series_rates: int | dict[str, int] | None = None
    max_context: int = 64
    max_epochs: int = 20
    learning_rate: float = 0.1
    patience: int = 5
    dtype: str = "float64"

    has_linear_inputs = True
    checks: ClassVar[dict[str, Check]] = {
        "n_state": or_value(None, at_least(1)),
        "system": or_value(None, mapping),
        "series_rates": check_rates,
        "components": check_components,
        "channels": one_of(dict.fromkeys(("own", "joint"))),
    }

    @property
    def transforms_(self) -> dict[Hashable, str]:
        """Scale on which each channel is modelled: "identity", "sqrt", "log" or "logit"."""
        return super().transforms_ if self.components is None else StructuralDiagnosis.transforms_.__get__(self)

    @property
    def reads_events(self) -> bool:  # type: ignore[override]
        """Whether events at known times can be given: to series that repeat exactly they cannot."""
        return self.components is None or not is_sharp(self.components)

    @property
    def is_bounded(self) -> bool:  # type: ignore[override]
        """Whether the system returns to a stationary law: one that is learned does, a trend or a given one need not."""
        return self.components is None and self.system is None

    @property
    def holds_rates(self) -> bool:  # type: ignore[override]
        """Whether an infusion acts as long as it runs; components have responses of their own to its ends."""
        return self.components is None

    def reader_settings(self) -> ReaderSettings:
        settings = super().reader_settings()
        if self.series_rates is not None and (self.components is not None or self.system is not None):
            raise ParameterError(
                "series_rates= is of a stable system that is learned: leave out components= and system=."
            )
        if self.components is not None:
            return self._structural_settings(settings)
        if self.noise_col is not None:
            raise ParameterError(f"noise_col={self.noise_col!r} is of components=: give components='auto' too.")
        if self.channels != "own":
            raise ParameterError(f"channels={self.channels!r} is of components=: give components='auto' too.")
        if self.system is None:
            if self.initial_time is not None:
                raise ParameterError("initial_time= is when a given system starts: give system= too, or leave it out.")
            return settings
        if self.scale not in ("auto", "none"):
            raise ParameterError(
                f"system= is in the data's own units, so nothing may be scaled, but scale={self.scale!r}: "
                "leave it at 'auto'."
            )
        if self.support != "real":
            raise ParameterError(f"system= is linear in the data themselves: leave out support={self.support!r}.")
        refusals = {name: f"system= says nothing about covariates: leave out {name}=." for name in ("static", "known")}
        refusals["events"] = (
            "system= says nothing about inputs: leave out events=, or give known dynamics and events to tsode.solve."
        )
        return SystemSettings(**vars(settings) | {"scale": "none", "refusals": refusals})

    def _structural_settings(self, settings: ReaderSettings) -> ReaderSettings:
        """In the data's own units, for components have scales of their own."""
        if self.system is not None:
            raise ParameterError("components= and system= are two models: give one of them.")
        if self.channels == "joint":
            check_joint(self.components, self.per_series, self.robust)
        elif self.past_covariates is not None:
            raise ParameterError(
                "components= model every channel by itself, so past_covariates= would change nothing: leave them out, "
                "give what is known ahead in known=, or model channels together with channels='joint'."
            )
        errors = error_columns(self.noise_col)
        if errors and is_sharp(self.components):
            raise ParameterError("'sharp_season' reads no standard errors: leave out noise_col=.")
        if errors and self.channels == "joint":
            raise ParameterError("channels='joint' reads no standard errors: leave out noise_col=.")
        past = errors or settings.past
        plain = replace(settings, scale="none", can_rescale=False, support="real", calendar=None)
        return replace(plain, past=past, errors=errors)

    def _learn_from(self, panel: Panel, reader: DataReader, held_out: Panel | None, goes_on: bool) -> None:
        self._reading = reader, panel
        try:
            super()._learn_from(panel, reader, held_out, goes_on)
        finally:
            del self._reading

    def _split(self, series: list[Series], horizon: float, generator: torch.Generator) -> Split:
        if self.components is not None or self.series_rates is not None:
            return Split(series, [], None)  # by their evidence, or with a prior: nothing is held out
        return super()._split(series, horizon, generator)

    def _build(self, n_channels: int, n_inputs: int, n_features: int, n_rates: int = 0) -> ForecastModel:
        if self.components is not None:
            is_joint = self.channels == "joint" and n_channels > 1
            return build_structure(self.components, n_channels - len(error_columns(self.noise_col)), is_joint)
        if self.system is None:
            base = StableLinearSDE(n_channels, self.n_state, n_inputs=n_inputs, n_features=n_features, n_rates=n_rates)
            return base if self.series_rates is None else RateClasses(rate_axes(self.series_rates), base)
        try:
            module = LinearSDE(**self.system)
        except TypeError as error:
            raise ParameterError(
                f"system= needs drift, diffusion, readout and noise, and may have offset, readout_offset, initial_mean "
                f"and initial_cov, but came with {sorted(self.system)}."
            ) from error
        if module.n_channels != n_channels:
            raise DataError(
                f"The readout of system= has {module.n_channels} channels, but the data have {n_channels}: "
                "choose the data's channels with target=."
            )
        return module

    def _keep(self, reader: DataReader, panel: Panel, module: ForecastModel, history: Any, n_iter: int) -> None:
        if self.initial_time is not None:
            assert isinstance(module, LinearSDE)
            module.initial_time = read_start(self.initial_time, panel, reader)
        super()._keep(reader, panel, module, history, n_iter)

    def log_likelihood(self, X: Any = None, *, events: Any = None, static: Any = None, known: Any = None) -> pd.Series:
        """Exact log-likelihood of each series under the fitted or given system, in nats of the data's own units.

        Parameters
        ----------
        X : same kinds as in fit, optional
            By default the data given to fit.
        events, static, known
            See `predict`.

        Returns
        -------
        Series
            Indexed by the ids of the series.
        """
        self._check_fitted()
        assert isinstance(self.module_, LinearGaussianModel)
        panel = self._panel if X is None else self.reader_.read(X, beside=self._panel)
        panel = self.reader_.with_tables(panel, self._panel, events, static, known)
        batch = _collate(self.reader_.series(panel), next(iter(self.module_.state_dict().values())))
        with isolated(), torch.no_grad():
            scaled = self.module_.log_likelihood(batch)
        # a density in scaled units is larger by the scale of every value seen
        log_slopes = self.reader_.scaler.log_slopes(panel.values)
        return pd.Series(
            scaled.cpu().double().numpy() + log_slopes, index=pd.Index(list(panel.ids), tupleize_cols=False)
        )

    def predict_state(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        given: str = "past",
    ) -> Any:
        """Belief over the hidden state: columns ``state-0``, ``state-0-sd``, ...

        Parameters
        ----------
        given : {"past", "present", "all"}
            What has been seen: observations strictly before a time (forecast), up to and at it (filter), or all of
            the series (smoother). See `predict` for the others. The states of a fitted system are in model units.
        """
        if given not in ("past", "present", "all"):
            raise ParameterError(f"given={given!r} is not known: choose 'past', 'present' or 'all'.")
        query, panel = self._read_query(X, times, horizon, context, events, static, known)
        assert isinstance(self.module_, LinearGaussianModel)
        module, n_state = self.module_, self.module_.n_state
        table = np.empty((n_state, 2, sum(map(len, query.times))))
        for piece in pieces(self.reader_, query, panel, module, *self._dtype_and_device):
            with isolated(), torch.no_grad():
                if given == "all":
                    belief = module.smooth(piece.batch, piece.query_times)
                else:
                    side = "left" if given == "past" else "right"
                    belief = module.forecast_state(piece.batch, piece.query_times, side)
                spread = belief.cov.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
                both = piece.asked(torch.stack([belief.mean, spread], dim=-1)).cpu().double().numpy()
            table[..., piece.at] = both.transpose(1, 2, 0)
        labels = [f"state-{k}{ending}" for k in range(n_state) for ending in ("", "-sd")]
        return self.reader_.write(query, labels, table.reshape(2 * n_state, -1), X)

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        if self.system is not None:
            return []
        if isinstance(module, FoldedModel):
            module.learn(split.train)
            return []
        if isinstance(module, StructuralModel):
            reader, panel = self._reading
            if isinstance(module, JointStructuralModel):
                fit_jointly(module, split.train, reader, self.components, self.support, generator)
                return []
            is_robust = self.components == "auto" if self.robust is None else self.robust
            fit_structure(
                module, split.train, reader, panel, self.components, self.support, generator, self.per_series,
                is_robust, match_errors(self.noise_col, reader.targets), self.max_seconds,
            )  # fmt: skip
            return []
        is_classed = isinstance(module, RateClasses)
        like = torch.empty(0, dtype=torch.float64) if is_classed else next(module.parameters())
        if self.scale == "robust":
            fitted, held = ([_within(series) for series in part] for part in (split.train, split.valid))
            split = replace(split, train=fitted, valid=held)
        pieces = [piece for series in split.train for piece in pieces_of(series, self.max_context)]
        held_out = held_out_pieces(split, self.max_context)
        if not pieces or not (held_out or self.series_rates):
            raise DataError(
                "There is no series with two observation times, so nothing can be learned about change in time. "
                "Give longer series, or use LastValueForecaster or ConstantForecaster."
            )
        self._check_memory(module, len(pieces), max(len(piece.times) for piece in pieces))
        n_rows = min(ROWS_AT_ONCE, 4 * self.batch_size)  # without derivatives, a row takes a fourth of the memory
        batches = [
            tuple(_collate(part, like) for part in zip(*held_out[k : k + n_rows]))
            for k in range(0, len(held_out), n_rows)
        ]
        if isinstance(module, RateClasses):
            loss = partial(held_out_loss, batches=batches) if batches else None
            return fit_by_mode(
                module, split.train, self.max_context, self.batch_size, loss, self.max_epochs, generator,
                verbose=self.verbose, callbacks=self.callbacks or (),
            )  # fmt: skip
        n_batches = max(STEPS_AN_EPOCH, -(-len(pieces) // self.batch_size))

        def epoch() -> Iterator[IrregularBatch]:
            order: list[int] = []
            for _ in range(n_batches):
                if not order:
                    order = torch.randperm(len(pieces), generator=generator).tolist()
                chosen, order = order[: self.batch_size], order[self.batch_size :]
                yield _collate([pieces[k] for k in chosen], like)

        return train(
            module,
            epoch,
            n_batches,
            _objective,
            lambda model: {"loss": held_out_loss(cast(LinearGaussianModel, model), batches)},
            self._plan(weight_decay=0.0),  # rates and noise have no natural zero to shrink towards
            verbose=self.verbose,
            callbacks=self.callbacks or (),
        )


def _objective(model: LinearGaussianModel, batch: IrregularBatch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Negative log-likelihood of a value, in nats."""
    log_likelihood, status = model.scored(batch)
    return -log_likelihood.sum() / batch.mask.sum().clamp(min=1), {}, status


def _within(series: Series) -> Series:
    """The series without values that stand out."""
    return replace(series, values=np.where(np.abs(series.values) <= FARTHEST_LEARNED, series.values, np.nan))


def _collate(series: Sequence[Series], like: Tensor) -> IrregularBatch:
    return collate(series, like.dtype).to(like.device)
