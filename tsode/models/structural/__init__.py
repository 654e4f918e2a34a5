"""Structural models in continuous time: trend, seasons, cycles and what is left, exact at any spacing."""

from tsode.models.structural.carma import CARMA
from tsode.models.structural.component import Component, DataScale, Prior
from tsode.models.structural.cycle import Cycle
from tsode.models.structural.damped_slope import DampedSlope
from tsode.models.structural.level import Level
from tsode.models.structural.matern import Matern
from tsode.models.structural.ornstein_uhlenbeck import LongOrnsteinUhlenbeck, OrnsteinUhlenbeck
from tsode.models.structural.quasi_season import QuasiSeason
from tsode.models.structural.registry import COMPONENTS
from tsode.models.structural.season import Season
from tsode.models.structural.slope import Slope

__all__ = [
    "CARMA",
    "COMPONENTS",
    "Component",
    "Cycle",
    "DampedSlope",
    "DataScale",
    "Level",
    "LongOrnsteinUhlenbeck",
    "Matern",
    "OrnsteinUhlenbeck",
    "Prior",
    "QuasiSeason",
    "Season",
    "Slope",
]
