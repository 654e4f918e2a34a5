"""Ready systems to start from: equations, priors by typical values, and noise."""

from collections.abc import Callable

from tsode.inference.known_system import KnownSystem
from tsode.systems.damped_oscillator import damped_oscillator
from tsode.systems.epidemics import seir, sir
from tsode.systems.fitzhugh_nagumo import fitzhugh_nagumo
from tsode.systems.growth import gompertz_growth, logistic_growth
from tsode.systems.lotka_volterra import lotka_volterra
from tsode.systems.michaelis_menten import michaelis_menten
from tsode.systems.one_compartment import one_compartment_iv, one_compartment_oral
from tsode.systems.reactions import first_order_reactions
from tsode.systems.turnover import turnover
from tsode.systems.two_compartment import two_compartment_iv, two_compartment_oral

__all__ = [
    "SYSTEMS",
    "damped_oscillator",
    "first_order_reactions",
    "fitzhugh_nagumo",
    "gompertz_growth",
    "logistic_growth",
    "lotka_volterra",
    "michaelis_menten",
    "one_compartment_iv",
    "one_compartment_oral",
    "seir",
    "sir",
    "turnover",
    "two_compartment_iv",
    "two_compartment_oral",
]

SYSTEMS: dict[str, Callable[..., KnownSystem]] = {
    make.__name__: make
    for make in (
        damped_oscillator,
        first_order_reactions,
        fitzhugh_nagumo,
        gompertz_growth,
        logistic_growth,
        lotka_volterra,
        michaelis_menten,
        one_compartment_iv,
        one_compartment_oral,
        seir,
        sir,
        turnover,
        two_compartment_iv,
        two_compartment_oral,
    )
}
