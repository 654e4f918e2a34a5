"""Bayesian inference: densities, the engines that answer for them, and checks of what they answer."""
