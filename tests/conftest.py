"""What tests of many folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def short_epochs() -> Iterator[None]:
    """Epochs of few steps, for modules whose claims do not rest on how well was learned."""
    from tests.registries import quick_epochs  # here, as it imports all of the library

    with quick_epochs():
        yield
