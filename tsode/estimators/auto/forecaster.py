"""Automatic choice of a forecaster: members are tried on the data in fit, and the best are averaged."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._random import new_generator
from tsode._registry import lookup
from tsode.core.status import Status
from tsode.errors import SolverError, TsodeError, TsodeWarning
from tsode.estimators.auto.choice import choose
from tsode.estimators.auto.leaderboard import board
from tsode.estimators.auto.members import READING, Shape, check_members, find_members
from tsode.estimators.auto.reader import TellingReader, ToldPanel
from tsode.estimators.auto.rounds import asks_others, make_rounds, questions_about
from tsode.estimators.auto.trials import Clock, ask_all, refit, run_trials, tables_of
from tsode.estimators.auto.words import explanation
from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.files.parameters import estimator_classes
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.forecasters.covariate_parameters import ReadsCovariates
from tsode.estimators.forecasters.predictive import Predictive, report_failed
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.estimators.forecasters.scenarios import of_rows, parts_of
from tsode.estimators.forecasters.supports import check_support, ends_of, in_units
from tsode.estimators.parameters import Check, or_value, positive
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.held_knots import HeldKnots
from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.models.combination import LEVELS, Combination
from tsode.training.windows import Split

__all__ = ["AutoForecaster"]

LAST = 1e-6  # of probability: the farthest in a tail that a sample is mapped from


@dataclass(kw_only=True, eq=False, repr=False)
class AutoForecaster(ReadsCovariates, BaseForecaster):
    """Try forecasters on the data, and average the best: one call for a table that nobody knows yet.

    In fit, members forecast what they have not seen, as it will be asked later: with forty series or more, or three
    short ones, whole series that are held out, from cuts along them; otherwise the later blocks of each. Cheap
    members come first, then dear ones as long as `budget` lasts. For each channel and range of leads their quantiles
    are averaged with weights that have the least CRPS, near equal where the data cannot tell, and the spread is
    calibrated. The members with a weight are then fitted to all data, as far as there is time. Where nothing beats the
    naive forecasts, the best of these is the answer, and `explain` says so.

    Parameters
    ----------
    members : "auto", list, or dict
        Names of forecasters, `tsode.part` of one with settings, or forecasters; in a dict under names of your own.
        "auto": baselines, direct regressions, components, linear and jump ODEs, latent models, and forecasters that
        were registered (`tsode.register`).
    budget : float or None
        Seconds of the clock for all of fit, about. None: all members run, for as long as it takes, and the same seed
        gives the same choice on the same data.
    horizon : "auto", duration or float
        How far ahead it will be asked, which is what members are judged by; "auto" is half the median span.
    support
        As in `JumpODEForecaster`, for the members that have it; here "auto" is the default. No quantile leaves a
        support that a member has found or was told.
    scale, past_covariates, known_path, calendar
        As in `JumpODEForecaster`, for the members that have them.
    device, dtype, time_unit, random_state, verbose
        As in `JumpODEForecaster`; with ``verbose=1`` one line says which member is tried, and which leads.
    id_col, time_col, target, duplicates
        How to read frames, as in `JumpODEForecaster`.

    Attributes
    ----------
    leaderboard_ : DataFrame
        A row a member, the best first, and the combination above them: ``crps``, the mean over channels of the CRPS in
        standard deviations of the channel, less is better; ``skill``, the share of the last value's that is saved; the
        CRPS by ranges of leads; ``coverage_80``; ``weight``; ``fit_seconds``, ``predict_seconds``; ``status``.
    members_ : dict of name to forecaster
        Those with a weight, fitted.
    weights_ : DataFrame
        Of these, by channel and range of leads.
    history_ : DataFrame
        The same rows, as a file keeps them.
    channels_, horizon_, time_unit_, last_times_, n_iter_ : see `BaseForecaster`.

    Examples
    --------
    >>> from tsode import AutoForecaster
    >>> from tsode.datasets import load_theophylline
    >>> auto = AutoForecaster(members=["LastValueForecaster", "DirectForecaster"], random_state=0)
    >>> auto.fit(load_theophylline()).leaderboard_["model"].tolist()[0]
    'combination'
    """

    members: Any = "auto"
    budget: float | None = 60.0
    support: Any = "auto"
    dtype: str = "float64"

    reads_events = True
    checks: ClassVar[dict[str, Check]] = {
        "members": check_members,
        "budget": or_value(None, positive),
        "support": check_support,
    }

    @property
    def is_bounded(self) -> bool:  # type: ignore[override]
        """Whether a member is that stays near the data however far ahead."""
        return not hasattr(self, "module_") or bool(self._combination.is_bounded.any())

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        validation: Any = None,
    ) -> Self:
        """Try members on the data and keep those with a weight; see `BaseForecaster.fit` for the tables.

        Parameters
        ----------
        X, y, events, static, known
            See `BaseForecaster.fit`. Members that do not read a table are tried without it.
        validation : same kinds as X, optional
            Series to judge members on, instead of parts of `X`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If the data cannot be read, or are such that nothing can be learned from them.
        TsodeError
            If no member can be fitted, with the reason of each.
        """
        self._check_parameters()
        clock = Clock(self.budget)
        reader, panel, held_out = TellingReader.fit(
            self.reader_settings(), X, y, events=events, static=static, known=known, validation=validation
        )
        tables = {"events": events, "static": static, "known": known}
        generator = new_generator(self.random_state)
        if held_out is None:
            rounds = make_rounds(panel, reader.timeline, reader.reach, generator)
        else:
            rounds = questions_about(panel, held_out, reader.timeline, reader.reach)
        asked = ask_all(rounds, reader, len(reader.targets))
        n_rows = sum(int(seen.sum()) for seen in panel.rows_seen)
        found = find_members(self.members, asks_others(panel), self._common(reader, generator))
        for member in found if reader.settings.past else ():
            if "past_covariates" not in member.estimator.get_params(deep=False):  # it would forecast them as channels
                member.estimator.set_params(target=list(reader.targets))
        shape = Shape(len(panel), n_rows, len(reader.targets))
        trials, is_stopped = run_trials(found, rounds, asked, reader, tables, shape, clock, int(self.verbose))
        done = [trial for trial in trials if trial.knots is not None]
        if not done:
            if trials[0].refusal is not None:  # which says what to do about the data
                raise trials[0].refusal
            reasons = "; ".join(f"{trial.member.name}: {trial.status}" for trial in trials)
            raise TsodeError(f"No member could be fitted: {reasons}. Mend the data, or name other members=.")
        choice = choose(done, asked, generator)
        shares = choice.module.weight.mean(dim=(0, 1)).tolist()
        for _, trial in sorted(zip(shares, choice.trials), key=lambda pair: -pair[0]):
            try:
                is_whole = not is_stopped and refit(trial, (X, y), tables, clock)
            except KeyboardInterrupt:
                is_whole, is_stopped = False, True
            if not is_whole:
                trial.status = "ok, fitted to a part of the data"
        if is_stopped:
            warnings.warn(
                "fit was interrupted: members not tried so far have no part, and those that were are not fitted again.",
                TsodeWarning,
                stacklevel=2,
            )
        self.members_ = {trial.member.name: trial.fitted for trial in choice.trials}
        told = ToldPanel.of(panel, tables)
        for member in self.members_.values():
            member._keep_histories(told.for_member(member))
        rows = board(choice, done, trials)
        self._keep(reader, panel, choice.module.to(self._torch_dtype()), rows, len(trials))
        self._explanation = explanation(choice, done, self)
        return self

    def explain(self) -> str:
        """Say in a paragraph what won and by how much, where it is weak, how far ahead to ask, and when to refit."""
        self._check_fitted()
        return self._explanation

    @property
    def leaderboard_(self) -> pd.DataFrame:
        """See Attributes."""
        self._check_fitted()
        return self.history_.copy()

    @property
    def weights_(self) -> pd.DataFrame:
        """See Attributes."""
        self._check_fitted()
        rows = [
            {"channel": name, "lead": float(lead), **dict(zip(self.members_, self._combination.weight[c, g].tolist()))}
            for c, name in enumerate(self.channels_)
            for g, lead in enumerate(self._combination.lead)
        ]
        return pd.DataFrame(rows)

    def update(
        self, X: Any, y: Any = None, *, events: Any = None, static: Any = None, known: Any = None, refit: bool = False
    ) -> Self:
        """Append new rows to the history; with `refit` members go on learning. Weights stay: fit anew to choose again.

        See `BaseForecaster.update`.
        """
        self._check_fitted()
        tables = {"events": events, "static": static, "known": known}
        own = copy.copy(self)
        BaseForecaster.update(own, X, y, **tables)  # what cannot be read is an error before anything has changed
        own.members_ = {
            name: copy.copy(member).update(X, y, **tables_of(member, tables), refit=refit)
            for name, member in self.members_.items()
        }
        self.__dict__.update(own.__dict__)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _combination(self) -> Combination:
        return cast("Combination", self.module_)

    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> Any:
        return Combination(1, n_channels, 1)

    def _build_like(self, weights: Mapping[str, Any], *widths: int, **rates: int) -> Any:
        n_channels, n_leads, n_members = weights["module.weight"].shape
        return Combination(n_members, n_channels, n_leads)

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        raise NotImplementedError("its members are trained, each by itself")

    def _keep(self, reader: DataReader, panel: Panel, module: Any, history: Any, n_iter: int) -> None:
        super()._keep(TellingReader.of(reader), panel, module, history, n_iter)

    def _common(self, reader: DataReader, generator: torch.Generator) -> dict[str, Any]:
        """Parameters that members share."""
        names = (*READING, "time_unit", "device", "scale", "support", "past_covariates", "known_path", "calendar")
        seed = int(torch.randint(0, 2**31 - 1, (), generator=generator))
        return {name: getattr(self, name) for name in names} | {"random_state": seed, "verbose": 0}

    def _forecast(
        self,
        query: Query,
        panel: Panel,
        impute: bool = False,
        n_numbers: int = 0,
        must_hold: bool = False,
        report: ReachReport | None = None,
    ) -> Iterator[Predictive]:
        assert isinstance(panel, ToldPanel)
        starts = np.cumsum([0, *map(len, query.times)])
        width = len(self.channels_) * (len(LEVELS) * len(self.members_) + 8) + n_numbers
        failed: dict[int, int] = {}
        is_answered = False
        for rows in parts_of(range(len(query.ids)), query, width):
            part = of_rows(query, rows)
            knots = torch.from_numpy(self._member_knots(part, panel, impute, rows, report))
            params = self._mixed(knots, self._leads(part, panel), impute)
            at = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
            is_good = params.isfinite().flatten(1).all(dim=1).numpy()
            is_answered |= bool(is_good.any())
            number = np.repeat(np.arange(len(query.ids)), list(map(len, query.times)))
            failed |= dict.fromkeys(number[at[~is_good]].tolist(), int(Status.NON_FINITE))
            family, params = in_units(self.reader_.scaler, QuantileKnots(LEVELS), params)
            yield Predictive(*self._held(family, params), at)
        report_failed(query, failed, must_hold or not is_answered)

    def reader_settings(self) -> ReaderSettings:
        """How data are read: members look for supports, each by itself."""
        return replace(super().reader_settings(), support="real")

    def _held(self, family: Likelihood, params: Tensor) -> tuple[Likelihood, Tensor]:
        """Laws (n c p) in the data's units, none beyond the support that a member has found for its channel."""
        assert isinstance(family, QuantileKnots)
        ends = np.array([ends_of(member) for member in self.members_.values()])
        low, high = torch.from_numpy(ends[..., 0].max(axis=0)), torch.from_numpy(ends[..., 1].min(axis=0))
        if not bool((low.isfinite() | high.isfinite()).any()):
            return family, params
        return HeldKnots.hold(family, family.knots(params), low, high)

    def _mixed(self, knots: Tensor, lead: Tensor, impute: bool) -> Tensor:
        """Parameters (n c p), on the scale of the reader, of the average of members (m n c k)."""
        if impute:  # what smooths knows more than what is weighed for forecasts
            smooths = torch.tensor([bool(member.module_.can_smooth) for member in self.members_.values()])
            knots = knots[smooths] if bool(smooths.any()) else knots
            law = Combination(len(knots), knots.shape[2], 1)
            return QuantileKnots(LEVELS).from_quantiles(law(knots, lead))
        return QuantileKnots(LEVELS).from_quantiles(self._combination(knots, lead))

    def _member_knots(
        self, query: Query, panel: ToldPanel, impute: bool, rows: Sequence[int], report: ReachReport | None
    ) -> np.ndarray:
        """Quantiles (m n c k) of the members at all query times, on the scale of the reader; NaN = no forecast."""
        n = sum(map(len, query.times))
        knots = np.full((len(self.members_), n, len(self.channels_), len(LEVELS)), np.nan)
        shift, scale = (
            part[: len(self.channels_), None] for part in (self.reader_.scaler.shift, self.reader_.scaler.scale)
        )
        for k, member in enumerate(self.members_.values()):
            own = None if report is None else ReachReport(member.reader_, member.module_)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TsodeWarning)
                try:
                    for answer in member._forecast(query, panel.for_member(member), impute, report=own):
                        knots[k, answer.at] = (answer.quantiles(LEVELS) - shift) / scale
                except SolverError:
                    continue
            if report is not None and own is not None:
                report.take(own, rows)
        return knots

    def _leads(self, query: Query, panel: Panel) -> Tensor:
        """Horizons since the last row before each query time."""
        place_of = {key: place for place, key in enumerate(panel.ids)}
        leads = []
        for key, times in zip(query.ids, query.times):
            place = place_of[key]
            seen = panel.times[place][~np.isnan(panel.values[place]).all(axis=1)]
            asked, known = self.reader_.timeline.to_model(times), self.reader_.timeline.to_model(seen)
            before = np.searchsorted(known, asked, side="left") - 1
            since = asked - known[before] if len(known) else np.zeros(len(asked))
            leads.append(np.where(before >= 0, since, 0.0))
        return torch.from_numpy(np.concatenate([*leads, np.empty(0)]) / self.reader_.reach)

    def _paths(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, report: ReachReport | None = None
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Joint paths with the dependence that the member of most weight has, and the marginals of all of them."""
        assert isinstance(panel, ToldPanel)
        weight = self._combination.weight.mean(dim=(0, 1))
        leader = list(self.members_.values())[int(weight.argmax())]
        inner = panel.for_member(leader)
        width = len(self.channels_) * (len(LEVELS) * len(self.members_) + n_samples)
        for rows in parts_of(range(len(query.ids)), query, width):
            part = of_rows(query, rows)
            starts = np.cumsum([0, *map(len, part.times)])
            wanted, own = (self._laws(source) for source in (
                self._forecast(part, panel, report=report), leader._forecast(part, inner),
            ))  # fmt: skip
            for of_leader, paths in leader._paths(part, inner, n_samples, generator):
                mapped = []
                for row, path in zip(of_leader, paths):
                    where = slice(starts[row], starts[row + 1])
                    drawn = torch.from_numpy(path)
                    p = own[0].cdf(own[1][where], drawn).clamp(LAST, 1.0 - LAST)
                    mapped.append(wanted[0].quantile(wanted[1][where], p).numpy())
                yield [rows[row] for row in of_leader], mapped

    @staticmethod
    def _laws(answers: Iterator[Predictive]) -> tuple[Any, Tensor]:
        """Family, and parameters (n c p) in the order of the question."""
        every = list(answers)
        params = torch.cat([answer.params for answer in every])
        order = np.argsort(np.concatenate([answer.at for answer in every]), kind="stable")
        return every[0].family, params[torch.from_numpy(order)]

    # -- files -----------------------------------------------------------------------------------------------------

    def _describe(self) -> tuple[Header, Tensors]:
        header, tensors = super()._describe()
        header["members"] = {}
        for k, (name, member) in enumerate(self.members_.items()):
            header["members"][name], own = member._to_file()
            tensors |= {f"member.{k}.{key}": value for key, value in own.items()}
        header["explanation"] = self._explanation
        return header, tensors

    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        own = {key: value for key, value in tensors.items() if not key.startswith("member.")}
        super()._restore(header, own, device)
        self.members_ = {}
        for k, (name, of_member) in enumerate(header["members"].items()):
            made: Any = lookup(estimator_classes(), of_member["class"], "estimator")
            start = f"member.{k}."
            parts = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            self.members_[name] = made._from_file(of_member, parts, device)
        if len(self.members_) != self._combination.weight.shape[2]:
            raise ValueError("it has weights of other members than it holds")
        self._explanation = str(header["explanation"])
