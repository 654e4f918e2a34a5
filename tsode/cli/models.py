"""Forecasters by the names that the command has for them: ``jump-ode`` is the `JumpODEForecaster`."""

from __future__ import annotations

import re

from tsode.estimators import FORECASTERS, BaseForecaster

__all__ = ["command_name", "models"]


def command_name(class_name: str) -> str:
    """Name of a class of forecasters in the command: ``"LastValueForecaster"`` -> ``"last-value"``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", class_name.removesuffix("Forecaster")).lower()


def models() -> dict[str, type[BaseForecaster]]:
    """All forecasters by the names of the command."""
    return {command_name(name): forecaster for name, forecaster in FORECASTERS.items()}
