"""The latent ODE as a forecaster."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import fitted, quick_epochs, small
from tsode import LastValueForecaster, LatentODEForecaster
from tsode.diagnostics import latent_usage
from tsode.errors import ParameterError, TsodeWarning
from tsode.testing import example_panel


@pytest.mark.parametrize("loss", ["crps", "nll", "mse", "quantile", "elbo", "iwae"])
def test_every_loss_trains(loss):
    with quick_epochs():
        model = small(LatentODEForecaster, loss=loss, n_train_samples=2).fit(example_panel())
    assert np.isfinite(model.history_["valid_loss"]).all()
    assert (model.history_["train_kl"] > 0).all()


@pytest.mark.filterwarnings("ignore:The latent state is not used:tsode.errors.TsodeWarning")
@pytest.mark.parametrize("encoder", ["backward_ode_rnn", "set_attention"])
@pytest.mark.parametrize("evolution", ["mlp", "linear"])
def test_parts_go_together(encoder, evolution):
    settings = {"kl_schedule": "cyclical", "free_bits": 0.05, "n_static": 1}
    model = small(LatentODEForecaster, encoder=encoder, evolution=evolution, **settings)
    with quick_epochs():
        model.fit(example_panel(4))
    assert model.predict(horizon=pd.Timedelta("8h"))[["a", "b"]].notna().all(axis=None)


@pytest.mark.slow
def test_the_encoder_may_be_trained_ahead():
    model = small(LatentODEForecaster, loss="elbo", lagging=True, encoder="set_attention").fit(example_panel())
    assert model.history_["valid_mutual_information"].iloc[-1] > 0.1


def test_impute_reads_what_came_later():
    model, frame = fitted("LatentODEForecaster-float64"), example_panel(1)
    later = frame["ds"] > frame["ds"].iloc[len(frame) // 2]
    changed = frame.assign(a=frame["a"] + 5.0 * later)
    gap = frame["a"].isna() & ~later
    assert gap.any()
    assert not np.allclose(model.impute(frame)["a"][gap], model.impute(changed)["a"][gap])


def test_usage_is_measured_and_a_posterior_that_tells_nothing_is_warned_of():
    model = fitted("LatentODEForecaster-float64")
    usage = latent_usage(model)
    assert usage.n_series == 12
    assert usage.n_units == len(usage.kl) == 10
    assert usage.is_used
    with quick_epochs():
        blind = small(LatentODEForecaster, dtype="float64").fit(example_panel())
    with torch.no_grad():
        blind.module_.posterior.weight.zero_()
        blind.module_.posterior.bias.zero_()
    with pytest.warns(TsodeWarning, match="not used: 0 of 10 units"):
        found = latent_usage(blind, example_panel(3))
    assert found.mutual_information == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ParameterError, match="LastValueForecaster has none"):
        latent_usage(LastValueForecaster().fit(example_panel()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kl_weight": -1.0}, "kl_weight must not be negative"),
        ({"loss": "elbow"}, "Did you mean 'elbo'"),
        ({"kl_schedule": "linea"}, "Did you mean 'linear'"),
        ({"n_samples": 0}, "n_samples must be a whole number"),
        ({"encoder": "set"}, "is not a known encoder"),
        ({"observation_scale": "row"}, "choose 'channel' or 'state'"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        small(LatentODEForecaster, **wrong).fit(example_panel(3))
