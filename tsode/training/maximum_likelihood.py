"""Maximum of the likelihood of an exact intensity over whole streams, and the information there."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tsode.errors import SolverError, TsodeWarning
from tsode.intensities.base import Intensity
from tsode.training.stream_segments import SegmentBatch, event_nll, mean_nll

__all__ = ["maximise", "natural_estimates"]

FIRST_STEPS = 30  # from each first guess; the best of them goes on
MOST_STEPS = 1000
FLAT = 1e-8  # slope at the maximum, in nats an event
FARTHEST = 40.0  # from the first guess; parameters are logarithms, or of the size of a gap
STEEP = 1e-4  # slope from which on what was reached is no maximum
BEYOND = 100.0  # nats an event above the best loss, in place of one that is not finite: line searches step back
WEAK = 1e-6  # information below which the data do not hold a parameter: a rate that goes to zero


def maximise(
    module: Intensity,
    train: Sequence[SegmentBatch],
    valid: Sequence[SegmentBatch],
    until: str,
    callbacks: Sequence[Callable[[dict[str, float]], bool | None]] = (),
) -> list[dict[str, float]]:
    """Set the parameters of `module` to the maximum of the likelihood, in place.

    Quasi-Newton steps (L-BFGS; Nocedal & Wright 2006, ch. 7) in float64 on all streams at once, from the best of the
    module's first guesses, in the parameters that it does not settle by itself. Ctrl-C keeps the best parameters so far
    and says so in a warning.

    Parameters
    ----------
    train, valid : sequence of SegmentBatch
        What to learn from, and what ``valid_loss`` is of.
    until : str
        See `tsode.intensities.base.IntensityTrace.log_likelihood`.
    callbacks : sequence of callable
        Called with each step's row of the history; one that returns True stops.

    Returns
    -------
    list of dict
        One row a step: epoch, train_loss and valid_loss (an event), seconds since the start.

    Raises
    ------
    SolverError
        If the likelihood is not finite at any first guess.
    """
    worker = copy.deepcopy(module).double()
    history: list[dict[str, float]] = []
    lowest = math.inf
    best = parameters_to_vector(worker.parameters()).detach()
    # what a member can settle by itself given the rest is not searched for: the maximum over the rest is the maximum
    free = [p for name, p in worker.named_parameters() if name not in worker.settled]
    watched = [worker.trace(batch.events).watched(batch.n_given, until) for batch in train]

    def place(x: np.ndarray) -> None:
        vector_to_parameters(torch.from_numpy(x.copy()), free)
        worker.settle(watched)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal lowest
        place(x)
        worker.zero_grad()
        value = 0.0
        for batch in train:
            nll = event_nll(worker, batch, until)[0].sum() / n_events
            nll.backward()
            value += float(nll.detach())
        slopes = [p.grad if p.grad is not None else torch.zeros_like(p) for p in free]
        slope = parameters_to_vector(slopes).numpy()
        if not (math.isfinite(value) and np.isfinite(slope).all()):
            return lowest + BEYOND, np.zeros_like(slope)
        lowest = min(lowest, value)
        return value, slope

    def keep(intermediate_result: OptimizeResult) -> None:
        nonlocal best
        place(intermediate_result.x)
        best = parameters_to_vector(worker.parameters()).detach()  # steps only ever lower the loss
        row = {"epoch": float(len(history) + 1), "train_loss": float(intermediate_result.fun)}
        row["valid_loss"] = row["train_loss"]
        if valid is not train:
            with torch.no_grad():
                row["valid_loss"] = mean_nll(worker, valid, until)
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        if True in [callback(row) for callback in callbacks]:
            raise StopIteration

    def descend(start: np.ndarray, n_steps: int, callback: Callable[..., None] | None = None) -> OptimizeResult:
        bounds = list(zip(start - FARTHEST, start + FARTHEST))
        options = {"maxiter": n_steps, "ftol": 0.0, "gtol": FLAT, "maxcor": 20}
        return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=callback)

    n_events = max(1, sum(int(event_nll(worker, batch, until)[1].sum()) for batch in train))
    started = time.perf_counter()
    try:
        tried = []
        for guess in worker.guesses():
            worker.load_state_dict(guess)
            tried.append(descend(parameters_to_vector(free).detach().numpy(), FIRST_STEPS))
        first = min(tried, key=lambda found: float(found.fun))
        if not math.isfinite(lowest):
            raise SolverError(
                "The likelihood of the events is not finite under any first guess of the parameters: gaps between "
                "events differ too much in length. Drop the stretch without events, or cut it with windows=."
            )
        keep(first)
        found = descend(first.x, MOST_STEPS, keep)
        before = math.inf
        while np.abs(found.jac).max(initial=0.0) > FLAT and found.fun < before and len(history) < MOST_STEPS:
            before = found.fun
            found = descend(found.x, MOST_STEPS, keep)  # what it remembers of other slopes may mislead it
        if np.abs(found.jac).max(initial=0.0) > STEEP:
            _warn(
                f"The likelihood still rises after {len(history)} steps: it may have no maximum, as of events that "
                "come like clockwork, and the estimates are not the most likely ones."
            )
    except StopIteration:  # of a callback before the first step
        pass
    except KeyboardInterrupt:
        _warn(f"fit was interrupted after {len(history)} steps; the best parameters so far are kept.")
    vector_to_parameters(best, worker.parameters())
    module.load_state_dict(worker.state_dict())
    return history


def natural_estimates(
    module: Intensity, batches: Sequence[SegmentBatch], until: str, unit: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """Each natural parameter and its standard error, from the inverse of the observed information.

    Parameters
    ----------
    batches : sequence of SegmentBatch
        What the module was fitted to.
    unit : float
        Unit of rates in model time.

    Returns
    -------
    dict of str to (Tensor, Tensor)
        Estimates and standard errors by the delta method. An error is NaN where the data do not bound a parameter,
        such as a rate that is zero.
    """
    worker = copy.deepcopy(module).double()
    names, shapes = zip(*((name, p.shape) for name, p in worker.named_parameters()))
    at = parameters_to_vector(worker.parameters()).detach()

    def split(x: Tensor) -> dict[str, Tensor]:
        parts = x.split([shape.numel() for shape in shapes])
        return {f"intensity.{name}": part.reshape(shape) for name, part, shape in zip(names, parts, shapes)}

    def nll(x: Tensor) -> Tensor:
        calls = [torch.func.functional_call(_Likelihood(worker, until), split(x), (batch,)) for batch in batches]
        return torch.stack(calls).sum()

    def natural(x: Tensor) -> Tensor:
        parts = torch.func.functional_call(_Natural(worker, unit), split(x), ())
        return torch.cat([part.reshape(-1) for part in parts.values()])

    information = torch.autograd.functional.hessian(nll, at)
    is_held = information.diagonal() > WEAK
    covariance = torch.full_like(information, math.nan)
    held = is_held.nonzero()[:, 0]
    covariance[held[:, None], held] = torch.linalg.pinv(information[held[:, None], held], hermitian=True)
    slope = torch.autograd.functional.jacobian(natural, at)
    # a parameter that does not enter adds nothing, though its own error be unknown
    pairs = slope[:, :, None] * slope[:, None]
    variance = torch.where(pairs == 0.0, 0.0, pairs * covariance)
    errors = variance.sum(dim=(1, 2)).sqrt()
    estimates = worker.natural(unit)
    sizes = [part.numel() for part in estimates.values()]
    return {
        name: (part.detach(), error.reshape(part.shape))
        for (name, part), error in zip(estimates.items(), errors.split(sizes))
    }


class _Likelihood(torch.nn.Module):
    """Negative log-likelihood as a forward pass, so that it can be called with other parameters."""

    def __init__(self, intensity: Intensity, until: str) -> None:
        super().__init__()
        self.intensity, self.until = intensity, until

    def forward(self, batch: SegmentBatch) -> Tensor:
        return event_nll(self.intensity, batch, self.until)[0].sum()


class _Natural(torch.nn.Module):
    """Natural parameters as a forward pass."""

    def __init__(self, intensity: Intensity, unit: float) -> None:
        super().__init__()
        self.intensity, self.unit = intensity, unit

    def forward(self) -> dict[str, Tensor]:
        return self.intensity.natural(self.unit)


def _warn(message: str) -> None:
    warnings.warn(message, TsodeWarning, stacklevel=6)
