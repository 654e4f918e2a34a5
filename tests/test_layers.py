"""Imports only look down and never in a circle; every module says in its first line what it holds, and none is long."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

import tsode
from tests.source_tree import Module, find_circles, first_line_fault, long_classes, place_of, read_package

# A module stands in the longest place that it is in, and imports from rows above its own, never from a neighbour.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"_checks", "_deadline", "_files", "_isolation", "_random", "_registry"}),
    frozenset({"core"}),
    frozenset({"kernels", "nn", "numerics"}),
    frozenset({"frames"}),
    frozenset({"dynamics", "jumps", "likelihoods", "metrics", "readouts", "simulate"}),
    frozenset({"evolutions.base"}),
    frozenset({"encoders", "evolutions", "intensities"}),
    frozenset({"inference", "models"}),
    frozenset({"assimilation"}),
    frozenset({"systems", "training"}),
    frozenset(
        {"estimators.memory", "estimators.parameters", "estimators.seasons", "estimators.settings", "estimators.signal"}
    ),
    frozenset({"estimators.files"}),
    frozenset({"estimators.forecasters", "estimators.path_regressor", "estimators.point_process"}),
    frozenset({"estimators.auto", "estimators.known_ode", "estimators.series"}),
    frozenset({"estimators.known_sde"}),
    frozenset({"estimators"}),
    frozenset({"backtest"}),
    frozenset({"diagnostics", "influence", "stability"}),
    frozenset({"conformal", "datasets", "plots", "solve", "testing"}),
    frozenset({"cli", "integrations"}),
)
ROW_OF = {f"tsode.{place}": row for row, places in enumerate(ROWS) for place in places}
TOP_ROWS = (len(ROWS) - 2, len(ROWS) - 1)  # they may import the package itself

# The numerical core knows torch (and NumPy at its door); frames and the rows from estimators on know pandas and
# scikit-learn.
FOR_FRAMES = {"pandas", "sklearn", "narwhals", "polars", "matplotlib"}
KNOWS_FRAMES = {"tsode.frames"} | {place for place, row in ROW_OF.items() if row > ROW_OF["tsode.training"]}
# NotFittedError is also scikit-learn's
KNOWS_FRAMES |= {"tsode.errors"}

MOST_LINES = 450
MOST_LINES_OF_A_CLASS = 400


@functools.cache
def package() -> dict[str, Module]:
    """Every module, parsed once for all tests."""
    return read_package(Path(tsode.__file__).parent)


def modules() -> list[Module]:
    """All but the package's own `__init__`, which hands out the names of all rows."""
    return [module for name, module in package().items() if name != "tsode"]


def none_of(faults: list[str]) -> None:
    assert not faults, "\n".join(["", *faults])


# -- the package -------------------------------------------------------------------------------------------------------


def test_imports_only_look_down():
    faults = []
    for module in modules():
        here = place_of(module.name, ROW_OF)
        if here is None:
            faults.append(f"{module.name} has no row: add its place to ROWS.")
            continue
        for found in module.imports:
            if found.source == "tsode" and ROW_OF[here] not in TOP_ROWS:
                faults.append(f"{found} from inside: name the module.")
            if not found.target.startswith("tsode."):
                continue
            there = place_of(found.target, ROW_OF)
            if there is None:
                faults.append(f"{found}, which has no row.")
            elif there != here and ROW_OF[there] >= ROW_OF[here]:
                faults.append(
                    f"{found}: {here!r} is in row {ROW_OF[here]}, {there!r} in row {ROW_OF[there]}, and imports go to "
                    "rows above only. Receive the part as an argument instead."
                )
    none_of(faults)


def test_no_import_leads_round():
    none_of([f"A circle: {'; '.join(map(str, circle))}." for circle in find_circles(package())])


def test_a_module_names_the_modules_that_it_imports_from():
    faults = [fault for module in package().values() for fault in module.faults]
    for module in modules():
        if module.is_package:
            continue
        for found in module.imports:
            if module.name.startswith(f"{found.source}.") and found.source != "tsode":
                faults.append(f"{found} from the package that it is inside.")
    none_of(faults)


def test_the_numerical_core_knows_no_frames():
    core = [module for module in modules() if place_of(module.name, ROW_OF) not in KNOWS_FRAMES]
    assert core
    none_of([f"{found} below the frames." for module in core for found in module.imports
             if found.source.split(".")[0] in FOR_FRAMES])  # fmt: skip


def test_every_row_holds_a_module():
    places = {place_of(module.name, ROW_OF) for module in modules()}
    assert set(ROW_OF) <= places


def test_the_first_line_of_every_module_begins_with_a_noun():
    none_of([fault for module in package().values() if (fault := first_line_fault(module))])


def test_no_module_and_no_class_is_long():
    faults = []
    for module in package().values():
        faults += long_classes(module, MOST_LINES_OF_A_CLASS)
        if module.n_lines > MOST_LINES:
            faults.append(f"{module.name} has {module.n_lines} lines: look for the second concept in it.")
    none_of(faults)


# -- the finders -------------------------------------------------------------------------------------------------------


def written(folder: Path, files: dict[str, str]) -> dict[str, Module]:
    """A package "p" of these files."""
    for name, text in files.items():
        path = folder / "p" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_package(folder / "p")


@pytest.mark.parametrize(
    "back",
    ["import p.a", "from p.a import x", "from p import a", "def f():\n    from p.a import x",
     "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import x"],
)  # fmt: skip
def test_a_circle_of_files_is_found_wherever_its_imports_stand(tmp_path, back):
    (circle,) = find_circles(written(tmp_path, {"a": "from p.b import y", "b": "from p.c import z", "c": back}))
    assert [found.importer for found in circle] == ["p.a", "p.b", "p.c"]
    assert str(circle[0]) == "p.a:1 imports p.b"
    assert circle[2].target == "p.a"


def test_a_circle_of_folders_is_found_though_no_file_closes_it(tmp_path):
    files = {"a/one": "import p.b.one", "a/two": "", "b/one": "", "b/two": "import p.a.two"}
    (circle,) = find_circles(written(tmp_path, files))
    assert [str(found) for found in circle] == ["p.a.one:1 imports p.b.one", "p.b.two:1 imports p.a.two"]


def test_a_circle_inside_a_folder_and_one_through_a_package_are_found(tmp_path):
    inside = {"a/one": "import p.a.two", "a/two": "import p.a.one"}
    through = {"b/__init__": "from p.b.one import x", "b/one": "from p.b import y", "c": "import p.a.one, p.b"}
    circles = find_circles(written(tmp_path, inside | through))
    assert [[found.importer for found in circle] for circle in circles] == [["p.a.one", "p.a.two"], ["p.b", "p.b.one"]]


def test_imports_that_share_a_target_are_no_circle(tmp_path):
    files = {"a": "import p.b, p.c, os", "b": "import p.d", "c": "import p.d", "d": "import sys"}
    assert find_circles(written(tmp_path, files)) == []


def test_relative_imports_and_stars_are_found(tmp_path):
    package = written(tmp_path, {"a": "from . import b\nfrom p.b import *", "b": ""})
    assert package["p.a"].faults == ("p.a:1 imports relatively: name the module.", "p.a:2 imports *.")


def test_a_module_stands_in_the_longest_place():
    places = {"p.a", "p.a.b", "p.ab"}
    names = ("p.a.b.c", "p.a.b", "p.a.bc", "p.a", "p.ab.x", "p.b")
    assert [place_of(name, places) for name in names] == ["p.a.b", "p.a.b", "p.a", "p.a", "p.ab", None]


def test_a_first_line_that_asks_and_one_that_is_missing_are_found(tmp_path):
    files = {"a": '"""What a part promises."""', "b": "x = 1", "c": '"""Whatsoever."""', "d": '"""\nHow so?"""'}
    faults = [first_line_fault(module) for module in written(tmp_path, files).values()]
    assert faults == [
        "p.a opens with 'What': begin with the field's noun, so that a search finds it.",
        "p.b has no docstring.",
        None,
        "p.d opens with 'How': begin with the field's noun, so that a search finds it.",
    ]


def test_a_long_class_is_found_also_inside_another(tmp_path):
    text = "class A:\n    class B:\n" + "        x = 1\n" * 8 + "class C:\n    y = 2\n"
    (module,) = written(tmp_path, {"a": text}).values()
    assert long_classes(module, 8) == ["p.a.A has 10 lines", "p.a.B has 9 lines"]
    assert long_classes(module, 10) == []
    assert module.n_lines == 12
