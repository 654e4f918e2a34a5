"""What tests of many folders share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


def pytest_collection_finish() -> None:
    """Set what was imported apart: collections of garbage then look at what tests make, not at 300,000 objects more."""
    gc.freeze()


@pytest.fixture(scope="module")
def short_epochs() -> Iterator[None]:
    """Epochs of few steps, for modules whose claims do not rest on how well was learned."""
    from tests.registries import quick_epochs  # here, as it imports all of the library

    with quick_epochs():
        yield
