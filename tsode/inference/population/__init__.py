"""Populations: nonlinear mixed effects of known systems."""
