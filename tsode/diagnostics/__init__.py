"""Diagnostics of a fitted forecaster, in the user's units: its latent path, and how much the latent state is used."""

from tsode.diagnostics.path import LatentPath, latent_path
from tsode.diagnostics.usage import LatentUsage, latent_usage

__all__ = ["LatentPath", "LatentUsage", "latent_path", "latent_usage"]
