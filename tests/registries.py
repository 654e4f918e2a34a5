"""Every member of every registry in a size that is quick to train: a new entry is tested without a line here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from tsode import part
from tsode.dynamics import DYNAMICS, SDES
from tsode.encoders import ENCODERS, Encoder
from tsode.estimators import FORECASTERS
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.evolutions import FLOWS
from tsode.evolutions.base import Evolution, Solved
from tsode.evolutions.reversible import Reversible
from tsode.evolutions.stochastic import SolvedSDE
from tsode.evolutions.triggered import Triggered
from tsode.intensities.base import Intensity
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.intensities import build_intensity
from tsode.models.latent.ode import LatentODE, build_encoder, build_latent_ode
from tsode.models.latent.sde import LatentSDE, build_latent_sde
from tsode.numerics import RK4, EulerMaruyama, Midpoint
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.surfaces import Trigger
from tsode.testing import example_panel
from tsode.training import windows

SMALL = {
    "n_modes": 4,
    "n_static": 2,
    "n_state": 4,
    "n_hidden": 8,
    "n_encoder": 16,
    "n_samples": 8,
    "max_epochs": 1,
    "batch_size": 8,
    "random_state": 0,
    "expert": None,  # a variant has one
    "budget": None,
    "device": "cpu",
}

PARTS = {"model", "evolution", "jump", "likelihood"}


def small(made: type[BaseForecaster], **params: Any) -> BaseForecaster:
    """A forecaster of this class that fits in well under a second."""
    known = inspect.signature(made.__init__).parameters
    how = {name: value for name, value in SMALL.items() if name in known}
    if "n_members" in known and not PARTS & params.keys():
        how["n_members"] = 2  # as few as an ensemble has; of parts that share no pass one is the default
    if "members" in known:  # none is naive: where these win, a forecaster may be unbounded and know no events
        # each of them is fitted four times, so one learns by epochs and the other solves for its weights
        sizes = {"n_modes": 4, "n_static": 2, "n_hidden": 8, "n_members": 1, "max_epochs": 1, "batch_size": 8}
        alike = {"expert": None, "zero_input_response": False, "device": "cpu", "dtype": "float64"}
        how["members"] = [part("JumpODEForecaster", **sizes, **alike), part("DirectForecaster")]
    return made(**how | params)


def _forecasters() -> dict[str, BaseForecaster]:
    found = {}
    for dtype in ("float64", "float32"):
        found |= {f"{name}-{dtype}": small(made, dtype=dtype) for name, made in FORECASTERS.items()}
    del found["AutoForecaster-float32"]  # its members have a dtype of their own
    # a named filter is the same model in either dtype, which `test_filters_keep_the_contract` shows below it,
    # and so are the features that it is given of the calendar
    variants: dict[str, dict[str, Any]] = {name: {"model": name} for name in FILTERS if name != "innovation"}
    variants["single"] = {"n_members": 1}  # the default is an ensemble
    variants["informative"] = {"n_members": 2, "informative_times": True}
    variants["expert"] = {"expert": "auto"}
    variants["response"] = {"zero_input_response": True}
    variants["positive"] = {"support": {"a": "positive"}}
    variants["passes"] = {"n_members": 2, "n_passes": 2}
    made = FORECASTERS["JumpODEForecaster"]
    for name, how in variants.items():
        found[f"{name}-float64"] = small(made, dtype="float64", calendar=None, **{"n_members": 2} | how)
    found["DirectForecaster-positive-float64"] = small(FORECASTERS["DirectForecaster"], support={"a": "positive"})
    found["DirectForecaster-boosting-float64"] = small(
        FORECASTERS["DirectForecaster"], regression="boosting", max_trees=6, max_rows=2000
    )
    return found


SMALL_FORECASTERS = _forecasters()


@contextmanager
def quick_epochs() -> Iterator[None]:
    """Epochs of small panels have two steps, where else they have as many as make up for their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "FEWEST_BATCHES", 2)
        yield


@functools.cache
def fitted(name: str) -> BaseForecaster:
    """The forecaster of this name, fitted on `example_panel`; do not change it."""
    with quick_epochs():
        return SMALL_FORECASTERS[name].fit(example_panel())


def small_filter(name: str, n_channels: int = 2, **how: Any) -> JumpFilter:
    """An untrained member of the filter family."""
    return build_filter(n_channels, **FILTERS[name], n_modes=4, n_static=2, n_state=5, n_hidden=8, **how)


def small_evolutions() -> dict[str, Evolution]:
    """Every flow, and every field and stochastic equation under one solver."""
    flows = {name: made(4) for name, made in FLOWS.items()}
    fields: dict[str, Evolution] = {name: Solved(made(4), Midpoint()) for name, made in DYNAMICS.items()}
    # one of the contract's rows relaxes to the surface, is thrown back, and meets it again
    wall = Trigger(lambda t, z: z[:, 0] + 0.1, 1, lambda t, z: torch.cat([z[:, :1] - 0.05, 0.5 * z[:, 1:]], dim=1))
    fields["reversible"] = Reversible(n_state=4, n_steps=2)
    fields["triggered"] = Triggered(DYNAMICS["mean_reverting"](4), RK4(), [wall])
    path = BrownianPath.draw(torch.Generator().manual_seed(0), 1, 4, 2.0)  # of all rows, as in a forecast
    return flows | fields | {f"sde_{name}": SolvedSDE(made(4), EulerMaruyama(), path) for name, made in SDES.items()}


def small_encoders() -> dict[str, Encoder]:
    """Every encoder, of two channels."""
    return {name: build_encoder(name, 2, 8, width=8) for name in ENCODERS}


def small_latent_ode(encoder: str, evolution: str, n_channels: int = 2) -> LatentODE:
    """An untrained latent ODE."""
    return build_latent_ode(
        n_channels, encoder=encoder, evolution=evolution, n_modes=4, n_state=4, n_static=2, n_encoder=8, n_hidden=8,
        n_samples=8, max_context=6,
    )  # fmt: skip


def small_latent_sde(encoder: str = "backward_ode_rnn", n_channels: int = 2, **how: Any) -> LatentSDE:
    """An untrained latent SDE."""
    return build_latent_sde(
        n_channels, encoder=encoder, n_state=4, n_encoder=8, n_hidden=8, n_samples=32, max_context=6, **how
    )  # fmt: skip


def small_intensity(name: str, n_marks: int = 2) -> Intensity:
    """An untrained member of the family of intensities."""
    return build_intensity(name, n_marks, n_hidden=6, n_modes=5, n_static=2)
