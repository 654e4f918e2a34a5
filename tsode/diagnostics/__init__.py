"""Diagnostics in the user's units: a forecaster's path, memory and sensitivity, use of its state, promises, areas."""

from tsode.diagnostics.filter_memory import forgetting
from tsode.diagnostics.forecast_sensitivity import sensitivity
from tsode.diagnostics.gradients import gradient_check
from tsode.diagnostics.guarantees import guarantees
from tsode.diagnostics.innovations import innovations
from tsode.diagnostics.noncompartmental import noncompartmental
from tsode.diagnostics.observation_influence import influence
from tsode.diagnostics.path import LatentPath, latent_path
from tsode.diagnostics.rank_histogram import rank_histogram
from tsode.diagnostics.sensitivities import StateSensitivities, state_sensitivities
from tsode.diagnostics.spread_skill import spread_skill
from tsode.diagnostics.usage import LatentUsage, latent_usage

__all__ = [
    "LatentPath",
    "LatentUsage",
    "StateSensitivities",
    "forgetting",
    "gradient_check",
    "guarantees",
    "influence",
    "innovations",
    "latent_path",
    "latent_usage",
    "noncompartmental",
    "rank_histogram",
    "sensitivity",
    "spread_skill",
    "state_sensitivities",
]
