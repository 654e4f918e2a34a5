"""Affine vector fields, ``matrix @ z + offset``: known as such by following what a field does with its state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tsode.numerics.base import VectorField

__all__ = ["AffineField", "find_affine"]


@dataclass(frozen=True)
class AffineField:
    """A vector field that is affine in the state and does not read the time.

    Parameters
    ----------
    matrix : Tensor[b d d]
    offset : Tensor[b d], optional
        None of a field that is linear, whatever its parameters.
    """

    matrix: Tensor
    offset: Tensor | None

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        slope = (self.matrix @ z[..., None])[..., 0]
        return slope if self.offset is None else slope + self.offset

    def plus(self, inputs: Tensor) -> AffineField:
        """The field with a constant input (b d) on top."""
        return replace(self, offset=inputs if self.offset is None else self.offset + inputs)


_MOST = 2**20  # numbers in the matrices of all rows; beyond it steps cost less


class _Use(IntEnum):
    """What a tensor has of the state."""

    NONE = 0
    LINEAR = 1  # zero where the state is
    AFFINE = 2
    OTHER = 3


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of these every tensor that is read may be affine, and so is what comes out.
_MOVES = _names(
    """add sub rsub neg clone detach alias view _unsafe_view reshape expand permute transpose t unsqueeze squeeze select
    slice unbind split split_with_sizes chunk cat stack copy _to_copy sum mean repeat flip roll index index_select
    gather diagonal unfold as_strided positive conj add_ sub_ neg_ copy_ cumsum"""
)
# Of these a number is a term by itself.
_SUMS = _names("add sub rsub")
# Of these one factor may be, or the numerator alone.
_PRODUCTS = _names("mul mm bmm mv dot addmm addmv baddbmm mul_ matmul")
_SUMS_OF_PRODUCTS = _names("addmm addmv baddbmm")
_QUOTIENTS = _names("div div_")
# What comes out has the shape of what is read, and none of its values.
_SHAPES = _names(
    """zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty sym_size sym_stride sym_numel
    zeros ones full empty arange scalar_tensor lift_fresh lift_fresh_copy"""
)
_WAYS_OUT = {"numpy", "__array__", "tolist", "item", "__dlpack__", "apply_", "map_"}


class _Follower(TorchDispatchMode):
    """Follows what each tensor has of the state, by the storage that it and its views share."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads its compiler, for a second, to keep it away from here

    def __init__(self, state: Tensor, time: Tensor) -> None:
        super().__init__()
        self.use: dict[int, _Use] = {}
        self.kept: list[Tensor] = []  # while it lives nothing else has its storage
        self._note(state, _Use.LINEAR)
        self._note(time, _Use.OTHER)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        used = _use_of(
            name,
            [self.of(x) for x in args],
            self._highest(tree_leaves((args, kwargs or {}))),
            "rounding_mode" in (kwargs or {}),
        )
        if used == _Use.LINEAR and not (name in _PRODUCTS | _QUOTIENTS or self._is_linear(name, args)):
            used = _Use.AFFINE
        changed = [args[0]] if func._schema.is_mutable else []
        if changed and used:
            used = max(used, _Use.AFFINE)  # what else shares the storage may be a constant
        for x in tree_leaves((result, changed)):
            if isinstance(x, Tensor):
                self._note(x, used if x.is_floating_point() or not used else _Use.OTHER)
            elif used != _Use.NONE and name not in _SHAPES:
                raise _NotAffine  # a number that Python sees, and may decide by
        return result

    def of(self, x: Any) -> _Use:
        return self._highest(tree_leaves(x))

    def _is_linear(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether no constant stands beside what is linear."""
        if name in _SUMS and not all(isinstance(x, Tensor) for x in args[:2]):
            return False
        numbers = [x for x in tree_leaves(args) if isinstance(x, Tensor) and x.is_floating_point()]
        return all(self.of(x) == _Use.LINEAR for x in numbers)

    def _highest(self, leaves: Iterable[Any]) -> _Use:
        return max((self.use.get(_place(x), _Use.NONE) for x in leaves if isinstance(x, Tensor)), default=_Use.NONE)

    def _note(self, x: Tensor, used: _Use) -> None:
        place = _place(x)
        self.use[place] = max(self.use.get(place, _Use.NONE), used)
        self.kept.append(x)


def _place(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


class _Guard(TorchFunctionMode):
    """Lets no value of the state or the time out of torch, where it could not be followed."""

    def __init__(self, follower: _Follower) -> None:
        super().__init__()
        self.follower = follower

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _WAYS_OUT and self.follower.of(args) > _Use.NONE:
            raise _NotAffine
        return func(*args, **(kwargs or {}))


class _NotAffine(Exception):
    """Raised inside a field that lets Python see its state."""


def _use_of(name: str, uses: list[_Use], highest: _Use, is_rounded: bool) -> _Use:
    if name in _SHAPES or highest == _Use.NONE:
        return _Use.NONE
    if name in _SUMS_OF_PRODUCTS:
        highest = max(highest, _Use.AFFINE)
    is_affine = (
        name in _MOVES
        or (name in _PRODUCTS and sum(use > _Use.NONE for use in _factors(name, uses)) <= 1)
        or (name in _QUOTIENTS and uses[1] == _Use.NONE and not is_rounded)
        or (name == "where" and uses[0] == _Use.NONE)
    )
    return highest if is_affine else _Use.OTHER


def _factors(name: str, uses: list[_Use]) -> list[_Use]:
    return uses[1:3] if name in _SUMS_OF_PRODUCTS else uses


def find_affine(field: VectorField, t: Tensor, z: Tensor) -> AffineField | None:
    """The affine field that `field` is, or None if it is none, or nothing tells.

    Every operation on the state is looked at, not its values at some places: a field that bends or switches anywhere,
    or reads the time, is never taken for an affine one.

    Parameters
    ----------
    t : Tensor[b], float64
    z : Tensor[b d]
    """
    if z.shape[0] * z.shape[1] ** 2 > _MOST:
        return None
    state, time = z.detach().clone(), t.detach().clone()
    try:
        with torch.no_grad(), _Follower(state, time) as follower, _Guard(follower):
            slope = field(time, state)
            use = follower.of(slope)
        if use > _Use.AFFINE or slope.shape != z.shape or slope.dtype != z.dtype:
            return None
        found = _coefficients(field, t, z, is_linear=use == _Use.LINEAR)
        return found if _is_same(found, field, t, z) else None
    except Exception:  # of whatever kind: then the field is solved as any other, and says so itself
        return None


def _coefficients(field: VectorField, t: Tensor, z: Tensor, is_linear: bool) -> AffineField:
    has_gradient = torch.is_grad_enabled()
    with torch.enable_grad():
        zero = torch.zeros_like(z, requires_grad=True)
        slope = field(t, zero)
        rows = [
            torch.autograd.grad(
                part.sum(),
                zero,
                retain_graph=True,
                create_graph=has_gradient,
                allow_unused=True,
                materialize_grads=True,
            )[0]
            if part.requires_grad
            else torch.zeros_like(z)
            for part in slope.unbind(dim=1)
        ]
        matrix = torch.stack(rows, dim=1)
    offset = None if is_linear else field(t, torch.zeros_like(z))
    return AffineField(matrix if has_gradient else matrix.detach(), offset)


@torch.no_grad()
def _is_same(found: AffineField, field: VectorField, t: Tensor, z: Tensor) -> bool:
    """Whether slopes agree at some states: values that left torch and came back would not have been followed."""
    probe = torch.linspace(1.7, -0.9, z.numel()).to(z).reshape(z.shape)
    for x in (probe, 1e3 * probe + 1.0, -(probe**2)):
        size = AffineField(found.matrix.abs(), None if found.offset is None else found.offset.abs())(t, x.abs())
        if ((found(t, x) - field(t, x)).abs() > 1e-12 * size).any():
            return False
    return True
