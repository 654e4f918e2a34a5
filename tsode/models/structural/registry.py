"""Registry of structural components by name."""

from tsode._registry import Registry
from tsode.models.structural.carma import CARMA
from tsode.models.structural.component import Component
from tsode.models.structural.cycle import Cycle
from tsode.models.structural.damped_slope import DampedSlope
from tsode.models.structural.level import Level
from tsode.models.structural.matern import Matern
from tsode.models.structural.ornstein_uhlenbeck import LongOrnsteinUhlenbeck, OrnsteinUhlenbeck
from tsode.models.structural.quasi_season import QuasiSeason
from tsode.models.structural.season import Season
from tsode.models.structural.slope import Slope

__all__ = ["COMPONENTS"]

COMPONENTS: Registry[type[Component]] = Registry(
    "component",
    Component,
    {
        "carma": CARMA,
        "cycle": Cycle,
        "damped_slope": DampedSlope,
        "level": Level,
        "long_ou": LongOrnsteinUhlenbeck,
        "matern": Matern,
        "ou": OrnsteinUhlenbeck,
        "quasi_season": QuasiSeason,
        "season": Season,
        "slope": Slope,
    },
    sizes=("period",),
)
