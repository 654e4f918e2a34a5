"""Parameters of the forecasters that learn: how channels are scaled, and what is looked at beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ReadsCovariates"]


@dataclass(kw_only=True, eq=False, repr=False)
class ReadsCovariates:
    """Parameters of a forecaster that reads covariates, as `JumpODEForecaster` describes them."""

    scale: str = "auto"
    past_covariates: Any = None
    known_path: str = "linear"
    calendar: Any = "auto"

    reads_covariates = True
