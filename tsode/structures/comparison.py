"""Result of comparing structures: weights, inclusion, classes, forecasts of the ensemble, the next observation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.errors import ParameterError, TsodeWarning
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.module import PosteriorDraws
from tsode.estimators.known_ode.parts_file import fingerprint
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.frames.panel import Panel
from tsode.inference.known_system import KnownSystem
from tsode.structures.edges import Edge
from tsode.structures.equivalence import EquivalenceClass, classes_of, equivalent_subsets
from tsode.structures.evidence import BuildDensity, Member
from tsode.structures.forecaster import ensemble
from tsode.structures.information import expected_information
from tsode.structures.scores import MOST_NODES, Scores, score, stack

__all__ = ["StructureComparison"]

LEAST_WEIGHT = 1e-4  # of a structure that forecasts are made with
MAX_K = 0.7
TOLD = 1e-3  # probability of a class that the summary tells of


@dataclass(frozen=True, eq=False)
class StructureComparison:
    """What data say about the structure of a system; see `tsode.compare_structures`.

    Attributes
    ----------
    table : DataFrame
        A row a structure, the most probable first: a column for each edge (whether it is present, or its law),
        ``log_evidence`` with its Monte Carlo error ``log_evidence_se`` (NaN: the engine has none), ``prior``,
        ``probability``, ``stacking_weight``, ``log_likelihood`` at the mode, ``n_parameters``, ``engine``, ``status``:
        "ok", what is worth knowing of its posterior, or why it has none.
    inclusion : DataFrame
        A row an edge, or a law of an edge: ``prior`` and posterior ``probability``, the ``log_bayes_factor`` for it
        (natural; 1, 3 and 5 are positive, strong, very strong by Kass & Raftery; NaN: certain before), its share by
        ``stacking``.
    edges : list of str
        Names of the edges.
    """

    table: pd.DataFrame
    inclusion: pd.DataFrame
    edges: list[str]
    _members: Sequence[Member] = field(repr=False)
    _scores: Sequence[Scores | None] = field(repr=False)
    _reader: DataReader = field(repr=False)
    _panel: Panel = field(repr=False)
    _seed: int = field(repr=False)
    _build: BuildDensity = field(repr=False)
    _forecaster_of: Callable[[KnownSystem], Any] = field(repr=False)
    _fitted: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        members: Sequence[Member],
        edges: Sequence[Edge],
        reader: DataReader,
        panel: Panel,
        seed: int,
        build: BuildDensity,
        forecaster_of: Callable[[KnownSystem], Any],
    ) -> StructureComparison:
        """The result of fitted members."""
        evidence = np.array([member.log_evidence for member in members])
        log_prior = np.array([member.structure.log_prior for member in members])
        posterior = evidence + log_prior
        probability = np.exp(posterior - posterior.max())
        probability /= probability.sum()
        order = np.argsort(-posterior, kind="stable")
        members, probability, log_prior = [members[k] for k in order], probability[order], log_prior[order]
        scores = [None if member.found is None else score(member) for member in members]
        table = _table(members, edges, scores, probability, np.exp(log_prior))
        inclusion = _inclusion(members, edges, table)
        return cls(
            table, inclusion, [edge.name for edge in edges], members, scores, reader, panel, seed, build, forecaster_of
        )

    # -- structures ------------------------------------------------------------------------------------------------

    @cached_property
    def classes(self) -> list[EquivalenceClass]:
        """Structures that the data do not tell apart, in classes of at least two, the most probable first.

        In a class evidence, likelihood at the mode, and predictive laws of the data agree within their errors. Where
        its members also agree on fine curves drawn from each other (see `EquivalenceClass.kind`) they are called
        equivalent; of a larger class the parts that are so are classes too. Structures below one in a million are left
        out.
        """
        probability = self.table["probability"].to_numpy()
        found = []
        for places in classes_of(self._members, self._scores, probability):
            if len(places) < 2:
                continue
            parts = equivalent_subsets([self._members[k] for k in places], self._build, self._seed) or []
            parts = [[places[k] for k in part] for part in parts if len(part) > 1]
            kind = "equivalent" if any(len(part) == len(places) for part in parts) else "not told apart"
            for own, name in [(places, kind), *((part, "equivalent") for part in parts if len(part) < len(places))]:
                names = tuple(self._members[k].structure.name for k in own)
                found.append(EquivalenceClass(names, float(probability[own].sum()), name))
        return found

    def member(self, structure: str) -> Any:
        """The fitted forecaster of one structure, by its name in `table`.

        Its posterior is what the comparison has found.
        """
        if structure not in self.table.index:
            raise ParameterError(f"There is no structure {structure!r}: choose one of `table`.")
        member = self._members[list(self.table.index).index(structure)]
        if member.found is None:
            raise ParameterError(f"Structure {structure!r} has no posterior: {member.status}.")
        if structure not in self._fitted:
            self._fitted[structure] = self._as_forecaster(member)
        return self._fitted[structure]

    def _as_forecaster(self, member: Member) -> Any:
        model, found = self._forecaster_of(member.system), member.found
        assert found is not None
        data = member.template.data
        model._terms, model._population, model._estimate = {}, None, None
        if hasattr(model, "filter"):
            model.filter_check_ = pd.DataFrame()
            model.filter_ = model.__dict__.get("filter_", "extended")
        draws = found.draws.transpose(1, 2).flatten(1, 2)[:, : model.n_draws].contiguous()
        model._kept = KeptPosterior.of(found, data, self._seed)
        model._fingerprint = fingerprint(model._build_density(data.ids, data, found.n_problems))
        model._keep(self._reader, self._panel, PosteriorDraws(draws), [], 1)
        return model

    # -- the ensemble ----------------------------------------------------------------------------------------------

    def forecaster(self, weights: str = "evidence") -> Any:
        """A fitted forecaster of the mixture of structures: `predict`, `predict_quantiles`, `sample` and the others.

        Parameters
        ----------
        weights : {"evidence", "stacking"}
            Structures below .0001 are left out. `predict_spread` counts what structures disagree about as epistemic.
        """
        names, share = self._weighted(weights)
        return ensemble([self.member(name) for name in names], share.tolist())

    def predict(self, X: Any = None, *, weights: str = "evidence", **question: Any) -> Any:
        """Means of the mixture of structures; see `KnownODEForecaster.predict`."""
        return self.forecaster(weights).predict(X, **question)

    def predict_quantiles(self, X: Any = None, *, weights: str = "evidence", **question: Any) -> Any:
        """Quantiles of the mixture of structures; see `KnownODEForecaster.predict_quantiles`."""
        return self.forecaster(weights).predict_quantiles(X, **question)

    def _weighted(self, weights: str) -> tuple[list[str], np.ndarray]:
        columns = {"evidence": "probability", "stacking": "stacking_weight"}
        if weights not in columns:
            raise ParameterError(f"weights={weights!r} is not known: choose 'evidence' or 'stacking'.")
        share = self.table[columns[weights]]
        kept = share[share > LEAST_WEIGHT]
        return list(kept.index), (kept / kept.sum()).to_numpy()

    def next_observation(
        self,
        channels: Sequence[Hashable] | None = None,
        times: Any = None,
        *,
        together: bool = False,
        n_samples: int = 1024,
        **question: Any,
    ) -> pd.DataFrame:
        """Which next observation is expected to tell the structures apart best.

        Parameters
        ----------
        channels : list of labels, optional
            Those that can be observed; all by default.
        times : list of times, or dict of id to times
            At which they can be.
        together : bool
            Whether all channels are seen at once, as one observation.
        n_samples : int
            Observations that are drawn from each structure.
        **question
            `context`, `events`, `static` and `known` of `KnownODEForecaster.predict`, such as a dose to be given.

        Returns
        -------
        DataFrame
            A row a candidate, the best first: series, time, ``channel``, ``information`` in nats, its Monte Carlo error
            ``se``, and the entropy ``of`` the structure now, which is the most that can be learned.

        References
        ----------
        See `tsode.structures.information.expected_information`.
        """
        if times is None:
            raise ParameterError("times= is missing: say when something could be observed.")
        names, share = self._weighted("evidence")
        models = [self.member(name) for name in names]
        every = list(models[0].channels_)
        asked = every if channels is None else list(channels)
        unknown = [channel for channel in asked if channel not in every]
        if unknown:
            raise ParameterError(f"channels= names {unknown[0]!r}, which is not observed: {every}.")
        query, panel = models[0]._read_query(
            None, times, None, *(question.get(k) for k in ("context", "events", "static", "known"))
        )
        sets = [asked] if together else [[channel] for channel in asked]
        weights = torch.tensor(share)
        rng = torch.Generator().manual_seed(self._seed)
        ids = [key for key, own in zip(query.ids, query.times) for _ in own]
        at_times = np.concatenate(query.times)
        now = abs(float((weights * weights.log()).sum()))
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TsodeWarning)  # forecasts of the same rows have told of them
            answers = [list(model._forecast(query, panel, impute=True)) for model in models]
        for parts in zip(*answers, strict=True):
            for own in sets:
                families, params = _laws(parts, [every.index(channel) for channel in own])
                information, error = expected_information(families, params, weights, n_samples, rng)
                label = own[0] if len(own) == 1 else " + ".join(map(str, own))
                for k, at in enumerate(parts[0].at):
                    rows.append((ids[at], at_times[at], label, float(information[k]), float(error[k]), now))
        columns = [models[0].id_col, models[0].time_col, "channel", "information", "se", "of"]
        table = pd.DataFrame(rows, columns=pd.Index(columns))
        return table.sort_values("information", ascending=False, ignore_index=True, kind="stable")

    # -- words -----------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """What the data say, in a few sentences."""
        best, table = self.table.index[0], self.table
        p = table["probability"]
        n_failed = int((~np.isfinite(table["log_evidence"])).sum())
        lines = [f"{len(table)} structures; the most probable is {best!r} ({p.iloc[0]:.3f})."]
        if len(table) > 1:
            lines[0] = lines[0][:-1] + f", then {table.index[1]!r} ({p.iloc[1]:.3f})."
        for name, row in self.inclusion.iterrows():
            lines.append(f"{name}: probability {row['probability']:.3f} (prior {row['prior']:.3f}).")
        lines += [str(one) for one in self.classes if one.probability > TOLD]
        best_by_stacking = table["stacking_weight"].idxmax()
        if best_by_stacking != best:
            lines.append(f"For predictions stacking prefers {best_by_stacking!r}.")
        k = max((float(s.k.max()) for s in self._scores if s is not None and len(s.k)), default=0.0)
        if k > MAX_K:
            lines.append(f"Stacking weights lean on values that are too influential (Pareto k {k:.2f}).")
        if n_failed:
            lines.append(f"{n_failed} structures have no posterior: see the column status.")
        return "\n".join(lines)


def _table(
    members: Sequence[Member], edges: Sequence[Edge], scores: Sequence[Scores | None], probability: np.ndarray,
    prior: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    n = next((len(s.loo) for s in scores if s is not None), 0)
    nothing = torch.full((n,), -torch.inf, dtype=torch.float64)
    stacking = stack(torch.stack([nothing if s is None else s.loo for s in scores], dim=1))
    columns: dict[str, Any] = {edge.name: [m.structure.choices[edge.name] for m in members] for edge in edges}
    columns |= {
        "log_evidence": [m.log_evidence for m in members],
        "log_evidence_se": [m.log_evidence_se for m in members],
        "prior": prior,
        "probability": probability,
        "stacking_weight": stacking.numpy(),
        "log_likelihood": [np.nan if s is None else s.log_likelihood for s in scores],
        "n_parameters": [m.n_parameters for m in members],
        "engine": ["none" if m.found is None else m.found.engine[0] for m in members],
        "status": [m.status for m in members],
    }
    return pd.DataFrame(columns, index=pd.Index([m.structure.name for m in members], name="structure"))


def _inclusion(members: Sequence[Member], edges: Sequence[Edge], table: pd.DataFrame) -> pd.DataFrame:
    rows, names = [], []
    for edge in edges:
        for name, option in edge.columns():
            has = np.array([m.structure.choices[edge.name] == option for m in members])
            prior, probability = (float(table[c].to_numpy()[has].sum()) for c in ("prior", "probability"))
            # by evidences, so that what is all but certain does not round to infinity
            evidence = table["log_evidence"].to_numpy() + np.log(np.maximum(table["prior"].to_numpy(), 1e-300))
            odds = np.logaddexp.reduce(evidence[has]) - np.logaddexp.reduce(evidence[~has]) if has.any() else -np.inf
            before = np.log(prior) - np.log1p(-prior) if 0.0 < prior < 1.0 else np.nan
            names.append(name)
            rows.append((min(prior, 1.0), min(probability, 1.0), odds - before, table["stacking_weight"][has].sum()))
    columns = ["prior", "probability", "log_bayes_factor", "stacking"]
    return pd.DataFrame(rows, index=pd.Index(names, name="edge"), columns=pd.Index(columns))


def _laws(parts: Sequence[Any], places: Sequence[int]) -> tuple[list[Any], list[list[torch.Tensor]]]:
    """Families of some channels, and the parameters (q k r) of each structure's draws."""
    families = [parts[0].channels[c].family.member for c in places]
    params = []
    for part in parts:
        own = []
        for c in places:
            one = part.channels[c]
            drawn = one.family.members(one.params[:, 0])
            own.append(drawn[:, : min(drawn.shape[1], MOST_NODES)])
        params.append(own)
    return families, params
