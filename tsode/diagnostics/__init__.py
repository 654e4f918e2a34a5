"""Diagnostics in the user's units: latent path of a fitted forecaster, use of its state, noncompartmental table."""

from tsode.diagnostics.noncompartmental import noncompartmental
from tsode.diagnostics.path import LatentPath, latent_path
from tsode.diagnostics.usage import LatentUsage, latent_usage

__all__ = ["LatentPath", "LatentUsage", "latent_path", "latent_usage", "noncompartmental"]
