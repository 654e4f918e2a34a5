"""Imports only look down: a module imports from rows above its own in the table, never from a neighbour."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tsode

ROWS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"_checks", "_random", "_registry", "_threads"}),
    frozenset({"core"}),
    frozenset({"kernels", "nn", "numerics"}),
    frozenset({"frames"}),
    frozenset({"dynamics", "jumps", "likelihoods", "metrics", "readouts", "simulate"}),
    frozenset({"evolutions"}),
    frozenset({"encoders", "intensities"}),
    frozenset({"models"}),
    frozenset({"training"}),
    frozenset({"estimators"}),
    frozenset({"diagnostics"}),
    frozenset({"backtest", "conformal", "datasets", "plots", "solve", "testing"}),
    frozenset({"cli", "integrations"}),
)
ROW_OF = {place: row for row, places in enumerate(ROWS) for place in places}

# The numerical core knows torch (and NumPy at its door); frames and what stands above it know pandas and scikit-learn.
TOP = {"frames", "estimators"} | ROWS[-3] | ROWS[-2] | ROWS[-1]
FOR_FRAMES = {"pandas", "sklearn", "narwhals", "polars", "matplotlib"}

PACKAGE = Path(tsode.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
MODULES += sorted(path.relative_to(PACKAGE) for path in PACKAGE.glob("*/__init__.py"))


def place_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imports(module: Path) -> list[tuple[int, str]]:
    """Line and dotted name of every import, at the top, in functions and under TYPE_CHECKING."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno} imports relatively: name the module."
            assert node.module is not None
            assert all(alias.name != "*" for alias in node.names), f"{module}:{node.lineno} imports *."
            found.append((node.lineno, node.module))
    return found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_only_look_down(module):
    assert place_of(module) in ROW_OF, f"{module} has no row: add its place to ROWS in {Path(__file__).name}."
    here = place_of(module)
    for line, name in imports(module):
        if name == "tsode":
            assert here in ROWS[-2] | ROWS[-1], f"{module}:{line} imports the package from inside: name the module."
        if not name.startswith("tsode."):
            continue
        there = name.split(".")[1]
        assert there in ROW_OF, f"{module}:{line} imports {name}, which has no row."
        assert there == here or ROW_OF[there] < ROW_OF[here], (
            f"{module}:{line} imports {name}: {here!r} is in row {ROW_OF[here]}, {there!r} in row {ROW_OF[there]}, "
            "and imports go to rows above only. Receive the part as an argument instead."
        )


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__init__.py"], ids=str)
def test_a_module_imports_what_it_needs_from_the_defining_module_of_its_own_family(module):
    if len(module.parts) == 1:
        return
    for line, name in imports(module):
        assert name != f"tsode.{place_of(module)}", f"{module}:{line} imports the package that it is inside."


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_the_numerical_core_knows_no_frames(module):
    for line, name in imports(module):
        # NotFittedError is also scikit-learn's
        if place_of(module) in TOP or str(module) == "errors.py":
            continue
        assert name.split(".")[0] not in FOR_FRAMES, f"{module}:{line} imports {name} below the frames."


def test_every_row_holds_a_module():
    places = {place_of(module) for module in MODULES}
    assert set(ROW_OF) <= places
