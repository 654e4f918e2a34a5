"""Inference by name of an engine: modes, an answer, and what is wrong with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from tsode._random import RandomState, new_generator
from tsode._registry import lookup
from tsode.errors import SolverError, TsodeWarning
from tsode.inference.density import Density
from tsode.inference.draws import Posterior, merge
from tsode.inference.engines.auto import answer_by_auto
from tsode.inference.engines.hmc import answer_by_hmc
from tsode.inference.engines.importance import answer_by_importance
from tsode.inference.engines.laplace import answer_by_laplace
from tsode.inference.engines.mode import answer_by_mode, find_modes
from tsode.inference.engines.pmmh import answer_by_pmmh
from tsode.inference.engines.quadrature import answer_by_quadrature
from tsode.inference.evaluation import INTERRUPTED, Evaluator, Progress, Stopped
from tsode.inference.homotopy import search_by_segments
from tsode.inference.modes import Modes
from tsode.inference.problems import find_problems
from tsode.inference.settings import Settings
from tsode.inference.streams import Streams

__all__ = ["ENGINES", "infer"]

Engine = Callable[[Evaluator, Modes, Settings], Posterior]

ENGINES: Mapping[str, Engine] = {
    "auto": answer_by_auto,
    "hmc": answer_by_hmc,
    "importance": answer_by_importance,
    "laplace": answer_by_laplace,
    "mode": answer_by_mode,
    "pmmh": answer_by_pmmh,
    "quadrature": answer_by_quadrature,
}


def infer(
    density: Density,
    engine: str = "auto",
    random_state: RandomState = None,
    settings: Settings | None = None,
    keys: Sequence[int] | None = None,
    max_seconds: float | None = None,
    progress: Progress | None = None,
    verbose: bool = False,
) -> Posterior:
    """Posterior of each problem of a density.

    Parameters
    ----------
    density : Density
    engine : str
        "auto", "mode", "laplace", "importance", "hmc", "pmmh" (for a likelihood that is estimated) or "quadrature" (one
        or two coordinates).
    random_state : int, generator or None
    settings : Settings or None
    keys : sequence of int or None
        Of each problem, for its random numbers: with the same key and `random_state` its draws are the same whatever
        the other problems are. Its place by default.
    max_seconds : float or None
        Of the clock, after which nothing more is evaluated and the best so far is the answer.
    progress : callable or None
        Told the stage, calls and seconds so far after each call of the density.
    verbose : bool
        Draw a progress bar.

    Returns
    -------
    Posterior
        Its `problems` say what is wrong with each answer. A problem with no finite density at any draw of the prior has
        NaN for an answer.

    Raises
    ------
    SolverError
        If time was up before anything was known; Ctrl-C then is a KeyboardInterrupt.
    """
    answer_by = lookup(ENGINES, engine, "engine")
    settings = settings or Settings()
    seed = int(torch.randint(0, 2**62, (), generator=new_generator(random_state)))
    places = torch.arange(density.n_problems) if keys is None else torch.as_tensor(list(keys), dtype=torch.long)
    with tqdm(disable=not verbose, desc="posterior", unit="call") as bar:

        def tell(stage: str, n_calls: int, seconds: float) -> None:
            bar.set_postfix_str(stage)
            bar.update(n_calls - bar.n)
            if progress is not None:
                progress(stage, n_calls, seconds)

        evaluator = Evaluator(density, Streams(seed, places), max_seconds, tell)
        answer = _answer(evaluator, answer_by, settings)
    if evaluator.why_stopped:
        warnings.warn(f"inference was {evaluator.why_stopped}: the best so far is kept.", TsodeWarning, stacklevel=2)
    return answer


def _answer(evaluator: Evaluator, answer_by: Engine, settings: Settings) -> Posterior:
    try:
        modes = find_modes(evaluator.surrogate(), settings, None if settings.segments is None else search_by_segments)
    except Stopped:
        if evaluator.is_interrupted:
            raise KeyboardInterrupt from None
        raise SolverError(f"Inference was {evaluator.why_stopped}, before anything was known.") from None
    alive = modes.log_prob[:, 0].isfinite().nonzero().squeeze(1)
    answer = _nothing(evaluator, modes, settings)
    if len(alive):
        asked, own = evaluator.select(alive), modes.select(alive)
        try:
            found = answer_by(asked, own, settings)
        except (Stopped, KeyboardInterrupt) as stopped:
            evaluator.stop(str(stopped) or INTERRUPTED)
            found = answer_by_laplace(asked, own, settings)
        found = found.with_problems(find_problems(found, settings))
        if evaluator.why_stopped:
            found = found.with_problems([[f"unfinished: {evaluator.why_stopped}"]] * len(alive))
        answer = merge(answer, found, alive)
    return replace(answer, effort=evaluator.effort)


def _nothing(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """The answer where no draw of the prior has a finite density."""
    answer = answer_by_mode(evaluator, modes, settings)
    n = modes.prior.draws.shape[1]
    return replace(
        answer,
        engine=("none",) * len(answer.engine),
        draws=torch.full_like(answer.draws, torch.nan),
        nodes=torch.full_like(answer.nodes, torch.nan),
        log_weights=_first_only(answer.log_weights),
        problems=((f"no posterior: none of {n} draws of the prior has a finite density",),) * len(answer.engine),
    )


def _first_only(log_weights: Tensor) -> Tensor:
    alone = torch.full_like(log_weights, -torch.inf)
    alone[:, 0] = 0.0
    return alone
