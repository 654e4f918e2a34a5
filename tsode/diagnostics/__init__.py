"""Diagnostics in the user's units: latent path of a forecaster, use of its state, promises, gradients, areas."""

from tsode.diagnostics.gradients import gradient_check
from tsode.diagnostics.guarantees import guarantees
from tsode.diagnostics.noncompartmental import noncompartmental
from tsode.diagnostics.path import LatentPath, latent_path
from tsode.diagnostics.sensitivities import StateSensitivities, state_sensitivities
from tsode.diagnostics.usage import LatentUsage, latent_usage

__all__ = [
    "LatentPath",
    "LatentUsage",
    "StateSensitivities",
    "gradient_check",
    "guarantees",
    "latent_path",
    "latent_usage",
    "noncompartmental",
    "state_sensitivities",
]
