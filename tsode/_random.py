"""Random generators of our own, so that the global seed is never read or moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

from tsode.errors import ParameterError

RandomState = int | np.random.RandomState | np.random.Generator | torch.Generator | None


def new_generator(random_state: RandomState = None) -> torch.Generator:
    """Make a CPU generator from a seed, a NumPy or torch generator (the latter as it is) or None (fresh entropy)."""
    if isinstance(random_state, torch.Generator):
        return random_state
    if isinstance(random_state, bool) or not isinstance(
        random_state, int | np.integer | np.random.RandomState | np.random.Generator | None
    ):
        raise ParameterError(
            f"random_state must be an int, a NumPy or torch generator, or None, but is {random_state!r}: "
            "pass an integer such as random_state=0."
        )
    generator = torch.Generator()
    if random_state is None:
        generator.seed()
        return generator
    if isinstance(random_state, np.random.RandomState):
        seed = int(random_state.randint(0, 2**31 - 1))
    elif isinstance(random_state, np.random.Generator):
        seed = int(random_state.integers(0, 2**31 - 1))
    else:
        seed = int(random_state)
    return generator.manual_seed(seed % 2**63)


def hashed_uniforms(keys: np.ndarray, step: int, n_draws: int) -> np.ndarray:
    """Uniform numbers in (0, 1) that depend on a row's own key and on the step only, not on the rows beside it.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014) on a counter, twice.

    Parameters
    ----------
    keys : array[b], uint64
    step : int
    n_draws : int
        Fewer than 256.

    Returns
    -------
    array[b n_draws], float64
    """
    counter = np.uint64(256 * step) + np.arange(1, n_draws + 1, dtype=np.uint64)
    x = _mix(_mix(keys)[:, None] + counter * np.uint64(0x9E3779B97F4A7C15))
    return ((x >> np.uint64(12)) + 0.5) / 2.0**52


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class OwnDraws(TorchDispatchMode):
    """What modules draw of their own accord inside is drawn from a generator of ours.

    Constructors and dropout of ``nn.Module`` take no generator and read the global one, which all threads share. Here
    each such draw is handed ours, in the thread that entered and in no other, and gives the numbers that the global
    generator would give from the same seed. Draws that name a generator keep it.

    Parameters
    ----------
    generator : torch.Generator
        Gives the seed.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        seed = int(torch.randint(0, 2**62, (), generator=generator))
        self.generator = torch.Generator().manual_seed(seed)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to keep the compiler out of here it would be imported, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            # by the packet: what draws from a generator may be another overload
            return func.overloadpacket(*args, **kwargs, generator=self.generator)
        return func(*args, **kwargs)

    @contextmanager
    def in_training(self, module: nn.Module) -> Iterator[None]:
        """Have the dropout of `module` draw from the generator too; all else goes at full speed."""

        def inside(forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return forward(*args, **kwargs)

            return run

        drawing = [part for part in module.modules() if _draws(part)]
        for part in drawing:
            part.forward = inside(part.forward)
        try:
            yield
        finally:
            for part in drawing:
                del part.forward  # back to that of its class


def _draws(part: nn.Module) -> bool:
    """Whether the forward pass of a part of torch draws: dropout, by itself or within a recurrent or attention part."""
    if isinstance(part, _DropoutNd):
        return part.p > 0.0
    share = getattr(part, "dropout", 0.0)
    return isinstance(part, nn.RReLU) or (isinstance(share, float) and share > 0.0)
