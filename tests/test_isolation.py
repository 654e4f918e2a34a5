"""Settings and random states of the process: fits neither read nor move them, in whatever thread they run."""

from __future__ import annotations

import ast
import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import tsode
from tests.own_parts import own_names
from tsode import (
    JumpODEForecaster,
    LatentODEForecaster,
    LatentSDEForecaster,
    LinearSDEForecaster,
    PathRegressor,
    PointProcessForecaster,
    SeriesEncoder,
    register,
)
from tsode._isolation import isolated
from tsode._random import OwnDraws
from tsode.dynamics.base import Dynamics
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(6, 5))
EVENTS = pd.DataFrame({"ds": np.sort(RNG.uniform(0.0, 20.0, 30)), "mark": RNG.choice(["a", "b"], 30)})


def jump(**more):
    return JumpODEForecaster(n_modes=2, n_static=1, n_hidden=4, n_members=1, max_epochs=1, random_state=0, **more)


def forecast(forecaster):
    fitted = forecaster.fit(example_panel(2))
    return [fitted.predict(), fitted.sample(n_samples=2, random_state=0)]


ANSWERS = {
    "jump": lambda: forecast(jump()),
    "latent sde": lambda: forecast(
        LatentSDEForecaster(n_samples=2, max_epochs=1, time_unit="32h", dtype="float64", random_state=0)
    ),
    "latent": lambda: forecast(LatentODEForecaster(n_samples=2, max_epochs=1, dtype="float64", random_state=0)),
    "linear sde": lambda: forecast(LinearSDEForecaster(max_epochs=1, random_state=0)),
    "point process": lambda: [PointProcessForecaster(max_epochs=1, random_state=0).fit(EVENTS).predict_next()],
    "path": lambda: [pd.Series(PathRegressor().fit(np.arange(9.0)[:, None], np.sin(np.arange(9.0))).predict([[1.5]]))],
    "series": lambda: [pd.DataFrame(SeriesEncoder(jump(scale="standard")).fit(ROWS).transform(ROWS))],
}
plain_answer = functools.cache(lambda name: ANSWERS[name]())


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def half_elsewhere():
    with torch.autocast("cpu"), torch.device("meta"):
        yield


OUTSIDE = {
    "float64 by default": default_dtype,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "half precision on another device": half_elsewhere,
}


@pytest.mark.parametrize("setting", OUTSIDE)
@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow if "sde" in x else ()) for x in ANSWERS])
def test_what_is_set_outside_changes_no_bit(name, setting):
    expected = plain_answer(name)
    with OUTSIDE[setting]():
        answers = ANSWERS[name]()
    for answer, plain in zip(answers, expected):
        assert answer.equals(plain)


def test_numbers_made_without_a_dtype_are_float32_and_others_are_as_asked():
    with default_dtype():
        with isolated():
            made = [torch.zeros(1), torch.full((1,), 0.5), torch.tensor([0.5]), torch.linspace(0, 1, 3), torch.rand(1)]
            assert [x.dtype for x in made] == [torch.float32] * len(made)
            assert torch.tensor([1]).dtype == torch.arange(3).dtype == torch.int64
            assert torch.tensor(np.zeros(1)).dtype == torch.zeros(1, dtype=torch.float64).dtype == torch.float64
        assert torch.zeros(1).dtype == torch.float64


def test_only_the_calling_thread_is_kept_to_one_thread():
    before, others = torch.get_num_threads(), []
    other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
    with contextlib.suppress(RuntimeError), isolated():
        assert torch.get_num_threads() == 1
        other.start()
        other.join()
        raise RuntimeError
    assert [torch.get_num_threads()] == others == [before]


def draw():
    """Of modules and of functions, in all the ways that constructors draw."""
    hidden = nn.GRU(2, 3)
    return [
        nn.Linear(3, 2).weight, hidden.weight_hh_l0, nn.Embedding(2, 2).weight, torch.randn(3), torch.rand(2),
        torch.randint(0, 9, (4,)), torch.randperm(5), torch.normal(0.0, 1.0, (3,)), torch.rand_like(torch.ones(2)),
        nn.init.orthogonal_(torch.empty(3, 3)), nn.init.trunc_normal_(torch.empty(3)), nn.Dropout(0.5)(torch.ones(9)),
        torch.distributions.Gamma(torch.ones(3), 1.0).sample(), torch.multinomial(torch.ones(4), 2),
    ]  # fmt: skip


def test_own_draws_are_what_the_global_generator_gives_from_the_same_seed():
    before = torch.get_rng_state()
    own = OwnDraws(torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(own.generator.initial_seed())
        expected = draw()
    with own:
        drawn = draw()
        named = torch.rand(2, generator=torch.Generator().manual_seed(3))
    assert all(map(torch.equal, drawn, expected))
    assert torch.equal(named, torch.rand(2, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_ones_own_in_training_only():
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2), nn.GRU(2, 2, num_layers=2, dropout=0.5))
    own, before = OwnDraws(torch.Generator().manual_seed(1)), torch.get_rng_state()
    with own.in_training(network):
        network(torch.ones(1, 3, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all("forward" not in vars(part) for part in network)


class Stranger(Dynamics):
    """A field made of torch's parts, which draw when they are made and in training."""

    def __init__(self, n_state):
        super().__init__(n_state)
        self.net = nn.Sequential(nn.Linear(n_state, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, n_state))

    def drift(self, t, z):
        return self.net(z)


@pytest.mark.slow
def test_threads_give_the_bits_of_one_and_never_move_the_global_state(tmp_path):
    torch.rand(1)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    moved = []

    def look(row):
        moved.append(not torch.equal(torch.get_rng_state(), before))

    def run(k):
        evolution = "stranger" if k % 2 else "linear"
        made = jump(dropout=0.2, callbacks=[look], evolution=evolution).fit(example_panel(2))
        made.save(tmp_path / f"{k}.st")
        loaded = JumpODEForecaster.load(tmp_path / f"{k}.st")
        look(None)
        return loaded.predict()

    with own_names():
        register("dynamics", "stranger", Stranger)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(run, range(4)))
    assert all(answer.equals(found[k % 2]) for k, answer in enumerate(found))
    assert moved == [False] * 8
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def yields_inside(tree: ast.AST) -> list[int]:
    """Lines on which a generator hands out while settings of the process are changed; context managers may."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or any(
            "manager" in ast.unparse(d) for d in function.decorator_list
        ):
            continue
        for block in ast.walk(function):
            if isinstance(block, ast.With):
                held = " ".join(ast.unparse(item.context_expr) for item in block.items)
                if any(name in held for name in ("isolated(", "no_grad(", "enable_grad(")):
                    found += [x.lineno for x in ast.walk(block) if isinstance(x, ast.Yield | ast.YieldFrom)]
    return found


def test_no_generator_hands_out_while_it_has_changed_settings_of_the_process():
    """Whoever takes turns with two of them would end with the settings of one: gradients that stay off."""
    assert yields_inside(ast.parse("def f():\n    with torch.no_grad():\n        yield 1")) == [3]
    package = Path(tsode.__file__).parent
    faults = [f"{path.name}:{line}" for path in sorted(package.rglob("*.py"))
              for line in yields_inside(ast.parse(path.read_text()))]  # fmt: skip
    assert not faults, faults
