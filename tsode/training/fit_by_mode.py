"""Fit of rate classes by the mode of their posterior, with a history as training by epochs has one."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from tqdm import tqdm

from tsode.core.series import Series
from tsode.errors import TsodeWarning
from tsode.models.linear.rate_classes import RateClasses
from tsode.training.posterior_mode import PosteriorMode

__all__ = ["fit_by_mode"]


def fit_by_mode(
    model: RateClasses,
    series: Sequence[Series],
    n_events: int,
    n_rows: int,
    validate: Callable[[RateClasses], float] | None,
    max_epochs: int,
    generator: torch.Generator,
    *,
    verbose: int = 0,
    callbacks: Sequence[Callable[[dict[str, float]], bool | None]] = (),
) -> list[dict[str, float]]:
    """Fit in place; the numbers are worked out in double precision on the processor, whatever the model is in.

    Ctrl-C keeps the best parameters so far and says so in a warning.

    Parameters
    ----------
    model : RateClasses
        In the middle of its prior: as it was built, or, to go on, as it was fitted before.
    series : sequence of Series
    n_events, n_rows : int
        Most events of a piece, and pieces at once.
    validate : callable or None
        ``model -> loss`` of series that are not learned from; None: nothing is held out, and ``valid_loss`` is
        ``train_loss``.
    max_epochs : int
        Most searches.
    generator : torch.Generator
    verbose : int
        0 = silent, 1 = one progress line.
    callbacks : sequence of callable
        Called with each search's row of the history; one that returns True stops.

    Returns
    -------
    list of dict
        One row a search: epoch, train_loss (negative log posterior, in nats a value that it is on), valid_loss,
        n_values, n_steps, seconds.

    Raises
    ------
    SolverError
        If the likelihood is not finite where the search starts.
    """
    worker = copy.deepcopy(model).to("cpu", torch.float64)
    mode = PosteriorMode(worker, series, n_events, generator, n_rows=n_rows)
    history: list[dict[str, float]] = []
    progress = tqdm(disable=not verbose, desc="fit", unit="search")
    try:
        started = time.perf_counter()
        for search in mode.stages():
            row = {"epoch": len(history) + 1, "train_loss": search.loss, "valid_loss": search.loss}
            if validate is not None:
                row["valid_loss"] = validate(worker)
            row |= {"n_values": search.n_values, "n_steps": search.n_steps, "seconds": time.perf_counter() - started}
            history.append(row)
            progress.update()
            progress.set_postfix(train=f"{row['train_loss']:.4f}", valid=f"{row['valid_loss']:.4f}")
            if True in [callback(row) for callback in callbacks] or len(history) >= max_epochs:
                break
            started = time.perf_counter()
    except KeyboardInterrupt:
        warnings.warn(
            f"fit was interrupted after {len(history)} searches; the best parameters so far are kept.",
            TsodeWarning,
            stacklevel=3,
        )
    finally:
        progress.close()
        model.load_state_dict(worker.state_dict())
    return history
