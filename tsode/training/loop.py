"""Training loop: SOAP, a rate that cools when validation stalls, averaged weights, the best epoch kept."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tsode.errors import SolverError, TsodeWarning
from tsode.models.filters.base import MarginalModel
from tsode.training.function_evaluations import EvaluationCounter
from tsode.training.multilevel import Levels
from tsode.training.soap import SOAP

__all__ = ["Rate", "TrainingPlan", "train"]

FEW_EPOCHS = 5  # too few to make up for what the first steps unlearn
BEGUN, NOISE = 10.0, 0.1  # relative loss above that of the untrained model which few, and more, epochs may end with

Objective = Callable[[Any, Any], tuple[Tensor, dict[str, Tensor], Tensor]]


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Parameters
    ----------
    max_epochs : int
    learning_rate : float
        Peak, see `Rate`.
    weight_decay : float
        Decoupled, on all parameters (Loshchilov & Hutter 2019).
    clip : float
        Largest gradient norm.
    patience : int or None
        Epochs without a better validation score before the learning rate goes down; None = only at the end.
    cooling : float
        Share of `max_epochs` in which it goes down.
    average : float
        Decay of the running mean of the weights, which is what is validated and kept; 0 = no averaging.
    max_seconds : float or None
        Time after which training ends, about: cooling begins when no more is left than it takes, and takes its share of
        the epochs that there is time for.
    n_levels : int
        Of the steps of solvers, see `tsode.training.multilevel.Levels`.
    """

    max_epochs: int = 30
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    clip: float = 1.0
    patience: int | None = 4
    cooling: float = 0.33
    average: float = 0.99
    max_seconds: float | None = None
    n_levels: int = 1


class Rate:
    """Learning rate of each step: a linear warm-up, the peak for as long as validation gets better, half a cosine down.

    How long it pays to train differs between data sets. The rate therefore stays at its peak until the
    validation score has not improved for some epochs, or until just as many are left as cooling takes.

    Parameters
    ----------
    plan : TrainingPlan
    n_batches : int
        Steps an epoch.
    """

    def __init__(self, plan: TrainingPlan, n_batches: int) -> None:
        self.peak = plan.learning_rate
        self.n_batches = n_batches
        self.n_warm = max(1, plan.max_epochs * n_batches // 10)
        self.n_cooling = 1
        self.last_epoch = plan.max_epochs
        self.cools_from: float = math.inf

    def cool(self, epoch: int, step: int, n_epochs: int) -> None:
        """Begin to go down after this epoch and step, within so many epochs, if that has not begun."""
        if math.isinf(self.cools_from):
            self.n_cooling, self.cools_from = n_epochs, step
            self.last_epoch = min(self.last_epoch, epoch + self.n_cooling)

    def __call__(self, step: int) -> float:
        share = min(max((step - self.cools_from) / (self.n_cooling * self.n_batches), 0.0), 1.0)
        down = max(0.5 * (1.0 + math.cos(math.pi * share)), 1e-3)
        return self.peak * min(1.0, (step + 1) / self.n_warm) * down


class _AveragedWeights:
    """Running mean of a model's parameters (Polyak averaging), swapped in for validation."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.live: list[Tensor] = list(model.parameters())
        self.mean = [p.detach().clone() for p in self.live]
        self.decay = decay
        self.n_updates = 0

    @torch.no_grad()
    def update(self) -> None:
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        torch._foreach_lerp_(self.mean, self.live, 1.0 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; twice is nothing."""
        for live, mean in zip(self.live, self.mean):
            kept = live.detach().clone()
            live.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The averaged weights inside, the live ones again after, however that ends."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


def train(
    model: nn.Module,
    epoch_batches: Callable[[], Iterable[Any]],
    n_batches: int,
    objective: Objective,
    validate: Callable[[nn.Module], dict[str, float]],
    plan: TrainingPlan,
    *,
    verbose: int = 0,
    callbacks: Sequence[Callable[[dict[str, float]], bool | None]] = (),
) -> list[dict[str, float]]:
    """Train in place; on return the model holds the averaged weights of its best validation epoch.

    Ctrl-C ends training early, keeps the best weights so far and says so in a warning.

    Parameters
    ----------
    model : nn.Module
    epoch_batches : callable
        Gives the batches of one epoch; a batch has ``select(rows)``.
    n_batches : int
        Batches an epoch, for the schedule.
    objective : callable
        ``(model, batch) -> loss, parts, status``. Rows whose status is not OK are left out and counted.
    validate : callable
        ``model -> scores``; ``scores["loss"]`` decides which epoch is best.
    plan : TrainingPlan
    verbose : int
        0 = silent, 1 = one progress line.
    callbacks : sequence of callable
        Called with each epoch's row of the history; one that returns True stops training.

    Returns
    -------
    list of dict
        One row an epoch: epoch, train_loss, its parts, valid_loss and other scores, learning_rate, gradient_norm,
        n_skipped (series left out because their solve failed), seconds; n_evaluations of vector fields a batch, where a
        solver steps through them, and the level of its steps, where there are several.

    Raises
    ------
    SolverError
        If no epoch gave a finite loss, or all rows of all epochs were left out.

    Warns
    -----
    TsodeWarning
        If most rows were left out, or no epoch is about as good as the model was before (after fewer than five epochs:
        if the loss has doubled).
    """
    optimizer = SOAP(model.parameters(), plan.weight_decay)
    rate = Rate(plan, n_batches)
    averaged = _AveragedWeights(model, plan.average)
    history: list[dict[str, float]] = []
    best_state, best_loss, best_epoch = _snapshot(model), math.inf, 0
    levels = Levels(model, plan.n_levels, plan.max_epochs, round(plan.cooling * plan.max_epochs))
    refined = 0
    first_loss = math.nan
    n_seen = n_skipped = 0
    progress = tqdm(total=plan.max_epochs, disable=not verbose, desc="fit", unit="epoch")
    counter = EvaluationCounter(model)
    try:
        with levels.finest():
            first_loss = _scores(model, validate)["loss"]
        counter.take()
        began = time.perf_counter()
        for epoch in range(1, plan.max_epochs + 1):
            started = time.perf_counter()
            model.train()
            row, n_rows = _run_epoch(model, epoch_batches(), objective, optimizer, rate, averaged, plan.clip)
            n_seen, n_skipped = n_seen + n_rows, n_skipped + int(row["n_skipped"])
            n_calls = counter.take()
            if n_calls:
                row["n_evaluations"] = n_calls / n_batches
            with averaged.shown(), levels.finest():
                scores = _scores(model, validate)
                if scores["loss"] < best_loss:
                    best_state, best_loss, best_epoch = _snapshot(model), scores["loss"], epoch
            counter.take()
            row = {"epoch": epoch, **row, **{f"valid_{name}": value for name, value in scores.items()}}
            row["seconds"] = time.perf_counter() - started
            if levels.n_levels > 1:
                row["level"] = levels.level
            history.append(row)
            progress.update()
            progress.set_postfix(train=f"{row['train_loss']:.4f}", valid=f"{scores['loss']:.4f}", best=best_epoch)
            answers = [callback(row) for callback in callbacks]
            if True in answers or epoch >= rate.last_epoch:
                break
            n_epochs = _epochs_in_time(plan, epoch, time.perf_counter() - began)
            n_cooling = max(1, round(plan.cooling * n_epochs))
            has_stalled = plan.patience is not None and epoch - max(best_epoch, refined) >= plan.patience
            if levels.end_epoch(epoch, has_stalled):
                refined = epoch
            elif epoch + n_cooling >= n_epochs or has_stalled:
                rate.cool(epoch, averaged.n_updates, n_cooling)
    except KeyboardInterrupt:
        kept = f"the best weights so far (epoch {best_epoch}) are kept."
        if not best_epoch and averaged.n_updates:  # stopped in the first epoch: what it has learned is all there is
            averaged.swap()
            best_state, kept = _snapshot(model), "the weights of the unfinished first epoch are kept."
        _warn(f"fit was interrupted after {len(history)} of {plan.max_epochs} epochs; {kept}")
    finally:
        progress.close()
        counter.close()
        levels.close()
        model.load_state_dict(best_state)
        model.eval()
    remedy = (
        f"Lower learning_rate, which is {plan.learning_rate:g}; standardise the data if they are not, and choose a "
        "solver with shorter steps where the model has one."
    )
    if history and not math.isfinite(best_loss):
        raise SolverError(f"Training never reached a finite validation score: values or solves overflow. {remedy}")
    if history and n_skipped == n_seen:
        raise SolverError(f"Nothing was learned: all rows failed in all of {len(history)} epochs. {remedy}")
    if 2 * n_skipped > n_seen:
        _warn(f"Of {n_seen} rows in training {n_skipped} failed and were left out: training has diverged. {remedy}")
    if history and best_loss - first_loss > (BEGUN if len(history) < FEW_EPOCHS else NOISE) * (abs(first_loss) + 0.05):
        _warn(
            f"No epoch is as good as the model was before training: the best validation loss is {best_loss:.4g}, and "
            f"was {first_loss:.4g}. {remedy}"
        )
    return history


def _epochs_in_time(plan: TrainingPlan, epoch: int, elapsed: float) -> float:
    """How many epochs there are time for, if all take as long as the first ones did."""
    return plan.max_epochs if plan.max_seconds is None else min(plan.max_epochs, plan.max_seconds * epoch / elapsed)


def _scores(model: nn.Module, validate: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        return validate(model)


def _warn(message: str) -> None:
    warnings.warn(message, TsodeWarning, stacklevel=4)


def _run_epoch(
    model: nn.Module,
    batches: Iterable[Any],
    objective: Objective,
    optimizer: SOAP,
    rate: Rate,
    averaged: _AveragedWeights,
    clip: float,
) -> tuple[dict[str, float], int]:
    """One pass: the means over its batches, and the number of rows in them."""
    members = model.members if isinstance(model, MarginalModel) else [model]
    sums: dict[str, float] = {}
    n_done = n_skipped = n_rows = 0
    for batch in batches:
        loss, parts, status = objective(model, batch)
        rows_ok = status == 0
        n_rows += len(status)
        if not bool(rows_ok.all()):
            n_skipped += int((~rows_ok).sum())
            if not bool(rows_ok.any()):
                continue
            loss, parts, _ = objective(model, batch.select(rows_ok.nonzero()[:, 0]))
        optimizer.zero_grad()
        (len(members) * loss).backward()  # the loss is the members' mean; each learns as it would alone
        norm = torch.stack([nn.utils.clip_grad_norm_(member.parameters(), clip) for member in members]).max()
        if not bool(torch.isfinite(norm)):  # a step along a non-finite gradient would lose all weights
            n_skipped += int(rows_ok.sum())  # those that had failed are counted
            continue
        optimizer.step(rate(averaged.n_updates))
        averaged.update()
        n_done += 1
        row: dict[str, Tensor] = {
            "train_loss": loss.detach(),
            **{f"train_{k}": v.detach() for k, v in parts.items()},
            "gradient_norm": norm,
        }
        for name, value in row.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    means = {name: value / max(n_done, 1) for name, value in sums.items()}
    means.setdefault("train_loss", math.nan)
    return {**means, "learning_rate": rate(averaged.n_updates), "n_skipped": float(n_skipped)}, n_rows


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
