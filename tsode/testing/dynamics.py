"""Contract checks of vector fields and stochastic differential equations."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsode.core.status import Status
from tsode.dynamics.base import Dynamics, Relaxing
from tsode.dynamics.structured import Structured
from tsode.numerics.integrate import integrate
from tsode.numerics.rk4 import RK4
from tsode.numerics.sde import DiagonalSDE, Ito, Stratonovich
from tsode.testing.assertions import assert_close, assert_gradient

__all__ = ["check_dynamics", "check_sde"]

T = torch.tensor([0.0, 1.5, -2.0, 7.0], dtype=torch.float64)
ORDER = torch.tensor([2, 0, 3, 1])
LONG = 10.0
N_STATES = 200
N_OPTIMISER_STEPS = 200


def check_dynamics(dynamics: Dynamics) -> None:
    """Check rows, dtypes, clocks, gradients and copies of a vector field.

    The contract: the drift has the shape and dtype of the state, and that of a row depends on this row alone; with
    `is_autonomous` it does not read the time; the `relaxation` of a `Relaxing` field gives its drift; gradients are
    right, and every weight has one, finite and not zero, through a solve; a solve over ten units of time stays finite;
    a pickle and a state dict carry all there is. A `Structured` field keeps what it promises at random weights of any
    size, in both precisions, after steps of an optimiser that decays weights, and after a copy.

    Parameters
    ----------
    dynamics : Dynamics
        Untrained is fine; it is copied, never changed.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    for dtype in (torch.float32, torch.float64):
        rate = copy.deepcopy(dynamics).to(dtype)(T, _states(dynamics.n_state, dtype))
        _check_term(rate, dynamics.n_state, dtype, "the drift")
    field, z = copy.deepcopy(dynamics).double(), _states(dynamics.n_state)
    rate = field(T, z)
    _check_rows(lambda t, z: (field(t, z),), z, "the drift of a row depends on that row alone")
    if field.is_autonomous:
        assert torch.equal(field(T + 3.0, z), rate), "an autonomous field does not read the time."
    if isinstance(field, Relaxing):
        speed, target = field.relaxation(T, z)
        assert speed.shape == target.shape == z.shape, "relaxation gives a rate and a target for each coordinate."
        assert_close(speed * (target - z), rate, "relaxation gives the drift", 1e-12)
    inputs = (z.clone().requires_grad_(), *field.parameters())
    assert_gradient(lambda state, *_: field(T, state), inputs, "gradients of the drift are right")
    _check_solve(field, z)
    _check_copies(field, lambda other: (other(T, z),), "the drift")
    if isinstance(field, Structured):
        _check_guarantees(field)


def _check_guarantees(field: Structured) -> None:
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(N_STATES, field.n_state, dtype=torch.float64, generator=generator)
    states *= torch.logspace(-3, 3, N_STATES, dtype=torch.float64)[:, None]
    _assert_kept(field, states, "as built")
    for size in (0.0, 0.1, 1.0, 10.0, 1e4):
        other = copy.deepcopy(field)
        with torch.no_grad():
            for weight in other.parameters():
                weight.copy_(size * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
        _assert_kept(other, states, f"at random weights of size {size:g}")
        _assert_kept(copy.deepcopy(other).float(), states, f"in single precision, at random weights of size {size:g}")
        blank = copy.deepcopy(field)
        blank.load_state_dict(other.state_dict())
        _assert_kept(blank, states, "after loading a state dict")
    trained = copy.deepcopy(field)
    optimiser = torch.optim.AdamW(trained.parameters(), lr=0.1, weight_decay=1.0)
    for _ in range(N_OPTIMISER_STEPS):
        optimiser.zero_grad()
        trained(T, states[: len(T)]).square().sum().backward()
        optimiser.step()
    _assert_kept(trained, states, f"after {N_OPTIMISER_STEPS} steps of AdamW with weight decay 1")


def _assert_kept(field: Structured, states: Tensor, when: str) -> None:
    for guarantee in field.check(states):
        assert guarantee.holds, f"a structured field keeps its promise {when}: {guarantee}."


def _check_solve(field: Dynamics, z: Tensor) -> None:
    with torch.no_grad():
        far = integrate(field, z, T, T + LONG, RK4(max_step=0.05))
    assert not bool(far.status.any()), f"a solve over {LONG:g} units of time stays finite: {far.status.tolist()}."
    moved = copy.deepcopy(field)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in moved.parameters():  # a layer that starts at zero hides those below it
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    end = integrate(moved, z, T, T + 0.8, RK4(n_steps=3))
    assert end.status.eq(int(Status.OK)).all(), "a solve over a short time succeeds."
    end.z.square().sum().backward()
    for name, weight in moved.named_parameters():
        assert weight.grad is not None, f"every weight moves the flow: {name} has no gradient."
        assert bool(weight.grad.isfinite().all()), f"gradients through a solve are finite: {name} has others."
        assert bool(weight.grad.abs().max() > 0), f"every weight moves the flow: {name} has a gradient of zero."


def check_sde(sde: DiagonalSDE) -> None:
    """Check rows, dtypes, noise, gradients and copies of a stochastic differential equation.

    The contract: it is an `Ito` or a `Stratonovich` equation; drift and diffusion have the shape and dtype of the
    state, those of a row depend on this row alone, and `terms` gives both; the diffusion of a coordinate reads the time
    and that coordinate alone, and `diffusion_slope` is its derivative; gradients are right; a pickle and a state dict
    carry all there is.

    Parameters
    ----------
    sde : DiagonalSDE
        Untrained is fine; it is copied, never changed.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    assert isinstance(sde, Ito) != isinstance(sde, Stratonovich), "an equation is an Ito or a Stratonovich equation."
    for dtype in (torch.float32, torch.float64):
        module, z = copy.deepcopy(sde).to(dtype), _states(sde.n_state, dtype)
        names = ("the drift", "the diffusion", "the slope of the diffusion")
        for term, name in zip((*module.terms(T, z), module.diffusion_slope(T, z)), names):
            _check_term(term, sde.n_state, dtype, name)
    module, z = copy.deepcopy(sde).double(), _states(sde.n_state)
    terms, slope = module.terms(T, z), module.diffusion_slope(T, z)
    for term, alone in zip(terms, (module.drift(T, z), module.diffusion(T, z))):
        assert torch.equal(term, alone), "terms are the drift and the diffusion."
    _check_rows(module.terms, z, "drift and diffusion of a row depend on that row alone")

    jacobian = torch.autograd.functional.jacobian(lambda state: module.diffusion(T, state).sum(dim=0), z)
    promise = "the noise of a coordinate reads that coordinate alone, with diffusion_slope as its derivative"
    assert_close(jacobian.permute(1, 0, 2), torch.diag_embed(slope), promise, 1e-12)
    inputs = (z.clone().requires_grad_(), *module.parameters())
    assert_gradient(lambda state, *_: module.terms(T, state), inputs, "gradients of drift and diffusion are right")
    _check_copies(module, lambda other: other.terms(T, z), "drift and diffusion")


def _states(n_state: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(T), n_state, dtype=torch.float64, generator=generator).to(dtype)


def _check_term(term: Tensor, n_state: int, dtype: torch.dtype, name: str) -> None:
    assert term.shape == (len(T), n_state), f"{name} has the shape of the state, not {tuple(term.shape)}."
    assert term.dtype == dtype, f"{name} has the dtype of the state: {dtype} went in, {term.dtype} came out."
    assert bool(term.isfinite().all()), f"{name} is finite at ordinary states."


def _check_rows(terms: Callable[[Tensor, Tensor], Sequence[Tensor]], z: Tensor, promise: str) -> None:
    together = terms(T, z)
    for rows in (ORDER, *torch.arange(len(T))[:, None]):
        for part, whole in zip(terms(T[rows], z[rows]), together):
            assert_close(part, whole[rows], promise, 1e-12)


def _check_copies(module: nn.Module, terms: Callable[[Any], Sequence[Tensor]], name: str) -> None:
    blank = copy.deepcopy(module)
    with torch.no_grad():
        for weight in blank.parameters():
            weight.zero_()
    blank.load_state_dict(module.state_dict())
    for other, way in ((blank, "a state dict"), (pickle.loads(pickle.dumps(module)), "a pickle")):
        for copied, term in zip(terms(other), terms(module)):
            assert torch.equal(copied, term), f"{way} carries all there is: {name} changed."
