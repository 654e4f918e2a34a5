import ast
from pathlib import Path

import pytest

import tsode

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_examples_use_only_names_that_the_library_exports(script):
    """The scripts themselves are run by `make examples`, which CI calls."""
    tree = ast.parse(script.read_text())
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "tsode"]
    assert taken
    assert all(alias.name in tsode.__all__ for node in taken for alias in node.names)
