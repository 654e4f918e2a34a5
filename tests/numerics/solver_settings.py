"""Every solver of a registry in the settings that it has: a new entry is tested without a line here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest


def every_setting(registry: dict[str, type]) -> Any:
    """Parametrise a test over each solver by default, in four steps, and in steps of limited length.

    Slow are adaptive solvers whose steps are limited: many more steps, laid out as by default.
    """
    solvers = {}
    for name, made in registry.items():
        settings = {field.name for field in fields(made)}
        solvers[name] = made(n_steps=4) if "n_steps" in settings else made()
        if "max_step" in settings:
            limited = made(max_step=1 / 16)
            is_dear = "rtol" in settings
            solvers[f"{name}-max_step"] = pytest.param(limited, marks=[pytest.mark.slow] * is_dear)
    return pytest.mark.parametrize("solver", solvers.values(), ids=solvers)
