"""Training without gradients: parameters of networks and of simulators by ensemble Kalman inversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from tsode.assimilation.failed_members import good_members, replaced
from tsode.errors import ParameterError, ShapeError, SolverError

__all__ = ["EnsembleFit", "ensemble_kalman_train"]

_SPENT = 1e-10
_LONGEST = 1e8


@dataclass(frozen=True, eq=False)
class EnsembleFit:
    """Result of training by ensembles.

    Parameters
    ----------
    parameters : Tensor[p], float64
        Mean of the ensemble.
    ensemble : Tensor[m p], float64
        Its members. Their spread is that of an approximate posterior only at pseudo-time 1; later it is smaller.
    history : dict of str to ndarray
        One entry for each iteration and one for the end, ready for a frame: ``time``, pseudo-time; ``misfit``, root
        mean square of the errors of the mean in units of the noise; ``misfit_of_members``, the same over the members;
        ``spread``, of the parameters, as a share of the first; ``n_failed``, members that failed in it.
    """

    parameters: Tensor
    ensemble: Tensor
    history: dict[str, np.ndarray]


def ensemble_kalman_train(
    model: nn.Module | Callable[[np.ndarray], ArrayLike],
    targets: ArrayLike | Tensor,
    *,
    inputs: Tensor | tuple[Tensor, ...] | None = None,
    start: ArrayLike | Tensor | None = None,
    spread: ArrayLike | Tensor = 1.0,
    noise: ArrayLike | Tensor = 1.0,
    n_members: int = 100,
    n_iterations: int = 50,
    until: float = math.inf,
    seed: int = 0,
) -> EnsembleFit:
    """Fit parameters to targets by runs of the model alone, without its derivatives.

    An ensemble of parameters is moved by the sample covariance of parameters and outputs, as an ensemble Kalman filter
    moves states: each iteration takes in the targets with the noise's variance divided by a step of pseudo-time. The
    step is that of the data misfit controller: as long as the misfits of the members, and their scatter, allow. At
    pseudo-time 1 the targets have counted once.

    Parameters
    ----------
    model : nn.Module or callable
        A network, whose parameters that require a gradient are fitted, and set to the result; its forward must bear
        `torch.func.vmap`. Or a function of parameters (m p) to outputs (m n), both float64 arrays, such as a simulator.
        Members that are not finite, or absurdly large (beyond 1e6 times what both the targets and three quarters of the
        members are), have failed: they are left out, replaced by copies of good ones with fresh noise, and counted.
    targets : array
        (n,) of a function; of the shape of the outputs of a network.
    inputs : Tensor or tuple of Tensor, optional
        Of a network.
    start : array (p,) or (m p), optional
        Mean of the first ensemble, or the ensemble itself. Of a network by default the parameters that it has.
    spread : float or array (p,)
        Standard deviation of the first ensemble about its mean: the prior.
    noise : float or array like `targets`
        Standard deviation of the errors of the targets.
    n_members, n_iterations : int
        Each iteration runs all members once, and their mean.
    until : float
        Pseudo-time at which to stop: 1 for an approximate posterior, by default as many iterations as there are. They
        end early when the spread is spent, below 1e-10 of the first.
    seed : int

    Returns
    -------
    EnsembleFit

    Raises
    ------
    SolverError
        If fewer than two members have not failed.
    ShapeError, ParameterError
        If shapes or settings are out of order. What the function itself raises is passed on.

    Notes
    -----
    What it cannot do:

    - The result lies in the span of the first ensemble. With more parameters than members, of a linear model it is the
      least squares solution within that span, not the least squares solution.
    - The ensemble collapses onto its mean, on the way whether or not it has arrived: a fit that is started too narrow,
      or far from any good one, ends where it is. Start again from the result with a wide spread.
    - Targets without noise are met to the last digits, and nothing of the spread is left; it says nothing of how sure
      the parameters are.
    - Large networks: the span above, and chance correlations of 1 / sqrt(m) between each parameter and each output.
      With tens of parameters it comes near descent by gradients; for thousands, take gradients.

    References
    ----------
    Iglesias, Law & Stuart, "Ensemble Kalman methods for inverse problems", Inverse Problems 29, 2013.
    Haber, Lucka & Ruthotto, "Never look back: a modified EnKF method and its application to the training of neural
    networks without back propagation", arXiv:1805.08034, 2018.
    Kovachki & Stuart, "Ensemble Kalman inversion: a derivative-free technique for machine learning tasks", Inverse
    Problems 35, 2019.
    Iglesias & Yang, "Adaptive regularisation for ensemble Kalman inversion", Inverse Problems 37, 2021: the steps.
    Hunt, Kostelich & Szunyogh, "Efficient data assimilation for spatiotemporal chaos", Physica D 230, 2007, equations
    20-23: the transform of the ensemble.

    Examples
    --------
    >>> times = np.linspace(0.0, 1.0, 20)
    >>> decay = lambda rates: np.exp(-rates * times)  # of a simulator: (m 1) -> (m 20)
    >>> fit = ensemble_kalman_train(decay, np.exp(-2.0 * times), start=[1.0], noise=0.01)
    >>> round(float(fit.parameters[0]), 4)
    2.0
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.as_tensor(targets, dtype=torch.float64)
    sd = torch.as_tensor(noise, dtype=torch.float64).expand(y.shape).flatten()
    if not bool(y.isfinite().all() & (sd > 0.0).all()):
        raise ParameterError("Targets must be finite and their noise above 0. Leave out targets that are missing.")
    if isinstance(model, nn.Module):
        run, first = _of_module(model, inputs, y.shape)
    else:
        run, first = _of_function(model), None
    y = y.flatten()
    ensemble = _first_ensemble(first if start is None else start, spread, n_members, generator)
    if n_iterations < 1:
        raise ParameterError(f"n_iterations is at least 1, but is {n_iterations!r}.")
    width, time, rows = _width(ensemble), 0.0, []
    for iteration in range(n_iterations + 1):
        mean = ensemble.mean(dim=0, keepdim=True)
        outputs = run(torch.cat([ensemble, mean]))
        if outputs.shape != (len(ensemble) + 1, len(y)):
            raise ShapeError(
                f"The model must give outputs of {len(y)} targets for each of {len(ensemble) + 1} members, but gave "
                f"{tuple(outputs.shape)}."
            )
        errors = (y - outputs) / sd
        found = good_members(errors[None, :-1], (y / sd)[None, None])
        is_good = torch.ones(len(ensemble), dtype=torch.bool) if found is None else found[0]
        n_good = int(is_good.sum())
        if n_good < 2:
            raise SolverError(
                f"{len(ensemble) - n_good} of {len(ensemble)} members failed in iteration {iteration}: their outputs "
                "are not finite or absurdly large, and at least two must be left. Start nearer to parameters that run, "
                "or with a smaller spread."
            )
        share = _width(ensemble) / width
        good = errors[:-1][is_good]
        rows.append((time, _rms(errors[-1]), _rms(good), share, len(ensemble) - n_good))
        left = until - time
        if iteration == n_iterations or left <= 0.0 or share <= _SPENT:
            break
        step = min(_step(good), left)
        moved = torch.full_like(ensemble, torch.nan)
        moved[is_good] = _transformed(ensemble[is_good], good, step)
        time += step
        picks = torch.rand(1, len(ensemble), 3, dtype=torch.float64, generator=generator)
        ensemble = moved if found is None else replaced(moved[None], is_good[None], picks)[0]
    parameters = ensemble.mean(dim=0)
    if isinstance(model, nn.Module):
        _set(model, parameters)
    names = ("time", "misfit", "misfit_of_members", "spread", "n_failed")
    return EnsembleFit(parameters, ensemble, dict(zip(names, map(np.array, zip(*rows)))))


def _step(errors: Tensor) -> float:
    """Step of pseudo-time of the data misfit controller, from the errors (m n) of the members."""
    misfit = 0.5 * errors.square().sum(dim=1)
    half = 0.5 * errors.shape[1]
    by_size, by_scatter = half / misfit.mean(), (half / misfit.var()).sqrt()
    return float(torch.maximum(by_size, by_scatter).nan_to_num(_LONGEST, _LONGEST))


def _transformed(ensemble: Tensor, errors: Tensor, step: float) -> Tensor:
    """Members (m p) after taking in targets of which they have the errors (m n), with noise of variance 1 / step."""
    mean, error = ensemble.mean(dim=0), errors.mean(dim=0)
    root = math.sqrt(step / (len(ensemble) - 1))
    u, s, vh = torch.linalg.svd(root * (error - errors), full_matrices=False)
    anomalies = u.mT @ (ensemble - mean)  # k p
    kept = 1.0 / (1.0 + s.square())
    gain = root * s * kept * (vh @ error)
    return ensemble + gain @ anomalies - u @ ((1.0 - kept.sqrt())[:, None] * anomalies)


def _first_ensemble(start: Any, spread: Any, n_members: int, generator: torch.Generator) -> Tensor:
    if start is None:
        raise ParameterError("A function needs a start: the mean (p,) of its parameters, or an ensemble (m p) of them.")
    start = torch.as_tensor(start, dtype=torch.float64)
    if start.dim() == 2:
        ensemble = start.clone()
    elif start.dim() == 1:
        normals = torch.randn(n_members, len(start), dtype=torch.float64, generator=generator)
        ensemble = start + torch.as_tensor(spread, dtype=torch.float64) * (normals - normals.mean(dim=0))
    else:
        raise ShapeError(f"A start is a mean (p,) or an ensemble (m p), but came with the shape {tuple(start.shape)}.")
    if len(ensemble) < 2 or not ensemble.isfinite().all() or float(_width(ensemble)) == 0.0:
        raise ParameterError("The first ensemble must be of at least 2 finite members, with some spread.")
    return ensemble


def _of_function(function: Callable[[np.ndarray], ArrayLike]) -> Callable[[Tensor], Tensor]:
    return lambda ensemble: torch.as_tensor(np.asarray(function(ensemble.numpy().copy()), dtype=np.float64))


def _of_module(module: nn.Module, inputs: Any, shape: torch.Size) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Outputs (m n) of parameters (m p), and the parameters (p,) that the module has."""
    if inputs is None:
        raise ParameterError("A network needs `inputs` to be run on.")
    named = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    if not named:
        raise ParameterError("No parameter of the network requires a gradient, so there is none to fit.")
    given = inputs if isinstance(inputs, tuple) else (inputs,)

    def of_one(flat: tuple[Tensor, ...]) -> Tensor:
        return torch.func.functional_call(module, dict(zip(named, flat)), given)

    def run(ensemble: Tensor) -> Tensor:
        with torch.no_grad():
            parts = ensemble.split([p.numel() for p in named.values()], dim=1)
            shaped = tuple(part.reshape(-1, *p.shape).to(p) for part, p in zip(parts, named.values()))
            outputs = torch.func.vmap(of_one)(shaped)
        if outputs.shape[1:] != shape:
            raise ShapeError(
                f"The network's outputs have the shape {tuple(outputs.shape[1:])}, but the targets {tuple(shape)}."
            )
        return outputs.flatten(1).double().cpu()

    return run, torch.cat([p.flatten() for p in named.values()]).double().cpu()


def _set(module: nn.Module, parameters: Tensor) -> None:
    fitted = [p for p in module.parameters() if p.requires_grad]
    with torch.no_grad():
        for p, part in zip(fitted, parameters.split([p.numel() for p in fitted])):
            p.copy_(part.reshape(p.shape))


def _width(ensemble: Tensor) -> float:
    return float(ensemble.var(dim=0).sum().sqrt())


def _rms(errors: Tensor) -> float:
    return float(errors.square().mean().sqrt())
