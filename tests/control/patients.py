"""Patient of the tests of plans: one compartment, doses at once, two levels."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pandas as pd

from tsode import KnownODEForecaster
from tsode.systems import one_compartment_iv

LEVELS = pd.DataFrame({"ds": [2.0, 8.0], "concentration": [7.5, 4.0]})
GIVEN = pd.DataFrame({"ds": [0.0], "target": ["central"], "amount": [90.0]})


@functools.cache
def patient() -> KnownODEForecaster:
    """Posterior of a patient from two levels."""
    body = one_compartment_iv(clearance=1.0, volume=10.0, level=5.0, spread=0.3)
    body = body.with_(parameters={"sd": 0.2, "cv": 0.1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KnownODEForecaster(system=body, n_draws=200, random_state=0).fit(LEVELS, events=GIVEN)


def asked(**more: Any) -> dict[str, Any]:
    """What plans of the tests have in common."""
    return {"events": GIVEN, "times": 40.0, "n_draws": 100, "random_state": 0} | more


@functools.cache
def with_spare() -> KnownODEForecaster:
    """The same with a state that nothing reads."""
    body = patient().system

    def rates(t: Any, z: Any, p: Any) -> Any:
        return (0.0 * z[:, 0], *body.rates(t, z[:, 1:], p))

    system = body.with_(rates=rates, states=["spare", "central"], initial={"spare": 0.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KnownODEForecaster(system=system, n_draws=50, random_state=0).fit(LEVELS, events=GIVEN)
