"""Plots of data and forecasts. matplotlib is imported when one is drawn: ``pip install "tsode[plot]"``."""

from tsode.plots.basin import plot_basin
from tsode.plots.bifurcation import plot_bifurcation
from tsode.plots.calibration import plot_calibration
from tsode.plots.crossing import plot_crossing, plot_crossing_calibration
from tsode.plots.decomposition import plot_decomposition
from tsode.plots.effects import plot_effects
from tsode.plots.fan import plot_fan
from tsode.plots.gaps import plot_gaps
from tsode.plots.goodness_of_fit import plot_goodness_of_fit
from tsode.plots.growth import plot_growth
from tsode.plots.history import plot_history
from tsode.plots.inclusion import plot_inclusion
from tsode.plots.individual_fits import plot_individual_fits
from tsode.plots.influence_ranking import plot_influence_ranking
from tsode.plots.innovations import plot_innovations
from tsode.plots.intensity import plot_intensity
from tsode.plots.latent import plot_latent
from tsode.plots.leaderboard import plot_leaderboard
from tsode.plots.page import Page
from tsode.plots.phase import plot_phase
from tsode.plots.pit import plot_pit
from tsode.plots.plan import plot_plan
from tsode.plots.plume import plot_plume
from tsode.plots.posterior import plot_forest, plot_prior_posterior
from tsode.plots.posterior_pairs import plot_pairs
from tsode.plots.posterior_predictive import plot_posterior_predictive
from tsode.plots.profiles import plot_profiles
from tsode.plots.ranks import plot_rank_histogram
from tsode.plots.sensitivity import plot_influence, plot_sensitivity
from tsode.plots.spectrum import plot_spectrum
from tsode.plots.spread_skill import plot_spread_skill
from tsode.plots.visual_predictive_check import plot_visual_predictive_check
from tsode.plots.what_if import plot_what_if

__all__ = [
    "Page",
    "plot_basin",
    "plot_bifurcation",
    "plot_calibration",
    "plot_crossing",
    "plot_crossing_calibration",
    "plot_decomposition",
    "plot_effects",
    "plot_fan",
    "plot_forest",
    "plot_gaps",
    "plot_goodness_of_fit",
    "plot_growth",
    "plot_history",
    "plot_inclusion",
    "plot_individual_fits",
    "plot_influence",
    "plot_influence_ranking",
    "plot_innovations",
    "plot_intensity",
    "plot_latent",
    "plot_leaderboard",
    "plot_pairs",
    "plot_phase",
    "plot_pit",
    "plot_plan",
    "plot_plume",
    "plot_posterior_predictive",
    "plot_prior_posterior",
    "plot_profiles",
    "plot_rank_histogram",
    "plot_sensitivity",
    "plot_spectrum",
    "plot_spread_skill",
    "plot_visual_predictive_check",
    "plot_what_if",
]
