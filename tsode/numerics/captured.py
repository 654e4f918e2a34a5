"""Tensors that a vector field brings along: weights, inputs and closures that gradients are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tsode.errors import ParameterError

__all__ = ["Captured", "check_complete", "made_inside"]


class Captured:
    """Tensors from outside that were used while it watched, in the order in which they were met.

    Attributes
    ----------
    tensors : list of Tensor
        Those that require a gradient and were not made of what was given.
    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._watcher = _Watcher(self.tensors)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is used inside; to be entered without gradients, so that nothing made inside asks for one."""
        with torch.no_grad(), self._watcher:
            yield

    def forget_made(self) -> None:
        """Let go of what has been made since; to be called between two steps."""
        self._watcher.made.clear()

    @property
    def are_leaves(self) -> bool:
        """Whether none of the tensors is made of others."""
        return all(x.is_leaf for x in self.tensors)

    @contextmanager
    def replaced(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Have `values` used in place of the tensors."""
        with _Replacement(dict(zip(map(id, self.tensors), values))):
            yield

    def check_complete(self, run: Callable[[], Tensor], mode: str, is_replaced: bool) -> None:
        """Raise a `ParameterError` if what `run` gives is made of a tensor that requires a gradient and was not met.

        With `is_replaced`, also if one that was met cannot be replaced.
        """
        values = [x.detach().requires_grad_() for x in self.tensors] if is_replaced else self.tensors
        with torch.enable_grad(), self.replaced(values), made_inside() as made:
            check_complete([run()], [*values, *made.values()], mode)


class _Watcher(TorchFunctionMode):
    def __init__(self, found: list[Tensor]) -> None:
        super().__init__()
        self.found, self.ids = found, set[int]()
        self.made: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A field may take gradients inside: what it marks for them, or makes of that, is its own.
        if func in (Tensor.requires_grad_, Tensor.requires_grad.__set__):  # type: ignore[attr-defined]
            self._own(args[0])
        else:
            self._look(args)
            if kwargs:
                self._look(kwargs.values())
        made = func(*args, **(kwargs or {}))
        for part in made if isinstance(made, tuple | list) else (made,):
            if isinstance(part, Tensor) and part.requires_grad and id(part) not in self.ids:
                self._own(part)
        return made

    def _own(self, x: Tensor) -> None:
        self.made[id(x)] = x  # while it is held nothing else has its id

    def _look(self, values: Any) -> None:
        for x in values:
            if isinstance(x, Tensor):
                if x.requires_grad and id(x) not in self.ids and id(x) not in self.made:
                    self.ids.add(id(x))
                    self.found.append(x)
            elif type(x) in (list, tuple):
                self._look(x)


class _Replacement(TorchFunctionMode):
    def __init__(self, values: dict[int, Tensor]) -> None:
        super().__init__()
        self.values = values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*map(self._of, args), **{name: self._of(value) for name, value in (kwargs or {}).items()})

    def _of(self, x: Any) -> Any:
        if type(x) in (list, tuple):
            return type(x)(map(self._of, x))
        return self.values.get(id(x), x) if isinstance(x, Tensor) else x


@contextmanager
def made_inside() -> Iterator[dict[int, Tensor]]:
    """What asks for a gradient and is made inside, by its identity: a step may take derivatives itself."""
    watcher = _Watcher([])
    with watcher:
        yield watcher.made


def check_complete(results: Sequence[Tensor], known: Sequence[Tensor], mode: str) -> None:
    """Raise a `ParameterError` if a result is made of a tensor that requires a gradient and is not known."""
    ids = {id(x) for x in known}
    seen, left = set(), [x.grad_fn for x in results if x.grad_fn is not None]
    while left:
        node = left.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in ids:
            raise ParameterError(
                f"A tensor of shape {tuple(variable.shape)} requires a gradient and would get none by "
                f"gradient={mode!r}: it goes into the field through a function of its own (torch.autograd.Function), "
                "where it is not seen. Use gradient='backprop'."
            )
        left.extend(following for following, _ in node.next_functions if following is not None)
