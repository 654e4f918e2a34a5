"""Every solver of a registry in the settings that it has: a new entry is tested without a line here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

IMPLICIT = ("implicit_midpoint", "rodas4", "ros34pw2")


def every_setting(registry: dict[str, type]) -> Any:
    """Parametrise a test over each solver by default, in four steps, and in steps of limited length.

    Adaptive solvers whose steps are limited have a wide tolerance, by which they would take longer ones: it is the
    limit that counts. These are slow, as their steps are laid out as by default; and so are implicit solvers, each of
    whose steps takes derivatives ("auto" also takes one of them).
    """
    solvers = {}
    for name, made in registry.items():
        settings = {field.name for field in fields(made)}
        slow = [pytest.mark.slow] * (name in IMPLICIT)
        solvers[name] = pytest.param(made(n_steps=4) if "n_steps" in settings else made(), marks=slow)
        if "max_step" in settings:
            wide = {"rtol": 1e-3, "atol": 1e-3} if "rtol" in settings else {}
            limited = made(max_step=1 / 16, **wide)
            slow = [pytest.mark.slow] * ("rtol" in settings or name in IMPLICIT)
            solvers[f"{name}-max_step"] = pytest.param(limited, marks=slow)
    return pytest.mark.parametrize("solver", solvers.values(), ids=solvers)
