"""Bayesian inference for known dynamics: priors, parameters, noise, densities."""
