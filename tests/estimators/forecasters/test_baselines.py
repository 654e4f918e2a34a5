"""A baseline of one's own: one class with a rule and its parameters is in every table and keeps the contract."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import Tensor

from tsode.backtest import score_table
from tsode.cli.models import command_name, models
from tsode.estimators import FORECASTERS
from tsode.estimators.forecasters.baselines import BaselineForecaster
from tsode.models.baselines import BaselineModel, PastSummary
from tsode.testing import check_forecaster, example_panel


class DampedTrendModel(BaselineModel):
    """Trend between the last value and the mean of the past, which fades out at a rate."""

    def __init__(self, n_channels: int, rate: float) -> None:
        super().__init__(n_channels)
        self.rate = rate

    def locate(self, summary: PastSummary, lead: Tensor) -> Tensor:
        trend = summary.last - summary.average
        return summary.last + trend * (1.0 - torch.exp(-self.rate * lead))


@dataclass(kw_only=True, eq=False, repr=False)
class DampedTrendForecaster(BaselineForecaster):
    """Continue the trend of each channel, ever more slowly.

    Parameters
    ----------
    rate : float
        At which the trend fades, per unit of model time.
    """

    rate: float = 1.0

    def build_model(self, n_channels: int) -> BaselineModel:
        return DampedTrendModel(n_channels, self.rate)


def test_its_forecast_is_the_rule_with_its_parameter():
    series = pd.Series([0.0, 1.0, 5.0], index=[0.0, 1.0, 3.0], name="x")
    made = DampedTrendForecaster(rate=0.5, horizon=2.0, time_unit=1.0).fit(series)
    leads = np.array([0.5, 2.0, 40.0])
    expected = 5.0 + 3.0 * (1.0 - np.exp(-0.5 * leads))
    np.testing.assert_allclose(made.predict(times=list(3.0 + leads)), expected, rtol=1e-12)


def test_its_parameter_is_one_of_those_that_clone_set_params_and_files_know(tmp_path):
    made = clone(DampedTrendForecaster(rate=0.5)).set_params(horizon="6h").fit(example_panel(3))
    assert (made.rate, made.horizon, clone(made).rate) == (0.5, "6h", 0.5)
    assert repr(made) == "DampedTrendForecaster(horizon='6h', rate=0.5)"
    made.save(tmp_path / "model")
    loaded = DampedTrendForecaster.load(tmp_path / "model")
    assert loaded.rate == 0.5
    pd.testing.assert_frame_equal(loaded.predict_interval(), made.predict_interval())


@pytest.mark.slow
def test_it_keeps_the_contract():
    check_forecaster(DampedTrendForecaster(rate=0.5))


def test_it_joins_every_table_by_one_line(monkeypatch):
    monkeypatch.setitem(FORECASTERS, "DampedTrendForecaster", DampedTrendForecaster)
    table = score_table({}, example_panel(4), cutoffs="2024-03-02 06:00", horizon="8h", metrics=["crps"])
    names = table.xs("a").index.tolist()
    assert names == ["ConstantForecaster", "LastValueForecaster", "DriftForecaster", "DampedTrendForecaster"]
    assert np.isfinite(table).all(axis=None)
    assert models()["damped-trend"] is DampedTrendForecaster


@pytest.mark.parametrize(
    ("class_name", "name"),
    [("JumpODEForecaster", "jump-ode"), ("LatentSDEForecaster", "latent-sde"), ("DriftForecaster", "drift")],
)
def test_the_command_names_a_class_in_small_letters(class_name, name):
    assert command_name(class_name) == name
