"""Random generators of our own, so that the global seed is never read or moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

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


@contextmanager
def seeded_initialisation(generator: torch.Generator) -> Iterator[None]:
    """Draw weights of modules built inside from `generator`, and leave torch's global state as it was.

    ``nn.Module`` initialisers read the global generator, so it is forked and seeded here.
    """
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield
