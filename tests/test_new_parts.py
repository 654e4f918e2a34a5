"""Cost of a new part: one file and one line for its name; contract, fit and model files come by themselves."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

import tsode
from tests.own_parts import own_names
from tests.registries import small
from tsode._registry import FAMILIES
from tsode.errors import FileFormatError
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.testing import (
    check_dynamics,
    check_encoder,
    check_forecaster,
    check_jump,
    check_likelihood,
    check_solver,
    example_panel,
)

pytestmark = pytest.mark.usefixtures("short_epochs")

MOST_LINES = 30

DYNAMICS = '''
"""Antisymmetric dynamics: the norm of a state stays as it is."""

import torch
from torch import nn

from tsode.dynamics.base import Dynamics


class Turning(Dynamics):
    """``dz/dt = (A - A') z``."""

    def __init__(self, n_state, speed: float = 1.0):
        super().__init__(n_state)
        self.speed = speed
        self.weight = nn.Parameter(torch.randn(n_state, n_state) / n_state)

    def drift(self, t, z):
        return self.speed * z @ (self.weight - self.weight.mT)
'''

JUMP = '''
"""Jump by a constant gain."""

import torch
from torch import nn

from tsode.jumps.base import JumpMap


class Pull(JumpMap):
    """``z_plus = z + K (x - predicted)``."""

    def __init__(self, n_state, n_channels):
        super().__init__(n_state, n_channels)
        self.gain = nn.Linear(n_channels, n_state, bias=False)

    def jump(self, z, observation):
        error = observation.values - observation.predicted[..., 0]
        return z + self.gain(torch.where(observation.mask > 0, error, 0.0))
'''

LIKELIHOOD = '''
"""Logistic likelihood."""

import math

from torch.nn.functional import logsigmoid

from tsode.likelihoods.location_scale import LocationScale


class Logistic(LocationScale):
    """Logistic distribution with parameters ``(location, log scale)``."""

    unit_variance = math.pi**2 / 3.0

    def unit_cdf(self, u):
        return u.sigmoid()

    def unit_quantile(self, p):
        return p.logit()

    def log_prob(self, params, x):
        u, log_scale = self.standardise(params, x)
        return logsigmoid(u) + logsigmoid(-u) - log_scale

    def crps(self, params, x):
        u, log_scale = self.standardise(params, x)
        return log_scale.exp() * (u - 2.0 * logsigmoid(u) - 1.0)
'''

ENCODER = '''
"""Encoder by a sum over events."""

import torch
from torch import nn

from tsode.encoders.base import Encoded, Encoder


class EventSum(Encoder):
    """Sum of a layer's reading of each event."""

    def __init__(self, n_channels, n_hidden=8):
        super().__init__()
        self.n_channels, self.n_hidden = n_channels, n_hidden
        self.layer = nn.Linear(2 * n_channels + 1, n_hidden)

    def encode(self, batch, start):
        elapsed = (batch.times - start[:, None])[..., None].to(batch.values)
        values, mask = torch.where(batch.mask, batch.values, 0.0), batch.mask.to(batch.values)
        terms = self.layer(torch.cat([values, mask, elapsed], dim=-1)).tanh() * mask.amax(dim=-1, keepdim=True)
        context = terms.flip(1).cumsum(dim=1).flip(1)
        return Encoded(terms.sum(dim=1), context, torch.zeros_like(batch.lengths))
'''

SOLVER = '''
"""Heun's method."""

from dataclasses import dataclass
from typing import ClassVar

from tsode.numerics.fixed_step import FixedRungeKutta
from tsode.numerics.runge_kutta import Tableau


@dataclass(frozen=True)
class Heun(FixedRungeKutta):
    """Explicit trapezoidal rule, with a parabola inside the step."""

    order: ClassVar[int] = 2
    tableau = Tableau((0.0, 1.0), ((1.0,),), (0.5, 0.5), ((1.0, 0.0), (-0.5, 0.5)))
'''

FORECASTER = '''
"""Damped trend."""

from dataclasses import dataclass

from tsode.estimators.forecasters.baselines import BaselineForecaster
from tsode.models.baselines import DriftModel


class DampedModel(DriftModel):
    """Last value, and a share of what the drift adds to it."""

    damping = 1.0

    def locate(self, summary, lead):
        return summary.last + self.damping * (super().locate(summary, lead) - summary.last)


@dataclass(kw_only=True, eq=False, repr=False)
class DampedForecaster(BaselineForecaster):
    """Drift forecast of which a share is believed."""

    damping: float = 0.5

    def build_model(self, n_channels):
        model = DampedModel(n_channels)
        model.damping = self.damping
        return model
'''

# kind -> the file, its class, the contract of an instance, and forecasters that take the part by its name
PARTS = {
    "dynamics": (
        DYNAMICS,
        "Turning",
        lambda cls: check_dynamics(cls(3)),
        lambda name: [
            small(tsode.JumpODEForecaster, evolution=name),
            small(tsode.LatentODEForecaster, evolution=tsode.part(name, speed=0.5)),
        ],
    ),
    "jump": (
        JUMP,
        "Pull",
        lambda cls: check_jump(cls(3, 2)),
        lambda name: [small(tsode.JumpODEForecaster, jump=name)],
    ),
    "likelihood": (
        LIKELIHOOD,
        "Logistic",
        lambda cls: check_likelihood(cls()),
        lambda name: [small(tsode.JumpODEForecaster, likelihood=name, n_members=2)],
    ),
    "encoder": (
        ENCODER,
        "EventSum",
        lambda cls: check_encoder(cls(2, 8)),
        lambda name: [small(tsode.LatentODEForecaster, encoder=name), small(tsode.LatentSDEForecaster, encoder=name)],
    ),
    "solver": (
        SOLVER,
        "Heun",
        lambda cls: check_solver(cls(n_steps=4)),
        lambda name: [small(tsode.JumpODEForecaster, evolution="mlp", solver=tsode.part(name, max_step=0.25))],
    ),
    "forecaster": (FORECASTER, "DampedForecaster", lambda cls: check_forecaster(cls()), lambda name: []),
}


@pytest.fixture
def registered(request, tmp_path, monkeypatch):
    """Class and name of a part whose one file stands in a package of its own, entered by one line."""
    kind = request.param
    source, class_name = PARTS[kind][:2]
    package = f"strangers_{kind}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "part.py").write_text(source.strip() + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    cls = getattr(importlib.import_module(f"{package}.part"), class_name)
    name = class_name if kind == "forecaster" else f"a_strangers_{kind}"
    with own_names():
        tsode.register(kind, name, cls)
        yield kind, name, cls
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        del sys.modules[module]


@pytest.mark.parametrize("kind", PARTS)
def test_the_file_of_a_part_is_short(kind):
    assert len(PARTS[kind][0].strip().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("registered", PARTS, indirect=True)
def test_a_part_in_one_file_passes_the_contract_of_its_family(registered):
    kind, _, cls = registered
    torch.manual_seed(0)
    PARTS[kind][2](cls)


@pytest.mark.parametrize("registered", PARTS, indirect=True)
def test_a_part_in_one_file_is_fitted_saved_and_loaded_by_its_name(registered, tmp_path):
    kind, name, cls = registered
    for forecaster in [cls()] if kind == "forecaster" else PARTS[kind][3](name):
        fitted = forecaster.fit(example_panel(4))
        inside = [part for module in fitted.module_.modules() for part in (module, *vars(module).values())]
        assert any(isinstance(part, cls) for part in [fitted, *inside]), f"{forecaster} has no {cls.__name__}."
        fitted.save(tmp_path / "model")
        loaded = BaseForecaster.load(tmp_path / "model")
        assert loaded.set_params(random_state=fitted.random_state).get_params() == fitted.get_params()
        assert loaded.predict_interval(horizon="5h").equals(fitted.predict_interval(horizon="5h"))


@pytest.mark.parametrize("registered", ["dynamics", "forecaster"], indirect=True)
def test_a_file_with_a_part_that_nobody_registered_says_so(registered, tmp_path):
    kind, name, cls = registered
    (cls() if kind == "forecaster" else PARTS[kind][3](name)[0]).fit(example_panel(4)).save(tmp_path / "model")
    with own_names():
        FAMILIES[kind].pop(name)
        with pytest.raises(FileFormatError, match=r"register"):
            BaseForecaster.load(tmp_path / "model")
