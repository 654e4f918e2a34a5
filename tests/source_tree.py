"""Readers of a package's source files: their imports, the circles among these, and the size and first line of each."""

from __future__ import annotations

import ast
import re
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Import", "Module", "find_circles", "first_line_fault", "long_classes", "place_of", "read_package"]

QUESTION = re.compile(r"(What|How|When|Which|Where|Whether)\b")


@dataclass(frozen=True)
class Import:
    """An import statement, wherever it stands: at the top, in a function or under TYPE_CHECKING.

    Parameters
    ----------
    importer : str
        Dotted name of the module.
    line : int
    source : str
        Dotted name as it is written after ``import`` or ``from``.
    target : str
        The module that is meant: of ``from tsode.core import batch`` it is ``tsode.core.batch``.
    """

    importer: str
    line: int
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


@dataclass(frozen=True)
class Module:
    """One file, parsed.

    Parameters
    ----------
    name : str
        Dotted; that of a package stands for its ``__init__.py``.
    is_package : bool
    tree : ast.Module
    n_lines : int
    imports : tuple of Import
    faults : tuple of str
        Imports that are relative or of ``*``.
    """

    name: str
    is_package: bool
    tree: ast.Module
    n_lines: int
    imports: tuple[Import, ...] = ()
    faults: tuple[str, ...] = ()


def read_package(folder: Path) -> dict[str, Module]:
    """Every module of the package in `folder`, by its dotted name; each file is parsed once."""
    paths = sorted(folder.rglob("*.py"))
    names = {path: ".".join(_parts(path.relative_to(folder.parent))) for path in paths}
    known = set(names.values())
    return {name: _read(path, name, known) for path, name in names.items()}


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _read(path: Path, name: str, known: set[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imports, faults = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [Import(name, node.lineno, alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                faults.append(f"{name}:{node.lineno} imports relatively: name the module.")
                continue
            for alias in node.names:
                if alias.name == "*":
                    faults.append(f"{name}:{node.lineno} imports *.")
                inner = f"{source}.{alias.name}"
                imports.append(Import(name, node.lineno, source, inner if inner in known else source))
    is_package = path.name == "__init__.py"
    return Module(name, is_package, tree, len(text.splitlines()), tuple(imports), tuple(faults))


def place_of(name: str, places: Iterable[str]) -> str | None:
    """The longest of `places` that a module stands in: ``estimators.files`` before ``estimators``; None without one."""
    inside = [place for place in places if f"{name}.".startswith(f"{place}.")]
    return max(inside, key=len, default=None)


def find_circles(modules: dict[str, Module]) -> list[list[Import]]:
    """Import circles: the imports that lead round.

    Every package is looked at by itself: its files and its folders, each folder as one closed box. So a circle of files
    is found in the innermost package that holds it, and one of folders even where no file closes it.
    """
    arrows: dict[str, dict[str, dict[str, Import]]] = defaultdict(lambda: defaultdict(dict))
    for module in modules.values():
        for found in module.imports:
            if found.target in modules and found.target != module.name:
                package, left, right = _fork(module, modules[found.target])
                arrows[package][left].setdefault(right, found)
    circles = []
    for boxes in arrows.values():
        reported: set[str] = set()
        for start in sorted(boxes):
            circle = [] if start in reported else _shortest_circle(start, boxes)
            if circle and not reported & set(circle):
                circles.append([boxes[left][right] for left, right in zip(circle, [*circle[1:], start])])
                reported |= set(circle)
    return circles


def _fork(one: Module, other: Module) -> tuple[str, str, str]:
    """Innermost package that holds both modules, and what in it holds each."""
    left, right = (module.name.split(".") + ["__init__"] * module.is_package for module in (one, other))
    shared = next(k for k, (a, b) in enumerate(zip(left, right)) if a != b)
    return ".".join(left[:shared]), left[shared], right[shared]


def _shortest_circle(start: str, boxes: dict[str, dict[str, Import]]) -> list[str]:
    """Boxes from `start` on that lead back to it; empty where none do."""
    before: dict[str, str] = {}
    queue = deque([start])
    while queue:
        box = queue.popleft()
        for target in boxes.get(box, {}):
            if target == start:
                circle = [box]
                while circle[-1] != start:
                    circle.append(before[circle[-1]])
                return circle[::-1]
            if target not in before:
                before[target] = box
                queue.append(target)
    return []


def first_line_fault(module: Module) -> str | None:
    """What is wrong with the first line of a module's docstring."""
    docstring = ast.get_docstring(module.tree)
    if not docstring:
        return f"{module.name} has no docstring."
    opening = QUESTION.match(docstring)
    if opening:
        return f"{module.name} opens with {opening[0]!r}: begin with the field's noun, so that a search finds it."
    return None


def long_classes(module: Module, most: int) -> list[str]:
    """Classes of more than `most` lines."""
    sizes = [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    return [f"{module.name}.{name} has {size} lines" for name, size in sizes if size > most]
