"""Comparison of structures: an ensemble over which terms of the rates of a known system are present."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from sklearn.base import clone

from tsode._isolation import isolated
from tsode._random import RandomState, new_generator
from tsode._registry import lookup
from tsode.errors import ParameterError
from tsode.estimators.known_ode.base import KnownForecaster
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.estimators.known_sde.forecaster import KnownSDEForecaster
from tsode.inference.infer import ENGINES
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.observations import Observations
from tsode.structures.comparison import StructureComparison
from tsode.structures.edges import Edge, Structure, enumerate_structures, read_edges, system_of, with_an_axis
from tsode.structures.evidence import BuildDensity, Member, fit_structures

__all__ = ["compare_structures"]

_UNFIT = "{} has no evidence that structures could be compared by: leave it out."


def compare_structures(
    base_model: Any,
    edges: Mapping[str, Any],
    X: Any = None,
    y: Any = None,
    *,
    events: Any = None,
    static: Any = None,
    known: Any = None,
    prior: Any = 0.5,
    always: Collection[str] = (),
    forbidden: Collection[str] = (),
    groups: Sequence[Collection[str]] = (),
    candidates: Sequence[Any] | None = None,
    inference: str | None = None,
    max_seconds: float | None = None,
    random_state: RandomState = None,
) -> StructureComparison:
    """Compare structures of a known system: which of its terms, or which of several laws, do the data support?

    Every structure is the system of `base_model` with the parameters of absent edges known (0, as a rule). All are
    inferred side by side and weighted by their evidence, the probability of the data by each with its parameters
    integrated out, so that a term has to earn its place: the prior of its parameters is part of the question. Give
    priors that say how strong a term would be if it were there.

    Parameters
    ----------
    base_model : KnownODEForecaster or KnownSDEForecaster
        With all terms; fitted or not. Random effects and networks in the rates are not compared.
    edges : dict
        Of an edge's name to what carries it. Names like ``"x->y"`` make a matrix in `plot_inclusion`.

        - name of a parameter: 0 where the edge is absent;
        - list of names: the first is 0, the others, which then do nothing, are at the middle of their prior;
        - dict of names to numbers: what they are then;
        - dict of labels to laws, of which exactly one holds: functions ``(t, z, p)`` in place of the rates, or dicts of
          parameters to numbers that a law holds fixed.

        A parameter of several edges is known where all of them are absent; one that a law does not read is left out.
    X, y, events, static, known
        As in `KnownODEForecaster.fit`; by default what `base_model` was fitted to.
    prior : float, dict of edge to float, or callable
        Probability of an edge before any data, independently; of a law a dict of labels, even by default. A function of
        the dict of edges to True, False or label gives that of a structure, but for a constant.
    always, forbidden : list of str
        Edges that all structures have, or none.
    groups : list of lists of str
        Edges that are present or absent together; the probability of the first counts.
    candidates : list of lists of str, optional
        The structures to compare, by the edges that are present (or dicts of edges to options); all by default.
    inference : str, optional
        Engine, see `tsode.inference.infer`. "auto", the default, is quadrature over one parameter, else importance
        sampling; with more draws where the error of an evidence moves a probability by more than .005, by chains where
        weights are too uneven.
    max_seconds : float, optional
        Of each call of an engine.
    random_state : int, generator or None

    Returns
    -------
    StructureComparison

    Raises
    ------
    ParameterError
        If edges or limits cannot be read, or a model is given that has no such evidence.
    SolverError
        If no structure has a posterior; one that fails among others has a status in the table.

    References
    ----------
    Babtie, Kirk and Stumpf, "Topological sensitivity analysis for systems biology", PNAS 111, 2014; Kass and Raftery,
    "Bayes factors", Journal of the American Statistical Association 90, 1995, equation 1.

    Examples
    --------
    >>> import pandas as pd, tsode
    >>> from tsode.inference.noise import AdditiveNoise
    >>> from tsode.inference.priors import Normal
    >>> def rates(t, z, p):
    ...     return -p.decay * z[:, 0], p.k * z[:, 0] - z[:, 1]
    >>> model = tsode.KnownODEForecaster(
    ...     rates,
    ...     states=["x", "y"],
    ...     parameters={"decay": Normal(1, 0.3), "k": Normal(0, 1)},
    ...     initial={"x": 1.0, "y": 0.0},
    ...     observed={"y": AdditiveNoise("y", sd=0.02)},
    ... )
    >>> rows = pd.DataFrame({"unique_id": "a", "ds": [0.5, 1.0, 2.0, 3.0], "y": [0.3, 0.37, 0.27, 0.15]})
    >>> found = tsode.compare_structures(model, {"x->y": "k"}, rows, random_state=0)
    >>> found.table.index[0], f"{found.inclusion.loc['x->y', 'probability']:.2f}"
    ('x->y', '1.00')
    """
    model, reader, panel, data = _read(base_model, X, y, events, static, known)
    system = model._said()
    if system.residual or system.population is not None:
        raise ParameterError(_UNFIT.format("A system's residual or population"))
    found_edges = read_edges(edges, system)
    structures = enumerate_structures(found_edges, prior, always, forbidden, groups, candidates)
    engine = inference or "auto"
    lookup(ENGINES, engine, "engine")
    if engine == "mode":
        raise ParameterError("inference='mode' has no evidence: choose 'laplace' for the quickest that has.")
    seed = int(torch.randint(0, 2**31 - 1, (), generator=new_generator(random_state)))

    def build(system: KnownSystem, data: Observations, n_problems: int) -> KnownDensity:
        return _with_system(model, system)._build_density(data.ids, data, n_problems)

    with isolated():
        members = _members(structures, found_edges, model, system, data, build)
    members = fit_structures(members, engine, seed, max_seconds=max_seconds)
    return StructureComparison.of(
        members, found_edges, reader, panel, seed, build, lambda system: _with_system(model, system)
    )


def _read(base_model: Any, X: Any, y: Any, events: Any, static: Any, known: Any) -> tuple[Any, Any, Any, Observations]:
    """An unfitted copy of the base, and its data."""
    if not isinstance(base_model, KnownODEForecaster | KnownSDEForecaster):
        raise ParameterError(
            f"compare_structures takes a KnownODEForecaster or KnownSDEForecaster, not a {type(base_model).__name__}: "
            "structures are terms of rates that are known but for parameters."
        )
    for entry in ("random_effects", "residual"):
        if getattr(base_model, entry, None):
            raise ParameterError(_UNFIT.format(f"{entry}="))
    model = clone(base_model)
    if hasattr(base_model, "filter_"):
        model.filter_ = base_model.filter_
    if X is not None:
        with isolated():
            reader, panel = model._read_data(X, y, events=events, static=static, known=known)
            return model, reader, panel, model._observed(reader, panel)
    if not hasattr(base_model, "_kept"):
        raise ParameterError("compare_structures needs data: give X=, or a base model that is fitted.")
    if any(table is not None for table in (y, events, static, known)):
        raise ParameterError("Without X= the data are those of the fitted base model: give X= with the other tables.")
    return model, base_model.reader_, base_model._panel, base_model._kept.data


def _with_system(model: KnownForecaster, system: KnownSystem) -> Any:
    """An unfitted copy of a forecaster with another system."""
    other = clone(model)
    for name in ("rates", "states", "parameters", "initial", "observed", "doses", "solver", "correlated_errors"):
        if hasattr(other, name):
            setattr(other, name, None)
    for name in ("triggers", "per_series"):
        if hasattr(other, name):
            setattr(other, name, ())
    other.system = system
    if hasattr(model, "filter_"):
        other.filter_ = model.filter_
    return other


def _members(
    structures: Sequence[Structure], edges: Sequence[Edge], model: Any, system: KnownSystem, data: Observations,
    build: BuildDensity,
) -> list[Member]:  # fmt: skip
    """Structures with the density of all parameters by their rates, and the space of their own."""
    templates: dict[tuple[Hashable, int], KnownDensity] = {}
    failed: dict[Hashable, str] = {}
    members = []
    for structure in structures:
        law = next((structure.choices[edge.name] for edge in edges if edge.rates), None)
        rates = next((edge.rates[law] for edge in edges if law in edge.rates), system.rates)
        full = with_an_axis(replace(system, rates=rates))
        if law not in failed and (law, 1) not in templates:
            try:
                templates[law, 1] = build(full, data, 1)
            except Exception as error:  # a user's function, of one law among several
                if not any(edge.rates for edge in edges):
                    raise
                failed[law] = f"failed: {type(error).__name__}: {error}"
        if law in failed:
            members.append(Member(structure, system, None, None, status=failed[law]))
            continue
        own = system_of(system, edges, structure.choices, templates[law, 1].unused)
        space = _with_system(model, own)._system_of(data.ids).space(data)
        if (law, space.n_problems) not in templates:
            templates[law, space.n_problems] = build(full, data, space.n_problems)
        members.append(Member(structure, own, templates[law, space.n_problems], space))
    return members
